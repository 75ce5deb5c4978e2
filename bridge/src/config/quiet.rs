//! `quiet` of a route: the hours in which only critical alerts may notify.

use jiff::{Timestamp, ToSpan, civil::Time, tz::TimeZone};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::error::ConfigError;

/// The daily quiet hours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Quiet {
    from: Time,
    to: Time,
    time_zone: TimeZone,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawQuiet {
    /// The time of day at which the quiet hours begin.
    #[schemars(example = &"22:00", extend("x-type" = "time of day"))]
    from: String,
    /// The time of day at which they end, which may be on the next day.
    #[schemars(example = &"07:00", extend("x-type" = "time of day"))]
    to: String,
}

impl RawQuiet {
    pub(super) fn check(self, key: &str, time_zone: &TimeZone) -> Result<Quiet, ConfigError> {
        let time = |name: &str, text: &str| {
            Time::strptime("%H:%M", text).map_err(|_| {
                let what = format!("\"{text}\" is not a time of day: write one like \"22:00\"");
                ConfigError::new(format!("{key}.{name}"), what)
            })
        };
        let (from, to) = (time("from", &self.from)?, time("to", &self.to)?);
        if from == to {
            return Err(ConfigError::new(
                key,
                format!("from {from} to {to} could be all day or never: give two different times"),
            ));
        }
        Ok(Quiet { from, to, time_zone: time_zone.clone() })
    }
}

impl Quiet {
    /// The end of the quiet hours that this moment is in; `None` if it is in none.
    #[must_use]
    pub(crate) fn end(&self, moment: Timestamp) -> Option<Timestamp> {
        let local = moment.to_zoned(self.time_zone.clone()).datetime();
        let time = local.time();
        let is_over_midnight = self.from > self.to;
        let (is_quiet, is_tomorrow) = if is_over_midnight {
            (time >= self.from || time < self.to, time >= self.from)
        } else {
            (time >= self.from && time < self.to, false)
        };
        if !is_quiet {
            return None;
        }
        let day = if is_tomorrow { local.date().checked_add(1.day()).ok()? } else { local.date() };
        // If the clock skips that time, the quiet hours end an hour later on the clock.
        let end = day.to_datetime(self.to).to_zoned(self.time_zone.clone()).ok()?.timestamp();
        (end > moment).then_some(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet(from: &str, to: &str) -> Quiet {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        RawQuiet { from: from.to_owned(), to: to.to_owned() }.check("quiet", &zone).unwrap()
    }

    fn end(quiet: &Quiet, moment: &str) -> Option<String> {
        quiet.end(moment.parse().unwrap()).map(|end| end.to_string())
    }

    #[test]
    fn a_night_ends_on_the_next_morning() {
        let night = quiet("22:00", "07:00");
        assert_eq!(end(&night, "2026-11-23T20:59:59Z"), None);
        assert_eq!(end(&night, "2026-11-23T21:00:00Z").unwrap(), "2026-11-24T06:00:00Z");
        assert_eq!(end(&night, "2026-11-24T05:59:59Z").unwrap(), "2026-11-24T06:00:00Z");
        assert_eq!(end(&night, "2026-11-24T06:00:00Z"), None);
        let noon = quiet("12:00", "13:00");
        assert_eq!(end(&noon, "2026-11-23T11:30:00Z").unwrap(), "2026-11-23T12:00:00Z");
        assert_eq!(end(&noon, "2026-11-23T12:30:00Z"), None);
    }

    #[test]
    fn a_night_in_which_the_clock_changes_ends_in_time() {
        let night = quiet("22:00", "02:30");
        // 02:30 does not exist on this morning: the clock goes from 02:00 to 03:00.
        assert_eq!(end(&night, "2026-03-28T22:00:00Z").unwrap(), "2026-03-29T01:30:00Z");
        // 02:30 exists twice on this morning; the quiet hours end at the first.
        assert_eq!(end(&night, "2026-10-24T22:00:00Z").unwrap(), "2026-10-25T00:30:00Z");
        assert_eq!(end(&night, "2026-10-25T01:00:00Z"), None);
    }

    #[test]
    fn hours_that_are_none_are_refused() {
        let check = |from: &str, to: &str| {
            let written = RawQuiet { from: from.to_owned(), to: to.to_owned() };
            written.check("quiet", &TimeZone::UTC).unwrap_err().to_string()
        };
        assert!(check("22", "07:00").contains("quiet.from: \"22\" is not a time of day"));
        assert!(check("22:00", "25:00").contains("quiet.to"));
        assert!(check("07:00", "07:00").contains("could be all day or never"));
    }
}
