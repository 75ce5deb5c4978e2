//! Poison messages: messages that end the process, or the work of their route, each time they are worked on.
//!
//! A message that is not acknowledged comes again, so one that ends the process would do so for ever, and block every
//! route. A note in the state directory, written before a message is decoded or rendered and cleared afterwards, tells
//! which message it was. There is no note while a message merely waits, so a process that is killed while the
//! homeserver is away blames no message.

use std::{cell::Cell, fs::File, io, os::unix::fs::FileExt, path::Path, rc::Rc};

use tracing::{error, warn};

use crate::directory::{Directory, Missing};

/// The number of times that a message may end the process before it is handled as bytes.
const ENDED_TWICE: u32 = 2;

/// The number of times that a message may end the process before it is only kept as a dead letter. If that ends the
/// process, too, the message is left alone.
const ENDED_AS_BYTES: u32 = 3;

/// The length of a note in bytes. A note is always written at full length, and so replaces the one before.
const LENGTH: usize = 96;

/// The way in which a message is to be handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handling {
    /// Like any other message.
    Usual,
    /// Without looking at its content, because that ended the process twice.
    AsBytes,
    /// As a dead letter, because handling it as bytes ended the process, too.
    Never,
    /// Not at all, because even keeping it as a dead letter ended the process.
    Leave,
}

/// The guard of a route, which notes the message that is being worked on.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    /// The note's file. `None` if it cannot be written: then a poison message is not recognised.
    file: Option<File>,
    /// The message at which the previous process ended.
    found: Option<Note>,
    is_in_digest: Cell<bool>,
    /// Whether work that may end the process is being done.
    is_at_work: Cell<bool>,
}

/// The message that was worked on, and how often it ended the process.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Note {
    /// The time when the stream stored the message, in nanoseconds since 1970. A stream that was made anew assigns its
    /// numbers again.
    published: i128,
    sequence: u64,
    times: u32,
    is_in_digest: bool,
}

impl Guard {
    /// Opens the guard of the route called `name`, in a directory that is created if necessary.
    pub(crate) fn open(directory: &Path, name: &str) -> Self {
        let path = directory.join(format!("in-hand-{name}"));
        match open(&path) {
            Ok((file, found)) => {
                if let Some(Note { sequence, times: times @ 1.., .. }) = &found {
                    error!(
                        "{name}: the bridge ended while it worked on message {sequence}, {times} times \
                         by now; after {ENDED_TWICE} it is shown as bytes. Please report it, with the message"
                    );
                }
                Self { file: Some(file), found, ..Self::default() }
            }
            Err(error) => {
                warn!(
                    "{name}: a message that ends the process would not be recognised, as {} cannot be written: {error}",
                    path.display()
                );
                Self::default()
            }
        }
    }

    /// Returns how a message is to be handled.
    pub(crate) fn handling(&self, published: i128, sequence: u64) -> Handling {
        match self.times(published, sequence) {
            0 | 1 => Handling::Usual,
            ENDED_TWICE => Handling::AsBytes,
            ENDED_AS_BYTES => Handling::Never,
            _ => Handling::Leave,
        }
    }

    /// Whether the previous process ended during a digest, for which perhaps no single message is to blame.
    pub(crate) fn ended_in_digest(&self) -> bool {
        self.found.as_ref().is_some_and(|note| note.is_in_digest)
    }

    /// Notes that a digest is begun, until the returned value is dropped. A digest takes the memory of many messages.
    pub(crate) fn digest(self: &Rc<Self>) -> DigestNote {
        self.is_in_digest.set(true);
        self.clear();
        DigestNote(Rc::clone(self))
    }

    /// Does work that may end the process, with a note of the message.
    pub(crate) fn work<T>(&self, published: i128, sequence: u64, work: impl FnOnce() -> T) -> T {
        self.note(published, sequence);
        self.is_at_work.set(true);
        let done = work();
        self.is_at_work.set(false);
        self.clear();
        done
    }

    /// Notes that the work on a message has panicked, which ends the work of its route. A panic inside [`Self::work`]
    /// or in a digest has left its note already.
    pub(crate) fn blame(&self, published: i128, sequence: u64) {
        if !self.is_at_work.get() && !self.is_in_digest.get() {
            self.note(published, sequence);
        }
    }

    fn note(&self, published: i128, sequence: u64) {
        let times = self.times(published, sequence) + 1;
        let is_in_digest = self.is_in_digest.get();
        let note = Note { published, sequence, times, is_in_digest };
        self.write(&note.to_string());
    }

    /// Clears the note. During a digest a note remains that names the digest and blames no message.
    fn clear(&self) {
        if self.is_in_digest.get() {
            let note = Note { published: 0, sequence: 0, times: 0, is_in_digest: true };
            self.write(&note.to_string());
        } else {
            self.write("");
        }
    }

    fn times(&self, published: i128, sequence: u64) -> u32 {
        let found = self.found.as_ref();
        let same = found.filter(|note| note.published == published && note.sequence == sequence);
        same.map_or(0, |note| note.times)
    }

    /// Replaces the note. It has to survive the process, not the machine, so it is not synced to disk.
    fn write(&self, note: &str) {
        if let Some(file) = &self.file {
            let note = format!("{note:<width$}\n", width = LENGTH - 1);
            // Best effort: a full disk must not stop work that does not need the note.
            let _ = file.write_at(note.as_bytes(), 0);
        }
    }
}

/// The note that a digest is being made. It stays if that ends in a panic.
pub(crate) struct DigestNote(Rc<Guard>);

impl Drop for DigestNote {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.0.is_in_digest.set(false);
            self.0.clear();
        }
    }
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { published, sequence, times, is_in_digest } = self;
        let place = if *is_in_digest { "digest" } else { "one" };
        write!(f, "{published} {sequence} {times} {place}")
    }
}

impl Note {
    fn read(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        Some(Self {
            published: words.next()?.parse().ok()?,
            sequence: words.next()?.parse().ok()?,
            times: words.next()?.parse().ok()?,
            is_in_digest: words.next()? == "digest",
        })
    }
}

fn open(path: &Path) -> io::Result<(File, Option<Note>)> {
    let (directory, name) = Directory::around(path, Missing::Make)?;
    let file = directory.open_or_create(&name)?;
    let mut text = [0; LENGTH];
    let length = file.read_at(&mut text, 0)?;
    let text = String::from_utf8_lossy(&text[..length]);
    let found = Note::read(&text);
    if found.is_none() && !text.trim().is_empty() {
        warn!("matrix.state_dir: {} is damaged and is begun anew", path.display());
    }
    Ok((file, found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_noted_while_it_is_worked_on_and_counted_when_that_ends_the_process() {
        let directory = tempfile::tempdir().unwrap();
        let guard = || Guard::open(directory.path(), "r");
        let path = directory.path().join("in-hand-r");
        // The file's content while a message is worked on is what a kill would leave.
        let die = |guard: &Guard, published: i128, sequence| {
            let left = guard.work(published, sequence, || std::fs::read(&path).unwrap());
            std::fs::write(&path, left).unwrap();
        };
        let first = guard();
        assert_eq!(first.handling(17, 7), Handling::Usual);
        assert_eq!(first.work(17, 7, || 1), 1);
        assert!(guard().found.is_none(), "it is over");
        for handling in
            [Handling::Usual, Handling::AsBytes, Handling::Never, Handling::Leave, Handling::Leave]
        {
            die(&guard(), 17, 7);
            assert_eq!(guard().handling(17, 7), handling);
            assert_eq!(guard().handling(17, 8), Handling::Usual, "another message");
            assert_eq!(guard().handling(18, 7), Handling::Usual, "another stream");
        }
        die(&guard(), 17, 8);
        assert_eq!(guard().handling(17, 7), Handling::Usual, "nobody has died of it lately");
        let digest = Rc::new(guard());
        let note = digest.digest();
        digest.work(17, 9, || assert!(guard().ended_in_digest()));
        assert!(guard().ended_in_digest() && guard().handling(17, 9) == Handling::Usual);
        drop(note);
        assert!(!guard().ended_in_digest());
    }

    #[test]
    fn a_panic_is_blamed_on_the_message_at_which_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let guard = || Guard::open(directory.path(), "r");
        let found = || guard().found.map(|note| (note.sequence, note.times, note.is_in_digest));
        for times in 1..=4 {
            guard().blame(17, 7);
            assert_eq!(found(), Some((7, times, false)));
        }
        // `work` made a note before the panic, and `blame` does not replace it.
        let panicked = guard();
        let work = || panicked.work(17, 8, || panic!("poison"));
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_err();
        panicked.blame(17, 7);
        assert_eq!(found(), Some((8, 1, false)));
        // The panic comes during a digest, so no single message is known to be the cause.
        let in_digest = Rc::new(guard());
        let work = || {
            let _note = in_digest.digest();
            panic!("poison");
        };
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_err();
        in_digest.blame(17, 9);
        assert_eq!(found(), Some((0, 0, true)));
    }

    #[test]
    fn without_a_place_for_the_note_it_works_all_the_same() {
        let guard = Guard::open(Path::new("/proc/nowhere"), "r");
        assert_eq!(guard.work(17, 7, || 1), 1);
        assert_eq!(guard.handling(17, 7), Handling::Usual);
    }
}
