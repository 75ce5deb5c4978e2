//! Links of the documents to files of the repository, which have to be there.

use std::{collections::HashMap, fs, path::Path};

const DOCUMENTS: [&str; 4] =
    ["README.md", "SECURITY.md", "fuzz/README.md", "nixos-tests/README.md"];

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

#[test]
fn every_link_within_the_repository_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let texts: HashMap<&str, String> = DOCUMENTS
        .iter()
        .map(|name| (*name, fs::read_to_string(root.join(name)).expect(name)))
        .collect();
    let mut broken = Vec::new();
    let mut count = 0;
    for (name, text) in &texts {
        let directory = Path::new(name).parent().unwrap();
        for target in targets(text).into_iter().filter(|target| !target.contains("://")) {
            count += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { (*name).into() } else { directory.join(file) };
            let is_anchor = || {
                let text = fs::read_to_string(root.join(&file)).unwrap_or_default();
                anchor.is_empty() || anchors(&text).iter().any(|known| known == anchor)
            };
            if !root.join(&file).exists() || !is_anchor() {
                broken.push(format!("{name}: {target}"));
            }
        }
    }
    assert!(count > 40, "{count} links");
    assert!(broken.is_empty(), "{broken:#?}");
}
