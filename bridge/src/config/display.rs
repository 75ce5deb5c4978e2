//! `[display]`, and the same keys of a route: the language and time zone of the messages.

use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::{error::ConfigError, one_of};

/// The language and time zone of the messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Display {
    /// The language of the built-in texts.
    pub language: Language,
    /// The time zone of the times in messages, and of schedules.
    pub time_zone: TimeZone,
}

/// A language of the built-in texts.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema, clap::ValueEnum,
)]
pub(crate) enum Language {
    /// English.
    #[default]
    #[serde(rename = "en")]
    #[value(name = "en")]
    English,
    /// Chinese, in simplified characters.
    #[serde(rename = "zh")]
    #[value(name = "zh")]
    Chinese,
}

impl Default for Display {
    fn default() -> Self {
        Self { language: Language::default(), time_zone: TimeZone::UTC }
    }
}

/// A text that names no time zone.
#[derive(Debug, Error)]
#[error("\"{0}\" is not a time zone: write one like \"Europe/Berlin\"")]
pub(crate) struct UnknownTimeZone(String);

/// Finds a time zone by its name.
pub(crate) fn time_zone(name: &str) -> Result<TimeZone, UnknownTimeZone> {
    TimeZone::get(name).map_err(|_| UnknownTimeZone(name.to_owned()))
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDisplay {
    /// The language of the built-in texts: English or Chinese.
    #[serde(default, deserialize_with = "one_of::some_of")]
    #[schemars(example = &"zh", extend("default" = "en"))]
    language: Option<Language>,
    /// The time zone in which times are shown. The program brings the rules of all zones.
    #[schemars(example = &"Europe/Berlin", extend("x-type" = "time zone", "default" = "UTC"))]
    time_zone: Option<String>,
}

impl RawDisplay {
    pub(super) fn new(language: Option<Language>, time_zone: Option<String>) -> Self {
        Self { language, time_zone }
    }

    /// Checks the section. A key that it leaves out is as in `default`; `section` begins the names of keys in errors.
    pub(super) fn check(self, section: &str, default: &Display) -> Result<Display, ConfigError> {
        let time_zone = match self.time_zone {
            None => default.time_zone.clone(),
            Some(name) => time_zone(&name)
                .map_err(|what| ConfigError::new(format!("{section}.time_zone"), what))?,
        };
        Ok(Display { language: self.language.unwrap_or(default.language), time_zone })
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZoneDatabase;

    /// A minimal host has no database of time zones.
    #[test]
    fn zones_are_known_without_files_of_the_system() {
        let database = TimeZoneDatabase::bundled();
        for zone in ["Europe/Berlin", "Asia/Kathmandu", "UTC"] {
            assert!(database.get(zone).is_ok(), "{zone}");
        }
    }
}
