//! A hash over several texts, for names that must stay the same in every version.

use sha2::{Digest, Sha256};

/// Hashes the texts with their lengths, so that different lists of texts never hash the same bytes.
pub(crate) fn of_texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> [u8; 32] {
    let mut digest = Sha256::new();
    for text in texts {
        digest.update(text.len().to_le_bytes());
        digest.update(text);
    }
    digest.finalize().into()
}
