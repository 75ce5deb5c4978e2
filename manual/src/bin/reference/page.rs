//! Pages with parts that are generated and parts that are written by hand.

use std::collections::BTreeMap;

use thiserror::Error;

/// The generated parts of a page, by their names.
pub(crate) type Blocks = BTreeMap<String, String>;

const BEGIN: &str = "<!-- generated: ";
const END: &str = "<!-- end of generated -->";

/// The reason why the generated parts do not fit into a page.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum Unfit {
    /// A part of the code has no place on the page.
    #[error("nothing shows what is generated for {0}: add \"{BEGIN}{0} -->\" and \"{END}\"")]
    Missing(String),
    /// The page has a place for something that is not in the code.
    #[error("nothing is generated for \"{0}\", which may have been removed or renamed")]
    Unknown(String),
    /// A place does not end.
    #[error("\"{BEGIN}{0} -->\" has no \"{END}\" behind it")]
    Open(String),
}

/// Returns the page with new contents of its generated parts.
pub(crate) fn filled(page: &str, blocks: &Blocks) -> Result<String, Unfit> {
    let mut parts = page.split(BEGIN);
    let mut text = parts.next().unwrap_or_default().to_owned();
    let mut missing: Vec<&String> = blocks.keys().collect();
    for part in parts {
        let name = part.split(" -->").next().unwrap_or_default();
        let (_, rest) = part.split_once(END).ok_or_else(|| Unfit::Open(name.to_owned()))?;
        let block = blocks.get(name).ok_or_else(|| Unfit::Unknown(name.to_owned()))?;
        missing.retain(|other| *other != name);
        text.extend([BEGIN, name, " -->\n\n", block.trim(), "\n\n", END, rest]);
    }
    match missing.first() {
        Some(name) => Err(Unfit::Missing((*name).clone())),
        None => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str =
        "# A\n\n<!-- generated: a -->\n\nold\n\n<!-- end of generated -->\n\nby hand\n";

    fn blocks(names: &[&str]) -> Blocks {
        names.iter().map(|name| ((*name).to_owned(), format!("new {name}\n"))).collect()
    }

    #[test]
    fn only_generated_parts_change() {
        let page = filled(PAGE, &blocks(&["a"]));
        assert_eq!(page, Ok(PAGE.replace("old", "new a")));
    }

    #[test]
    fn a_part_without_a_place_and_a_place_without_a_part_are_mistakes() {
        assert_eq!(filled(PAGE, &blocks(&["a", "b"])), Err(Unfit::Missing("b".to_owned())));
        assert_eq!(filled(PAGE, &blocks(&[])), Err(Unfit::Unknown("a".to_owned())));
        let open = PAGE.replace(END, "");
        assert_eq!(filled(&open, &blocks(&["a"])), Err(Unfit::Open("a".to_owned())));
    }
}
