//! Writes the parts of the book's reference that are made from the code, and the JSON Schemas: `cargo reference`.
//!
//! A page says by itself where such a part goes: between `<!-- generated: NAME -->` and `<!-- end of generated -->`.
//! Everything else on it is written by hand. The descriptions are those of the code: doc comments of the configuration
//! and of the command line, the help of the metrics, and the descriptions of the options of NixOS.

mod command_line;
mod configuration;
mod markdown;
mod metrics;
mod options;
mod page;
mod permissions;

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use crate::page::Blocks;

/// The directory of the pages.
const PAGES: &str = "docs/src/reference";

/// The directory of the JSON Schemas, for publishers in other languages and for editors.
const SCHEMAS: &str = "bridge/schema";

fn main() -> ExitCode {
    match write(&root()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error.to_string()),
    }
}

#[expect(clippy::print_stderr, reason = "the error message of a command")]
fn failed(reason: &str) -> ExitCode {
    eprintln!("cannot make the reference: {reason}");
    ExitCode::FAILURE
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Writes all files. Those that need no Nix are written even if there is none.
fn write(root: &Path) -> io::Result<()> {
    let mut files = made_from_code(root)?;
    let options = options::page(root);
    if let Ok(page) = &options {
        files.push(page.clone());
    }
    for (path, text) in files {
        fs::write(root.join(path), text)?;
    }
    options.map(drop)
}

/// Returns the paths and texts of the files that are made from the program.
fn made_from_code(root: &Path) -> io::Result<Vec<(String, String)>> {
    let schemas = nats_matrix::schemas();
    let config = schemas.iter().find(|(name, _)| name == "config").map(|(_, text)| text.as_str());
    let mut files = vec![
        filled(root, "configuration", &configuration::blocks(config.unwrap_or_default())?)?,
        filled(root, "cli", &command_line::blocks(nats_matrix::command()))?,
        filled(root, "metrics", &metrics::blocks(&nats_matrix::metrics()))?,
        filled(
            root,
            "nats-permissions",
            &permissions::blocks(&nats_matrix::example_permissions()),
        )?,
    ];
    let schemas = schemas.into_iter();
    files.extend(
        schemas.map(|(name, text)| (format!("{SCHEMAS}/{name}.schema.json"), format!("{text}\n"))),
    );
    Ok(files)
}

/// Returns the path of a page, and its text with these blocks.
fn filled(root: &Path, name: &str, blocks: &Blocks) -> io::Result<(String, String)> {
    let path = format!("{PAGES}/{name}.md");
    let text = fs::read_to_string(root.join(&path))?;
    let text = page::filled(&text, blocks)
        .map_err(|wrong| io::Error::other(format!("{path}: {wrong}")))?;
    Ok((path, text))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::allow_attributes, reason = "a test fails by panicking")]

    use nats_matrix_testbed::not_run;

    use super::*;

    fn assert_current(root: &Path, path: &str, text: &str) {
        let committed = fs::read_to_string(root.join(path)).unwrap_or_default();
        assert!(committed == text, "{path} is not what the code says: run `cargo reference`");
    }

    #[test]
    fn the_reference_is_what_the_code_says() {
        let root = root();
        let files = made_from_code(&root).unwrap();
        assert_eq!(files.len(), 8, "pages and schemas");
        for (path, text) in files {
            assert_current(&root, &path, &text);
        }
    }

    #[test]
    fn the_options_of_nixos_are_what_the_module_says() {
        let root = root();
        match options::page(&root) {
            Ok((path, text)) => assert_current(&root, &path, &text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                not_run(&error.into()).unwrap();
            }
            Err(error) => panic!("{error}"),
        }
    }
}
