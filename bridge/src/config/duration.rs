//! Durations as people write them, in a configuration or on the command line.

use std::time::Duration;

use jiff::SignedDuration;
use thiserror::Error;

/// A text that is no duration.
#[derive(Debug, Error)]
#[error("\"{0}\" is not a duration: write one like \"15m\" or \"1h 30m\"")]
pub(crate) struct InvalidDuration(String);

/// Parses a duration like "15m", "1h 30m" or "90 seconds".
pub(crate) fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    text.parse::<SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| InvalidDuration(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_have_units() {
        assert_eq!(parse("15m").unwrap(), Duration::from_mins(15));
        assert_eq!(parse("5min").unwrap(), Duration::from_mins(5));
        assert_eq!(parse("1h 30m").unwrap(), Duration::from_mins(90));
        assert_eq!(parse("0s").unwrap(), Duration::ZERO);
        for wrong in ["15", "-15m", "soon", ""] {
            assert!(parse(wrong).unwrap_err().to_string().contains("write one like"), "{wrong}");
        }
    }
}
