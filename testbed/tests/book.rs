//! The book in `docs/`, compared with the code: all pages are in its table of contents, and the lines that the page on
//! troubleshooting explains are those that the program prints.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// All files under a directory with this extension.
fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|is| is == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn every_page_is_in_the_table_of_contents() {
    let pages = root().join("docs/src");
    let contents = fs::read_to_string(pages.join("SUMMARY.md")).unwrap();
    let missing: Vec<_> = files(&pages, "md")
        .into_iter()
        .map(|page| page.strip_prefix(&pages).unwrap().display().to_string())
        .filter(|page| page != "SUMMARY.md" && !contents.contains(&format!("({page})")))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The source text with its string literals as the program prints them, apart from what is filled in: without line
/// continuations and escapes.
fn source() -> String {
    let texts = files(&root().join("bridge/src"), "rs")
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect::<String>();
    let mut lines = texts.split("\\\n");
    let mut source = lines.next().unwrap_or_default().to_owned();
    lines.for_each(|line| source.push_str(line.trim_start()));
    source.replace("\\\"", "\"").replace("{{", "{").replace("}}", "}")
}

/// The parts of a line between the places that are filled in.
fn parts(line: &str) -> impl Iterator<Item = &str> {
    line.split('…').map(str::trim).filter(|part| part.len() > 3)
}

#[test]
fn every_line_that_is_explained_is_one_that_the_program_prints() {
    let page = fs::read_to_string(root().join("docs/src/guide/troubleshooting.md")).unwrap();
    let source = source();
    let lines: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`')).collect();
    // A name in backticks within the line is written without them.
    let plain = source.replace('`', "");
    let unknown: Vec<&&str> = lines
        .iter()
        .filter(|line| !parts(line).all(|part| plain.contains(&part.replace('`', ""))))
        .collect();
    assert!(lines.len() > 80, "{} lines", lines.len());
    assert!(unknown.is_empty(), "{unknown:#?}");
}
