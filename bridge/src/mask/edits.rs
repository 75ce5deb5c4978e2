//! Changes of a large text from its beginning to its end. Most texts stay as they are, so a copy is made only if something
//! changes, and no other copy of a large part of it.

use std::{borrow::Cow, ops::Range};

use crate::mask::{PIECE, Work, end_of_piece};

/// The length of the windows through which a long text is read, in bytes.
pub(super) const WINDOW: usize = 64 * 1024;

/// The number of bytes of a block of a key that a window is not to part.
const BLOCK: usize = WINDOW / 2;

/// A text and its changes so far.
pub(super) struct Edits<'t> {
    pub(super) text: &'t str,
    changed: Option<String>,
    /// The place up to which the text is in `changed`.
    done: usize,
}

impl<'t> Edits<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, changed: None, done: 0 }
    }

    /// Replaces a place behind all those that were replaced before.
    pub(super) fn replace(&mut self, place: Range<usize>, by: &str) {
        self.up_to(place.start).push_str(by);
        self.done = place.end;
    }

    /// Hides the secrets of a place of any length. `next` adds the next part of its text, of at most [`WINDOW`] bytes, and
    /// says whether there was one. `write` writes a text into the result.
    pub(super) fn hide(
        &mut self,
        place: Range<usize>,
        work: &mut Work<'_>,
        mut next: impl FnMut(&mut String) -> bool,
        write: impl Fn(&mut String, &str),
    ) {
        let (before, done) = (self.changed.as_ref().map(String::len), self.done);
        let changed = self.up_to(place.start);
        let mut through = Through::default();
        while next(&mut through.held) {
            through.pass(work, |text| write(changed, text));
        }
        through.end(work, |text| write(changed, text));
        if through.is_changed {
            self.done = place.end;
            return;
        }
        self.done = done;
        match (before, &mut self.changed) {
            (Some(before), Some(changed)) => changed.truncate(before),
            (_, changed) => *changed = None,
        }
    }

    /// Returns the changed text, or `None` if it is as it was.
    pub(super) fn end(mut self) -> Option<String> {
        let changed = self.changed.as_mut()?;
        changed.push_str(&self.text[self.done..]);
        self.changed
    }

    /// Returns the changed text up to a place.
    fn up_to(&mut self, place: usize) -> &mut String {
        let room = self.text.len() + self.text.len() / 64 + WINDOW;
        let changed = self.changed.get_or_insert_with(|| String::with_capacity(room));
        changed.push_str(&self.text[self.done..place]);
        self.done = place;
        changed
    }
}

/// A text that comes in parts, and of which no more is held than a secret with its name can span.
#[derive(Default)]
pub(super) struct Through {
    /// The text that is not yet written.
    pub(super) held: String,
    pub(super) is_changed: bool,
}

impl Through {
    /// Writes what is held but for the last window.
    pub(super) fn pass(&mut self, work: &mut Work<'_>, mut write: impl FnMut(&str)) {
        while self.held.len() > WINDOW {
            let end = end_of_window(&self.held);
            self.write(end, work, &mut write);
        }
    }

    /// Writes the rest.
    pub(super) fn end(&mut self, work: &mut Work<'_>, mut write: impl FnMut(&str)) {
        self.pass(work, &mut write);
        self.write(self.held.len(), work, &mut write);
    }

    fn write(&mut self, end: usize, work: &mut Work<'_>, write: &mut impl FnMut(&str)) {
        let hidden = work.text(&self.held[..end]);
        self.is_changed |= matches!(hidden, Cow::Owned(_));
        write(&hidden);
        self.held.drain(..end);
    }
}

/// Returns where a window ends: neither within a secret nor between one and its name, if possible.
fn end_of_window(text: &str) -> usize {
    let last = text.floor_char_boundary(WINDOW - PIECE);
    let end = last + end_of_piece(&text[last..]);
    match text[..end].rfind("-----BEGIN ") {
        Some(begin)
            if begin > 0 && end - begin < BLOCK && !text[begin..end].contains("-----END ") =>
        {
            begin
        }
        _ => end,
    }
}
