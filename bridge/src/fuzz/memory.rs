//! What a message takes of memory while it is decoded and rendered, in proportion to its bytes.
//!
//! A message that takes much is one thing over and over again, so it is kept as a recipe: where it begins, what is
//! repeated, and where it ends. `fuzz/worst` makes up recipes and keeps the worst of each kind in `fuzz/corpus/memory`;
//! a test cooks all of them.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, LazyLock},
};

use async_nats::HeaderMap;
use bytes::Bytes;
use matrix_sdk::ruma::owned_event_id;
use time::OffsetDateTime;

use crate::{
    alerts::AlertUpdate,
    config::{Config, Display},
    fuzz::careless,
    message::{Decoded, Kind, payload},
    pipeline::{Facts, Routing},
    render::{Incoming, Renderer, content::in_thread},
};

/// The largest message that is made, in bytes.
pub const LARGEST: usize = 8 * 1024 * 1024;

/// What memory is allowed for a message whatever its size, in bytes.
const ALLOWED: u64 = 4 * 1024 * 1024;

/// What is allowed besides, for each byte of the message: the copy that is uploaded as a file, and one more.
const ALLOWED_FOR_A_BYTE: u64 = 2;

/// What an allocator adds to each piece of memory, in bytes.
const ADDED: u64 = 16;

/// How a message is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// How many bytes it has at most.
    pub size: usize,
    /// What it begins with.
    pub begin: String,
    /// What is repeated as often as fits. `{i}` in it is another name each time.
    pub unit: String,
    /// What it ends with.
    pub end: String,
}

impl Recipe {
    /// Reads one as it is kept: the size, and then each part on a line of its own. What is missing is empty.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.lines();
        let size = lines.next().and_then(|line| line.parse().ok()).unwrap_or(LARGEST);
        let mut part = || lines.next().unwrap_or_default().to_owned();
        let (begin, unit, end) = (part(), part(), part());
        Self { size: size.min(LARGEST), begin, unit, end }
    }

    /// The form in which it is kept.
    #[must_use]
    pub fn written(&self) -> String {
        let Self { size, begin, unit, end } = self;
        format!("{size}\n{begin}\n{unit}\n{end}\n")
    }

    /// The payload that it makes.
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

/// The memory that is allowed for a message of so many bytes, in bytes.
#[must_use]
pub fn allowed(bytes: usize) -> u64 {
    ALLOWED + ALLOWED_FOR_A_BYTE * bytes as u64
}

/// The memory that was taken: so many bytes in so many pieces at the same time.
#[must_use]
pub fn taken(bytes: u64, pieces: u64) -> u64 {
    bytes + ADDED * pieces
}

/// Decides on a message, decodes it and renders it in each way that there is, one after another.
pub fn work(payload: &Bytes) {
    let headers = HeaderMap::new();
    let decoded = Decoded::from_bytes(payload);
    let (subject, headers) = ("ops.x.y", Some(&headers));
    let facts = Facts { subject, headers, decoded: &decoded, original: payload };
    ROUTING.takes(&facts);
    let _ = (payload::sources(&decoded.payload).len(), Kind::of(&decoded.payload));
    let _ = AlertUpdate::of(&decoded.payload);
    let message = Incoming {
        subject,
        headers,
        stream: "OPS",
        sequence: 7,
        published: OffsetDateTime::UNIX_EPOCH,
        route: "reports",
        decoded: &decoded,
        original: payload,
    };
    for renderer in &*RENDERERS {
        let rendered = renderer.render(&message);
        let content = rendered.content(&[]);
        let _ = in_thread(content, &owned_event_id!("$root:example.com"));
    }
}

/// Makes what is made once, so that it counts for no message.
pub fn prepare() {
    work(&Bytes::from_static(b"{}"));
}

/// With the built-in templates, and with some that look at all there is.
static RENDERERS: LazyLock<[Renderer; 2]> = LazyLock::new(|| {
    let careless = Renderer::with_sources(&Display::default(), &careless());
    [Renderer::new(&Display::default()), careless.unwrap_or_else(|faults| panic!("{faults:?}"))]
});

/// A route that looks into payloads.
static ROUTING: LazyLock<Routing> = LazyLock::new(|| {
    let toml = "[nats]\nservers = [\"nats://h\"]\n\
        [matrix]\nhomeserver = \"http://h\"\nuser = \"u\"\npassword = \"p\"\n\
        [[routes]]\nname = \"r\"\nstream = \"S\"\nsubjects = [\"ops.>\"]\nroom = \"!r:x\"\n\
        match.\"payload.a.b\" = \"x\"\n";
    let config = Config::parse(toml, Path::new("c.toml"), &HashMap::new());
    let mut config = config.unwrap_or_else(|failure| panic!("{failure}"));
    let route = Arc::new(config.routes.remove(0));
    Routing::of(&route, std::slice::from_ref(&route))
});

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
