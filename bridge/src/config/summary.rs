//! `summary` of a route: when what came in is summed up.

use jiff::civil::{Time, Weekday};
use serde::Deserialize;

use super::{Wrong, choice};

/// When a route's messages are summed up, by the clock of the route's time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// How often.
    pub every: Every,
    /// At what time of the day.
    pub at: Time,
}

/// How often there is a summary, and thereby of what span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Every {
    /// Each day.
    Day,
    /// Each week, on this day.
    Week(Weekday),
}

impl Summary {
    /// What a route that says nothing else would have.
    pub const DAILY: Self = Self { every: Every::Day, at: Time::constant(8, 0, 0, 0) };
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    #[serde(deserialize_with = "choice::one_of")]
    every: WrittenEvery,
    on: Option<String>,
    at: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WrittenEvery {
    Day,
    Week,
}

impl Written {
    /// `section` begins the names of keys in errors.
    pub(super) fn check(self, section: &str) -> Result<Summary, Wrong> {
        let every = match (self.every, self.on) {
            (WrittenEvery::Day, None) => Every::Day,
            (WrittenEvery::Day, Some(_)) => {
                let what = "a summary of every day is on all of them: leave it out, or write every = \"week\"";
                return Err(Wrong::new(format!("{section}.on"), what));
            }
            (WrittenEvery::Week, None) => Every::Week(Weekday::Monday),
            (WrittenEvery::Week, Some(day)) => Every::Week(weekday(&day).ok_or_else(|| {
                let what = format!("\"{day}\" is no day of the week: write one like \"monday\"");
                Wrong::new(format!("{section}.on"), what)
            })?),
        };
        let at = match self.at {
            None => Summary::DAILY.at,
            Some(at) => Time::strptime("%H:%M", &at).map_err(|_| {
                let what = format!("\"{at}\" is no time of the day: write one like \"08:00\"");
                Wrong::new(format!("{section}.at"), what)
            })?,
        };
        Ok(Summary { every, at })
    }
}

fn weekday(name: &str) -> Option<Weekday> {
    Some(match name {
        "monday" => Weekday::Monday,
        "tuesday" => Weekday::Tuesday,
        "wednesday" => Weekday::Wednesday,
        "thursday" => Weekday::Thursday,
        "friday" => Weekday::Friday,
        "saturday" => Weekday::Saturday,
        "sunday" => Weekday::Sunday,
        _ => return None,
    })
}
