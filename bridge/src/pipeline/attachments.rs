//! The upload budget of a route: so many bytes an hour, because a homeserver keeps what is uploaded.
//!
//! The decision about each message is kept in the state directory until later messages are decided on. So a message
//! that comes again after a kill is shown in the same way, and a process that is ended again and again uploads no more
//! than others.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tracing::{debug, warn};

use crate::{
    config::Route, directory::Durability, message::Withheld, source::Delivery,
    state_file::StateFile,
};

/// An hour, in seconds.
const HOUR: i64 = 60 * 60;

/// The size that even the smallest file counts as, in bytes: a file on disk and some rows in the homeserver's database.
const SMALLEST: u64 = 16 * 1024;

/// The number of streams that decisions are kept for. A route reads two: its own, and that of its quiet hours.
const MOST_STREAMS: usize = 4;

/// The upload budget of one route.
#[derive(Debug)]
pub(crate) struct Budget {
    route: String,
    /// The limit in bytes an hour.
    limit: u64,
    file: StateFile,
    spent: Spent,
    /// Whether it was logged that the limit was reached within this hour.
    is_said: bool,
    /// Whether it was logged that the file cannot be written.
    is_unwritable: bool,
}

/// The uploads of one hour.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Spent {
    /// The time when the hour began, in seconds since 1970.
    since: i64,
    bytes: u64,
    /// The decisions for each stream, by its name.
    decided: BTreeMap<String, Decided>,
}

/// The decisions about the messages of one stream.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Decided {
    /// The last message that was decided on: its sequence number, and when it was published, in nanoseconds since 1970.
    /// The time is kept because a stream that lost messages can assign a number again.
    sequence: u64,
    published: i64,
    /// The messages whose files are uploaded, without those that are done with.
    granted: BTreeSet<u64>,
}

/// A message with a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<'a> {
    /// The name of the message's stream.
    pub(crate) stream: &'a str,
    pub(crate) sequence: u64,
    /// The time when the message was published, in nanoseconds since 1970.
    pub(crate) published: i64,
    /// The first message that is not done with.
    pub(crate) first: u64,
    /// The size of its file, in bytes.
    pub(crate) size: u64,
}

impl Budget {
    /// Returns the budget of a route, with what was spent of it before a restart.
    pub(crate) fn of(route: &Route, state_dir: &Path) -> Self {
        let file = StateFile::new(state_dir, &format!("attachments-{}.json", route.name));
        Self::kept_in(file, route.name.to_string(), route.attach_limit)
    }

    fn kept_in(file: StateFile, route: String, limit: u64) -> Self {
        let spent = file.read_or_default();
        Self { route, limit, file, spent, is_said: false, is_unwritable: false }
    }

    /// Decides whether the file of a message is uploaded, always in the same way for the same message.
    ///
    /// # Errors
    ///
    /// The reason why the file is not uploaded.
    pub(crate) fn take(&mut self, message: Candidate<'_>, now: Timestamp) -> Result<(), Withheld> {
        if self.limit == 0 {
            return Err(Withheld::Never);
        }
        self.begin_hour(now.as_second());
        let decided = self.spent.decided.entry(message.stream.to_owned()).or_default();
        decided.granted.retain(|granted| *granted >= message.first);
        let is_known =
            message.sequence <= decided.sequence && message.published <= decided.published;
        if is_known {
            let is_granted = decided.granted.contains(&message.sequence);
            return if is_granted { Ok(()) } else { Err(Withheld::OverLimit(self.limit)) };
        }
        decided.sequence = message.sequence;
        decided.published = message.published;
        let bytes = self.spent.bytes.saturating_add(message.size.max(SMALLEST));
        let is_granted = bytes <= self.limit;
        if is_granted {
            self.spent.bytes = bytes;
            decided.granted.insert(message.sequence);
        } else {
            // The number was assigned again, to a different message.
            decided.granted.remove(&message.sequence);
        }
        self.forget_streams(message.stream);
        // The decision is saved before anything is uploaded.
        self.keep();
        if is_granted { Ok(()) } else { Err(self.over_limit()) }
    }

    fn begin_hour(&mut self, now: i64) {
        // A clock that was set back must not make an hour last for years.
        if !(self.spent.since..self.spent.since.saturating_add(HOUR)).contains(&now) {
            self.spent.since = now;
            self.spent.bytes = 0;
            self.is_said = false;
        }
    }

    fn over_limit(&mut self) -> Withheld {
        if !std::mem::replace(&mut self.is_said, true) {
            warn!(
                "more than attach_limit = {} bytes of files within an hour: until the hour is over the room shows \
                 the message's number in its stream instead of a file",
                self.limit
            );
        }
        Withheld::OverLimit(self.limit)
    }

    fn forget_streams(&mut self, but: &str) {
        while self.spent.decided.len() > MOST_STREAMS {
            let Some(other) = self.spent.decided.keys().find(|key| *key != but).cloned() else {
                return;
            };
            self.spent.decided.remove(&other);
        }
    }

    fn keep(&mut self) {
        // The file need not survive a power failure.
        match self.file.write(&self.spent, Durability::Process) {
            Ok(()) => self.is_unwritable = false,
            Err(error) if !std::mem::replace(&mut self.is_unwritable, true) => warn!(
                "matrix.state_dir: cannot write {}, so a restart resets the attach_limit of route {}: {error}",
                self.file, self.route
            ),
            Err(error) => debug!("{}: {error}", self.file),
        }
    }
}

impl<'a> Candidate<'a> {
    /// Returns a message as a candidate, where only `first` and later messages can still be shown.
    pub(crate) fn of(delivery: &Delivery, first: u64, stream: &'a str, size: usize) -> Self {
        let published = delivery.published.as_nanosecond();
        Self {
            stream,
            sequence: delivery.sequence,
            published: published.try_into().unwrap_or(i64::MAX),
            first,
            size: size as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn budget(directory: &Path) -> Budget {
        let file = StateFile::new(directory, "attachments-all.json");
        Budget::kept_in(file, "all".to_owned(), 4 * MIB)
    }

    fn message(sequence: u64, size: u64) -> Candidate<'static> {
        let published = i64::try_from(sequence).unwrap() * 10;
        Candidate { stream: "1", sequence, published, first: sequence, size }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn what_is_over_the_limit_of_an_hour_is_withheld_until_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let mut budget = budget(directory.path());
        let over = Err(Withheld::OverLimit(4 * MIB));
        assert_eq!(budget.take(message(1, 3 * MIB), at(1_000)), Ok(()));
        assert_eq!(budget.take(message(2, 2 * MIB), at(1_001)), over);
        assert_eq!(budget.take(message(3, MIB), at(1_002)), Ok(()));
        assert_eq!(budget.take(message(4, 1), at(1_003)), over);
        assert_eq!(budget.take(message(5, 1), at(1_000 + HOUR)), Ok(()));
        // The clock is set back by a day.
        assert_eq!(budget.take(message(6, 4 * MIB), at(-90_000)), Ok(()));
    }

    #[test]
    fn small_files_have_an_end_too() {
        let directory = tempfile::tempdir().unwrap();
        let mut budget = budget(directory.path());
        let granted = (1..=1_000).filter(|n| budget.take(message(*n, 1), at(1_000)).is_ok());
        assert_eq!(granted.count(), 256);
    }

    #[test]
    fn what_was_decided_outlasts_the_process() {
        let directory = tempfile::tempdir().unwrap();
        let mut before = budget(directory.path());
        let over = Err(Withheld::OverLimit(4 * MIB));
        assert_eq!(before.take(message(7, 3 * MIB), at(1_000)), Ok(()));
        assert_eq!(before.take(message(8, 3 * MIB), at(1_000)), over);
        let next = Candidate { first: 8, ..message(9, MIB) };
        for _ in 0..100 {
            let mut after = budget(directory.path());
            assert_eq!(after.take(message(8, 3 * MIB), at(1_000)), over, "as it was shown");
            assert_eq!(after.take(next, at(1_000)), Ok(()), "counted once");
        }
        // Message 8 stays without its file, also in the next hour; a number that is assigned again belongs to another
        // message.
        let mut after = budget(directory.path());
        assert_eq!(after.take(message(8, 3 * MIB), at(9_000)), over);
        let again = Candidate { published: 5_000, ..message(8, 3 * MIB) };
        assert_eq!(after.take(again, at(9_000)), Ok(()));
    }

    #[test]
    fn of_a_digest_each_message_keeps_what_was_decided() {
        let directory = tempfile::tempdir().unwrap();
        let of_digest = |sequence| Candidate { first: 1, ..message(sequence, MIB) };
        let decide = |budget: &mut Budget| {
            let decided = (1..=6).map(|n| budget.take(of_digest(n), at(1_000)).is_ok());
            decided.collect::<Vec<_>>()
        };
        let first = decide(&mut budget(directory.path()));
        assert_eq!(first, [true, true, true, true, false, false]);
        assert_eq!(decide(&mut budget(directory.path())), first);
        // Decisions about messages that are done with are forgotten.
        let mut after = budget(directory.path());
        assert!(after.take(message(7, MIB), at(1_000)).is_err());
        assert!(after.spent.decided["1"].granted.is_empty());
    }
}
