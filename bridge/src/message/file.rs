//! The file that goes with a message, or the reason why none does.

use bytes::Bytes;

/// Why a file is not uploaded. Sizes are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Withheld {
    /// The route uploads none.
    Never,
    /// With it the route would upload more than that within an hour.
    OverLimit(u64),
    /// The homeserver takes none that is larger than that.
    TooLarge(u64),
    /// The homeserver takes none for the moment.
    NotTaken,
}

/// A file to be sent after the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attachment {
    /// The bytes that were published.
    pub bytes: Bytes,
    /// The ending of a file of this kind, like "json".
    pub extension: &'static str,
    /// Its media type, like "application/json".
    pub media_type: &'static str,
}
