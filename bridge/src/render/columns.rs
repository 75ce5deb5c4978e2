//! Recognises texts whose lines are aligned, such as tables and tracebacks. HTML shows them only as preformatted text.

/// Whether the lines of a text are aligned with each other.
pub(super) fn are_aligned(lines: &[&str]) -> bool {
    /// The number of lines that need alignment.
    const LEAST: usize = 2;
    let filled = lines.iter().filter(|line| !line.trim().is_empty()).count();
    let count = |fits: fn(&str) -> bool| lines.iter().filter(|line| fits(line)).count();
    let (gaps, indented) = (count(has_gap), count(is_indented));
    filled > LEAST && (gaps >= LEAST && 4 * gaps >= filled || indented >= LEAST)
}

/// Whether a line has a gap between two of its words, as between the columns of a table.
fn has_gap(line: &str) -> bool {
    let line = line.trim();
    line.contains("  ")
        || line.contains('\t')
        || line.starts_with('|') && line.ends_with('|') && line.len() > 2
}

fn is_indented(line: &str) -> bool {
    (line.starts_with("  ") || line.starts_with('\t')) && !line.trim().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_tracebacks_are_aligned_and_paragraphs_are_not() {
        for text in [
            "NAME  STATE   READ\ntank  ONLINE  0\nroot  FAULTED 12",
            "Traceback (most recent call last):\n  File \"a.py\", line 1, in <module>\n    main()\nValueError: x",
            "a\tb\nc\td\ne\tf",
            "| a | b |\n|---|---|\n| 1 | 2 |",
            "{\n    \"a\": 1,\n    \"b\": 2\n}",
        ] {
            assert!(are_aligned(&text.lines().collect::<Vec<_>>()), "{text}");
        }
        for text in [
            "one line  with a gap",
            "Backup failed.\nThe disk is full.  Really.\nPlease look.\nThank you.\nBye",
            "a\n\nb\n\nc",
            "- a\n- b\n- c",
            "",
        ] {
            assert!(!are_aligned(&text.lines().collect::<Vec<_>>()), "{text}");
        }
    }
}
