//! The addresses of the book's pages, for what needs more words than a line has.

use std::path::Path;

/// The address of the book.
const ADDRESS: &str = "https://github.com/nats-matrix/nats-matrix/blob/main/docs/src";

/// The directory of the book where the Debian package is installed. It is read without a network.
const INSTALLED: &str = "/usr/share/doc/nats-matrix/docs/src";

/// The page that explains the lines that the program prints.
const TROUBLESHOOTING: &str = "guide/troubleshooting.md";

/// Returns where the lines that the program prints are explained.
pub(crate) fn troubleshooting() -> String {
    place(Path::new(INSTALLED))
}

fn place(installed: &Path) -> String {
    let page = installed.join(TROUBLESHOOTING);
    if page.exists() { page.display().to_string() } else { format!("{ADDRESS}/{TROUBLESHOOTING}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_on_this_machine_is_nearer_than_one_on_the_web() {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src");
        assert!(place(&repository).ends_with("/docs/src/guide/troubleshooting.md"));
        assert!(place(&repository).starts_with('/'));
        assert!(place(Path::new("/nonexistent")).starts_with("https://"));
    }
}
