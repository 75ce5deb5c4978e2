//! One clear line for each way in which a configuration cannot be read.

use std::path::Path;

use config::ConfigError;

/// Names the file or the variable, the key and, for an unknown key, the nearest one that exists.
pub(super) fn explain(error: &ConfigError, file: &Path) -> String {
    let file = file.display();
    match error {
        // The TOML parser's own text shows the line; it is worth its several lines.
        ConfigError::FileParse { cause, .. } => format!("{file}: not valid TOML: {cause}"),
        ConfigError::NotFound(key) => format!("{file}: {key}: missing"),
        ConfigError::At { error, origin, key } => {
            let place = place(origin.as_deref(), key.as_deref(), &file);
            match &**error {
                ConfigError::Message(text) => format!("{place}{}", unknown_field(text)),
                other => format!("{place}{other}"),
            }
        }
        ConfigError::Type { origin, unexpected, expected, key } => {
            let place = place(origin.as_deref(), key.as_deref(), &file);
            format!("{place}is {unexpected}, but must be {expected}")
        }
        ConfigError::Message(text) => format!("{file}: {}", unknown_field(text)),
        other => format!("{file}: {other}"),
    }
}

fn place(origin: Option<&str>, key: Option<&str>, file: &impl std::fmt::Display) -> String {
    let source = match origin {
        Some(origin) if origin.contains("env") => {
            let variable = key.unwrap_or_default().replace('.', "__").to_uppercase();
            return format!("environment variable NATS_MATRIX__{variable}: ");
        }
        _ => file.to_string(),
    };
    key.map_or_else(|| format!("{source}: "), |key| format!("{source}: {key}: "))
}

/// Turns serde's "unknown field `servrs`, expected one of `servers`, `token`" into advice.
fn unknown_field(text: &str) -> String {
    let Some(rest) = text.strip_prefix("unknown field ") else { return text.to_owned() };
    let mut names = rest.split('`').skip(1).step_by(2);
    let Some(unknown) = names.next() else { return text.to_owned() };
    let known: Vec<&str> = names.collect();
    let nearest = known
        .iter()
        .map(|name| (strsim::jaro_winkler(unknown, name), *name))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((_, name)) => format!("unknown key \"{unknown}\"; did you mean \"{name}\"?"),
        None => format!("unknown key \"{unknown}\"; the keys here are {}", known.join(", ")),
    }
}
