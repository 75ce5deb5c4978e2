//! One hash of several texts, for names that must not change from version to version.

use sha2::{Digest, Sha256};

/// Of the texts with their lengths, so that none can run into the next.
pub(crate) fn of_texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> [u8; 32] {
    let mut digest = Sha256::new();
    for text in texts {
        digest.update(text.len().to_le_bytes());
        digest.update(text);
    }
    digest.finalize().into()
}
