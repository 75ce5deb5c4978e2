//! Parses JSON from untrusted publishers within a budget: it keeps as much of a document as can be shown, in memory
//! that does not depend on how the document is built.
//!
//! A parsed [`Value`] takes many times the bytes of its text (`[0,0,0,…]`, `{"a":{},…}`), so one message of the usual
//! 1 MB limit could use up all of the service's memory. Here a document is read to its end in one pass, but only the
//! first of its values are kept.

use std::{cell::Cell, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

/// The maximum length of one kept string or key, in bytes. No message shows as much.
pub(crate) const MOST_TEXT: usize = 32 * 1024;

/// The maximum number of kept entries of one array or object.
pub(crate) const MOST_ENTRIES: usize = 512;

/// The maximum number of kept values in a document.
const MOST_VALUES: usize = 4_096;

/// The maximum number of kept bytes of text and keys in a document.
const MOST_TEXT_IN_ALL: usize = 256 * 1024;

/// The number of levels of objects in which an entry gets at most half of the remaining budget, so that a long list
/// does not crowd out the entries beside it.
const SHARED_LEVELS: usize = 3;

/// The kept part of a document, and whether anything was left out.
#[derive(Debug, PartialEq)]
pub(crate) struct Kept<T> {
    pub(crate) value: T,
    pub(crate) is_cut: bool,
}

/// Parses a JSON object.
///
/// # Errors
///
/// The errors of [`serde_json::from_str`]: the text is not JSON, not an object, or nested deeper than 128 levels.
pub(crate) fn object(text: &str) -> serde_json::Result<Kept<Map<String, Value>>> {
    object_of(text, 1)
}

/// Parses one of several JSON objects, which share the budget of one.
///
/// # Errors
///
/// The errors of [`object`].
pub(crate) fn object_of(
    text: &str,
    several: usize,
) -> serde_json::Result<Kept<Map<String, Value>>> {
    let several = several.max(1);
    let budget = Budget {
        values: Cell::new(MOST_VALUES / several),
        text: Cell::new(MOST_TEXT_IN_ALL / several),
        is_cut: Cell::new(false),
    };
    let kept = within(text, &budget)?;
    match kept.value {
        Value::Object(value) => Ok(Kept { value, is_cut: kept.is_cut }),
        _ => Err(serde::de::Error::custom("it is not an object")),
    }
}

/// Parses any JSON value.
///
/// # Errors
///
/// The errors of [`object`].
pub(crate) fn any(text: &str) -> serde_json::Result<Kept<Value>> {
    within(text, &Budget::default())
}

fn within(text: &str, budget: &Budget) -> serde_json::Result<Kept<Value>> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = Node { budget, level: 0 }.deserialize(&mut json)?;
    json.end()?;
    Ok(Kept { value: value.unwrap_or_default(), is_cut: budget.is_cut.get() })
}

/// Returns the value at a path of keys and indices, if there is one.
///
/// # Errors
///
/// Fails if the text is not JSON.
pub(crate) fn at(text: &str, path: &[String]) -> serde_json::Result<Option<Value>> {
    let budget = Budget::default();
    let mut json = serde_json::Deserializer::from_str(text);
    let found = At { path, budget: &budget }.deserialize(&mut json)?;
    json.end()?;
    Ok(found)
}

/// Passes each element of the array at `key` in the object `text` to `take`, one after another.
///
/// # Errors
///
/// Fails if the text is not JSON, or if an element is not a `T`.
pub(crate) fn each<'de, T: Deserialize<'de>>(
    text: &'de str,
    key: &str,
    take: impl FnMut(T),
) -> serde_json::Result<()> {
    let mut json = serde_json::Deserializer::from_str(text);
    Each { key, take, of: PhantomData }.deserialize(&mut json)?;
    json.end()
}

/// Deserializes any value, as a field of one of our types.
pub(crate) fn value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    let budget = Budget::default();
    let value = (Node { budget: &budget, level: 0 }).deserialize(deserializer)?;
    Ok(value.unwrap_or_default())
}

/// Deserializes a map with values of any kind, as a field of one of our types. A value that is no map is an empty one.
pub(crate) fn map_if_any<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Map<String, Value>, D::Error> {
    match value(deserializer)? {
        Value::Object(map) => Ok(map),
        _ => Ok(Map::new()),
    }
}

/// Passes each element of the array `text` to `take`, one after another.
///
/// # Errors
///
/// The errors of [`each`].
pub(crate) fn elements<'de, T: Deserialize<'de>>(
    text: &'de str,
    mut take: impl FnMut(T),
) -> serde_json::Result<()> {
    let mut json = serde_json::Deserializer::from_str(text);
    Elements { take: &mut take, of: PhantomData }.deserialize(&mut json)?;
    json.end()
}

/// Returns a text, a number or a boolean as text.
pub(crate) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Cuts a text to [`MOST_TEXT`] bytes, and returns whether it was longer.
pub(crate) fn shorten(text: &mut String) -> bool {
    let is_long = text.len() > MOST_TEXT;
    if is_long {
        text.truncate(text.floor_char_boundary(MOST_TEXT));
        text.shrink_to_fit();
    }
    is_long
}

/// The remaining budget of a document.
struct Budget {
    values: Cell<usize>,
    text: Cell<usize>,
    is_cut: Cell<bool>,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            values: Cell::new(MOST_VALUES),
            text: Cell::new(MOST_TEXT_IN_ALL),
            is_cut: Cell::new(false),
        }
    }
}

impl Budget {
    /// Takes one value from the budget, and returns whether there was one left.
    fn takes_value(&self) -> bool {
        let left = self.values.get();
        self.values.set(left.saturating_sub(1));
        self.is_cut.set(self.is_cut.get() || left == 0);
        left > 0
    }

    /// Returns as much of a text as the budget allows.
    fn text(&self, text: &str) -> String {
        let left = self.text.get();
        let kept = &text[..text.floor_char_boundary(left.min(MOST_TEXT))];
        self.text.set(left - kept.len());
        self.is_cut.set(self.is_cut.get() || kept.len() < text.len());
        kept.to_owned()
    }

    /// Runs `work` with at most half of the remaining budget.
    fn share<T>(&self, work: impl FnOnce() -> T) -> T {
        let (values, text) = (self.values.get(), self.text.get());
        let (kept_back, text_kept_back) = (values / 2, text / 2);
        self.values.set(values - kept_back);
        self.text.set(text - text_kept_back);
        let done = work();
        self.values.set(self.values.get() + kept_back);
        self.text.set(self.text.get() + text_kept_back);
        done
    }

    fn cut(&self) {
        self.is_cut.set(true);
    }
}

/// A value of any kind. It deserializes to `None` if the budget is used up.
struct Node<'a> {
    budget: &'a Budget,
    level: usize,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if self.budget.takes_value() {
            deserializer.deserialize_any(self)
        } else {
            IgnoredAny::deserialize(deserializer).map(|_| None)
        }
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Some(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(Some(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Some(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Some(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Some(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Some(Number::from_f64(value).map_or(Value::Null, Value::Number)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Value::String(self.budget.text(text))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while items.len() < MOST_ENTRIES {
            match seq.next_element_seed(self.within())? {
                Some(Some(item)) => items.push(item),
                Some(None) => break,
                None => return Ok(Some(Value::Array(items))),
            }
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {
            self.budget.cut();
        }
        Ok(Some(Value::Array(items)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Map::new();
        let most = if self.level == 0 { MOST_VALUES } else { MOST_ENTRIES };
        while entries.len() < most {
            let Some(key) = map.next_key_seed(Text(&self))? else {
                return Ok(Some(Value::Object(entries)));
            };
            let mut value = || map.next_value_seed(self.within());
            let is_shared = self.level < SHARED_LEVELS;
            match if is_shared { self.budget.share(value) } else { value() }? {
                Some(value) => drop(entries.insert(key, value)),
                None => break,
            }
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            self.budget.cut();
        }
        Ok(Some(Value::Object(entries)))
    }
}

impl Node<'_> {
    /// A node for the values inside this one.
    fn within(&self) -> Node<'_> {
        Node { budget: self.budget, level: self.level + 1 }
    }
}

/// The key of an entry.
struct Text<'a>(&'a Node<'a>);

impl<'de> DeserializeSeed<'de> for Text<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Text<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(self.0.budget.text(text))
    }
}

/// The value at a path. If an object has a key twice, the last one counts, as in a [`Value`].
struct At<'a> {
    path: &'a [String],
    budget: &'a Budget,
}

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        match self.path {
            [] => Node { budget: self.budget, level: 0 }.deserialize(deserializer),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let index = self.path[0].parse::<usize>().ok();
        let mut found = None;
        for number in 0.. {
            if Some(number) == index {
                let rest = At { path: &self.path[1..], budget: self.budget };
                found = seq.next_element_seed(rest)?.flatten();
            } else if seq.next_element::<IgnoredAny>()?.is_none() {
                break;
            }
        }
        Ok(found)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_it) = map.next_key_seed(Is(&self.path[0]))? {
            if is_it {
                let budget = Budget::default();
                let rest = At { path: &self.path[1..], budget: &budget };
                found = map.next_value_seed(rest)?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Compares a key with the given one.
struct Is<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

/// The elements of the array at one key of an object.
struct Each<'a, T, F> {
    key: &'a str,
    take: F,
    of: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>, F: FnMut(T)> DeserializeSeed<'de> for Each<'_, T, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Deserialize<'de>, F: FnMut(T)> Visitor<'de> for Each<'_, T, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(is_it) = map.next_key_seed(Is(self.key))? {
            if is_it {
                map.next_value_seed(Elements { take: &mut self.take, of: PhantomData })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

struct Elements<'a, T, F> {
    take: &'a mut F,
    of: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>, F: FnMut(T)> DeserializeSeed<'de> for Elements<'_, T, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: Deserialize<'de>, F: FnMut(T)> Visitor<'de> for Elements<'_, T, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(element) = seq.next_element()? {
            (self.take)(element);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Counts all values of a document.
    fn count(value: &Value) -> usize {
        1 + match value {
            Value::Array(items) => items.iter().map(count).sum(),
            Value::Object(entries) => entries.values().map(count).sum(),
            _ => 0,
        }
    }

    #[test]
    fn a_usual_document_is_kept_whole() {
        let document = json!({
            "a": [1, -2, 2.5, true, null, "x\n\u{1f600}", { "b": [] }],
            "long": "y".repeat(MOST_TEXT),
            "deep": [[[[[{ "c": {} }]]]]],
        });
        let kept = any(&document.to_string()).unwrap();
        assert_eq!(kept, Kept { value: document, is_cut: false });
        for wrong in ["{", "{} x", "[1,]", "\u{feff}{}"] {
            assert!(any(wrong).is_err(), "{wrong}");
        }
        assert!(object("[]").is_err());
    }

    #[test]
    fn of_too_much_only_so_much_is_kept_and_what_stands_beside_it_all_the_same() {
        let many = 100_000;
        let zeros = format!("[{}0]", "0,".repeat(many));
        let empty = format!("[{}{{}}]", "{},".repeat(many));
        let keys: Vec<String> = (0..many).map(|number| format!("\"k{number}\":0")).collect();
        let keys = format!("{{{}}}", keys.join(","));
        let nested = format!("[{}0]", "[[[0]]],".repeat(many));
        let long = format!("\"{}\"", "\\u0000".repeat(many));
        for junk in [zeros, empty, keys, nested, long] {
            let junk_of_many = format!("[{}0]", format!("{junk},").repeat(3));
            for junk in [junk, junk_of_many] {
                let text = format!(r#"{{"a":{junk},"b":{{"a":{junk}}},"last":"here"}}"#);
                let kept = object(&text).unwrap_or_else(|error| panic!("{error}: {text:.60}"));
                assert!(kept.is_cut, "{text:.60}");
                assert_eq!(kept.value["last"], "here", "{text:.60}");
                let value = Value::Object(kept.value);
                assert!(count(&value) <= MOST_VALUES + 1);
                let length = value.to_string().len();
                assert!(length < 8 * MOST_TEXT_IN_ALL, "{length}");
            }
        }
        let text = format!(r#"{{"{}":1}}"#, "k".repeat(1_000_000));
        assert_eq!(object(&text).unwrap().value.keys().next().map(String::len), Some(MOST_TEXT));
    }

    #[test]
    fn a_path_leads_into_objects_and_arrays() {
        let text = r#"{"a":{"b":[10,{"c":"x"},null]},"d":1,"a.b":2,"d":{"e":3}}"#;
        let at = |path: &[&str]| {
            at(text, &path.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>()).unwrap()
        };
        assert_eq!(at(&["a", "b", "0"]), Some(json!(10)));
        assert_eq!(at(&["a", "b", "1", "c"]), Some(json!("x")));
        assert_eq!(at(&["a", "b", "2"]), Some(Value::Null));
        assert_eq!(at(&["a.b"]), Some(json!(2)));
        assert_eq!(at(&["d", "e"]), Some(json!(3)), "the last of two");
        for nothing in [&["a", "b", "3"][..], &["a", "c"], &["a", "b", "x"], &["a", "b", "0", "c"]]
        {
            assert_eq!(at(nothing), None, "{nothing:?}");
        }
        assert!(super::at("{\"a\":1} x", &["a".to_owned()]).is_err(), "not JSON");
    }

    #[test]
    fn elements_of_an_array_are_given_one_by_one() {
        let mut sum = 0;
        each(r#"{"x":[7],"n":[1,2,3],"y":{}}"#, "n", |number: u32| sum += number).unwrap();
        assert_eq!(sum, 6);
        assert!(each(r#"{"n":[1,"2"]}"#, "n", |_: u32| ()).is_err());
        assert!(each(r#"{"n":[1]} x"#, "n", |_: u32| ()).is_err());
    }
}
