//! The JSON Schema of the configuration, for editors and for the book.
//!
//! Besides the keywords of JSON Schema, a key may have `x-type`, a more exact word for its type, and `x-default`, the
//! words for a default that is not always the same value. Both are Markdown.

use schemars::{Schema, generate::SchemaSettings, transform::RecursiveTransform};
use serde_json::Value;

use crate::config::RawConfig;

/// Returns the JSON Schema of a configuration file.
pub(crate) fn schema() -> Schema {
    let settings = SchemaSettings::draft2020_12().with(|with| with.inline_subschemas = true);
    let generator = settings.with_transform(RecursiveTransform(without_null)).into_generator();
    generator.into_root_schema_for::<RawConfig>()
}

/// Removes null, which TOML does not have: a key that may be missing is simply not required.
fn without_null(schema: &mut Schema) {
    let is_null = |value: &Value| value == "null";
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|kind| !is_null(kind));
        if let [kind] = &types[..] {
            let kind = kind.clone();
            schema.insert("type".to_owned(), kind);
        }
    }
    if let Some(Value::Array(options)) = schema.get_mut("anyOf") {
        options.retain(|option| !option.get("type").is_some_and(is_null));
        if let [Value::Object(option)] = &mut options[..] {
            let option = std::mem::take(option);
            schema.remove("anyOf");
            for (keyword, value) in option {
                // The description of the key says more than that of its type.
                if schema.get(&keyword).is_none() {
                    schema.insert(keyword, value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, path::Path, sync::Arc};

    use serde_json::{Map, json};
    use toml::Table;

    use super::*;
    use crate::config::{Config, Publisher};

    /// The smallest configuration, with a route whose keys may all be given.
    fn smallest() -> Table {
        let text = r##"
            nats.servers = ["tls://nats.example.com:4222"]
            matrix = { homeserver = "http://127.0.0.1:6167", user = "bridge", password_file = "matrix-password" }
            routes = [{ name = "reports", stream = "OPS", subjects = ["ops.report.>"], room = "#ops:chat.example.com" }]
            provision = { conduit = "conduit.toml" }
            users = { alice = {} }
        "##;
        text.parse().unwrap()
    }

    /// The keys that a key needs beside it, or for a section on top; `null` for one that must not be there.
    fn beside(section: &str, key: &str) -> Value {
        match (section, key) {
            ("nats", "cert_file") => json!({"key_file": "bridge.key"}),
            ("nats", "key_file") => json!({"cert_file": "bridge.pem"}),
            ("nats", "user") => json!({"password": "s3cret"}),
            ("nats", "password" | "password_file") => json!({"user": "bridge"}),
            ("matrix", "access_token" | "access_token_file") => {
                json!({"user": null, "password_file": null})
            }
            ("matrix", "password") => json!({"password_file": null}),
            ("routes", "fallback_room" | "new_rooms_per_hour" | "room_creators") => {
                json!({"room": "#ops-{subject.3}:chat.example.com"})
            }
            ("provision", "registration_secret_file") => json!({"conduit": null}),
            _ => json!({}),
        }
    }

    /// Sets a key of a section.
    fn with(section: &str, key: &str, value: &Value) -> Table {
        let mut config = smallest();
        let table = match section {
            "routes" => config["routes"].as_array_mut().unwrap()[0].as_table_mut(),
            "users" | "rooms" => {
                let named = config.entry(section).or_insert(Table::new().into());
                let one = named.as_table_mut().unwrap().entry("ops").or_insert(Table::new().into());
                one.as_table_mut()
            }
            _ => config.entry(section).or_insert(Table::new().into()).as_table_mut(),
        };
        let table = table.unwrap();
        for (key, value) in beside(section, key).as_object().unwrap() {
            match value {
                Value::Null => drop(table.remove(key)),
                value => drop(table.insert(key.clone(), toml::Value::try_from(value).unwrap())),
            }
        }
        table.insert(key.to_owned(), toml::Value::try_from(value).unwrap());
        config
    }

    /// Reads a configuration, and returns all that it says, as text.
    fn said(config: &Table) -> Result<String, String> {
        let (text, file) = (config.to_string(), Path::new("/etc/nats-matrix/config.toml"));
        let none = HashMap::new();
        let mut bridge = Config::parse(&text, file, &none).map_err(|wrong| wrong.to_string())?;
        for route in &mut bridge.routes {
            route.written = Arc::default();
        }
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.toml");
        std::fs::write(&file, &text).unwrap();
        let publisher = Publisher::load_with(&file, None, none).unwrap();
        let dead_letters = &bridge.nats.dead_letter_subject;
        Ok(format!("{bridge:?}\n{dead_letters}\n{:?}", publisher.publish))
    }

    /// All keys with their schemas, as (section, key, schema).
    fn keys() -> Vec<(String, String, Map<String, Value>)> {
        let schema = schema().to_value();
        let sections = schema["properties"].as_object().unwrap().iter();
        sections
            .flat_map(|(section, of)| {
                let inner = of.get("items").or(of.get("additionalProperties"));
                let inner = inner.filter(|inner| inner.is_object()).unwrap_or(of);
                // A key outside of all sections has none.
                let keys = inner["properties"].as_object().into_iter().flatten();
                keys.map(|(key, of)| {
                    (section.clone(), key.clone(), of.as_object().unwrap().clone())
                })
            })
            .collect()
    }

    #[test]
    fn every_key_has_a_description_and_an_example_that_is_accepted() {
        let keys = keys();
        assert!(keys.len() > 70, "{}", keys.len());
        for (section, key, schema) in keys {
            assert!(schema.contains_key("description"), "{section}.{key}");
            let examples = schema.get("examples").and_then(Value::as_array);
            let examples = examples.unwrap_or_else(|| panic!("{section}.{key} has no example"));
            for example in examples {
                if let Err(wrong) = said(&with(&section, &key, example)) {
                    panic!("{section}.{key} = {example}: {wrong}");
                }
            }
        }
    }

    #[test]
    fn a_default_means_the_same_as_no_value() {
        let mut count = 0;
        for (section, key, schema) in keys() {
            let Some(default) = schema.get("default") else { continue };
            count += 1;
            let given = with(&section, &key, default);
            let mut absent = given.clone();
            let table = match section.as_str() {
                "routes" => &mut absent["routes"].as_array_mut().unwrap()[0],
                "users" | "rooms" => &mut absent[&section]["ops"],
                _ => &mut absent[&section],
            };
            table.as_table_mut().unwrap().remove(&key);
            assert_eq!(said(&given), said(&absent), "{section}.{key} = {default}");
        }
        assert!(count > 20, "{count}");
    }

    #[test]
    fn nothing_of_the_schema_is_null() {
        let text = serde_json::to_string(&schema()).unwrap();
        assert!(!text.contains("null"), "{text}");
    }
}
