//! Values that are one of a few words.

use serde::{
    Deserializer,
    de::{DeserializeOwned, Error, IntoDeserializer, value},
};

/// Reads one by the names that serde has for them, which its error lists; that of `config` does not.
pub(super) fn one_of<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: DeserializeOwned,
    D: Deserializer<'de>,
{
    let word: String = serde::Deserialize::deserialize(deserializer)?;
    T::deserialize(word.into_deserializer()).map_err(|error: value::Error| D::Error::custom(error))
}

/// The same where it may be left out.
pub(super) fn some_of<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: DeserializeOwned,
    D: Deserializer<'de>,
{
    one_of(deserializer).map(Some)
}
