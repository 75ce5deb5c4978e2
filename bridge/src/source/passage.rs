//! The place in a stream up to which an earlier configuration decides about the messages of a feed.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::{message::is_same_creation, subject::Subject};

/// The place up to which an earlier configuration decides. Clones share whether the feed has got there.
#[derive(Debug, Clone)]
pub(crate) struct Passage {
    /// The time when the stream was created, as in [`StreamId`](crate::message::StreamId); `None` for any stream.
    created: Option<String>,
    /// The last message that an earlier configuration decides about.
    until: u64,
    /// The filters of the consumer until then: all those that the feed had and has.
    subjects: Arc<[Subject]>,
    /// Whether the feed ends there, because its route is not in the configuration any more.
    ends: bool,
    /// Another feed that this one does not end before.
    after: Option<CancellationToken>,
    passed: CancellationToken,
}

impl Passage {
    /// Returns the passage of a feed that goes on with filters of its own.
    pub(crate) fn through(created: &str, until: u64, subjects: Vec<Subject>) -> Self {
        Self {
            created: Some(created.to_owned()),
            until,
            subjects: subjects.into(),
            ends: false,
            after: None,
            passed: CancellationToken::new(),
        }
    }

    /// Returns the passage of the live feed of a route that was removed.
    pub(crate) fn to_the_end(created: &str, until: u64, subjects: Vec<Subject>) -> Self {
        Self { ends: true, ..Self::through(created, until, subjects) }
    }

    /// Returns the passage of the feed of messages that a removed route has deferred, to which its live feed may add
    /// some until it has got to its own end.
    pub(super) fn of_deferred(subjects: Arc<[Subject]>, live: &Self) -> Self {
        Self {
            created: None,
            until: u64::MAX,
            subjects,
            ends: true,
            after: Some(live.passed.clone()),
            passed: CancellationToken::new(),
        }
    }

    /// Returns the sequence number of the last message that an earlier configuration decides about.
    pub(crate) fn until(&self) -> u64 {
        self.until
    }

    /// Returns the token that is cancelled when the feed has got there.
    pub(crate) fn passed(&self) -> CancellationToken {
        self.passed.clone()
    }

    /// Whether the feed ends at this place.
    pub(super) fn is_end(&self) -> bool {
        self.ends
    }

    /// Returns the filters until the feed has got there.
    pub(super) fn subjects(&self) -> Option<&[Subject]> {
        (self.ends || !self.passed.is_cancelled()).then_some(&self.subjects)
    }

    /// Returns the time when the stream was created.
    pub(super) fn created(&self) -> Option<&str> {
        self.created.as_deref()
    }

    /// Whether the feed has got to this place when all messages up to `done` are done with. It never gets there in a
    /// stream that was deleted, so it has if the stream is another one.
    pub(super) fn is_behind(&self, lineage: Option<&str>, done: u64) -> bool {
        let is_other = |(own, lineage): (&str, &str)| !is_same_creation(own, lineage);
        let is_gone = self.created().zip(lineage).is_some_and(is_other);
        is_gone || done >= self.until && self.may_end()
    }

    /// Whether nothing else has to happen before the feed may end.
    pub(super) fn may_end(&self) -> bool {
        self.after.as_ref().is_none_or(CancellationToken::is_cancelled)
    }
}
