//! Hides secrets in a file: in JSON within its strings and by its keys, where they stand, so that everything else stays as
//! it came, byte by byte. Nothing of it is kept in memory but one string at a time, and of a long one a window.

use std::{borrow::Cow, ops::Range};

use serde::de::IgnoredAny;

use crate::{
    mask::{
        Label, Mask, Secret, Work, blocks,
        edits::{Edits, Through, WINDOW},
        json::{
            MOST_DEPTH, MOST_ITEM, argument, is_beside, is_data, is_kind, is_name_beside,
            is_of_name, is_of_value, names_the_next, trimmed,
        },
    },
    secrets::value::{is_about_one, is_secret_named, secret_named, stands_alone},
};

/// The number of bytes behind a value in which its name is looked for.
const AHEAD: usize = 512;

/// The number of bytes behind the data of a secret of Kubernetes in which its kind is looked for.
const FAR_AHEAD: usize = 16 * 1024;

/// The number of bytes of a key that are read.
const MOST_KEY: usize = 1024;

/// The depth of JSON within strings of JSON that is opened.
const MOST_WITHIN: usize = 4;

/// The shortest text that can be a secret without a name, in bytes.
const LEAST: usize = 14;

/// The first character that stands for a byte that is not of UTF-8. It is for private use.
const STAND_IN: u32 = 0x10_ff00;

impl Mask {
    /// Returns a file in which words take the places of secrets, and the number of those. JSON stays JSON.
    pub(crate) fn document<'a>(&self, text: &'a str, label: Label<'_>) -> (Cow<'a, str>, u64) {
        let mut work = Work::new(self, label);
        let hidden = document(text, &mut work);
        (hidden, work.tally.secrets)
    }

    /// Returns bytes of which most are UTF-8 without secrets, or `None` if there are none.
    pub(crate) fn bytes(&self, bytes: &[u8], label: Label<'_>) -> Option<Vec<u8>> {
        let mut work = Work::new(self, label);
        let mut hidden = Vec::with_capacity(bytes.len() + WINDOW);
        let mut through = Through::default();
        let mut write = |text: &str| with_bytes_back(text, &mut hidden);
        for chunk in bytes.utf8_chunks() {
            let mut rest = chunk.valid();
            while !rest.is_empty() {
                let (part, after) = rest.split_at(rest.floor_char_boundary(WINDOW));
                for c in part.chars() {
                    match byte_of(c) {
                        None => through.held.push(c),
                        // The text itself has such a character.
                        Some(_) => through.held.extend(c.to_string().bytes().map(stand_in)),
                    }
                }
                through.pass(&mut work, &mut write);
                rest = after;
            }
            through.held.extend(chunk.invalid().iter().copied().map(stand_in));
        }
        through.end(&mut work, &mut write);
        through.is_changed.then_some(hidden)
    }
}

fn stand_in(byte: u8) -> char {
    char::from_u32(STAND_IN + u32::from(byte)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn byte_of(c: char) -> Option<u8> {
    u32::from(c).checked_sub(STAND_IN).and_then(|byte| u8::try_from(byte).ok())
}

fn with_bytes_back(text: &str, into: &mut Vec<u8>) {
    for c in text.chars() {
        match byte_of(c) {
            Some(byte) => into.push(byte),
            None => into.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

fn document<'t>(text: &'t str, work: &mut Work<'_>) -> Cow<'t, str> {
    if text.trim_start().starts_with(['{', '[', '"']) && is_json(text) {
        let mut walk = Walk::new(text, work, 0);
        if walk.run() {
            return walk.edits.end().map_or(Cow::Borrowed(text), Cow::Owned);
        }
    }
    of_lines(text, work)
}

/// Whether a text is JSON, or one value of it after another.
fn is_json(text: &str) -> bool {
    serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>().all(|value| value.is_ok())
}

/// Hides the secrets of a text of which some lines may be JSON.
fn of_lines<'t>(text: &'t str, work: &mut Work<'_>) -> Cow<'t, str> {
    let mut edits = Edits::new(text);
    // The end of the last line of JSON, from which on the text is plain.
    let (mut plain, mut end) = (0, 0);
    for line in text.split_inclusive('\n') {
        let begin = end;
        end += line.len();
        let looks_so = line.starts_with(['{', '[']) && line.contains('"');
        if !looks_so || !is_json(line) {
            continue;
        }
        plain_text(&mut edits, plain..begin, work);
        plain = end;
        let mut walk = Walk::new(line, work, 0);
        let is_walked = walk.run();
        match walk.edits.end() {
            Some(hidden) if is_walked => edits.replace(begin..end, &hidden),
            None if is_walked => {}
            _ => plain_text(&mut edits, begin..end, work),
        }
    }
    if plain == 0 {
        return work.text(text);
    }
    plain_text(&mut edits, plain..text.len(), work);
    edits.end().map_or(Cow::Borrowed(text), Cow::Owned)
}

fn plain_text(edits: &mut Edits<'_>, place: Range<usize>, work: &mut Work<'_>) {
    let mut rest = &edits.text[place.clone()];
    let next = |held: &mut String| {
        let (part, after) = rest.split_at(rest.floor_char_boundary(WINDOW));
        held.push_str(part);
        rest = after;
        !part.is_empty()
    };
    edits.hide(place, work, next, String::push_str);
}

/// A sign, a string or another value of JSON. Strings have their quotes.
enum Token {
    Object,
    Array,
    Close,
    Comma,
    Colon,
    Text(Range<usize>),
    Other(Range<usize>),
}

/// The tokens of a text that is JSON.
struct Tokens<'t> {
    text: &'t str,
    at: usize,
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        let bytes = self.text.as_bytes();
        while bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        let begin = self.at;
        self.at += 1;
        Some(match bytes.get(begin)? {
            b'{' => Token::Object,
            b'[' => Token::Array,
            b'}' | b']' => Token::Close,
            b',' => Token::Comma,
            b':' => Token::Colon,
            b'"' => {
                while let Some(byte) = bytes.get(self.at).filter(|byte| **byte != b'"') {
                    self.at += if *byte == b'\\' { 2 } else { 1 };
                }
                self.at = (self.at + 1).min(bytes.len());
                Token::Text(begin..self.at)
            }
            _ => {
                let is_end = |byte: &u8| {
                    byte.is_ascii_whitespace()
                        || matches!(byte, b',' | b':' | b'}' | b']' | b'{' | b'[' | b'"')
                };
                while bytes.get(self.at).is_some_and(|byte| !is_end(byte)) {
                    self.at += 1;
                }
                Token::Other(begin..self.at)
            }
        })
    }
}

/// The kind of an object that is a secret of Kubernetes, whose values are secrets under any keys.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Kubernetes {
    #[default]
    Nothing,
    Secret,
    Data,
}

/// An object or a list that is not yet closed.
#[derive(Default)]
struct Frame {
    is_object: bool,
    /// The name of the secret that all of it may be.
    above: Option<String>,
    /// The key whose value comes next.
    key: Option<String>,
    /// The name of the secret that an object with a name and a value is, and whether it was looked for.
    beside: (Option<String>, bool),
    kubernetes: Kubernetes,
    /// The item before in a list, and the first text of it, which may be a program.
    before: Option<String>,
    program: Option<String>,
    /// Whether the items before were lines of a private key, which has not ended.
    is_in_key: bool,
}

/// The way through a text that is JSON.
struct Walk<'t, 'w, 'a> {
    edits: Edits<'t>,
    tokens: Tokens<'t>,
    work: &'w mut Work<'a>,
    frames: Vec<Frame>,
    within: usize,
}

impl<'t, 'w, 'a> Walk<'t, 'w, 'a> {
    fn new(text: &'t str, work: &'w mut Work<'a>, within: usize) -> Self {
        let tokens = Tokens { text, at: 0 };
        Self { edits: Edits::new(text), tokens, work, frames: Vec::new(), within }
    }

    /// Hides the secrets. Returns whether the text is not too deep for that.
    fn run(&mut self) -> bool {
        while let Some(token) = self.tokens.next() {
            match token {
                Token::Object | Token::Array if self.frames.len() >= MOST_DEPTH => return false,
                Token::Object => self.open(true),
                Token::Array => self.open(false),
                Token::Close => {
                    self.frames.pop();
                    self.pass(None);
                }
                Token::Comma | Token::Colon => {}
                Token::Text(place) => {
                    let is_key = |frame: &Frame| frame.is_object && frame.key.is_none();
                    if self.frames.last().is_some_and(is_key) {
                        self.key(place);
                    } else {
                        self.string(place);
                    }
                }
                Token::Other(place) => self.other(place),
            }
        }
        true
    }

    fn open(&mut self, is_object: bool) {
        let above = self.name(None);
        let is_secret = self.frames.last().is_some_and(|frame| {
            let is_data = || frame.key.as_deref().is_some_and(is_data);
            match frame.kubernetes {
                Kubernetes::Nothing => false,
                Kubernetes::Secret => is_data(),
                Kubernetes::Data => true,
            }
        });
        let kubernetes = if is_secret { Kubernetes::Data } else { Kubernetes::Nothing };
        self.frames.push(Frame { is_object, above, kubernetes, ..Frame::default() });
    }

    /// Notes that a value has passed, and its text.
    fn pass(&mut self, text: Option<&str>) {
        let Some(frame) = self.frames.last_mut() else { return };
        frame.key = None;
        if !frame.is_object {
            let text = text.filter(|text| text.len() <= MOST_ITEM).map(str::to_owned);
            if frame.program.is_none() {
                frame.program.clone_from(&text);
            }
            frame.before = text;
        }
    }

    fn key(&mut self, place: Range<usize>) {
        let key = self.part_of(&place, MOST_KEY);
        self.plain(place);
        let (at, is_data) = (self.tokens.at, is_data(&key));
        let Some(frame) = self.frames.last_mut() else { return };
        if is_of_name(&key) && frame.beside == (None, false) {
            let find = |key: &str, text: &str| {
                (is_name_beside(key) && is_beside(text)).then(|| text.to_owned())
            };
            self.work.tally.places += 1;
            frame.beside = (ahead(&self.edits.text[at..], AHEAD, find), true);
        }
        if is_data && frame.kubernetes == Kubernetes::Nothing {
            let find = |key: &str, text: &str| (key == "kind" && is_kind(text)).then_some(());
            self.work.tally.places += 1;
            if ahead(&self.edits.text[at..], FAR_AHEAD, find).is_some() {
                frame.kubernetes = Kubernetes::Secret;
            }
        }
        frame.key = Some(key);
    }

    /// Returns the name of the secret that the next value may be.
    fn name(&self, text: Option<&str>) -> Option<String> {
        let frame = self.frames.last()?;
        let above = frame.above.as_deref();
        let Some(key) = frame.key.as_deref() else {
            let before = frame.before.as_deref().filter(|before| names_the_next(before, text));
            return above.or(before.map(trimmed)).map(str::to_owned);
        };
        let is_alone = || text.is_some_and(stands_alone) && !is_about_one(key);
        let name = match (secret_named(key), frame.beside.0.as_deref(), above) {
            (Some(_), ..) => Some(key),
            (None, Some(name), _) if is_of_name(key) => Some(name),
            (None, _, Some(name)) if is_of_value(key) || is_alone() => Some(name),
            _ => None,
        };
        name.map(str::to_owned)
    }

    /// Returns the secret that a text is by its name.
    fn secret(&mut self, text: &str) -> Option<Secret> {
        let is_data = |frame: &Frame| frame.kubernetes == Kubernetes::Data;
        if self.frames.last().is_some_and(is_data) && !text.is_empty() {
            return Some(Secret::Token);
        }
        let name = self.name(Some(text))?;
        let secret = secret_named(&name)?;
        self.work.tally.places += 1;
        let is_one =
            self.work.is_spent() || is_secret_named(&name, secret, text, self.work.label());
        is_one.then_some(secret)
    }

    fn string(&mut self, place: Range<usize>) {
        let text = self.part_of(&place, WINDOW);
        if let Some(frame) = self.frames.last_mut().filter(|frame| frame.is_object) {
            let key = frame.key.as_deref().unwrap_or_default();
            if is_name_beside(key) && is_beside(&text) && frame.beside.0.is_none() {
                frame.beside.0 = Some(text.clone());
            }
            if key == "kind" && is_kind(&text) && frame.kubernetes == Kubernetes::Nothing {
                frame.kubernetes = Kubernetes::Secret;
            }
        }
        let secret = self.secret(&text);
        if let Some(secret) = secret.filter(|secret| self.work.hides(*secret)) {
            self.hide(place, secret);
        } else if !self.line_of_key(&place, &text) && !self.argument(&place, &text) {
            let inner = if self.within < MOST_WITHIN { self.json_in(&place, &text) } else { None };
            match inner {
                Some(Cow::Owned(hidden)) => self.edits.replace(place, &quoted(&hidden)),
                Some(Cow::Borrowed(_)) => {}
                None => self.plain(place),
            }
        }
        self.pass(Some(&text));
    }

    /// Hides the secrets of a string or a key without regard to names.
    fn plain(&mut self, place: Range<usize>) {
        let inside = inside(&place);
        let mut rest = &self.edits.text[inside.clone()];
        let is_short = rest.len() < LEAST && rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if is_short {
            return;
        }
        if rest.len() <= WINDOW {
            let mut text = String::new();
            decode(rest, WINDOW, &mut text);
            if let Cow::Owned(hidden) = self.work.text(&text) {
                self.edits.replace(place, &quoted(&hidden));
            }
            return;
        }
        let next = |held: &mut String| {
            let has_more = !rest.is_empty();
            rest = decode(rest, WINDOW, held);
            has_more
        };
        let write = |into: &mut String, text: &str| {
            let quoted = quoted(text);
            into.push_str(&quoted[1..quoted.len() - 1]);
        };
        self.edits.hide(inside, self.work, next, write);
    }

    /// Hides the secrets of a text that is JSON itself. Returns `None` if it is not.
    fn json_in<'i>(&mut self, place: &Range<usize>, text: &'i str) -> Option<Cow<'i, str>> {
        let is_whole = place.len() <= WINDOW && text.trim_start().starts_with(['{', '[']);
        if !is_whole || !is_json(text) {
            return None;
        }
        let mut walk = Walk::new(text, self.work, self.within + 1);
        walk.run().then(|| walk.edits.end().map_or(Cow::Borrowed(text), Cow::Owned))
    }

    /// Hides a line of a private key whose lines are the items of a list. Returns whether it is one.
    fn line_of_key(&mut self, place: &Range<usize>, text: &str) -> bool {
        let Some(frame) = self.frames.last_mut().filter(|frame| !frame.is_object) else {
            return false;
        };
        if frame.is_in_key {
            frame.is_in_key = !text.contains("-----END ");
            self.edits.replace(place.clone(), "\"…\"");
            return true;
        }
        let block = if text.contains("-----BEGIN ") { blocks(text).pop() } else { None };
        let Some((_, secret)) = block.filter(|(_, secret)| self.work.hides(*secret)) else {
            return false;
        };
        if text.contains("-----END ") || place.len() > WINDOW {
            return false;
        }
        frame.is_in_key = true;
        self.hide(place.clone(), secret);
        true
    }

    /// Hides the password in an argument of a program. Returns whether it has one.
    fn argument(&mut self, place: &Range<usize>, text: &str) -> bool {
        let Some(frame) = self.frames.last().filter(|_| self.work.hides(Secret::Password)) else {
            return false;
        };
        let before = frame.before.as_deref().unwrap_or_default();
        let kept = frame.program.as_deref().and_then(|program| argument(text, before, program));
        let Some(kept) = kept else { return false };
        let hidden = format!("{}{}", &text[..kept], self.work.label()(Secret::Password));
        self.work.tally.secrets += 1;
        self.edits.replace(place.clone(), &quoted(&hidden));
        true
    }

    fn other(&mut self, place: Range<usize>) {
        let text = &self.edits.text[place.clone()];
        // A number of one digit is no password, but a switch.
        let is_number =
            text.len() > 1 && text.starts_with(|c: char| c == '-' || c.is_ascii_digit());
        let secret = if is_number { self.secret(text) } else { None };
        if let Some(secret) = secret.filter(|secret| self.work.hides(*secret)) {
            self.hide(place, secret);
        }
        self.pass(None);
    }

    fn hide(&mut self, place: Range<usize>, secret: Secret) {
        let words = quoted(self.work.label()(secret));
        self.work.tally.secrets += 1;
        self.work.grown += words.len().saturating_sub(place.len());
        self.edits.replace(place, &words);
    }

    /// Returns the text of a string up to a length.
    fn part_of(&self, place: &Range<usize>, most: usize) -> String {
        let mut text = String::new();
        decode(&self.edits.text[inside(place)], most, &mut text);
        text
    }
}

/// Looks at the texts of the rest of an object, from the value on that is next, within a number of bytes.
fn ahead<T>(text: &str, most: usize, find: impl Fn(&str, &str) -> Option<T>) -> Option<T> {
    let (mut depth, mut last, mut key) = (0_usize, None::<String>, None::<String>);
    for token in (Tokens { text: &text[..text.floor_char_boundary(most)], at: 0 }) {
        match token {
            Token::Object | Token::Array => depth += 1,
            Token::Close => depth = depth.checked_sub(1)?,
            Token::Comma if depth == 0 => (last, key) = (None, None),
            Token::Colon if depth == 0 => key = last.take(),
            Token::Text(place) if depth == 0 => {
                let mut value = String::new();
                decode(&text[inside(&place)], MOST_ITEM, &mut value);
                if let Some(found) = key.as_deref().and_then(|key| find(key, &value)) {
                    return Some(found);
                }
                last = Some(value);
            }
            _ => {}
        }
    }
    None
}

/// The place of the text within a string's quotes.
fn inside(place: &Range<usize>) -> Range<usize> {
    place.start + 1..place.end.saturating_sub(1).max(place.start + 1)
}

/// Returns a text as a string of JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Adds the text of the inside of a string of JSON, about `most` bytes of it. Returns the rest.
fn decode<'t>(inside: &'t str, most: usize, into: &mut String) -> &'t str {
    let most = into.len() + most;
    let mut rest = inside;
    while !rest.is_empty() && into.len() < most {
        let part = &rest[..rest.floor_char_boundary((most - into.len()).max(4))];
        let plain = part.find('\\').unwrap_or(part.len());
        into.push_str(&part[..plain]);
        rest = &rest[plain..];
        if rest.starts_with('\\') {
            let (c, length) = escaped(rest);
            into.push(c);
            rest = rest.get(length..).unwrap_or_default();
        }
    }
    rest
}

/// Returns the character that an escape at the beginning of a text stands for, and the length of the escape.
fn escaped(text: &str) -> (char, usize) {
    let unit = |at: usize| text.get(at..at + 4).and_then(|hex| u16::from_str_radix(hex, 16).ok());
    let c = match text[1..].chars().next() {
        Some('n') => '\n',
        Some('r') => '\r',
        Some('t') => '\t',
        Some('b') => '\u{8}',
        Some('f') => '\u{c}',
        Some('u') => {
            let low = if text.get(6..8) == Some("\\u") { unit(8) } else { None };
            let mut pair = char::decode_utf16(unit(2).into_iter().chain(low));
            return match (pair.next(), low) {
                (Some(Ok(c)), _) if u32::from(c) > 0xffff => (c, 12),
                (Some(Ok(c)), _) => (c, 6),
                _ => (char::REPLACEMENT_CHARACTER, 6),
            };
        }
        Some(c) => c,
        None => return ('\\', 1),
    };
    (c, 1 + c.len_utf8())
}
