//! The comments of the code: each begins with the thing that it is about, or with a verb.

use std::{fs, io};

use nats_matrix_testbed::repository::{files_with, root};

/// Beginnings of a comment without a thing or a deed, so that it has to be read twice.
const HEADLESS: [&str; 8] = ["What", "Of", "Who", "Whoever", "Whom", "That", "Those", "Which"];

#[test]
fn every_comment_begins_with_its_subject() -> io::Result<()> {
    let mut headless = Vec::new();
    let mut count = 0;
    for directory in ["bridge", "testbed", "manual", "fuzz/src"] {
        for path in files_with(&root().join(directory), "rs")? {
            let text = fs::read_to_string(&path)?;
            let mut goes_on = false;
            for (number, line) in (1..).zip(text.lines()) {
                let words = comment(line);
                let begins = words.filter(|_| !goes_on);
                goes_on = words.is_some_and(|words| !words.is_empty());
                let Some(first) = begins.and_then(|words| words.split_whitespace().next()) else {
                    continue;
                };
                count += 1;
                if HEADLESS.contains(&first) {
                    headless.push(format!("{}:{number}: {}", path.display(), line.trim()));
                }
            }
        }
    }
    assert!(count > 5_000, "only {count} comments were found");
    assert!(headless.is_empty(), "{headless:#?}");
    Ok(())
}

/// Returns the words of a line that is a comment.
fn comment(line: &str) -> Option<&str> {
    let text = line.trim_start().strip_prefix("//")?;
    Some(text.strip_prefix(['/', '!']).unwrap_or(text).trim())
}
