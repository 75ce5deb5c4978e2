//! Splits a JSON array into its elements while its bytes arrive.

/// The longest element that is passed on, in bytes: an event with the data that a homeserver adds.
const LONGEST: usize = 256 * 1024;

/// A JSON array that has been read in part.
///
/// An element is only known to have balanced brackets. The caller parses it.
#[derive(Debug, Default)]
pub(crate) struct Elements {
    /// The number of open brackets and braces, including the bracket of the array itself.
    depth: usize,
    is_in_string: bool,
    is_escaped: bool,
    /// The bytes of the current element so far.
    element: Vec<u8>,
    is_too_long: bool,
    phase: Phase,
}

/// The position of the reader relative to the array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    #[default]
    Before,
    Within,
    After,
    /// The input is not one array, or goes on after it.
    Broken,
}

impl Elements {
    /// Reads more bytes, and passes each complete element to `take`.
    pub(crate) fn feed(&mut self, bytes: &[u8], take: &mut impl FnMut(&[u8])) {
        for byte in bytes {
            self.read(*byte, take);
        }
    }

    /// Whether exactly one array has been read to its end.
    pub(crate) fn are_whole(&self) -> bool {
        self.phase == Phase::After
    }

    fn read(&mut self, byte: u8, take: &mut impl FnMut(&[u8])) {
        if self.phase != Phase::Within {
            self.phase = match (self.phase, byte) {
                (phase, byte) if byte.is_ascii_whitespace() => phase,
                (Phase::Before, b'[') => Phase::Within,
                _ => Phase::Broken,
            };
            self.depth = usize::from(self.phase == Phase::Within);
            return;
        }
        if self.is_in_string {
            self.is_in_string = self.is_escaped || byte != b'"';
            self.is_escaped = !self.is_escaped && byte == b'\\';
            return self.keep(byte);
        }
        match byte {
            b'"' => self.is_in_string = true,
            b'[' | b'{' => self.depth += 1,
            b']' | b'}' => self.depth -= 1,
            _ => {}
        }
        if self.depth == 0 {
            self.phase = Phase::After;
        }
        let is_end = self.depth == 0 || self.depth == 1 && byte == b',';
        if is_end { self.hand_over(take) } else { self.keep(byte) }
    }

    fn keep(&mut self, byte: u8) {
        if self.element.len() < LONGEST {
            self.element.push(byte);
        } else {
            self.is_too_long = true;
        }
    }

    fn hand_over(&mut self, take: &mut impl FnMut(&[u8])) {
        let is_too_long = std::mem::take(&mut self.is_too_long);
        if !is_too_long && !self.element.trim_ascii().is_empty() {
            take(&self.element);
        }
        self.element.clear();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(text: &[u8], piece: usize) -> (Vec<Value>, bool) {
        let (mut elements, mut found) = (Elements::default(), Vec::new());
        for piece in text.chunks(piece) {
            elements.feed(piece, &mut |element| {
                found.push(serde_json::from_slice(element).unwrap_or_default());
            });
        }
        (found, elements.are_whole())
    }

    #[test]
    fn an_array_is_the_same_in_whatever_pieces_it_comes() {
        let odd = json!([{ "a": "],}\\\"[", "b": [1, [2, {}]] }, [], "x,\\", 1, null, { "": "\u{1f980}" }]);
        for text in [odd.to_string(), serde_json::to_string_pretty(&odd).unwrap()] {
            for piece in 1..text.len() {
                let (found, is_whole) = read(text.as_bytes(), piece);
                assert_eq!((json!(found), is_whole), (odd.clone(), true), "{piece}");
            }
        }
        assert_eq!(read(b" [ ] \n", 1), (Vec::new(), true));
    }

    #[test]
    fn what_is_no_array_or_not_all_of_one_is_not_whole() {
        for text in ["", "{}", "[1", "[{\"a\":[1]", "[1] 2", "x[1]", "[1][2]", "<html>", "]"] {
            assert!(!read(text.as_bytes(), 3).1, "{text}");
        }
    }

    #[test]
    fn an_element_without_end_takes_no_memory() {
        let (mut elements, mut found) = (Elements::default(), Vec::new());
        let mut take = |element: &[u8]| found.push(element.to_vec());
        elements.feed(b"[1,\"", &mut take);
        let more = vec![b'x'; 64 * 1024];
        for _ in 0..64 {
            elements.feed(&more, &mut take);
        }
        elements.feed(b"\",2]", &mut take);
        assert!(elements.are_whole() && elements.element.capacity() <= LONGEST * 2);
        assert_eq!(found, [b"1", b"2"]);
    }
}
