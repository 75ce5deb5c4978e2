//! `summary` of a route: the schedule of its summaries.

use jiff::{
    civil::{Time, Weekday},
    fmt::strtime,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{error::ConfigError, one_of};

/// The schedule of a route's summaries, in the route's time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    /// The interval.
    pub every: Every,
    /// The time of day.
    pub at: Time,
}

/// The interval of the summaries, which is also the time that each one covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Every {
    /// Every day.
    Day,
    /// Every week, on this day.
    Week(Weekday),
}

impl Summary {
    /// The default schedule.
    pub(crate) const DAILY: Self = Self { every: Every::Day, at: Time::constant(8, 0, 0, 0) };
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSummary {
    /// The interval, which is also the time that each summary covers.
    #[serde(deserialize_with = "one_of::one_of")]
    #[schemars(example = &"week")]
    every: RawEvery,
    /// The day of a weekly summary, in small letters.
    #[schemars(
        example = &"friday",
        extend("x-type" = "day of the week", "x-default" = "`\"monday\"`")
    )]
    on: Option<String>,
    /// The time of day.
    #[schemars(example = &"07:30", extend("x-type" = "time of day", "default" = "08:00"))]
    at: Option<String>,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum RawEvery {
    /// A summary each day.
    Day,
    /// A summary each week.
    Week,
}

impl RawSummary {
    /// Checks the section; `section` begins the names of keys in errors.
    pub(super) fn check(self, section: &str) -> Result<Summary, ConfigError> {
        let every = match (self.every, self.on) {
            (RawEvery::Day, None) => Every::Day,
            (RawEvery::Day, Some(_)) => {
                let what = "a daily summary has no day of the week: leave it out, or write every = \"week\"";
                return Err(ConfigError::new(format!("{section}.on"), what));
            }
            (RawEvery::Week, None) => Every::Week(Weekday::Monday),
            (RawEvery::Week, Some(day)) => Every::Week(weekday(&day).ok_or_else(|| {
                let what = format!("\"{day}\" is not a day of the week: write one like \"monday\"");
                ConfigError::new(format!("{section}.on"), what)
            })?),
        };
        let at = match self.at {
            None => Summary::DAILY.at,
            Some(at) => Time::strptime("%H:%M", &at).map_err(|_| {
                let what = format!("\"{at}\" is not a time of day: write one like \"08:00\"");
                ConfigError::new(format!("{section}.at"), what)
            })?,
        };
        Ok(Summary { every, at })
    }
}

fn weekday(name: &str) -> Option<Weekday> {
    // The parser does not distinguish capital letters.
    let is_lower = name.bytes().all(|byte| byte.is_ascii_lowercase());
    is_lower.then(|| strtime::parse("%A", name).ok()?.weekday()).flatten()
}
