//! Sizes and durations, as all languages say them.

use jiff::SignedDuration;

/// A number of bytes for people, but for those that are few.
pub(super) fn large_size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit after the point")]
    let mut size = bytes as f64 / 1024.0;
    let mut units = ["KiB", "MiB", "GiB", "TiB", "PiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for larger in units {
        // What would be shown as 1024.0 is one of the next unit.
        if size < 1023.95 {
            break;
        }
        size /= 1024.0;
        unit = larger;
    }
    format!("{size:.1} {unit}")
}

/// The two largest units, days, hours, minutes and seconds: nobody wants the seconds of three days.
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

/// 1234567 as "1,234,567", which is read alike in both languages.
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
