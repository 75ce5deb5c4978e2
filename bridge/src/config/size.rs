//! Sizes in bytes as people write them in a configuration.

use bytesize::ByteSize;
use thiserror::Error;

/// A text that is no size.
#[derive(Debug, Error)]
#[error("\"{0}\" is not a size: write one like \"32 MB\" or \"500 kB\"")]
pub(super) struct InvalidSize(String);

/// Parses a size like "32 MB", "500 kB" or "1 GiB", or 0.
pub(super) fn parse(text: &str) -> Result<u64, InvalidSize> {
    let size = text.parse::<ByteSize>().map_err(|_| InvalidSize(text.to_owned()));
    size.map(|size| size.as_u64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_bytes_have_units() {
        assert_eq!(parse("32 MB").unwrap(), 32_000_000);
        assert_eq!(parse("32MiB").unwrap(), 32 * 1024 * 1024);
        assert_eq!(parse("500 kB").unwrap(), 500_000);
        assert_eq!(parse("0").unwrap(), 0);
        for wrong in ["", "much", "-1 MB", "3 apples"] {
            assert!(parse(wrong).unwrap_err().to_string().contains("write one like"), "{wrong}");
        }
    }
}
