//! Text of others as people see it: cleaned, with addresses that lead where they say.

use crate::text::{self, address, head};

/// Longer names of machines, services and subjects are cut.
pub(crate) const MAX_NAME_CHARS: usize = 120;

/// Text of others, with what a person can read, and addresses that lead where they say.
pub(crate) fn clean(text: &str) -> String {
    address::with_true_addresses(text::clean(text))
}

/// [`clean`], in one line.
pub(crate) fn line(text: &str) -> String {
    address::with_true_addresses(text::line(text))
}

/// [`line()`], not longer than what is a name.
pub(crate) fn name(text: &str) -> String {
    let line = line(text);
    let head = head(&line, MAX_NAME_CHARS);
    if head.len() < line.len() { format!("{head} …") } else { line }
}
