//! Filters for numbers, sizes, durations and times. A value that a filter cannot show is an error with an
//! explanation, and never an unexpected text.

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};
use minijinja::{Environment, Error, ErrorKind, Value};

use crate::{config::time_zone, message::rfc3339, render::voice::Voice};

/// The format of a time if a template gives none.
const TIME: &str = "%Y-%m-%d %H:%M:%S %Z";

/// Adds the filters to an environment.
pub(super) fn add(templates: &mut Environment<'_>, voice: &Voice) {
    let words = voice.words;
    templates.add_filter("number", |value: &Value, digits: Option<usize>| {
        Ok::<_, Error>(number_text(number("number", value)?, digits.unwrap_or(1)))
    });
    templates.add_filter("percent", |value: &Value, digits: Option<usize>| {
        Ok::<_, Error>(number_text(number("percent", value)?, digits.unwrap_or(1)) + "%")
    });
    templates.add_filter("size", move |value: &Value| {
        let bytes = number("size", value)?;
        let count = whole("size", bytes.abs())?;
        let sign = if bytes < 0.0 { "-" } else { "" };
        Ok::<_, Error>(format!("{sign}{}", words.bytes(count)))
    });
    templates.add_filter("duration", move |value: &Value| {
        Ok::<_, Error>(words.duration(duration(value)?))
    });
    let zone = voice.zone.clone();
    templates.add_filter(
        "time",
        move |value: &Value, format: Option<&str>, place: Option<&str>| {
            let zone = match place {
                None => zone.clone(),
                Some(name) => time_zone(name).map_err(|error| wrong("time", &error.to_string()))?,
            };
            let time = time(value)?.to_zoned(zone);
            let format = format.unwrap_or(TIME);
            jiff::fmt::strtime::format(format, &time)
                .map_err(|error| wrong("time", &format!("the format \"{format}\": {error}")))
        },
    );
}

/// Formats a number with at most this many digits after the point, without trailing zeros.
pub(super) fn number_text(value: f64, digits: usize) -> String {
    // A float has no more significant digits than these.
    let text = format!("{value:.0$}", digits.min(15));
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

fn wrong(filter: &str, what: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("{filter}: {what}"))
}

/// Reads a number, or a text that contains one.
fn number(filter: &str, value: &Value) -> Result<f64, Error> {
    let number = match value.as_str() {
        Some(text) => text.trim().parse().ok(),
        None => f64::try_from(value.clone()).ok(),
    };
    number
        .filter(|number| number.is_finite())
        .ok_or_else(|| wrong(filter, &format!("{} is not a number", quoted(value))))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in range")]
fn whole(filter: &str, number: f64) -> Result<u64, Error> {
    // The bound is 2^63, which a float represents exactly.
    if (0.0..9_223_372_036_854_775_808.0).contains(&number) {
        return Ok(number.round() as u64);
    }
    Err(wrong(filter, &format!("{number} is too large")))
}

/// Reads a number of seconds, or a duration in ISO 8601 like "PT5M".
fn duration(value: &Value) -> Result<SignedDuration, Error> {
    if let Some(Ok(span)) = value.as_str().map(str::parse::<Span>) {
        // A calendar day counts as 24 hours. The length of a month is not known.
        return span
            .to_duration(SpanRelativeTo::days_are_24_hours())
            .map_err(|error| wrong("duration", &format!("{}: {error}", quoted(value))));
    }
    let seconds = number("duration", value).map_err(|_| {
        let what = "is neither a number of seconds nor a duration like \"PT5M\"";
        wrong("duration", &format!("{} {what}", quoted(value)))
    })?;
    SignedDuration::try_from_secs_f64(seconds.round())
        .map_err(|_| wrong("duration", &format!("{seconds} seconds are too many")))
}

/// Reads a time in RFC 3339, or in seconds since 1970.
fn time(value: &Value) -> Result<Timestamp, Error> {
    if let Some(time) = value.as_str().and_then(rfc3339::parse) {
        return Ok(time);
    }
    let seconds = number("time", value).ok();
    seconds
        .and_then(|seconds| SignedDuration::try_from_secs_f64(seconds).ok())
        .and_then(|since| Timestamp::from_duration(since).ok())
        .ok_or_else(|| {
            let what = "is neither a time like \"2026-11-23T06:35:51Z\" nor seconds since 1970";
            wrong("time", &format!("{} {what}", quoted(value)))
        })
}

/// Formats a value for an error: short, and with quotes around a text.
fn quoted(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), |text| format!("{text:?}"));
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use minijinja::{UndefinedBehavior, context};

    use super::*;
    use crate::config::{Display, Language};

    fn render(language: Language, template: &str) -> Result<String, String> {
        let time_zone = TimeZone::get("Europe/Berlin").unwrap();
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        add(&mut templates, &Voice::of(&Display { language, time_zone }));
        let rendered = templates.render_str(template, context! { absent => () });
        rendered.map_err(|error| error.detail().unwrap_or_default().to_owned())
    }

    #[test]
    fn each_filter_shows_what_people_read() {
        for (template, english) in [
            ("{{ 14.25 | number }}", "14.2"),
            ("{{ 3.0 | number }} {{ 100 | number }} {{ -0.01 | number }}", "3 100 0"),
            ("{{ 2.71828 | number(3) }}", "2.718"),
            ("{{ '14.26' | percent }} {{ 7 | percent(0) }}", "14.3% 7%"),
            (
                "{{ 3435973837 | size }} {{ 12 | size }} {{ '-2048' | size }}",
                "3.2 GiB 12 bytes -2.0 KiB",
            ),
            ("{{ 93784 | duration }} {{ 'PT12M30S' | duration }}", "1 d 2 h 12 min 30 s"),
            ("{{ '2026-11-23T06:35:51Z' | time }}", "2026-11-23 07:35:51 CET"),
            ("{{ '2026-11-23T06:35:51Z' | time('%H:%M', 'Asia/Shanghai') }}", "14:35"),
            (
                "{{ 0 | time('%d.%m.%Y') }} {{ 1795415751.5 | time('%F %T') }}",
                "01.01.1970 2026-11-23 07:35:51",
            ),
        ] {
            assert_eq!(render(Language::English, template).as_deref(), Ok(english), "{template}");
        }
        let chinese = render(Language::Chinese, "{{ 12 | size }} {{ 'P1DT2H' | duration }}");
        assert_eq!(chinese.unwrap(), "12 字节 1 天 2 小时");
    }

    #[test]
    fn what_cannot_be_shown_is_said() {
        for (template, error) in [
            ("{{ 'much' | size }}", "size: \"much\" is not a number"),
            ("{{ 1e300 | size }}", "is too large"),
            ("{{ absent | percent }}", "percent: None is not a number"),
            ("{{ 'P1M' | duration }}", "duration: \"P1M\""),
            ("{{ 'soon' | duration }}", "nor a duration like \"PT5M\""),
            ("{{ 'yesterday' | time }}", "nor seconds since 1970"),
            ("{{ 1e300 | time }}", "nor seconds since 1970"),
            ("{{ 0 | time('%Q%') }}", "the format \"%Q%\""),
            ("{{ 0 | time('%H', 'Mars') }}", "\"Mars\" is not a time zone"),
        ] {
            let said = render(Language::English, template).unwrap_err();
            assert!(said.contains(error), "{template}: {said}");
        }
    }
}
