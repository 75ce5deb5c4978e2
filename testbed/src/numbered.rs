//! The messages of the benchmarks: reports like any other, each with a number by which it is recognised in a room.

use anyhow::{Context, Result};
use serde_json::json;

/// The payload of the message with this number.
pub fn report(number: usize) -> String {
    json!({
        "host": format!("server-{number}"),
        "completed": ["Database backup", "log cleanup", "SSL renewal"],
        "in_progress": ["Performance optimization", "API integration"],
        "disk_percent": 14,
        "memory_percent": 16,
        "satisfaction": 3,
    })
    .to_string()
}

/// The number of the message that has this text in the room.
///
/// # Errors
///
/// The text is not that of a numbered message.
pub fn number_in(text: &str) -> Result<usize> {
    text.split_once("server-")
        .and_then(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok())
        .with_context(|| format!("not one of our messages: {text:?}"))
}
