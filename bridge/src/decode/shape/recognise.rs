//! The conditions by which a shape or one of its rules recognises a message.

use std::collections::BTreeMap;

use async_nats::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value};
use wildmatch::WildMatch;

use crate::json;

/// A set of conditions, all of which must hold.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Recognise {
    /// The keys that must be there, each a path like "data.severity". A value of null counts as absent.
    has: Vec<String>,
    /// The keys that must not be there.
    lacks: Vec<String>,
    /// The JSON types that values must have.
    is: BTreeMap<String, Type>,
    /// The patterns, with `*` and `?`, of which a value must fit one.
    values: BTreeMap<String, Patterns>,
    /// The patterns of which a header must fit one. The case of its name does not matter.
    headers: BTreeMap<String, Patterns>,
    /// Sets of conditions of which one must hold.
    any: Vec<Recognise>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Type {
    Object,
    Array,
    Text,
    Number,
    Boolean,
    Null,
}

/// Patterns, which are compiled when the file is read.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "Written")]
struct Patterns(Vec<WildMatch>);

/// Patterns as they are written.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a pattern or a list of patterns")]
enum Written {
    One(String),
    AnyOf(Vec<String>),
}

impl From<Written> for Patterns {
    fn from(written: Written) -> Self {
        let patterns = match written {
            Written::One(pattern) => vec![pattern],
            Written::AnyOf(patterns) => patterns,
        };
        Self(patterns.iter().map(|pattern| WildMatch::new(pattern)).collect())
    }
}

impl Patterns {
    fn fit(&self, text: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(text))
    }
}

impl Recognise {
    /// Whether there is no condition at all.
    pub(super) fn is_empty(&self) -> bool {
        self.has.is_empty()
            && self.lacks.is_empty()
            && self.is.is_empty()
            && self.values.is_empty()
            && self.headers.is_empty()
            && self.any.is_empty()
    }

    pub(super) fn holds(&self, object: &Map<String, Value>, headers: Option<&HeaderMap>) -> bool {
        let at = |path: &String| at(object, path).filter(|value| !value.is_null());
        self.has.iter().all(|path| at(path).is_some())
            && self.lacks.iter().all(|path| at(path).is_none())
            && self
                .is
                .iter()
                .all(|(path, of)| self::at(object, path).is_some_and(|value| of.is_of(value)))
            && self.values.iter().all(|(path, patterns)| {
                at(path).and_then(json::scalar).is_some_and(|text| patterns.fit(&text))
            })
            && self.headers.iter().all(|(name, patterns)| {
                header(headers, name).is_some_and(|value| patterns.fit(&value))
            })
            && (self.any.is_empty() || self.any.iter().any(|any| any.holds(object, headers)))
    }
}

impl Type {
    fn is_of(self, value: &Value) -> bool {
        match self {
            Self::Object => value.is_object(),
            Self::Array => value.is_array(),
            Self::Text => value.is_string(),
            Self::Number => value.is_number(),
            Self::Boolean => value.is_boolean(),
            Self::Null => value.is_null(),
        }
    }
}

/// Returns the value at a path. A key that has dots in it is found, too.
fn at<'a>(object: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(value) = object.get(path) {
        return Some(value);
    }
    path.match_indices('.').find_map(|(dot, _)| {
        let (key, rest) = (&path[..dot], &path[dot + 1..]);
        match object.get(key)? {
            Value::Object(inner) => at(inner, rest),
            Value::Array(items) => {
                let (index, rest) = match rest.split_once('.') {
                    Some((index, rest)) => (index, Some(rest)),
                    None => (rest, None),
                };
                let item = items.get(index.parse::<usize>().ok()?)?;
                match rest {
                    None => Some(item),
                    Some(rest) => at(item.as_object()?, rest),
                }
            }
            _ => None,
        }
    })
}

/// Returns the value of a header, whatever the case of its name.
fn header(headers: Option<&HeaderMap>, name: &str) -> Option<String> {
    let mut headers = headers?.iter();
    let (_, values) = headers.find(|(own, _)| {
        let own: &str = own.as_ref();
        own.eq_ignore_ascii_case(name)
    })?;
    values.first().map(|value| value.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use async_nats::{HeaderName, HeaderValue};
    use serde_json::json;

    use super::*;
    use crate::nats::headers;

    fn holds(toml: &str, message: &Value, header: Option<(&str, &str)>) -> bool {
        let mut map = HeaderMap::new();
        if let Some((name, value)) = header {
            let name: HeaderName = name.parse().unwrap();
            headers::add(&mut map, &name, &value.parse::<HeaderValue>().unwrap());
        }
        let recognise: Recognise = toml::from_str(toml).unwrap();
        recognise.holds(message.as_object().unwrap(), Some(&map))
    }

    #[test]
    fn each_condition_must_hold() {
        let message = json!({ "a": { "b": [{ "c": "deep" }], "n": 5, "x.y": true }, "null": null });
        for (toml, expected) in [
            ("has = ['a.b']", true),
            ("has = ['a.z']", false),
            ("has = ['null']", false),
            ("lacks = ['null', 'z']", true),
            ("lacks = ['a']", false),
            ("values = { 'a.b.0.c' = 'd*p' }", true),
            ("values = { 'a.b.1.c' = '*' }", false),
            ("values = { 'a.n' = ['4', '5'] }", true),
            ("values = { 'a.x.y' = 'true' }", true),
            ("is = { 'a.b' = 'array', 'a' = 'object' }", true),
            ("is = { 'a.n' = 'text' }", false),
            ("is = { 'null' = 'null' }", true),
            ("is = { 'z' = 'null' }", false),
            ("any = [{ has = ['z'] }, { has = ['a'] }]", true),
            ("any = [{ has = ['z'] }]", false),
            ("has = ['a']\nany = [{ has = ['z'] }]", false),
        ] {
            assert_eq!(holds(toml, &message, None), expected, "{toml}");
        }
        assert!(toml::from_str::<Recognise>("keys = ['a']").is_err());
    }

    #[test]
    fn a_header_is_known_by_its_name_in_any_case() {
        let push = Some(("x-github-event", "push"));
        assert!(holds("headers = { 'X-GitHub-Event' = '*' }", &json!({}), push));
        assert!(!holds("headers = { 'X-GitHub-Event' = 'ping' }", &json!({}), push));
        assert!(!holds("headers = { 'X-Gitea-Event' = '*' }", &json!({}), push));
    }
}
