//! Links of the documents, and of other files to the documents: the files and headings of the repository that they
//! lead to have to be there.

use std::{
    collections::HashMap,
    fs, io,
    path::{Component, Path, PathBuf},
};

use nats_matrix_testbed::repository::{self, root};

/// The documents besides the pages of the book.
const DOCUMENTS: [&str; 6] = [
    "README.md",
    "SECURITY.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "fuzz/README.md",
    "nixos-tests/README.md",
];

/// The directories of files that name documents and other files by their address.
const OTHERS: [&str; 4] = ["docs", "bridge/src", "nixos-module", "nixos-tests"];

/// The addresses of files of the repository, for readers of the book and of programs' output.
const ADDRESSES: [&str; 2] = [
    "https://github.com/nats-matrix/nats-matrix/blob/main/",
    "https://github.com/nats-matrix/nats-matrix/tree/main/",
];

/// The anchors that a forge makes of a document's headings.
fn anchors(text: &str) -> Vec<String> {
    let mut is_code = false;
    let headings = text.lines().filter(|line| {
        is_code ^= line.starts_with("```");
        !is_code && line.starts_with('#')
    });
    let anchor = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

/// The targets that a document links to, by `[text](target)` or `src="target"`.
fn targets(text: &str) -> Vec<&str> {
    let of = |begin: &str, end: char| -> Vec<&str> {
        text.split(begin).skip(1).filter_map(|rest| Some(rest.split_once(end)?.0)).collect()
    };
    [of("](", ')'), of("src=\"", '"')].concat()
}

/// The relative paths of all files under a directory of the repository.
fn files(directory: &str) -> io::Result<Vec<String>> {
    let relative = |path: PathBuf| path.strip_prefix(root()).unwrap_or(&path).display().to_string();
    Ok(repository::files(&root().join(directory))?.into_iter().map(relative).collect())
}

/// The addresses of files of the repository in a text of any kind.
fn addresses(text: &str) -> Vec<&str> {
    let is_end = |c: char| c.is_whitespace() || "\"'`<>)];,".contains(c);
    let rest = ADDRESSES.iter().flat_map(|address| text.split(address).skip(1));
    rest.map(|rest| rest.split(is_end).next().unwrap_or_default().trim_end_matches('.')).collect()
}

/// A path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            plain.pop();
        } else {
            plain.push(part);
        }
    }
    plain
}

/// Whether a link leads to a file, and to one of its headings if it names one.
fn leads_somewhere(root: &Path, file: &Path, anchor: &str) -> bool {
    let path = root.join(file);
    let has_anchor = || {
        let text = fs::read_to_string(&path).unwrap_or_default();
        anchors(&text).iter().any(|known| known == anchor)
    };
    path.exists() && (anchor.is_empty() || has_anchor())
}

#[test]
fn every_link_within_the_repository_leads_somewhere() -> io::Result<()> {
    let root = root();
    let is_page = |path: &String| Path::new(path).extension().is_some_and(|is| is == "md");
    let pages = files("docs/src")?.into_iter().filter(is_page);
    let documents = DOCUMENTS.map(str::to_owned).into_iter().chain(pages);
    let texts: HashMap<String, String> = documents
        .map(|name| (name.clone(), fs::read_to_string(root.join(&name)).expect(&name)))
        .collect();
    let mut broken = Vec::new();
    let mut count = 0;
    for (name, text) in &texts {
        let directory = Path::new(name).parent().unwrap();
        for target in targets(text).into_iter().filter(|target| !target.contains("://")) {
            count += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { name.into() } else { plain(&directory.join(file)) };
            // The rendered book has its own pages and nothing else.
            let is_inside = !name.starts_with("docs/src/") || file.starts_with("docs/src");
            if !is_inside || !leads_somewhere(root, &file, anchor) {
                broken.push(format!("{name}: {target}"));
            }
        }
    }
    assert!(count > 150, "{count} links");
    assert!(broken.is_empty(), "{broken:#?}");
    Ok(())
}

#[test]
fn every_address_of_the_repository_leads_somewhere() -> io::Result<()> {
    let root = root();
    let mut names: Vec<String> = DOCUMENTS.map(str::to_owned).to_vec();
    for directory in OTHERS {
        names.extend(files(directory)?);
    }
    let mut broken = Vec::new();
    let mut count = 0;
    for name in names {
        // A picture is not text.
        let Ok(text) = fs::read_to_string(root.join(&name)) else { continue };
        for address in addresses(&text) {
            count += 1;
            let (file, anchor) = address.split_once('#').unwrap_or((address, ""));
            if !leads_somewhere(root, Path::new(file), anchor) {
                broken.push(format!("{name}: {address}"));
            }
        }
    }
    assert!(count > 30, "{count} addresses");
    assert!(broken.is_empty(), "{broken:#?}");
    Ok(())
}
