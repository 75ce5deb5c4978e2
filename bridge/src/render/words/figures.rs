//! Sizes and durations in the form that all languages share.

use bytesize::ByteSize;
use jiff::SignedDuration;

/// Formats a number of bytes in its largest unit, with one digit after the point.
pub(super) fn large_size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

/// Formats a duration in its two largest units of days, hours, minutes and seconds.
pub(super) fn two_units(duration: SignedDuration, names: [&str; 4]) -> String {
    let seconds = duration.as_secs().unsigned_abs();
    let counts = [seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60];
    let largest = counts.iter().position(|count| *count > 0).unwrap_or(counts.len() - 1);
    let said: Vec<String> = counts
        .iter()
        .zip(names)
        .skip(largest)
        .take(2)
        .enumerate()
        .filter(|(index, (count, _))| *index == 0 || **count > 0)
        .map(|(_, (count, unit))| format!("{count} {unit}"))
        .collect();
    let sign = if duration.is_negative() { "-" } else { "" };
    format!("{sign}{}", said.join(" "))
}

/// Formats 1234567 as "1,234,567", which both languages write alike.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
