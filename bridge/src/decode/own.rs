//! Decodes our own reports and alerts field by field: a value of the wrong type costs its line, not the message.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{
    json,
    message::{
        Alert, Decoded, Gist, Payload, Report, Severity, Status, Summary,
        alert::MOST_LABELS,
        report::{FIELDS, Unknowns},
    },
};

/// The words for a value that a publisher does not know.
const NOT_KNOWN: [&str; 14] = [
    "",
    "-",
    "--",
    "?",
    "n/a",
    "na",
    "nan",
    "nil",
    "none",
    "null",
    "unknown",
    "undefined",
    "infinity",
    "inf",
];

/// Decodes a report, which has a host or one of the other fields.
pub(super) fn report(object: &Map<String, Value>) -> serde_json::Result<Decoded> {
    let has = |name: &str| object.get(name).is_some_and(|value| !value.is_null());
    if !has("host") && !FIELDS.iter().any(|name| has(name)) {
        return Err(serde::de::Error::missing_field("host"));
    }
    let mut fields = Fields::of(object);
    let (disk_percent, disk) = fields.number("disk_percent");
    let (memory_percent, memory) = fields.number("memory_percent");
    let (satisfaction, satisfied) = fields.number("satisfaction");
    let report = Report {
        kind: fields.text("kind"),
        host: fields.required("host"),
        completed: fields.list("completed"),
        in_progress: fields.list("in_progress"),
        disk_percent,
        memory_percent,
        satisfaction,
        unknown: Unknowns { disk, memory, satisfaction: satisfied },
        extra: Map::new(),
    };
    let (extra, flaw) = fields.rest();
    Ok(flawed(Payload::Report(Report { extra, ..report }), "report", flaw))
}

/// Decodes an alert, which has a severity or a summary.
pub(super) fn alert(object: &Map<String, Value>) -> serde_json::Result<Decoded> {
    let has = |name: &str| object.get(name).is_some_and(|value| !value.is_null());
    if !has("severity") && !has("summary") {
        return Err(serde::de::Error::missing_field("severity"));
    }
    let mut fields = Fields::of(object);
    let severity = if let Some(severity) = fields.text("severity") {
        if severity.trim().parse::<f64>().is_ok() {
            // Some programs count from the worst, and others to it: the number is shown as it is.
            fields.rest.insert("severity".to_owned(), Value::String(severity));
            Severity::Warning
        } else {
            Severity::from(severity)
        }
    } else {
        fields.wrong("severity", "is missing, so that it counts as a warning");
        Severity::Warning
    };
    let summary = fields.text("summary").map(Summary::Said);
    if summary.is_none() {
        fields.wrong("summary", "is missing");
    }
    let mut alert = Alert::new(severity, summary.unwrap_or(Summary::Unsaid));
    alert.kind = fields.text("kind");
    alert.source = fields.text("source");
    alert.description = fields.text("description");
    alert.status = fields.status();
    alert.time = fields.time("time");
    alert.ended = fields.time("ended");
    alert.last_ok = fields.time("last_ok");
    alert.url = fields.text("url");
    alert.fingerprint = fields.text("fingerprint");
    alert.labels = fields.labels();
    let (extra, flaw) = fields.rest();
    alert.extra = extra;
    Ok(flawed(Payload::Alert(alert), "alert", flaw))
}

fn flawed(payload: Payload, what: &str, flaw: Option<String>) -> Decoded {
    let decoded = Decoded::sound(payload);
    match flaw {
        Some(flaw) => decoded.with_flaw(format!("not all of the {what} can be read: {flaw}")),
        None => decoded,
    }
}

/// The fields of an object that are not read yet, and what was wrong with others.
struct Fields {
    rest: Map<String, Value>,
    flaws: Vec<String>,
}

impl Fields {
    fn of(object: &Map<String, Value>) -> Self {
        Self { rest: object.clone(), flaws: Vec::new() }
    }

    fn wrong(&mut self, name: &str, what: &str) {
        self.flaws.push(format!("{name} {what}"));
    }

    /// Takes the value of a field, unless it is null.
    fn take(&mut self, name: &str) -> Option<Value> {
        self.rest.shift_remove(name).filter(|value| !value.is_null())
    }

    /// Puts a value that cannot be used where it is shown as it is.
    fn put_back(&mut self, name: &str, value: Value, expected: &str) {
        self.wrong(name, &format!("is not {expected}"));
        self.rest.insert(name.to_owned(), value);
    }

    /// Reads a text, or another value that can be written as one.
    fn text(&mut self, name: &str) -> Option<String> {
        let value = self.take(name)?;
        let text = scalar(&value);
        if text.is_none() {
            self.put_back(name, value, "a text");
        }
        text
    }

    fn required(&mut self, name: &str) -> String {
        let text = self.text(name);
        if text.is_none() && !self.rest.contains_key(name) {
            self.wrong(name, "is missing");
        }
        text.unwrap_or_default()
    }

    /// Reads a number, and whether there is a value that is none. A word like "N/A" is no mistake.
    fn number(&mut self, name: &str) -> (Option<f64>, bool) {
        let Some(value) = self.take(name) else { return (None, false) };
        let number = match &value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => of_text(text),
            _ => None,
        };
        if let Some(number) = number {
            return (Some(number), false);
        }
        let is_not_known = value
            .as_str()
            .is_some_and(|text| NOT_KNOWN.contains(&text.trim().to_lowercase().as_str()));
        if !is_not_known {
            self.put_back(name, value, "a number");
        }
        (None, true)
    }

    /// Reads a list of texts, or a single one.
    fn list(&mut self, name: &str) -> Vec<String> {
        let Some(value) = self.take(name) else { return Vec::new() };
        match value {
            Value::Array(items) => {
                let texts: Vec<String> = items.iter().filter_map(scalar).collect();
                if texts.len() < items.iter().filter(|item| !item.is_null()).count() {
                    self.put_back(name, Value::Array(items), "a list of texts");
                }
                texts
            }
            Value::String(text) => vec![text],
            other => {
                self.put_back(name, other, "a list of texts");
                Vec::new()
            }
        }
    }

    fn status(&mut self) -> Status {
        let Some(value) = self.take("status") else { return Status::default() };
        if let Some(status) = value.as_str().and_then(Gist::status_of) {
            return status;
        }
        self.put_back("status", value, "\"firing\" or \"resolved\"");
        Status::default()
    }

    fn time(&mut self, name: &str) -> Option<String> {
        let value = self.take(name)?;
        match Gist::time_of(&value) {
            Some(time) => Some(time),
            None if value.is_string() => None,
            None => {
                self.put_back(name, value, "a time");
                None
            }
        }
    }

    fn labels(&mut self) -> BTreeMap<String, String> {
        let Some(value) = self.take("labels") else { return BTreeMap::new() };
        let Value::Object(labels) = value else {
            self.put_back("labels", value, "an object");
            return BTreeMap::new();
        };
        let (good, wrong): (Vec<_>, Vec<_>) =
            labels.into_iter().take(MOST_LABELS).partition(|(_, value)| scalar(value).is_some());
        let wrong: Map<String, Value> =
            wrong.into_iter().filter(|(_, value)| !value.is_null()).collect();
        if !wrong.is_empty() {
            self.put_back(
                "labels",
                Value::Object(wrong),
                "an object of text, numbers and booleans",
            );
        }
        good.into_iter().filter_map(|(name, value)| Some((name, scalar(&value)?))).collect()
    }

    /// Returns what is left and is not blank, and what was wrong.
    fn rest(mut self) -> (Map<String, Value>, Option<String>) {
        self.rest.retain(|_, value| value.as_str().is_none_or(|text| !text.trim().is_empty()));
        (self.rest, (!self.flaws.is_empty()).then(|| self.flaws.join("; ")))
    }
}

/// Returns a text, a number or a boolean as text of bounded length.
fn scalar(value: &Value) -> Option<String> {
    json::scalar(value).map(|mut text| {
        json::shorten(&mut text);
        text
    })
}

/// Reads a number that is written as a text, perhaps with a percent sign or a decimal comma.
fn of_text(text: &str) -> Option<f64> {
    let text = text.trim().trim_end_matches('%').trim_end().replace(',', ".");
    text.parse().ok().filter(|number: &f64| number.is_finite())
}
