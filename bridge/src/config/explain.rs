//! One clear line for each way in which a configuration cannot be read.

use config::ConfigError;

use super::place::Source;
use crate::suggest;

/// Names the file or the variable, the key and, for an unknown key, the nearest one that exists.
///
/// `is_variable` tells whether the environment has a variable of a name.
pub(super) fn explain(
    error: &ConfigError,
    source: Source<'_>,
    is_variable: impl Fn(&str) -> bool,
) -> String {
    let file = source.to_string();
    let place = |key: Option<&str>, inner: Option<&str>| {
        let key = key.map(dotted);
        let path: Vec<&str> = key.as_deref().into_iter().chain(inner).collect();
        let variable =
            format!("NATS_MATRIX__{}", path.join("__").replace('.', "__").to_uppercase());
        match &key {
            _ if is_variable(&variable) => format!("environment variable {variable}"),
            Some(key) => {
                let path: Vec<&str> = std::iter::once(key.as_str()).chain(inner).collect();
                format!("{}: {key}", source.place(&path.join(".")))
            }
            None if inner.is_some() => source.place(&path.join(".")),
            None => file.clone(),
        }
    };
    let message = |text: &str, key: Option<&str>| match unknown_field(text) {
        Some((name, advice)) => format!("{}: {advice}", place(key, Some(name))),
        None => format!("{}: {text}", place(key, None)),
    };
    match error {
        ConfigError::NotFound(key) => format!("{}: missing", place(Some(key), None)),
        ConfigError::At { error, key, .. } => message(&error.to_string(), key.as_deref()),
        ConfigError::Type { unexpected, expected, key, .. } => {
            format!("{}: is {unexpected}, but must be {expected}", place(key.as_deref(), None))
        }
        other => message(&other.to_string(), None),
    }
}

/// The library writes "routes[0]name" for "routes[0].name".
fn dotted(key: &str) -> String {
    let mut dotted = String::with_capacity(key.len() + 1);
    for c in key.chars() {
        if dotted.ends_with(']') && c.is_alphanumeric() {
            dotted.push('.');
        }
        dotted.push(c);
    }
    dotted
}

/// Turns serde's "unknown field `servrs`, expected one of `servers`, `token`" into the name and
/// advice.
fn unknown_field(text: &str) -> Option<(&str, String)> {
    let rest = text.strip_prefix("unknown field ")?;
    let mut names = rest.split('`').skip(1).step_by(2);
    let unknown = names.next()?;
    let known: Vec<&str> = names.collect();
    let advice = match suggest::nearest(unknown, known.iter().copied()) {
        Some(name) => format!("unknown key \"{unknown}\"; did you mean \"{name}\"?"),
        None => format!("unknown key \"{unknown}\"; the keys here are {}", known.join(", ")),
    };
    Some((unknown, advice))
}
