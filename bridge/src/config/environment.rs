//! Reads a configuration file, overridden by the process environment.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
};

use ::config::{Environment, File, FileFormat};
use serde::de::DeserializeOwned;

use crate::{
    config::{diagnostics, location::Source},
    failure::Failure,
};

/// The prefix of our variables' names.
const PREFIX: &str = "NATS_MATRIX__";

/// Returns the variables of this process that have our prefix.
///
/// # Errors
///
/// Returns [`Failure::Config`] if one of them is not UTF-8.
pub(super) fn variables() -> Result<HashMap<String, String>, Failure> {
    ours(std::env::vars_os())
}

fn ours(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<HashMap<String, String>, Failure> {
    variables.filter(|(name, _)| is_ours(name)).map(legible).collect()
}

/// Whether a variable is ours. The comparison ignores case, like the library that reads the variables.
fn is_ours(name: &OsStr) -> bool {
    let start = name.as_bytes().get(..PREFIX.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(PREFIX.as_bytes()))
}

/// Converts a variable to text. If it is not UTF-8, the error has only its name, as its value may be a secret.
fn legible((name, value): (OsString, OsString)) -> Result<(String, String), Failure> {
    let wrong = |name: &OsStr, what: &str| {
        let name = name.to_string_lossy();
        Failure::Config(format!("environment variable {name}: {what} is not UTF-8"))
    };
    let name = name.into_string().map_err(|name| wrong(&name, "its name"))?;
    let value = value.into_string().map_err(|_| wrong(name.as_ref(), "its value"))?;
    Ok((name, value))
}

/// Reads a file, overridden by the environment.
pub(super) fn read<T: DeserializeOwned>(
    source: Source<'_>,
    environment: &HashMap<String, String>,
) -> Result<T, Failure> {
    if let Some(fault) = source.fault() {
        return Err(Failure::Config(fault));
    }
    let variables = Environment::with_prefix("NATS_MATRIX")
        .prefix_separator("__")
        .separator("__")
        .source(Some(environment.clone()));
    ::config::Config::builder()
        .add_source(File::from_str(source.text, FileFormat::Toml))
        .add_source(variables)
        .build()
        .and_then(::config::Config::try_deserialize)
        .map_err(|error| {
            Failure::Config(diagnostics::explain(&error, source, |name| {
                environment.contains_key(name)
            }))
        })
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn variable(name: &[u8], value: &[u8]) -> (OsString, OsString) {
        (OsString::from_vec(name.to_vec()), OsString::from_vec(value.to_vec()))
    }

    #[test]
    fn variables_of_others_do_not_matter_and_ours_are_named_without_their_values() {
        let others = [
            variable(b"PASSWORD", b"hunter2\xff"),
            variable(b"NATS_MATRI\xff", b"x"),
            variable(b"NATS_MATRIX__NATS__USER", b"u"),
        ];
        let read = ours(others.into_iter()).unwrap();
        let expected = ("NATS_MATRIX__NATS__USER".to_owned(), "u".to_owned());
        assert_eq!(read, HashMap::from([expected]));
        for (name, said) in [
            (&b"NATS_MATRIX__NATS__TOKEN"[..], "NATS_MATRIX__NATS__TOKEN: its value is not UTF-8"),
            (b"NATS_MATRIX__NATS__\xff", "NATS_MATRIX__NATS__\u{fffd}: its name is not UTF-8"),
        ] {
            let wrong = ours([variable(name, b"hunter2\xff")].into_iter()).unwrap_err().to_string();
            assert!(wrong.contains(said) && !wrong.contains("hunter"), "{wrong}");
        }
    }
}
