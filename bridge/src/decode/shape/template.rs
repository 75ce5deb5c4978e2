//! The template of a text: the part that stays the same when a program says the same again.

use std::net::{IpAddr, Ipv4Addr};

/// The number of letters that a number can have, as in "12ms", "5GiB" and "2026-11-30T10".
const MOST_LETTERS: usize = 3;

/// The number of digits from which a hexadecimal number is one without a mark.
const FEWEST_HEX: usize = 8;

/// Returns a text with `*` in place of each number, time, UUID and long hexadecimal number. Digits within a name, as in
/// `sda1` and `db-01`, and IP addresses say what the text is about, and stay.
pub(super) fn template(text: &str) -> String {
    let mut template = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let (word, behind) = rest.split_at(rest.find(|c| !is_of_word(c)).unwrap_or(rest.len()));
        add_word(&mut template, word);
        let (between, behind) = behind.split_at(behind.find(is_of_word).unwrap_or(behind.len()));
        template.push_str(between);
        rest = behind;
    }
    template
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || "_-.:".contains(c)
}

fn add_word(template: &mut String, word: &str) {
    if word.parse::<IpAddr>().is_ok() {
        return template.push_str(word);
    }
    for (index, part) in word.split(':').enumerate() {
        if index > 0 {
            template.push(':');
        }
        let ends = ['-', '.'];
        let core = part.trim_matches(ends);
        if differs(core) {
            template.push('*');
            // The dot that ends a sentence.
            template.push_str(&part[part.trim_end_matches(ends).len()..]);
        } else {
            template.push_str(part);
        }
    }
}

/// Whether a word is likely to be another one the next time.
fn differs(word: &str) -> bool {
    let is_hex = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_hexdigit());
    let has_digit = word.contains(|c: char| c.is_ascii_digit());
    let is_long_hex = word.len() >= FEWEST_HEX && has_digit && is_hex(word);
    let is_marked_hex =
        word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")).is_some_and(is_hex);
    let is_uuid = word.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && word.split('-').all(is_hex);
    let letters = word.chars().filter(|c| c.is_alphabetic()).count();
    let is_number = word.starts_with(|c: char| c.is_ascii_digit())
        && letters <= MOST_LETTERS
        && word.parse::<Ipv4Addr>().is_err();
    is_long_hex || is_marked_hex || is_uuid || is_number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_the_same_for_the_same_trouble_and_another_for_another() {
        for (text, template_of_it) in [
            ("Process 4711 (sshd) dumped core.", "Process * (sshd) dumped core."),
            ("disk 97% full, 2.4GiB of 80 GiB", "disk *% full, * of * GiB"),
            ("2026-11-30T10:00:00.123Z took 12ms", "*:*:* took *"),
            ("at 0x7f3a+0x1c in 3ad7b26ded6d", "at *+* in *"),
            ("run 5f0a1c52-6a0e-4a8a-9d64-0c9c4f0e8a11", "run *"),
            ("offset -12, then 3.", "offset *, then *."),
            ("10.0.0.7:48928 and fe80::1", "10.0.0.7:* and fe80::1"),
            ("sda1, nvme0n1, db-01 and md0:", "sda1, nvme0n1, db-01 and md0:"),
            ("größer als 3 Stück…", "größer als * Stück…"),
            ("", ""),
        ] {
            assert_eq!(template(text), template_of_it);
        }
        assert_ne!(template("Device: /dev/sda"), template("Device: /dev/sdb"));
    }
}
