//! Values that are one of a few words.

use serde::{
    Deserializer,
    de::{DeserializeOwned, Error, IntoDeserializer, value},
};

/// Reads a value by the names that serde knows for it. The error lists those names, while the error of `config` does
/// not.
pub(super) fn one_of<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: DeserializeOwned,
    D: Deserializer<'de>,
{
    let word: String = serde::Deserialize::deserialize(deserializer)?;
    T::deserialize(word.into_deserializer()).map_err(|error: value::Error| D::Error::custom(error))
}

/// Reads an optional value of this kind.
pub(super) fn some_of<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: DeserializeOwned,
    D: Deserializer<'de>,
{
    one_of(deserializer).map(Some)
}
