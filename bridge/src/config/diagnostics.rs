//! The error texts for a configuration that cannot be read, one line each.

use config::ConfigError;

use crate::{config::location::Source, suggest};

/// Returns a line that names the file or the variable, the key and, for an unknown key, the nearest one that exists.
///
/// `is_variable` tells whether the environment has a variable of that name.
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
    let message = |text: &str, key: Option<&str>| {
        if let Some((name, advice)) = unknown_field(text) {
            return format!("{}: {advice}", place(key, Some(name)));
        }
        let words = unknown_word(text).or_else(|| other_type(text));
        format!("{}: {}", place(key, None), words.as_deref().unwrap_or(text))
    };
    match error {
        ConfigError::NotFound(key) => format!("{}: missing", place(Some(key), None)),
        ConfigError::At { error, key, .. } => message(&error.to_string(), key.as_deref()),
        ConfigError::Type { unexpected, expected, key, .. } => {
            let words = is_not(&unexpected.to_string(), expected);
            format!("{}: {words}", place(key.as_deref(), None))
        }
        other => message(&other.to_string(), None),
    }
}

/// Inserts the dot that the library leaves out: it writes `routes[0]name` for `routes[0].name`.
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

/// Turns serde's "unknown field `servrs`, expected one of `servers`, `token`" into the name and advice.
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

/// Turns serde's "unknown variant `loud`, expected one of `error`, `warn`" into words.
fn unknown_word(text: &str) -> Option<String> {
    let rest = text.strip_prefix("unknown variant ")?;
    let mut words = rest.split('`').skip(1).step_by(2);
    let unknown = words.next()?;
    let known: Vec<&str> = words.collect();
    Some(format!("\"{unknown}\" is not one of {}", known.join(", ")))
}

/// Turns serde's "invalid type: string "day", expected struct Written" into words.
fn other_type(text: &str) -> Option<String> {
    let (unexpected, expected) = text.strip_prefix("invalid type: ")?.split_once(", expected ")?;
    Some(is_not(unexpected, expected))
}

/// Repeats a number where another one is expected. Any other value may be a secret under the wrong key.
fn is_not(unexpected: &str, expected: &str) -> String {
    let expected = plain(expected);
    let (kind, value) = unexpected.split_once([' ', '-']).unwrap_or((unexpected, ""));
    let unexpected = match kind {
        "64" | "128" | "integer" | "unsigned" | "floating" => match value.split('`').nth(1) {
            Some(number) if expected.contains("number") => format!("the number `{number}`"),
            _ => "a number".to_owned(),
        },
        "string" => "a string".to_owned(),
        "boolean" => "true or false".to_owned(),
        "sequence" => "a list".to_owned(),
        "map" => "a table".to_owned(),
        _ => "something else".to_owned(),
    };
    format!("is {unexpected}, but must be {expected}")
}

/// Translates the libraries' names for Rust types into words for people who write TOML.
fn plain(expected: &str) -> &str {
    match expected {
        "f64" => "a number",
        "sequence" | "a sequence" => "a list, like [\"a\", \"b\"]",
        "an integer" => "a whole number",
        _ if expected.starts_with("an unsigned") => "a whole number that is not negative",
        _ if expected.starts_with("struct ") => "a table, like { key = \"value\" }",
        _ => expected,
    }
}
