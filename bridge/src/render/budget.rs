//! Shortens a message to what a phone shows, by worth: the severity, the title, the source, the time and the links stay,
//! and long descriptions, labels and other values are shortened.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{
    message::{Alert, Payload},
    text,
};

/// The longest title, in characters.
const TITLE: usize = 300;

/// The longest description, in characters and in lines.
const DESCRIPTION: usize = 1_100;
const DESCRIPTION_LINES: usize = 24;

/// The longest text, in characters and in lines. The subject comes below it.
const TEXT: usize = 3_400;
const TEXT_LINES: usize = 200;

/// The longest value of a label or of another entry, in characters.
const LABEL: usize = 100;
const VALUE: usize = 300;

/// The longest name of either.
const NAME: usize = 60;

/// The characters that all labels, and all other entries, may take together.
const LABELS: usize = 600;
const VALUES: usize = 1_000;

/// Shortens the parts of a payload that are longer than their share. Returns whether there were any.
pub(super) fn fit(payload: &mut Payload) -> bool {
    match payload {
        Payload::Alert(alert) => fit_alert(alert),
        Payload::Alerts(group) => {
            let labels = fit_labels(&mut group.labels);
            let title = shorten(&mut group.title, TITLE);
            let alerts = group.alerts.iter_mut().map(fit_alert);
            alerts.fold(labels | title, |any, is_cut| any | is_cut)
        }
        Payload::Report(report) => fit_values(&mut report.extra),
        Payload::Text(body) => shorten_lines(body, TEXT_LINES, TEXT),
        _ => false,
    }
}

fn fit_alert(alert: &mut Alert) -> bool {
    let mut is_cut = alert.summary.text_mut().is_some_and(|text| shorten(text, TITLE));
    if let Some(description) = &mut alert.description {
        is_cut |= shorten_lines(description, DESCRIPTION_LINES, DESCRIPTION);
    }
    is_cut | fit_labels(&mut alert.labels) | fit_values(&mut alert.extra)
}

fn shorten(text: &mut String, most: usize) -> bool {
    shorten_lines(text, usize::MAX, most)
}

fn shorten_lines(text: &mut String, most_lines: usize, most: usize) -> bool {
    let head = text::head(text::first_lines(text, most_lines), most);
    let is_long = head.len() < text.trim_end().len();
    if is_long {
        *text = format!("{head} …");
    }
    is_long
}

/// Shortens a value in the middle. What is left of an address is not one any more.
fn shorten_value(value: &mut String, most: usize) -> bool {
    let short = text::shorten_middle(value.trim_end(), most);
    let is_long = short != value.trim_end();
    if is_long {
        let bare = short.split_once("://").map(|(_, rest)| rest.to_owned());
        *value = bare.unwrap_or(short);
    }
    is_long
}

fn fit_labels(labels: &mut BTreeMap<String, String>) -> bool {
    let mut is_cut = false;
    for value in labels.values_mut() {
        is_cut |= shorten_value(value, LABEL);
    }
    let length = |name: &str, value: &str| name.chars().count() + value.chars().count() + 3;
    let mut left = LABELS;
    labels.retain(|name, value| {
        let fits = name.chars().count() <= NAME && length(name, value) <= left;
        left -= if fits { length(name, value) } else { 0 };
        is_cut |= !fits;
        fits
    });
    is_cut
}

fn fit_values(values: &mut Map<String, Value>) -> bool {
    let mut is_cut = false;
    let mut left = VALUES;
    values.retain(|name, value| {
        if let Value::String(text) = value {
            // Links are what a person opens at night; one that is too long is no longer one, but the others stay.
            is_cut |= shorten_value(text, VALUE);
        } else if value.is_array() || value.is_object() {
            let mut text = value.to_string();
            if shorten_value(&mut text, VALUE) {
                (*value, is_cut) = (Value::String(text), true);
            }
        }
        let length =
            name.chars().count() + value.as_str().map_or(VALUE / 10, |text| text.chars().count());
        let fits = name.chars().count() <= NAME && length <= left;
        left -= if fits { length } else { 0 };
        is_cut |= !fits;
        fits
    });
    is_cut
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Severity, Summary};

    #[test]
    fn what_is_long_is_shortened_and_the_rest_stays() {
        let mut alert = Alert::new(Severity::Critical, Summary::Said("Disk full".to_owned()));
        alert.url = Some(format!("https://a.example/{}", "x".repeat(9_000)));
        alert.description = Some("word ".repeat(2_000));
        let long = format!("https://a.example/{}?end", "y".repeat(9_000));
        alert
            .labels
            .extend([("a_source".to_owned(), long), ("host".to_owned(), "db-01".to_owned())]);
        alert.extra.insert("silence".to_owned(), "https://a.example/silence".into());
        let before = alert.clone();
        assert!(fit_alert(&mut alert));
        assert_eq!(
            (&alert.summary, &alert.url, &alert.extra),
            (&before.summary, &before.url, &before.extra)
        );
        assert_eq!(alert.labels["host"], "db-01");
        let label = &alert.labels["a_source"];
        assert!(label.starts_with("a.example/yy") && label.ends_with("y?end"), "{label}");
        assert!(label.chars().count() <= LABEL);
        assert!(alert.description.unwrap().chars().count() <= DESCRIPTION + 2);
        let mut short = Alert::new(Severity::Critical, Summary::Said("Disk full".to_owned()));
        assert!(!fit_alert(&mut short));
    }

    #[test]
    fn many_labels_do_not_crowd_out_what_comes_after() {
        let mut labels: BTreeMap<String, String> =
            (0..200).map(|number| (format!("label{number}"), "some value".to_owned())).collect();
        assert!(fit_labels(&mut labels));
        let length: usize = labels.iter().map(|(name, value)| name.len() + value.len() + 3).sum();
        assert!((LABELS - 50..=LABELS).contains(&length), "{length}");
    }
}
