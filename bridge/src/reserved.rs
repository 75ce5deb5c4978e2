//! The names on NATS that the bridge reserves for itself.

/// The stream of the messages that quiet hours defer.
pub(crate) const DEFERRED_STREAM: &str = "NATS_MATRIX_HELD";

/// The prefix of the subjects of that stream.
pub(crate) const DEFERRED_PREFIX: &str = "nats-matrix.held";

/// The header of each message there with the subject that it was first published on.
pub(crate) const SUBJECT_HEADER: &str = "Nats-Matrix-Subject";

/// The header of each message there with the time at which it was first published, in nanoseconds since 1970.
pub(crate) const PUBLISHED_HEADER: &str = "Nats-Matrix-Published";

/// The subjects of all messages that are deferred for a route.
pub(crate) fn deferred_subjects(route: &str) -> String {
    format!("{DEFERRED_PREFIX}.{route}.>")
}
