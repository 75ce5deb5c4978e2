//! The options of services.natsMatrix, from the NixOS module. Nix evaluates them.

use std::{collections::BTreeMap, io, path::Path, process::Command};

use serde::Deserialize;
use serde_json::Value;

use crate::{
    filled,
    markdown::{code, on_a_page, table},
};

/// The expression that returns all options.
const EXPRESSION: &str = "nixos-module/reference.nix";

/// An option. Its default and its example may be `{ "literal": ... }`, which is Markdown.
#[derive(Debug, Deserialize)]
struct Opt {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    description: String,
    #[serde(default, deserialize_with = "given")]
    default: Option<Value>,
    example: Option<Value>,
}

/// Reads a value that is there, which may be null.
fn given<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

/// Returns the path and the text of the page.
///
/// # Errors
///
/// The kind of the error is [`io::ErrorKind::NotFound`] if there is no Nix.
pub(crate) fn page(root: &Path) -> io::Result<(String, String)> {
    let mut nix = Command::new("nix-instantiate");
    // Nothing is built, so no store is needed.
    nix.args(["--eval", "--strict", "--json", "--store", "dummy://"]).arg(root.join(EXPRESSION));
    let output = nix.output().map_err(|error| {
        io::Error::new(error.kind(), format!("nix-instantiate (apt install nix-bin): {error}"))
    })?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let options: Vec<Opt> = serde_json::from_slice(&output.stdout)?;
    let mut groups = BTreeMap::<String, Vec<[String; 5]>>::new();
    for option in &options {
        let group = match option.name.split_once('.') {
            Some((group, _)) => group,
            // The options of the accounts come after the one for all of them.
            None if options
                .iter()
                .any(|other| other.name.starts_with(&format!("{}.", option.name))) =>
            {
                &option.name
            }
            None => "general",
        };
        groups.entry(group.to_owned()).or_default().push(option.row());
    }
    let columns = ["option", "type", "default", "example", "meaning"];
    let blocks = groups.into_iter().map(|(name, rows)| (name, table(columns, &rows))).collect();
    filled(root, "nixos-options", &blocks)
}

impl Opt {
    fn row(&self) -> [String; 5] {
        let default = self.default.as_ref().map_or_else(|| "required".to_owned(), shown);
        let example = self.example.as_ref().map(shown).unwrap_or_default();
        [code(&self.name), self.kind.clone(), default, example, plain(&self.description)]
    }
}

/// A value as Nix, or words.
fn shown(value: &Value) -> String {
    value["literal"].as_str().map_or_else(|| code(&nix(value)), plain)
}

/// A description without the roles of NixOS, and with links for a page of the reference.
fn plain(text: &str) -> String {
    let text = text.replace("{option}`services.natsMatrix.", "`").replace("{option}", "");
    let mut parts = text.split("{manpage}`");
    let first = parts.next().unwrap_or_default().to_owned();
    let text = parts.fold(first, |text, part| text + part.replacen('`', "", 1).as_str());
    on_a_page(&text)
}

/// A value in the language of Nix, in one line.
fn nix(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: String = items.iter().map(|item| nix(item) + " ").collect();
            format!("[ {items}]")
        }
        Value::Object(attributes) => {
            let is_bare = |key: &str| {
                key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            };
            let pair = |(key, value): (&String, &Value)| {
                let key = if is_bare(key) { key.clone() } else { format!("\"{key}\"") };
                format!("{key} = {}; ", nix(value))
            };
            format!("{{ {}}}", attributes.iter().map(pair).collect::<String>())
        }
        other => other.to_string(),
    }
}
