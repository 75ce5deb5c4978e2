//! Markdown of the book's pages.

/// The address of the book's pages in the repository, with which the code links to them.
const BOOK: &str = "https://github.com/nats-matrix/nats-matrix/blob/main/docs/src/";

/// Returns a table with these columns.
pub(crate) fn table<const N: usize>(columns: [&str; N], rows: &[[String; N]]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | ").replace(" |  |", " | |"));
    let mut table = line(&columns.map(str::to_owned));
    table.push_str(&line(&[const { "---" }; N].map(str::to_owned)));
    for row in rows {
        let cells: Vec<String> = row.iter().map(|text| cell(text)).collect();
        table.push_str(&line(&cells));
    }
    table
}

/// Returns a text for a cell of a table, which is one line.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// Returns a value as code.
pub(crate) fn code(text: &str) -> String {
    // A pipe in a table ends the cell even in code; the cell escapes it.
    format!("`{text}`")
}

/// Returns a description of the code for a page of the reference, where links lead to the book's other pages.
pub(crate) fn on_a_page(text: &str) -> String {
    text.replace(&format!("({BOOK}reference/"), "(").replace(&format!("({BOOK}"), "(../")
}

/// The width of the book's lines.
const WIDTH: usize = 126;

/// Wraps the lines of paragraphs, but not those of tables and code.
pub(crate) fn wrapped(text: &str) -> String {
    let paragraphs: Vec<String> = text.split("\n\n").map(paragraph).collect();
    paragraphs.join("\n\n")
}

fn paragraph(text: &str) -> String {
    if text.starts_with(['|', '`']) {
        return text.to_owned();
    }
    let mut wrapped = String::new();
    let mut width = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if width > 0 {
            let is_full = width + 1 + length > WIDTH;
            wrapped.push(if is_full { '\n' } else { ' ' });
            width = if is_full { 0 } else { width + 1 };
        }
        wrapped.push_str(word);
        width += length;
    }
    wrapped
}

/// Ends a sentence that lacks its full stop, which clap removes from short texts.
pub(crate) fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() || text.ends_with(['.', ':', '!', '?']) {
        text.to_owned()
    } else {
        format!("{text}.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_one_line_and_has_no_bare_pipe() {
        let row = ["`a|b`".to_owned(), "one\ntwo".to_owned()];
        assert_eq!(table(["a", "b"], &[row]), "| a | b |\n| --- | --- |\n| `a\\|b` | one two |\n");
    }

    #[test]
    fn paragraphs_are_wrapped_and_tables_are_not() {
        let (long, row) = ("word ".repeat(30), format!("| {} |", "x ".repeat(100)));
        let text = wrapped(&format!("a\nb {long}\n\n{row}\n\nc"));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 6, "{text}");
        assert!(lines[0].starts_with("a b word") && lines[0].len() <= WIDTH, "{text}");
        assert_eq!(lines[3..], [&row, "", "c"]);
    }

    #[test]
    fn links_lead_from_the_reference_to_other_pages() {
        let text = format!("[a]({BOOK}guide/rooms.md#x) and [b]({BOOK}reference/cli.md)");
        assert_eq!(on_a_page(&text), "[a](../guide/rooms.md#x) and [b](cli.md)");
    }
}
