//! Finds values in a JSON document by their paths while its bytes arrive. Everything else in it takes no memory.

/// The longest value that is passed on, in bytes: an event with the data that a homeserver adds.
const LONGEST: usize = 256 * 1024;

/// The longest key that is compared, in bytes. Ids of rooms have at most 255.
const LONGEST_KEY: usize = 1024;

/// The number of levels whose keys are known.
const KNOWN_LEVELS: usize = 8;

/// The deepest nesting of a document.
const DEEPEST: usize = 1000;

/// The way to a value: for each level the key in an object, or `None` in an array.
pub(super) type Path = [Option<String>];

/// A JSON document that has been read in part.
///
/// A value that is passed on is only known to have balanced brackets. The caller parses it.
pub(super) struct Values<W> {
    /// Whether the value at a path is wanted.
    is_wanted: W,
    /// The open brackets with the present key of each object, as far as levels are known.
    path: Vec<Option<String>>,
    /// For each open bracket whether it is that of an object.
    open: Vec<bool>,
    /// The key that is being read.
    key: Vec<u8>,
    /// The wanted value that is being read, and its depth.
    value: Vec<u8>,
    wanted_at: Option<usize>,
    is_too_long: bool,
    token: Token,
    phase: Phase,
}

/// The token that the reader is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    /// Between tokens.
    None,
    /// In a string; whether it is a key, and whether the next byte is escaped.
    String { is_key: bool, is_escaped: bool },
    /// In a number or a word.
    Scalar,
}

/// The kind of value that may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Key,
    Value,
    AfterValue,
    Done,
    /// The input is not one JSON document.
    Broken,
}

impl<W: FnMut(&Path) -> bool> Values<W> {
    pub(super) fn new(is_wanted: W) -> Self {
        Self {
            is_wanted,
            path: Vec::new(),
            open: Vec::new(),
            key: Vec::new(),
            value: Vec::new(),
            wanted_at: None,
            is_too_long: false,
            token: Token::None,
            phase: Phase::Value,
        }
    }

    /// Reads more bytes, and passes each wanted value to `take` once it is complete. A value that is too long is left
    /// out.
    pub(super) fn feed(&mut self, bytes: &[u8], take: &mut impl FnMut(&Path, &[u8])) {
        for byte in bytes {
            self.read(*byte, take);
        }
    }

    /// Whether exactly one document has been read to its end.
    pub(super) fn are_whole(&self) -> bool {
        self.phase == Phase::Done
    }

    fn read(&mut self, byte: u8, take: &mut impl FnMut(&Path, &[u8])) {
        match self.token {
            Token::String { is_key, is_escaped } => {
                self.in_string(byte, is_key, is_escaped, take);
                return;
            }
            Token::Scalar if !is_delimiter(byte) => return self.keep(byte),
            Token::Scalar => {
                self.token = Token::None;
                self.end_value(take);
            }
            Token::None => {}
        }
        if byte.is_ascii_whitespace() {
            return;
        }
        match (self.phase, byte) {
            (Phase::Key, b'"') => {
                self.key.clear();
                self.key.push(byte);
                self.token = Token::String { is_key: true, is_escaped: false };
            }
            (Phase::Key | Phase::AfterValue, b'}') => self.close(true, byte, take),
            (Phase::Value | Phase::AfterValue, b']') => self.close(false, byte, take),
            (Phase::Value, b'{' | b'[') => self.open(byte),
            (Phase::Value, b'"') => {
                self.begin_value();
                self.keep(byte);
                self.token = Token::String { is_key: false, is_escaped: false };
            }
            (Phase::Value, byte) if !is_delimiter(byte) => {
                self.begin_value();
                self.keep(byte);
                self.token = Token::Scalar;
            }
            // The colon between a key and its value.
            (Phase::Value, b':') => self.keep(byte),
            (Phase::AfterValue, b',') => {
                self.keep(byte);
                let is_object = self.open.last().copied().unwrap_or_default();
                self.phase = if is_object { Phase::Key } else { Phase::Value };
            }
            _ => self.phase = Phase::Broken,
        }
    }

    fn in_string(
        &mut self,
        byte: u8,
        is_key: bool,
        is_escaped: bool,
        take: &mut impl FnMut(&Path, &[u8]),
    ) {
        let is_end = byte == b'"' && !is_escaped;
        let is_escaped = byte == b'\\' && !is_escaped;
        self.token = Token::String { is_key, is_escaped };
        if is_key && self.key.len() <= LONGEST_KEY {
            self.key.push(byte);
        } else if !is_key {
            self.keep(byte);
        }
        if !is_end {
            return;
        }
        self.token = Token::None;
        if !is_key {
            return self.end_value(take);
        }
        self.phase = Phase::Value;
        let level = self.open.len();
        if level <= KNOWN_LEVELS
            && let Some(key) = self.path.get_mut(level - 1)
        {
            *key = serde_json::from_slice(&self.key).ok();
        }
        if self.wanted_at.is_some() {
            let key = std::mem::take(&mut self.key);
            for byte in &key {
                self.keep(*byte);
            }
            self.key = key;
        }
    }

    fn open(&mut self, byte: u8) {
        self.begin_value();
        self.keep(byte);
        let is_object = byte == b'{';
        self.open.push(is_object);
        if self.open.len() <= KNOWN_LEVELS {
            self.path.push(None);
        }
        self.phase = match (self.open.len() > DEEPEST, is_object) {
            (true, _) => Phase::Broken,
            (false, true) => Phase::Key,
            (false, false) => Phase::Value,
        };
    }

    fn close(&mut self, is_object: bool, byte: u8, take: &mut impl FnMut(&Path, &[u8])) {
        if self.open.pop() != Some(is_object) {
            self.phase = Phase::Broken;
            return;
        }
        self.path.truncate(self.open.len());
        self.keep(byte);
        self.end_value(take);
    }

    fn begin_value(&mut self) {
        let is_known = self.open.len() <= KNOWN_LEVELS;
        if self.wanted_at.is_none() && is_known && (self.is_wanted)(&self.path) {
            self.wanted_at = Some(self.open.len());
        }
    }

    fn end_value(&mut self, take: &mut impl FnMut(&Path, &[u8])) {
        if self.wanted_at == Some(self.open.len()) {
            self.wanted_at = None;
            if !std::mem::take(&mut self.is_too_long) {
                take(&self.path, &self.value);
            }
            self.value.clear();
        }
        self.phase = if self.open.is_empty() { Phase::Done } else { Phase::AfterValue };
    }

    fn keep(&mut self, byte: u8) {
        if self.wanted_at.is_none() {
            return;
        }
        if self.value.len() < LONGEST {
            self.value.push(byte);
        } else {
            self.is_too_long = true;
        }
    }
}

/// Whether a byte ends a number or a word.
fn is_delimiter(byte: u8) -> bool {
    byte.is_ascii_whitespace() || b",:]}[{\"".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(text: &[u8], piece: usize, path: &[Option<&str>]) -> (Vec<Value>, bool) {
        let is_it = |at: &Path| {
            at.len() == path.len() && at.iter().map(Option::as_deref).eq(path.iter().copied())
        };
        let (mut values, mut found) = (Values::new(is_it), Vec::new());
        for piece in text.chunks(piece) {
            values.feed(piece, &mut |_, value| {
                found.push(serde_json::from_slice(value).unwrap_or_default());
            });
        }
        (found, values.are_whole())
    }

    #[test]
    fn values_are_the_same_in_whatever_pieces_they_come() {
        let odd = json!({
            "a": { "other": [1, { "b": 2 }], "b": ["],}\\\"[", { "b": { "a": [1, [2, {}]] } }, 3, null, "\u{1f980}"] },
            "b\"c": -1.5e3, "b": "no", "": {},
        });
        for text in [odd.to_string(), serde_json::to_string_pretty(&odd).unwrap()] {
            for piece in 1..text.len() {
                let elements = read(text.as_bytes(), piece, &[Some("a"), Some("b"), None]);
                assert_eq!(elements, (odd["a"]["b"].as_array().unwrap().clone(), true), "{piece}");
                let number = read(text.as_bytes(), piece, &[Some("b\"c")]);
                assert_eq!(number, (vec![json!(-1500.0)], true), "{piece}");
                assert_eq!(read(text.as_bytes(), piece, &[]), (vec![odd.clone()], true));
            }
        }
    }

    #[test]
    fn what_is_no_document_or_not_all_of_one_is_not_whole() {
        for text in
            ["", "{", "{\"a\":[1]", "[1] 2", "[1}", "{]", "}", "{\"a\",1}", "{1:2}", "[1][2]"]
        {
            assert!(!read(text.as_bytes(), 3, &[]).1, "{text}");
        }
        assert!(!read("[".repeat(DEEPEST * 2).as_bytes(), 7, &[]).1);
    }

    #[test]
    fn a_value_or_a_key_without_end_takes_no_memory() {
        let mut values = Values::new(|path: &Path| path.len() == 1);
        let mut found = Vec::new();
        let mut take = |_: &Path, value: &[u8]| found.push(value.to_vec());
        let more = vec![b'x'; 64 * 1024];
        for part in ["{\"a\":1,\"", "\":2,\"c\":\"", "\",\"d\":3}"] {
            values.feed(part.as_bytes(), &mut take);
            if !values.are_whole() {
                (0..64).for_each(|_| values.feed(&more, &mut take));
            }
        }
        assert!(values.are_whole());
        assert!(values.value.capacity() <= LONGEST * 2 && values.key.capacity() <= LONGEST_KEY * 2);
        assert_eq!(found, [b"1", b"2", b"3"]);
    }

    proptest! {
        #[test]
        fn nothing_that_arrives_ends_the_process(bytes in any::<Vec<u8>>(), piece in 1usize..9) {
            read(&bytes, piece, &[None]);
        }

        #[test]
        fn no_piece_of_a_document_ends_the_process(text in "[\\[\\]{}\",:a1\\\\ ]{0,40}") {
            let is_whole = read(text.as_bytes(), 3, &[]).1;
            // All that is a document for others is one here.
            prop_assert!(is_whole || serde_json::from_str::<Value>(text.trim()).is_err() || text.trim().parse::<f64>().is_ok());
        }
    }
}
