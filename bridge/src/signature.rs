//! Signatures by which the bridge recognises what it has written itself, in places where others may write, too: an
//! HMAC with a key that is made by chance and kept in the state directory.

use std::path::Path;

use aws_lc_rs::{hmac, rand};
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tracing::warn;
use zeroize::Zeroizing;

use crate::{directory::Durability, failure::Failure, state_file::StateFile};

/// The length of the key in bytes.
const KEY: usize = 32;

/// The use of a signature. A signature for one use is worth nothing for another.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// The ids of dead letters, which nobody else can guess.
    DeadLetterIds,
    /// The ids of deferred copies, which nobody else can guess.
    DeferredIds,
    /// The content of deferred copies.
    DeferredCopies,
    /// The states of alert threads.
    AlertThreads,
}

impl Purpose {
    /// Returns the name from which the key of this purpose is derived. It must stay the same in every version.
    fn name(self) -> &'static str {
        match self {
            Self::DeadLetterIds => "ids of dead letters",
            Self::DeferredIds => "ids of deferred copies",
            Self::DeferredCopies => "deferred copies",
            Self::AlertThreads => "alert threads",
        }
    }
}

/// The key of this bridge, from which the keys of all signatures are derived.
#[derive(Debug, Clone)]
pub(crate) struct SigningKey {
    key: hmac::Key,
    made: Timestamp,
}

/// Signs and verifies for one purpose.
#[derive(Debug, Clone)]
pub(crate) struct Signer {
    key: hmac::Key,
    made: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    /// The key in hexadecimal digits.
    key: Zeroizing<String>,
    made: Timestamp,
}

impl SigningKey {
    /// Returns the key that is kept in this state directory, and makes it if there is none. A key that cannot be kept
    /// lasts until the bridge ends, which is logged.
    ///
    /// # Errors
    ///
    /// [`Failure::Bug`] if the system gives no random numbers.
    pub(crate) fn of(state_dir: &Path) -> Result<Self, Failure> {
        let file = StateFile::new(state_dir, "signing-key.json");
        match file.read::<Saved>() {
            Ok(Some(saved)) => {
                if let Some(key) = saved.key() {
                    return Ok(key);
                }
                warn!("matrix.state_dir: {file} has no usable key, so a new one is made");
            }
            Ok(None) => {}
            Err(error) => warn!("matrix.state_dir: cannot read {file}: {error}"),
        }
        let mut bytes = Zeroizing::new([0; KEY]);
        rand::fill(&mut *bytes)
            .map_err(|_| Failure::Bug("the system gives no random numbers".to_owned()))?;
        let saved = Saved { key: HEXLOWER.encode(&*bytes).into(), made: Timestamp::now() };
        if let Err(error) = file.write(&saved, Durability::Disk) {
            warn!(
                "matrix.state_dir: cannot write {file}, so that after a restart the bridge does not recognise what it has \
                 written into NATS itself: {error}"
            );
        }
        Ok(Self { key: hmac::Key::new(hmac::HMAC_SHA256, &*bytes), made: saved.made })
    }

    /// Returns what signs for one purpose.
    pub(crate) fn signer(&self, purpose: Purpose) -> Signer {
        let derived = hmac::sign(&self.key, purpose.name().as_bytes());
        Signer { key: hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()), made: self.made }
    }
}

impl Saved {
    fn key(&self) -> Option<SigningKey> {
        let bytes = Zeroizing::new(HEXLOWER.decode(self.key.as_bytes()).ok()?);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
        (bytes.len() == KEY).then_some(SigningKey { key, made: self.made })
    }
}

impl Signer {
    /// Returns the signature of a list of texts, in hexadecimal digits.
    pub(crate) fn sign<T: AsRef<[u8]>>(&self, texts: impl IntoIterator<Item = T>) -> String {
        HEXLOWER.encode(self.begin(texts).sign().as_ref())
    }

    /// Whether a text is the signature of a list of texts.
    pub(crate) fn verifies<T: AsRef<[u8]>>(
        &self,
        texts: impl IntoIterator<Item = T>,
        signature: &str,
    ) -> bool {
        // The expected signature is compared in constant time, under a key that nobody knows.
        let expected = self.sign(texts);
        let tag = hmac::sign(&self.key, expected.as_bytes());
        hmac::verify(&self.key, signature.as_bytes(), tag.as_ref()).is_ok()
    }

    /// Returns the time when the key was made. What was written before bears no signature of it.
    pub(crate) fn since(&self) -> Timestamp {
        self.made
    }

    /// Takes the texts with their lengths, so that different lists of texts never sign the same bytes.
    fn begin<T: AsRef<[u8]>>(&self, texts: impl IntoIterator<Item = T>) -> hmac::Context {
        let mut context = hmac::Context::with_key(&self.key);
        for text in texts {
            let text = text.as_ref();
            context.update(&text.len().to_le_bytes());
            context.update(text);
        }
        context
    }
}

#[cfg(test)]
impl SigningKey {
    /// Returns a key for a test, which is not kept.
    pub(crate) fn of_test(byte: u8) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[byte; KEY]);
        Self { key, made: Timestamp::UNIX_EPOCH }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_same_after_a_restart_and_another_one_elsewhere() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let signer = |dir: &Path, purpose| SigningKey::of(dir).unwrap().signer(purpose);
        let of_letters = |dir| signer(dir, Purpose::DeadLetterIds);
        let signature = of_letters(here.path()).sign(["dead.a", "OPS", "7"]);
        let again = of_letters(here.path());
        assert!(again.verifies(["dead.a", "OPS", "7"], &signature));
        assert_eq!(again.since(), of_letters(here.path()).since());
        for others in [["dead.a", "OPS", "8"], ["dead.aO", "PS", "7"]] {
            assert!(!again.verifies(others, &signature));
        }
        assert!(!of_letters(there.path()).verifies(["dead.a", "OPS", "7"], &signature));
        let threads = signer(here.path(), Purpose::AlertThreads);
        assert!(!threads.verifies(["dead.a", "OPS", "7"], &signature));
        assert!(!again.verifies(["dead.a", "OPS", "7"], ""));
    }

    #[test]
    fn a_damaged_key_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("signing-key.json");
        for damaged in [r#"{"key":"00","made":"2026-11-30T00:00:00Z"}"#, "{"] {
            std::fs::write(&path, damaged).unwrap();
            let signature =
                |dir: &Path| SigningKey::of(dir).unwrap().signer(Purpose::DeferredIds).sign(["a"]);
            assert_eq!(signature(dir.path()), signature(dir.path()));
        }
    }
}
