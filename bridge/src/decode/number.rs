//! Numbers as people read them.

/// The digits that are kept of a number.
const DIGITS: i32 = 6;

/// Formats a number with at most six significant digits: "0.3" for 0.30000000000000004.
pub(crate) fn text(number: f64) -> String {
    if !number.is_finite() || number == 0.0 {
        return if number == 0.0 { "0".to_owned() } else { number.to_string() };
    }
    #[expect(clippy::cast_possible_truncation, reason = "the logarithm of a number is small")]
    let magnitude = number.abs().log10().floor() as i32;
    if !(-6..15).contains(&magnitude) {
        return format!("{number:.3e}");
    }
    let decimals = usize::try_from((DIGITS - 1 - magnitude).max(0)).unwrap_or_default();
    let text = format!("{number:.decimals$}");
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_the_digits_that_a_person_reads() {
        for (number, expected) in [
            (0.300_000_000_000_000_04, "0.3"),
            (97.4 + 1e-12, "97.4"),
            (23_644.5, "23644.5"),
            (1.0, "1"),
            (-0.000_123_456_789, "-0.000123457"),
            (1_234_567.8, "1234568"),
            (503.0, "503"),
            (0.0, "0"),
            (1e-9, "1.000e-9"),
            (-1.5e300, "-1.500e300"),
        ] {
            assert_eq!(text(number), expected);
        }
    }
}
