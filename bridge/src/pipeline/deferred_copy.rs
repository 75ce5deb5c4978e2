//! The copies of deferred messages in the bridge's own stream: their subjects, and what proves that the bridge has made
//! them. Others may be permitted to publish there, too.
//!
//! Each copy has a subject of its own that ends in an id, which depends on a secret. So nobody can take the place of a
//! copy before it is there. The rest is signed.

use async_nats::HeaderMap;
use jiff::{SignedDuration, Timestamp};
use tracing::warn;

use crate::{
    message::Origin,
    nats::headers,
    reserved::{
        DEFERRED_AT_HEADER, DEFERRED_PREFIX, DEFERRED_STREAM, PUBLISHED_HEADER, SCHEDULER_HEADER,
        SIGNATURE_HEADER, SUBJECT_HEADER,
    },
    signature::{Purpose, Signer, SigningKey},
    source::Delivery,
};

/// The number of digits of an id.
const ID: usize = 32;

/// The longest time between the moment when a message was deferred and the one when the stream stored its copy, with
/// clocks that differ. A stream that has removed a copy by its age could be given it again.
const LATE: SignedDuration = SignedDuration::from_hours(24 * 6);

/// Makes and recognises the copies of a route's deferred messages.
pub(crate) struct Copies {
    route: String,
    ids: Signer,
    contents: Signer,
    /// Whether it was logged that a copy is not the bridge's own.
    is_said: bool,
}

/// The range of messages of which there may be copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Extent {
    Nothing,
    /// There may be copies up to this message.
    UpTo {
        sequence: u64,
        /// The time when it was published, in nanoseconds since 1970.
        published: i128,
    },
    /// There may be copies of any message.
    Unknown,
}

impl Extent {
    pub(super) fn of(origin: &Origin) -> Self {
        Self::UpTo { sequence: origin.position.sequence, published: origin.published() }
    }

    pub(super) fn may_have(&self, origin: &Origin) -> bool {
        match self {
            Self::Nothing => false,
            Self::UpTo { sequence, published } => {
                origin.position.sequence <= *sequence && origin.published() <= *published
            }
            Self::Unknown => true,
        }
    }
}

impl Copies {
    /// Creates the copies of a route.
    pub(crate) fn of(route: &str, key: &SigningKey) -> Self {
        Self {
            route: route.to_owned(),
            ids: key.signer(Purpose::DeferredIds),
            contents: key.signer(Purpose::DeferredCopies),
            is_said: false,
        }
    }

    /// Returns the subject of a message's copy.
    pub(super) fn subject(&self, origin: &Origin) -> String {
        self.on(&origin.stream.created, origin)
    }

    /// Returns the filter for a message's copy, whenever its stream was created: it may have been restored from a backup
    /// since.
    pub(super) fn subject_of_any(&self, origin: &Origin) -> String {
        self.on("*", origin)
    }

    fn on(&self, created: &str, origin: &Origin) -> String {
        let (published, sequence) = (origin.published(), origin.position.sequence);
        let (route, id) = (&self.route, self.id(published, sequence));
        format!("{DEFERRED_PREFIX}.{route}.{created}.{published}.{sequence}.{id}")
    }

    fn id(&self, published: i128, sequence: u64) -> String {
        let mut id = self.ids.sign([&self.route, &published.to_string(), &sequence.to_string()]);
        id.truncate(ID);
        id
    }

    /// Reads from the subject of the last copy how far copies go.
    pub(super) fn extent(&self, subject: &str) -> Extent {
        let read = || {
            let mut parts = subject.rsplit('.');
            let id = parts.next()?;
            let sequence = parts.next()?.parse().ok()?;
            let published = parts.next()?.parse().ok()?;
            (id == self.id(published, sequence)).then_some(Extent::UpTo { sequence, published })
        };
        read().unwrap_or(Extent::Unknown)
    }

    /// Returns the headers of a message's copy on a subject: the publisher's own ones, what the copy replaces, and a
    /// signature.
    pub(super) fn headers(&self, delivery: &Delivery, subject: &str) -> HeaderMap {
        let mut headers = delivery.own_headers();
        let published = delivery.published.as_nanosecond().to_string();
        let now = Timestamp::now().as_nanosecond().to_string();
        for (name, text) in [
            (SUBJECT_HEADER, delivery.subject()),
            (PUBLISHED_HEADER, &published),
            (DEFERRED_AT_HEADER, &now),
        ] {
            headers::set(&mut headers, name, text);
        }
        if let Some(scheduler) = delivery.scheduler() {
            headers::set(&mut headers, SCHEDULER_HEADER, scheduler);
        }
        let signature = self.contents.sign(signed(subject, &headers, delivery.payload()));
        headers::set(&mut headers, SIGNATURE_HEADER, &signature);
        headers
    }

    /// Gives a copy the subjects and the time of the message that was deferred. A copy that the bridge has not made is
    /// left as what it is, a message on the subject that it was published on.
    pub(crate) fn restore(&mut self, copy: &mut Delivery) {
        if self.are_own(copy) {
            let text = |name| Some(headers::text(copy.headers()?.get(name)?));
            let subject = text(SUBJECT_HEADER);
            let published = text(PUBLISHED_HEADER)
                .and_then(|published| Timestamp::from_nanosecond(published.parse().ok()?).ok());
            copy.restore(subject, text(SCHEDULER_HEADER), published);
        } else if !std::mem::replace(&mut self.is_said, true) {
            warn!(
                "message {} of stream {DEFERRED_STREAM} was not deferred by this bridge: it is shown as a message on {}, as \
                 are others like it; only the bridge may publish on {DEFERRED_PREFIX}.>",
                copy.sequence,
                copy.subject_for_log()
            );
        }
    }

    /// Whether the bridge has made a copy. Copies from before there was a key have no signature.
    fn are_own(&self, copy: &Delivery) -> bool {
        let text = |name| Some(headers::text(copy.headers()?.get(name)?));
        let Some(signature) = text(SIGNATURE_HEADER) else {
            return copy.published < self.contents.since();
        };
        let deferred = text(DEFERRED_AT_HEADER).and_then(|at| at.parse().ok());
        let deferred = deferred.and_then(|at| Timestamp::from_nanosecond(at).ok());
        let is_late = |at| copy.published.duration_since(at) > LATE;
        let none = HeaderMap::new();
        let texts = signed(&copy.message.subject, copy.headers().unwrap_or(&none), copy.payload());
        deferred.is_some_and(|at| !is_late(at)) && self.contents.verifies(texts, &signature)
    }
}

/// Returns the texts that the signature of a copy covers: its subject, its headers in a fixed order, and its payload.
fn signed<'a>(subject: &'a str, headers: &'a HeaderMap, payload: &'a [u8]) -> Vec<&'a [u8]> {
    let is_signed = |name: &str| {
        !name.starts_with("Nats-")
            || [SUBJECT_HEADER, SCHEDULER_HEADER, PUBLISHED_HEADER, DEFERRED_AT_HEADER]
                .contains(&name)
    };
    let mut named: Vec<(&str, &str)> = headers
        .iter()
        .flat_map(|(name, values)| values.iter().map(move |value| (name, value)))
        .map(|(name, value)| (name.as_ref(), value.as_str().trim()))
        .filter(|(name, _)| is_signed(name))
        .collect();
    named.sort_unstable();
    let named = named.into_iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
    [subject.as_bytes(), payload].into_iter().chain(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        message::{Position, RouteName, StreamId},
        subject::Subject,
    };

    fn origin(created: &str, sequence: u64) -> Origin {
        let stream = StreamId { stream: "OPS".to_owned(), created: created.to_owned() };
        let route = RouteName::parse("r-1").unwrap();
        let position = Position { sequence, part: 0 };
        let published = Timestamp::from_second(i64::try_from(sequence).unwrap()).unwrap();
        Origin::new(stream, &route, position, published)
    }

    #[test]
    fn the_subject_of_a_copy_tells_how_far_copies_go() {
        let copies = Copies::of("r-1", &SigningKey::of_test(1));
        let last = origin("17", 40);
        let subject = copies.subject(&last);
        let extent = copies.extent(&subject);
        assert_eq!(extent, Extent::of(&last));
        assert!(extent.may_have(&last) && extent.may_have(&origin("17", 1)));
        assert!(extent.may_have(&origin("18", 1)), "restored from a backup");
        assert!(!extent.may_have(&origin("17", 41)));
        let filter = Subject::filter(&copies.subject_of_any(&origin("18", 40))).unwrap();
        assert!(filter.matches(&subject));
    }

    #[test]
    fn nobody_else_knows_the_subject_of_a_copy_or_can_say_how_far_copies_go() {
        let [copies, others] = [1, 2].map(|byte| Copies::of("r-1", &SigningKey::of_test(byte)));
        let of_others = others.subject(&origin("17", 40));
        assert_ne!(copies.subject(&origin("17", 40)), of_others);
        for forged in [&*of_others, "nats-matrix.held.r-1.17.40000000000.40", "something"] {
            assert_eq!(copies.extent(forged), Extent::Unknown);
        }
    }

    #[test]
    fn a_signature_covers_all_but_the_order_of_headers_and_those_of_nats() {
        let headers = |pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers::add(&mut headers, &(*name).parse().unwrap(), &value.parse().unwrap());
            }
            headers
        };
        let signer = SigningKey::of_test(1).signer(Purpose::DeferredCopies);
        let sign = |subject: &str, pairs: &[_], payload: &[u8]| {
            signer.sign(signed(subject, &headers(pairs), payload))
        };
        let original = [("A", "1"), ("B", "2"), (SUBJECT_HEADER, "ops.a")];
        let signature = sign("s", &original, b"p");
        assert_eq!(signature, sign("s", &[original[1], original[2], original[0]], b"p"));
        let with_own = [&original[..], &[("Nats-Expected-Stream", "X")]].concat();
        assert_eq!(signature, sign("s", &with_own, b"p"));
        for other in [
            sign("t", &original, b"p"),
            sign("s", &original, b"q"),
            sign("s", &original[..2], b"p"),
            sign("s", &[original[0], original[1], (SUBJECT_HEADER, "ops.b")], b"p"),
        ] {
            assert_ne!(signature, other);
        }
    }
}
