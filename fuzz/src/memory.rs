//! The memory that decoding and rendering a message takes, in proportion to its size.
//!
//! A message that takes much memory repeats one part over and over again, so it is stored as a recipe: a beginning, a
//! repeated unit and an end. `fuzz/worst` searches for recipes and stores the worst of each kind in
//! `fuzz/corpus/memory`; a test runs all of them.

use std::sync::LazyLock;

use bytes::Bytes;
use nats_matrix::fuzzing::Work;

use super::careless;

/// The largest generated message, in bytes.
pub const LARGEST: usize = 8 * 1024 * 1024;

/// The memory allowed for a message of any size, in bytes.
const ALLOWED: u64 = 5 * 1024 * 1024;

/// The additional memory allowed for each byte of the message: the copy that is uploaded as a file, and one more.
const ALLOWED_FOR_A_BYTE: u64 = 2;

/// The overhead of an allocator for each piece of memory, in bytes.
const ADDED: u64 = 16;

/// A recipe for a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// The maximum size of the message, in bytes.
    pub size: usize,
    /// The beginning.
    pub begin: String,
    /// The unit that is repeated as often as it fits. `{i}` in it is replaced by another name each time.
    pub unit: String,
    /// The end.
    pub end: String,
}

impl Recipe {
    /// Reads a stored recipe: the size, and then each part on a line of its own. Missing parts are empty.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.lines();
        let size = lines.next().and_then(|line| line.parse().ok()).unwrap_or(LARGEST);
        let mut part = || lines.next().unwrap_or_default().to_owned();
        let (begin, unit, end) = (part(), part(), part());
        Self { size: size.min(LARGEST), begin, unit, end }
    }

    /// Returns the form in which the recipe is stored.
    #[must_use]
    pub fn written(&self) -> String {
        let Self { size, begin, unit, end } = self;
        format!("{size}\n{begin}\n{unit}\n{end}\n")
    }

    /// Builds the payload of the recipe.
    #[must_use]
    pub fn cook(&self) -> Bytes {
        let mut made = self.begin.clone().into_bytes();
        let until = self.size.saturating_sub(self.end.len());
        if self.unit.contains("{i}") {
            let parts: Vec<&str> = self.unit.split("{i}").collect();
            for count in 0_u32.. {
                let next = parts.join(&format!("{count:x}"));
                if made.len() + next.len() > until {
                    break;
                }
                made.extend(next.bytes());
            }
        } else {
            let times = until.saturating_sub(made.len()).checked_div(self.unit.len());
            made.extend(self.unit.repeat(times.unwrap_or_default()).bytes());
        }
        made.extend(self.end.bytes());
        made.into()
    }
}

/// The memory allowed for a message of this size, in bytes.
#[must_use]
pub fn allowed(bytes: usize) -> u64 {
    ALLOWED + ALLOWED_FOR_A_BYTE * bytes as u64
}

/// The memory taken by this many bytes in this many pieces at the same time.
#[must_use]
pub fn taken(bytes: u64, pieces: u64) -> u64 {
    bytes + ADDED * pieces
}

/// Routes and decodes a message, and renders it in every way, one after another.
pub fn work(payload: &Bytes) {
    WORK.run(payload);
}

/// Initialises the statics, so that they do not count for any message.
pub fn prepare() {
    work(&Bytes::from_static(b"{}"));
}

/// The work with templates that use everything in a message.
static WORK: LazyLock<Work> =
    LazyLock::new(|| Work::new(&careless()).unwrap_or_else(|fault| panic!("{fault}")));

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn no_message_of_the_corpus_takes_more_memory_than_is_allowed() {
        prepare();
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/memory");
        let (mut count, mut complaints) = (0, Vec::new());
        for entry in fs::read_dir(corpus).unwrap() {
            let path = entry.unwrap().path();
            let payload = Recipe::read(&fs::read(&path).unwrap()).cook();
            let info = allocation_counter::measure(|| work(&payload));
            let (taken, allowed) = (taken(info.bytes_max, info.count_max), allowed(payload.len()));
            if taken > allowed {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                complaints.push(format!(
                    "{name}: {} bytes take {taken}, {allowed} are allowed",
                    payload.len()
                ));
            }
            count += 1;
        }
        assert!(count > 20, "{count} recipes");
        assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    }

    #[test]
    fn a_recipe_makes_what_it_says() {
        let recipe = Recipe::read(b"24\n{\"a\":[0\n,\"{i}\"\n]}\n");
        assert_eq!(&recipe.cook()[..], br#"{"a":[0,"0","1","2"]}"#);
        assert_eq!(Recipe::read(recipe.written().as_bytes()), recipe);
        assert!(Recipe::read(b"\xff").cook().is_empty());
    }
}
