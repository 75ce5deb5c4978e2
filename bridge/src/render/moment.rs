//! Times and durations, as people read them.

use jiff::{Timestamp, Zoned, tz::Offset};

use crate::{message::rfc3339::parse, render::voice::Voice, text::shown};

/// Returns the short name of the zone of a time, like "CET".
fn zone(time: &Zoned) -> String {
    let info = time.time_zone().to_offset_info(time.timestamp());
    let name = info.abbreviation();
    // The zones of some regions have no letters, and their abbreviation is a bare number that says little.
    if name.starts_with(['+', '-']) { offset(info.offset()) } else { name.to_owned() }
}

/// Formats an offset, like "UTC+5:45".
fn offset(offset: Offset) -> String {
    let minutes = offset.seconds() / 60;
    let sign = if minutes < 0 { '-' } else { '+' };
    let (hours, minutes) = (minutes.abs() / 60, minutes.abs() % 60);
    let minutes = if minutes == 0 { String::new() } else { format!(":{minutes:02}") };
    format!("UTC{sign}{hours}{minutes}")
}

impl Voice {
    /// Formats a time: "2026-11-23T07:35:51+01:00" becomes "2026-11-23 06:35:51 UTC". A text that is not RFC 3339
    /// stays as it is.
    pub(super) fn moment(&self, text: &str) -> String {
        match parse(text) {
            Some(time) => self.time(time),
            None => shown::line(text),
        }
    }

    /// Formats a time, like "2026-11-23 06:35:51 UTC".
    pub(super) fn time(&self, time: Timestamp) -> String {
        let time = time.to_zoned(self.zone.clone());
        format!("{} {}", time.strftime("%F %T"), zone(&time))
    }

    /// Formats the beginning, the end and the duration of something, as far as they are known.
    pub(super) fn span(&self, begin: Option<&str>, end: Option<&str>) -> Option<String> {
        let (begin, end) = match (begin, end) {
            (None, None) => return None,
            (Some(begin), None) => return Some(self.moment(begin)),
            (None, Some(end)) => return Some(self.words.until(&self.moment(end))),
            (Some(begin), Some(end)) => (begin, end),
        };
        let (Some(from), Some(to)) = (parse(begin), parse(end)) else {
            return Some(format!("{} – {}", self.moment(begin), self.moment(end)));
        };
        let took = to.duration_since(from);
        let took = if took.is_negative() { String::new() } else { self.words.took(took) };
        let (from, to) = (from.to_zoned(self.zone.clone()), to.to_zoned(self.zone.clone()));
        let end = to.strftime(if from.date() == to.date() { "%T" } else { "%F %T" });
        let (from_zone, to_zone) = (zone(&from), zone(&to));
        // In the night when the clocks change, the two times have different zones.
        let from_zone = if from_zone == to_zone { String::new() } else { format!(" {from_zone}") };
        Some(format!("{}{from_zone} – {end} {to_zone}{took}", from.strftime("%F %T")))
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::config::{Display, Language};

    fn voice(zone: &str) -> Voice {
        let time_zone = TimeZone::get(zone).unwrap();
        Voice::of(&Display { language: Language::English, time_zone })
    }

    #[test]
    fn a_span_says_what_is_known() {
        let voice = voice("UTC");
        let span = |begin, end| voice.span(begin, end);
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
    fn times_are_those_of_the_place() {
        let at = |zone: &str| voice(zone).moment("2026-11-23T16:35:51.25Z");
        assert_eq!(at("Europe/Berlin"), "2026-11-23 17:35:51 CET");
        assert_eq!(at("Asia/Shanghai"), "2026-11-24 00:35:51 CST");
        assert_eq!(at("America/Sao_Paulo"), "2026-11-23 13:35:51 UTC-3");
        assert_eq!(at("Asia/Kathmandu"), "2026-11-23 22:20:51 UTC+5:45");
        let night = (Some("2026-10-25T00:30:00Z"), Some("2026-10-25T01:30:00Z"));
        assert_eq!(
            voice("Europe/Berlin").span(night.0, night.1).unwrap(),
            "2026-10-25 02:30:00 CEST – 02:30:00 CET (1 h)"
        );
    }

    #[test]
    fn the_ends_of_time_are_no_mishap() {
        for time in
            ["9999-12-31T23:59:59-23:59", "0000-01-01T00:00:00+23:59", "9999-12-30T22:00:00Z"]
        {
            for zone in ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"] {
                assert!(!voice(zone).moment(time).is_empty());
                assert!(voice(zone).span(Some(time), Some("2026-11-23T06:35:51Z")).is_some());
            }
        }
    }
}
