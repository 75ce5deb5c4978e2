//! Names on NATS that are the bridge's own.

/// The stream of what quiet hours hold back.
pub(crate) const DEFERRED_STREAM: &str = "NATS_MATRIX_HELD";

/// The subjects of that stream begin with this.
pub(crate) const DEFERRED_PREFIX: &str = "nats-matrix.held";

/// A header of each message there: the subject that it was published on at first.
pub(crate) const SUBJECT_HEADER: &str = "Nats-Matrix-Subject";

/// A header of each message there: the time when it was published at first, in nanoseconds since 1970.
pub(crate) const PUBLISHED_HEADER: &str = "Nats-Matrix-Published";

/// The subjects of all that is deferred for a route.
pub(crate) fn deferred_subjects(route: &str) -> String {
    format!("{DEFERRED_PREFIX}.{route}.>")
}
