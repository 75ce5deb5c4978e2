//! Names on NATS that belong to the bridge.

/// The stream of the messages that quiet hours defer.
pub(crate) const DEFERRED_STREAM: &str = "NATS_MATRIX_HELD";

/// The stream of dead letters that is made when no other one keeps them.
pub(crate) const DEAD_LETTERS_STREAM: &str = "NATS_MATRIX_DEAD_LETTERS";

/// The beginning of the bridge's own subjects.
pub(crate) const SUBJECTS: &str = "nats-matrix.";

/// The prefix of the subjects of deferred messages.
pub(crate) const DEFERRED_PREFIX: &str = "nats-matrix.held";

/// The stream of the answers of people.
pub(crate) const ANSWERS_STREAM: &str = "NATS_MATRIX_ANSWERS";

/// The prefix of the subjects of answers, which the name of a route follows.
pub(crate) const ANSWERS_PREFIX: &str = "nats-matrix.answer";

/// A header of each deferred message: the subject that it was originally published on.
pub(crate) const SUBJECT_HEADER: &str = "Nats-Matrix-Subject";

/// A header of a deferred message: the subject of the schedule that has made it.
pub(crate) const SCHEDULER_HEADER: &str = "Nats-Matrix-Scheduler";

/// A header of each deferred message: the time when it was originally published, in nanoseconds since 1970.
pub(crate) const PUBLISHED_HEADER: &str = "Nats-Matrix-Published";

/// A header of each deferred message: the time when it was deferred, in nanoseconds since 1970.
pub(crate) const DEFERRED_AT_HEADER: &str = "Nats-Matrix-Deferred-At";

/// A header of each deferred message: the signature of the bridge that has deferred it.
pub(crate) const SIGNATURE_HEADER: &str = "Nats-Matrix-Signature";

/// Returns the filter for all messages that are deferred for a route.
pub(crate) fn deferred_subjects(route: &str) -> String {
    format!("{DEFERRED_PREFIX}.{route}.>")
}

/// The name of the bridge's key-value bucket.
pub(crate) const BUCKET: &str = "nats-matrix-alerts";
