//! The language and the time zone of a text.

use jiff::tz::TimeZone;

use crate::{config::Display, render::words::Words};

/// The words and the time zone of a text.
#[derive(Clone)]
pub(crate) struct Voice {
    pub(crate) words: &'static dyn Words,
    pub(crate) zone: TimeZone,
}

impl Voice {
    pub(crate) fn of(display: &Display) -> Self {
        let Display { language, time_zone } = display;
        Self { words: language.words(), zone: time_zone.clone() }
    }
}
