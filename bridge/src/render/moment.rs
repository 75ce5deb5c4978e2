//! Times and how long things took, for people.

use time::{Duration, OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

use super::text;

/// The time that a text says in RFC 3339, in UTC.
pub(super) fn parse(text: &str) -> Option<OffsetDateTime> {
    let time = OffsetDateTime::parse(text.trim(), &Rfc3339).ok()?;
    // A moment at the very end of what can be said has no other form in UTC.
    time.checked_to_offset(UtcOffset::UTC)
}

/// The time that a text says in RFC 3339, in seconds since 1970.
pub(crate) fn seconds(text: &str) -> Option<i64> {
    parse(text).map(OffsetDateTime::unix_timestamp)
}

/// A time in RFC 3339, as publishers would write it.
pub(super) fn written(seconds: i64) -> Option<String> {
    OffsetDateTime::from_unix_timestamp(seconds).ok()?.format(&Rfc3339).ok()
}

/// "2026-11-23T07:35:51+01:00" as "2026-11-23 06:35:51 UTC"; what is not RFC 3339 stays as it is.
pub(super) fn moment(text: &str) -> String {
    match parse(text) {
        Some(time) => stamp(time),
        None => text::line(text),
    }
}

/// A time as [`moment`] shows it.
pub(super) fn stamp(time: OffsetDateTime) -> String {
    let time = time.checked_to_offset(UtcOffset::UTC).unwrap_or(time);
    format!("{} {} UTC", time.date(), clock(time))
}

/// From when to when something went on, as far as it is known, and how long that was.
pub(super) fn span(begin: Option<&str>, end: Option<&str>) -> Option<String> {
    let (begin, end) = match (begin, end) {
        (None, None) => return None,
        (Some(begin), None) => return Some(moment(begin)),
        (None, Some(end)) => return Some(format!("until {}", moment(end))),
        (Some(begin), Some(end)) => (begin, end),
    };
    let (Some(from), Some(to)) = (parse(begin), parse(end)) else {
        return Some(format!("{} – {}", moment(begin), moment(end)));
    };
    let date = if from.date() == to.date() { String::new() } else { format!("{} ", to.date()) };
    let took = to - from;
    let took = if took.is_negative() { String::new() } else { format!(" ({})", duration(took)) };
    Some(format!("{} {} – {date}{} UTC{took}", from.date(), clock(from), clock(to)))
}

fn clock(time: OffsetDateTime) -> String {
    format!("{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second())
}

/// The two largest units: nobody wants the seconds of three days.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.whole_seconds();
    let units = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let largest = units.iter().position(|(count, _)| *count > 0).unwrap_or(units.len() - 1);
    let said: Vec<String> = units[largest..]
        .iter()
        .take(2)
        .enumerate()
        .filter(|(index, (count, _))| *index == 0 || *count > 0)
        .map(|(_, (count, unit))| format!("{count} {unit}"))
        .collect();
    said.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_it_took_is_said_in_two_units() {
        let said = |seconds| duration(Duration::seconds(seconds));
        assert_eq!(said(0), "0 s");
        assert_eq!(said(59), "59 s");
        assert_eq!(said(60), "1 min");
        assert_eq!(said(3_599), "59 min 59 s");
        assert_eq!(said(3_601), "1 h");
        assert_eq!(said(93_784), "1 d 2 h");
    }

    #[test]
    fn a_span_says_what_is_known() {
        let (begin, end) = (Some("2026-11-23T06:35:51Z"), Some("2026-11-23T06:47:10Z"));
        assert_eq!(span(None, None), None);
        assert_eq!(span(begin, None).unwrap(), "2026-11-23 06:35:51 UTC");
        assert_eq!(span(None, end).unwrap(), "until 2026-11-23 06:47:10 UTC");
        assert_eq!(span(begin, end).unwrap(), "2026-11-23 06:35:51 – 06:47:10 UTC (11 min 19 s)");
        assert_eq!(
            span(begin, Some("2026-11-25T00:00:00+01:00")).unwrap(),
            "2026-11-23 06:35:51 – 2026-11-24 23:00:00 UTC (1 d 16 h)"
        );
        assert_eq!(span(end, begin).unwrap(), "2026-11-23 06:47:10 – 06:35:51 UTC");
        assert_eq!(span(Some("a"), Some("b")).unwrap(), "a – b");
    }

    #[test]
    fn the_ends_of_time_are_no_mishap() {
        for time in ["9999-12-31T23:59:59-23:59", "0000-01-01T00:00:00+23:59"] {
            assert!(!moment(time).is_empty());
            assert!(span(Some(time), Some("2026-11-23T06:35:51Z")).is_some());
        }
    }
}
