//! The book in `docs/`, compared with the code: all pages are in its table of contents, the lines that the page on
//! troubleshooting explains are those that the program prints, and the permissions that it lists are those that the
//! end-to-end tests find sufficient.

use std::{collections::BTreeSet, fs, io, path::PathBuf};

use nats_matrix_testbed::repository::{files_with, root};

#[test]
fn every_page_is_in_the_table_of_contents() -> io::Result<()> {
    let pages = root().join("docs/src");
    let contents = fs::read_to_string(pages.join("SUMMARY.md"))?;
    let missing: Vec<_> = files_with(&pages, "md")?
        .into_iter()
        .map(|page| page.strip_prefix(&pages).unwrap_or(&page).display().to_string())
        .filter(|page| page != "SUMMARY.md" && !contents.contains(&format!("({page})")))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    Ok(())
}

/// The source text with its string literals as the program prints them, apart from what is filled in: without line
/// continuations and escapes.
fn source() -> io::Result<String> {
    let files = files_with(&root().join("bridge/src"), "rs")?;
    let is_of_tests = |path: &&PathBuf| {
        let stem = path.file_stem().map(|stem| stem.to_string_lossy());
        stem.is_some_and(|stem| stem == "tests" || stem.ends_with("_tests"))
    };
    let texts = files.iter().filter(|path| !is_of_tests(path)).map(fs::read_to_string);
    let texts = texts.collect::<io::Result<Vec<String>>>()?;
    // Neither tests nor comments are printed.
    let printed = texts.iter().filter_map(|text| text.split("#[cfg(test)]\nmod tests {").next());
    let lines = printed.flat_map(str::lines).filter(|line| !line.trim_start().starts_with("//"));
    let texts: String = lines.flat_map(|line| [line, "\n"]).collect();
    let mut lines = texts.split("\\\n");
    let mut source = lines.next().unwrap_or_default().to_owned();
    lines.for_each(|line| source.push_str(line.trim_start()));
    Ok(source.replace("\\\"", "\"").replace("{{", "{").replace("}}", "}"))
}

/// The parts of a line between the places that are filled in.
fn parts(line: &str) -> impl Iterator<Item = &str> {
    let parts = line.split('…').map(|part| part.trim_matches([':', ' ']));
    // The latter are the system's own words.
    parts.filter(|part| part.len() > 3 && *part != "No such file or directory")
}

#[test]
fn every_line_that_is_explained_is_one_that_the_program_prints() -> io::Result<()> {
    let page = fs::read_to_string(root().join("docs/src/guide/troubleshooting.md"))?;
    let source = source()?;
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
    Ok(())
}

#[test]
fn the_permissions_are_those_that_are_tested() -> io::Result<()> {
    let root = root();
    let page = root.join("docs/src/reference/nats-permissions.md");
    let page = fs::read_to_string(page)?;
    let tests = ["answers.rs", "connections.rs", "quiet.rs"].iter();
    let tests = tests.map(|file| fs::read_to_string(root.join("bridge/tests/e2e").join(file)));
    let tests = tests.collect::<io::Result<String>>()?;
    let cells = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let listed: BTreeSet<&str> = cells.filter(|cell| cell.contains('.')).collect();
    let granted: BTreeSet<&str> = ["NEEDED", "KEPT", "WANTED", "HELD", "ANSWERS", "DEAD"]
        .iter()
        .filter_map(|name| tests.split_once(&format!("const {name}: [&str; ")))
        .filter_map(|(_, rest)| Some(rest.split_once('=')?.1.split_once("];")?.0))
        .flat_map(|list| list.split('"').skip(1).step_by(2))
        .collect();
    assert_eq!(granted.len(), 39, "{granted:#?}");
    assert_eq!(listed, granted);
    Ok(())
}
