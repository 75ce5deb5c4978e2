//! The expressions of shapes: minijinja expressions over a message, with filters that no message can make costly.

use std::{
    collections::BTreeSet,
    fmt::{self, Write},
    sync::{LazyLock, OnceLock},
};

use jiff::{Timestamp, civil::DateTime, fmt::strtime, tz::TimeZone};
use minijinja::{
    Environment, Error, ErrorKind, Expression as Compiled, UndefinedBehavior, Value, context,
    filters, tests,
    value::{DynObject, Rest, Serde, ValueKind},
};

use crate::{
    decode::{number, shape::template},
    json,
    message::{Gist, rfc3339},
    suggest,
    text::shown,
};

/// The names that an expression can use. `item` exists only in a rule with `each`.
pub(super) const NAMES: [&str; 6] = ["payload", "headers", "subject", "tokens", "maps", "item"];

/// The maximum number of steps of one expression. A usual one takes less than a hundred.
const FUEL: u64 = 10_000;

/// The number of items that a filter takes from a list.
const MOST_ENTRIES: usize = json::MOST_ENTRIES;

/// The longest text that a filter makes, in bytes.
const MOST_MADE: usize = 4 * json::MOST_TEXT;

/// The environment of all expressions. It has no loops, no templates and only the filters that are listed here.
static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(environment);

/// An expression, compiled when it is first used: most messages come from few of the known senders.
pub(super) struct Expression {
    text: String,
    compiled: OnceLock<Option<Compiled<'static, 'static>>>,
}

impl Expression {
    /// Checks an expression without a message.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it and, if a name is misspelt, which one is probably meant.
    pub(super) fn parse(text: &str) -> Result<Self, Wrong> {
        let compiled = compile(text).map_err(|error| Wrong::Syntax(detail(&error)))?;
        for name in compiled.undeclared_variables(false).into_iter().collect::<BTreeSet<_>>() {
            if !NAMES.contains(&name.as_str()) {
                return Err(Wrong::name("name", &name, &NAMES));
            }
        }
        if let Some(method) = method_in(text) {
            return Err(Wrong::Method(method));
        }
        // Filters and tests are only looked up when an expression runs, so they are searched for in the text.
        for (sign, kind) in [("|", "filter"), (" is ", "test")] {
            let known: Vec<&str> = if kind == "filter" { FILTERS.into() } else { TESTS.into() };
            for name in words_after(text, sign) {
                if !known.contains(&name.as_str()) {
                    return Err(Wrong::name(kind, &name, &known));
                }
            }
        }
        Ok(Self { text: text.to_owned(), compiled: OnceLock::from(Some(compiled)) })
    }

    /// Takes an expression that a test has checked.
    pub(super) fn trusted(text: String) -> Self {
        Self { text, compiled: OnceLock::new() }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Evaluates the expression over a message.
    pub(super) fn value(&self, context: &Value) -> Result<Value, Error> {
        let compiled = self.compiled.get_or_init(|| compile(&self.text).ok());
        let Some(compiled) = compiled else {
            return Err(Error::new(ErrorKind::SyntaxError, "it is not an expression"));
        };
        compiled.eval(context.clone())
    }
}

/// The reason why an expression cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Wrong {
    #[error("is not an expression: {0}")]
    Syntax(String),
    #[error(
        "calls `{0}(…)`; values have no functions, so use a filter, as in `payload.text | split(\",\")`"
    )]
    Method(String),
    #[error("uses the {kind} `{name}`, which does not exist; {hint}")]
    Name { kind: &'static str, name: String, hint: String },
}

impl Wrong {
    fn name(kind: &'static str, name: &str, known: &[&str]) -> Self {
        let hint = match suggest::nearest(name, known.iter().copied()) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => format!("there are {}", known.join(", ")),
        };
        Self::Name { kind, name: name.to_owned(), hint }
    }
}

fn compile(text: &str) -> Result<Compiled<'static, 'static>, Error> {
    ENVIRONMENT.compile_expression_owned(text.to_owned())
}

/// Describes an error in one line.
pub(super) fn detail(error: &Error) -> String {
    let what = match error.detail() {
        Some(detail) => detail.to_owned(),
        None => error.kind().to_string(),
    };
    shown::line(&what)
}

/// Returns the name of a function that an expression calls on a value, if it does.
fn method_in(text: &str) -> Option<String> {
    let is_of_name = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    let bare = without_quotes(text);
    bare.match_indices('(').find_map(|(at, _)| {
        let before = &bare[..at];
        let name: String = before.chars().rev().take_while(is_of_name).collect();
        let is_method = !name.is_empty() && before[..before.len() - name.len()].ends_with('.');
        is_method.then(|| name.chars().rev().collect())
    })
}

/// Returns the expression with each quoted text replaced by a mark.
fn without_quotes(text: &str) -> String {
    let mut bare = String::new();
    let mut quote = None;
    for c in text.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                bare.push('_');
            }
            None => bare.push(c),
        }
    }
    bare
}

/// Returns the words that follow a sign outside of quotes.
fn words_after(text: &str, sign: &str) -> Vec<String> {
    let bare = without_quotes(text);
    let word = |rest: &str| -> String {
        let rest = rest.trim_start();
        let rest = rest.strip_prefix("not ").unwrap_or(rest).trim_start();
        rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
    };
    bare.split(sign).skip(1).map(word).filter(|word| !word.is_empty()).collect()
}

/// The filters, in the order in which people are told of them.
const FILTERS: [&str; 35] = [
    "default",
    "d",
    "first",
    "last",
    "join",
    "length",
    "lower",
    "upper",
    "title",
    "trim",
    "split",
    "replace",
    "int",
    "float",
    "round",
    "abs",
    "string",
    "list",
    "items",
    "unique",
    "map",
    "selectattr",
    "rejectattr",
    "select",
    "reject",
    "json",
    "bytes",
    "time",
    "line",
    "table",
    "flatten",
    "unnest",
    "template",
    "slack",
    "markdown",
];

const TESTS: [&str; 17] = [
    "defined",
    "undefined",
    "none",
    "string",
    "number",
    "integer",
    "boolean",
    "mapping",
    "sequence",
    "in",
    "among",
    "startingwith",
    "endingwith",
    "eq",
    "ge",
    "le",
    "true",
];

fn environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.set_fuel(Some(FUEL));
    environment.add_filter("default", default);
    environment.add_filter("d", default);
    environment.add_filter("first", filters::first);
    environment.add_filter("last", filters::last);
    environment.add_filter("join", join);
    environment.add_filter("length", filters::length);
    environment.add_filter("lower", filters::lower);
    environment.add_filter("upper", filters::upper);
    environment.add_filter("title", filters::title);
    environment.add_filter("trim", filters::trim);
    environment.add_filter("split", filters::split);
    environment.add_filter("replace", replace);
    environment.add_filter("int", filters::int);
    environment.add_filter("float", filters::float);
    environment.add_filter("round", filters::round);
    environment.add_filter("abs", filters::abs);
    environment.add_filter("string", |value: &Value| text(value));
    environment.add_filter("list", filters::list);
    environment.add_filter("items", filters::items);
    environment.add_filter("unique", filters::unique);
    environment.add_filter("map", filters::map);
    environment.add_filter("selectattr", filters::selectattr);
    environment.add_filter("rejectattr", filters::rejectattr);
    environment.add_filter("select", filters::select);
    environment.add_filter("reject", filters::reject);
    environment.add_filter("json", parse_json);
    environment.add_filter("bytes", bytes);
    environment.add_filter("time", time);
    environment.add_filter("table", table);
    environment.add_filter("flatten", flatten);
    environment.add_filter("unnest", unnest);
    environment
        .add_filter("template", |value: &Value| text(value).map(|text| template::template(&text)));
    environment.add_filter("slack", slack);
    environment.add_filter("markdown", markdown);
    environment.add_filter("line", |value: &Value| {
        text(value).and_then(|text| text.trim().lines().next().map(str::to_owned))
    });
    environment.add_test("defined", tests::is_defined);
    environment.add_test("undefined", tests::is_undefined);
    environment.add_test("none", tests::is_none);
    environment.add_test("string", tests::is_string);
    environment.add_test("number", tests::is_number);
    environment.add_test("integer", tests::is_integer);
    environment.add_test("boolean", tests::is_boolean);
    environment.add_test("mapping", tests::is_mapping);
    environment.add_test("sequence", tests::is_sequence);
    environment.add_test("in", tests::is_in);
    environment.add_test("among", among);
    environment.add_test("startingwith", tests::is_startingwith);
    environment.add_test("endingwith", tests::is_endingwith);
    environment.add_test("eq", tests::is_eq);
    environment.add_test("ge", tests::is_ge);
    environment.add_test("le", tests::is_le);
    environment.add_test("true", |value: &Value| value.is_true());
    environment
}

/// Implements the filter `default`, which also replaces null and blank texts: senders write them for "nothing".
fn default(value: &Value, other: Option<Value>) -> Value {
    let is_blank = value.as_str().is_some_and(|text| text.trim().is_empty());
    if value.is_undefined() || value.is_none() || is_blank {
        return other.unwrap_or_else(|| Value::from(""));
    }
    value.clone()
}

/// Implements the filter `join`, which leaves out what is not text.
fn join(values: &Value, separator: Option<&str>) -> Result<String, Error> {
    let mut joined = String::new();
    for value in values.try_iter().into_iter().flatten().filter_map(|value| text(&value)) {
        if !joined.is_empty() {
            joined.push_str(separator.unwrap_or_default());
        }
        joined.push_str(&value);
        bounded(&joined)?;
    }
    Ok(joined)
}

fn replace(value: &str, from: &str, to: &str) -> Result<String, Error> {
    if from.is_empty() {
        return Ok(value.to_owned());
    }
    let grown = value.len().saturating_add(value.matches(from).count().saturating_mul(to.len()));
    if grown > MOST_MADE {
        return Err(too_long());
    }
    Ok(value.replace(from, to))
}

fn bounded(made: &str) -> Result<(), Error> {
    if made.len() > MOST_MADE { Err(too_long()) } else { Ok(()) }
}

fn too_long() -> Error {
    Error::new(ErrorKind::InvalidOperation, "it makes a text that is too long")
}

/// Implements the filter `json`: the value that a text holds as JSON.
fn parse_json(value: &Value) -> Value {
    let kept = value.as_str().and_then(|text| json::any(text).ok());
    kept.map_or(Value::UNDEFINED, |kept| Value::from(Serde(kept.value)))
}

/// Implements the filter `bytes`: the text that an array of bytes stands for. A text stays as it is.
fn bytes(value: &Value) -> Value {
    if value.kind() != ValueKind::Seq {
        return value.clone();
    }
    let bytes = value.try_iter().into_iter().flatten();
    let bytes: Option<Vec<u8>> = bytes.map(|byte| u8::try_from(byte).ok()).collect();
    match bytes {
        Some(bytes) => Value::from(String::from_utf8_lossy(&bytes).into_owned()),
        None => Value::UNDEFINED,
    }
}

/// Implements the filter `table`: an object of the names and values in a list of objects. A value that is an object of
/// one entry, as in OpenTelemetry's `{"stringValue": "x"}`, stands for that entry.
fn table(list: &Value, name: &str, value: &str) -> Value {
    let entry = |item: Value| {
        let name = text(&item.get_attr(name).ok()?)?;
        let value = item.get_attr(value).unwrap_or_default();
        let only = value.as_object().filter(|_| value.kind() == ValueKind::Map);
        let mut entries = only.and_then(DynObject::try_iter_pairs).into_iter().flatten();
        let value = match (entries.next(), entries.next()) {
            (Some((_, only)), None) => only,
            _ => value,
        };
        Some((name, Value::from(text(&value).unwrap_or_default())))
    };
    let items = list.try_iter().into_iter().flatten().take(MOST_ENTRIES);
    Value::from_pairs(items.filter_map(entry))
}

/// Implements the filter `flatten`: the items of the lists in a list.
fn flatten(lists: &Value) -> Value {
    let lists = lists.try_iter().into_iter().flatten();
    let is_list = |list: &Value| matches!(list.kind(), ValueKind::Seq | ValueKind::Iterable);
    let items = lists.filter(is_list).flat_map(|list| list.try_iter().into_iter().flatten());
    Value::from(items.take(MOST_ENTRIES).collect::<Vec<_>>())
}

/// Implements the filter `unnest`: the objects in the lists that objects have under a key. Each has the object that it was
/// in as `parent`.
fn unnest(objects: &Value, key: &str) -> Value {
    let objects = objects.try_iter().into_iter().flatten();
    let items = objects.flat_map(|parent| {
        let inner = parent.get_attr(key).unwrap_or_default();
        let inner = Some(inner).filter(|inner| inner.kind() != ValueKind::Map);
        let inner: Vec<Value> =
            inner.and_then(|inner| inner.try_iter().ok()).into_iter().flatten().collect();
        let inner = inner.into_iter().filter(|item| item.kind() == ValueKind::Map);
        inner.map(move |item| context! { parent => parent.clone(), ..item })
    });
    Value::from(items.take(MOST_ENTRIES).collect::<Vec<_>>())
}

/// Implements the test `among`: whether a text or number is one of a list, whatever the case. Of a table the keys count.
fn among(value: &Value, words: &Value) -> bool {
    let lower = |value: &Value| text(value).map(|text| text.trim().to_lowercase());
    let Some(word) = lower(value) else { return false };
    words.try_iter().into_iter().flatten().any(|known| lower(&known).as_ref() == Some(&word))
}

/// Implements the filter `slack`: a text without the marks of Slack's links, `<address|label>`.
fn slack(value: &Value) -> Option<String> {
    let written = text(value)?;
    let mut plain = String::new();
    let mut rest = written.as_str();
    while let Some((before, after)) = rest.split_once('<') {
        let Some((inner, behind)) = after.split_once('>') else { break };
        plain.push_str(before);
        let is_link = inner.contains("://")
            || inner.starts_with(['@', '#', '!'])
            || inner.starts_with("mailto:");
        match inner.split_once('|').filter(|_| is_link) {
            Some((_, label)) => plain.push_str(label),
            None if is_link => plain.push_str(inner),
            None => plain.extend(["<", inner, ">"]),
        }
        rest = behind;
    }
    plain.push_str(rest);
    Some(plain)
}

/// Implements the filter `markdown`: a text without the marks of bold words and of links, `[label](address)`.
fn markdown(value: &Value) -> Option<String> {
    let written = text(value)?.replace("**", "");
    let mut plain = String::new();
    let mut rest = written.as_str();
    while let Some((before, after)) = rest.split_once('[') {
        plain.push_str(before);
        let link = after.split_once("](").and_then(|(label, behind)| {
            let (address, behind) = behind.split_once(')')?;
            let is_link = address.contains("://") && !label.contains(['[', ']', '\n']);
            is_link.then_some((label, behind))
        });
        if let Some((label, behind)) = link {
            plain.push_str(label);
            rest = behind;
        } else {
            plain.push('[');
            rest = after;
        }
    }
    plain.push_str(rest);
    Some(plain)
}

/// Implements the filter `time`: a time as RFC 3339, or nothing if there is none. The fields of a time are converted
/// without it; it is for times within a text.
fn time(value: &Value, _: Rest<Value>) -> Option<String> {
    moment(value)
}

/// Returns a value as text: texts, numbers and booleans, and lists of them. Blank texts and all other values are
/// nothing.
pub(super) fn text(value: &Value) -> Option<String> {
    let text = match value.kind() {
        ValueKind::String => value.as_str()?.to_owned(),
        ValueKind::Bool => value.to_string(),
        ValueKind::Number => match value.as_i64() {
            Some(whole) => whole.to_string(),
            None => number::text(f64::try_from(value.clone()).ok()?),
        },
        ValueKind::Seq | ValueKind::Iterable => {
            let parts = value.try_iter().ok()?.filter(|part| !part.is_undefined());
            let parts: Option<Vec<String>> = parts
                .map(|part| match part.kind() {
                    ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => None,
                    _ => Some(text(&part).unwrap_or_default()),
                })
                .collect();
            let parts: Vec<String> = parts?.into_iter().filter(|part| !part.is_empty()).collect();
            parts.join(", ")
        }
        _ => return None,
    };
    Some(text).filter(|text| !text.trim().is_empty())
}

/// Returns a time as RFC 3339: from a number of seconds, milliseconds, microseconds or nanoseconds since 1970, and from
/// the forms without a zone that programs write for UTC. Other texts stay as they are; a zero time is none.
pub(super) fn moment(value: &Value) -> Option<String> {
    let text = text(value)?;
    let text = text.trim();
    if rfc3339::is_zero(text) {
        return None;
    }
    if let Ok(number) = text.parse::<f64>() {
        return since_1970(number);
    }
    if text.parse::<Timestamp>().is_ok() {
        return Some(text.to_owned());
    }
    let without_zone = text.trim_end_matches("UTC").trim_end();
    if let Ok(time) = without_zone.parse::<DateTime>() {
        return Some(match time.to_zoned(TimeZone::UTC) {
            Ok(time) => time.timestamp().to_string(),
            Err(_) => text.to_owned(),
        });
    }
    let forms = ["%Y-%m-%d %H:%M:%S%.f %z", "%Y-%m-%dT%H:%M:%S%.f%z", "%Y.%m.%d %H:%M:%S"];
    for form in forms {
        let Ok(parsed) = strtime::parse(form, text) else { continue };
        if let Ok(time) = parsed.to_timestamp() {
            return Some(time.to_string());
        }
        if let Ok(time) = parsed.to_datetime().and_then(|time| time.to_zoned(TimeZone::UTC)) {
            return Some(time.timestamp().to_string());
        }
    }
    Gist::time_of(&serde_json::Value::from(text)).or_else(|| Some(text.to_owned()))
}

/// The unit of a number of this size is the one that makes it a time of this century.
fn since_1970(number: f64) -> Option<String> {
    if !number.is_finite() || number <= 0.0 {
        return None;
    }
    let milliseconds = match number {
        number if number < 1e11 => number * 1e3,
        number if number < 1e14 => number,
        number if number < 1e17 => number / 1e3,
        number => number / 1e6,
    };
    #[expect(clippy::cast_possible_truncation, reason = "a time beyond the range is refused below")]
    Timestamp::from_millisecond(milliseconds.round() as i64).ok().map(|time| time.to_string())
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('`')?;
        f.write_str(&self.text)?;
        f.write_char('`')
    }
}

#[cfg(test)]
mod tests_of_expressions {
    use serde_json::json;

    use super::*;

    fn value(text: &str, payload: serde_json::Value) -> Value {
        let expression = Expression::parse(text).unwrap();
        expression.value(&context! { payload => Value::from(Serde(payload)) }).unwrap()
    }

    #[test]
    fn an_expression_that_cannot_work_is_refused_with_what_to_do() {
        for (text, what) in [
            ("payload.", "is not an expression: "),
            ("paylod.a", "uses the name `paylod`, which does not exist; did you mean `payload`?"),
            (
                "payload.a | uper",
                "uses the filter `uper`, which does not exist; did you mean `upper`?",
            ),
            (
                "payload.a is definite",
                "uses the test `definite`, which does not exist; did you mean `defined`?",
            ),
            ("payload.a.split(',')", "calls `split(…)`; values have no functions"),
            (
                "payload.a | eval",
                "uses the filter `eval`, which does not exist; there are default, ",
            ),
        ] {
            let wrong = Expression::parse(text).unwrap_err().to_string();
            assert!(wrong.starts_with(what), "{wrong}");
        }
        for text in ["'a | b' ~ payload['x is y']", "payload.a is not none", "payload.a | d('|x')"]
        {
            Expression::parse(text).unwrap();
        }
    }

    #[test]
    fn every_filter_and_test_exists() {
        let environment = environment();
        let filters: BTreeSet<&str> = FILTERS.into();
        let tests: BTreeSet<&str> = TESTS.into();
        assert_eq!(filters.len(), FILTERS.len());
        let payload = context! { payload => "1" };
        for name in filters {
            let made = environment.compile_expression_owned(format!("payload | {name}")).unwrap();
            let error = made.eval(payload.clone()).err().map(|error| error.kind());
            assert_ne!(error, Some(ErrorKind::UnknownFilter), "{name}");
        }
        for name in tests {
            let made = environment.compile_expression_owned(format!("payload is {name}")).unwrap();
            let error = made.eval(payload.clone()).err().map(|error| error.kind());
            assert_ne!(error, Some(ErrorKind::UnknownTest), "{name}");
        }
    }

    #[test]
    fn what_is_absent_is_nothing_however_deep() {
        assert!(value("payload.a.b.c", json!({})).is_undefined());
        assert_eq!(
            text(&value("payload.a.b | d('x')", json!({ "a": { "b": " " } }))),
            Some("x".into())
        );
        assert_eq!(
            text(&value("payload.a", json!({ "a": [1, "b", null, 2.5] }))),
            Some("1, b, 2.5".into())
        );
        assert_eq!(text(&value("payload.a", json!({ "a": { "b": 1 } }))), None);
        assert_eq!(text(&value("payload.a | json", json!({ "a": "{}" }))), None);
        let nested = value("(payload.a | json).b", json!({ "a": "{\"b\":7}" }));
        assert_eq!(text(&nested).as_deref(), Some("7"));
        assert_eq!(text(&value("payload.a | bytes", json!({ "a": [72, 105] }))), Some("Hi".into()));
        assert_eq!(text(&value("payload.a | bytes", json!({ "a": [72, 1050] }))), None);
    }

    #[test]
    fn items_of_nested_lists_know_what_they_are_in() {
        let hosts = json!([
            { "name": "a", "disks": [{ "name": "sda", "parent": "forged" }, "none"] },
            { "name": "b", "disks": [{ "name": "sdb" }, { "name": "sdc" }] },
            { "name": "c", "disks": { "name": "sdd" } },
            "none",
        ]);
        let hosts = json!({ "hosts": hosts });
        let names = "payload.hosts | unnest('disks') | map(attribute='name')";
        assert_eq!(text(&value(names, hosts.clone())).as_deref(), Some("sda, sdb, sdc"));
        let parents = "payload.hosts | unnest('disks') | map(attribute='parent.name')";
        assert_eq!(text(&value(parents, hosts)).as_deref(), Some("a, b, b"));
        assert_eq!(text(&value("payload.hosts | unnest('disks')", json!({}))), None);
    }

    #[test]
    fn a_word_is_among_others_whatever_its_case() {
        for (word, is_among) in [
            (json!("Fatal"), true),
            (json!(21), true),
            (json!("fatally"), false),
            (json!(null), false),
        ] {
            let message = json!({ "word": word, "words": { "FATAL": 1, "21": 1 } });
            assert_eq!(value("payload.word is among(payload.words)", message).is_true(), is_among);
        }
    }

    #[test]
    fn no_message_makes_an_expression_run_long_or_write_much() {
        let long = json!({ "a": "x".repeat(30_000), "n": 9_000_000_000_u64 });
        for text in [
            "payload.a | replace('x', payload.a)",
            "payload.a * payload.n",
            "payload.a | list | join(payload.a)",
        ] {
            let expression = Expression::parse(text).unwrap();
            let context = context! { payload => Value::from(Serde(long.clone())) };
            expression.value(&context).unwrap_err();
        }
    }

    #[test]
    fn times_are_understood_in_the_forms_that_programs_write() {
        for (written, time) in [
            (json!(1_789_875_251), "2026-09-20T03:34:11Z"),
            (json!("1789875251000"), "2026-09-20T03:34:11Z"),
            (json!(1_723_218_055_977_296_u64), "2024-08-09T15:40:55.977Z"),
            (json!("2026-11-23 06:35:51.123"), "2026-11-23T06:35:51.123Z"),
            (json!("2016-08-12 15:26:29 UTC"), "2016-08-12T15:26:29Z"),
            (json!("2016-08-12 15:26:29 +0200"), "2016-08-12T13:26:29Z"),
            (json!("2022-10-28T07:26:19.5Z"), "2022-10-28T07:26:19.5Z"),
            (json!("2026.11.23 06:35:51"), "2026-11-23T06:35:51Z"),
            (json!("yesterday"), "yesterday"),
        ] {
            assert_eq!(moment(&Value::from(Serde(written))).as_deref(), Some(time));
        }
        for nothing in [json!(0), json!(null), json!(""), json!("0001-01-01T00:00:00Z"), json!({})]
        {
            assert_eq!(moment(&Value::from(Serde(nothing))), None);
        }
    }
}
