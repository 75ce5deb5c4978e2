//! An object as lines: nested objects as `a.b: value`, without what says nothing to a person.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::{
    json,
    message::gist::{
        moment,
        names::{self, Word},
        tidy,
    },
    text,
};

/// The longest value of one line, in characters.
const VALUE_CHARS: usize = 160;

/// The number of items of a list that are named.
const ITEMS: usize = 8;

/// The longest item of a list that is shown as JSON, in bytes.
const ITEM_BYTES: usize = 60;

/// The longest text of an item of a list, in characters.
const ITEM_CHARS: usize = 80;

/// The number of objects of a list that are shown field by field because they have no names.
const UNNAMED_ITEMS: usize = 3;

/// The number of levels of objects that are looked into.
const LEVELS: usize = 8;

/// The longest text that is tried as JSON inside a text, in bytes.
const NESTED_BYTES: usize = 16 * 1024;

/// The number of lines that are made at most, of which the best are shown.
const MOST_LINES: usize = 512;

/// One line of an object.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) path: String,
    pub(super) value: String,
    /// How little the line is worth; the smallest number comes first.
    rank: usize,
    /// Whether the value is a time that has passed.
    pub(super) is_past: bool,
    /// Whether the value is a link to something else than instructions or logs.
    pub(super) is_other_link: bool,
}

/// The lines of an object.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) lines: Vec<Line>,
    /// Whether something that is not empty has no line, or not all of it is in its line.
    pub(super) is_cut: bool,
}

impl Lines {
    /// Returns the lines of an object, without those at the paths in `used`.
    pub(super) fn of(object: &Map<String, Value>, used: &HashSet<String>) -> Self {
        let mut lines = Self::default();
        lines.add_object(object, "", 0, used);
        lines
    }

    fn add_object(
        &mut self,
        object: &Map<String, Value>,
        above: &str,
        level: usize,
        used: &HashSet<String>,
    ) {
        for (name, value) in object {
            let path = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
            if used.contains(&path) {
                continue;
            }
            if self.lines.len() >= MOST_LINES || level >= LEVELS {
                self.is_cut = true;
                return;
            }
            self.add(name, value, path, level, used);
        }
    }

    fn add(
        &mut self,
        name: &str,
        value: &Value,
        path: String,
        level: usize,
        used: &HashSet<String>,
    ) {
        if let Some(object) = inner(value) {
            if is_table(object) {
                return self.add_names(name, object, path, level);
            }
            if let Some(party) = party(name, object) {
                self.is_cut |= object.len() > 1;
                let is_shown = used.iter().any(|it| it.starts_with(&format!("{path}.")));
                if !is_shown {
                    self.push(name, path, &party, level);
                }
                return;
            }
            return self.add_object(object, &path, level + 1, used);
        }
        match value {
            Value::String(text) => {
                if let Some(object) = nested(text) {
                    return self.add_object(&object, &path, level + 1, used);
                }
            }
            Value::Array(items) if text_of_bytes(name, items).is_none() => {
                return self.add_list(name, items, path, level, used);
            }
            _ => {}
        }
        let Some(text) = words(name, value) else { return };
        let is_fault =
            path.to_lowercase().contains("err") || path.to_lowercase().contains("exception");
        let is_type = level > 0 && !is_fault && names::plain(name) == "type";
        if is_type || is_noise(name, &text) {
            self.is_cut = true;
            return;
        }
        self.push(name, path, &text, level);
    }

    fn push(&mut self, name: &str, path: String, text: &str, level: usize) {
        let time = moment::short(text);
        let is_past = moment::is_past(name, text);
        let text = time.as_deref().unwrap_or(text).trim_end();
        let value = text::shorten_middle(text, VALUE_CHARS);
        self.is_cut |= value != text;
        let plain = names::plain(name);
        let is_useful = names::USEFUL_LINKS.iter().any(|it| plain.contains(it));
        let is_other_link = is_link(text) && !is_useful;
        let is_telling = names::TELLING.contains(&plain.as_str())
            || names::HOSTS.contains(&plain.as_str())
            || names::TELLING_ENDS.iter().any(|end| plain.ends_with(end));
        let is_poor = is_link(text)
            || plain.contains("version")
            || plain == "kind"
            || plain == "type"
            || name.starts_with('_')
            || path.split('.').any(is_code)
            || path.split('.').any(|name| names::plain(name).ends_with("headers"))
            || is_past
            || text == "0"
            || text.contains(", ") && !text.contains(char::is_alphabetic)
            || matches!(text, "true" | "false") && !is_telling;
        let rank = 2 * level + usize::from(!is_telling) + 6 * usize::from(is_poor);
        self.lines.push(Line { path, value, rank, is_past, is_other_link });
    }

    /// Adds a table as a line with the names of its rows.
    fn add_names(&mut self, name: &str, table: &Map<String, Value>, path: String, level: usize) {
        self.is_cut = true;
        let mut text = table.keys().take(ITEMS).cloned().collect::<Vec<_>>().join(", ");
        if table.len() > ITEMS {
            text.push_str(", …");
        }
        self.push(name, path, &text, level);
    }

    fn add_list(
        &mut self,
        name: &str,
        items: &[Value],
        path: String,
        level: usize,
        used: &HashSet<String>,
    ) {
        // An object without a name among other items is short, or left out.
        let is_mixed = items.iter().any(|item| !item.is_object() && !item.is_array());
        let short = |item: &Value| {
            let json = Some(item.to_string()).filter(|json| json.len() <= ITEM_BYTES);
            json.filter(|_| is_mixed && item.is_object())
        };
        let named: Vec<String> =
            items.iter().filter_map(|value| item(value).or_else(|| short(value))).collect();
        let is_empty =
            |value: &&Value| words("", value).is_none() && !value.is_object() && !value.is_array();
        let has_more = |value: &Value| {
            value.as_object().is_some_and(|object| object.len() > 2) || value.is_array()
        };
        let full = items.len() - items.iter().filter(is_empty).count();
        self.is_cut |= named.len() < full || named.len() > ITEMS || items.iter().any(has_more);
        if named.is_empty() {
            for (index, item) in items.iter().enumerate().take(UNNAMED_ITEMS) {
                if let Value::Object(object) = item {
                    self.add_object(object, &format!("{path}.{index}"), level + 1, used);
                }
            }
        }
        if named.is_empty() || named.iter().all(|item| is_noise(name, item)) {
            return;
        }
        let mut text = named.iter().take(ITEMS).cloned().collect::<Vec<_>>().join(", ");
        if named.len() > ITEMS {
            text.push_str(", …");
        }
        self.push(name, path, &text, level);
    }

    /// Removes the lines of an object that repeat what is said already, and the ones that are worth least beyond `most`.
    pub(super) fn best(
        mut self,
        object: &Map<String, Value>,
        most: usize,
        said: &[&str],
    ) -> (Vec<(String, String)>, bool) {
        /// The shortest value, in bytes, that is not repeated if a text contains it.
        const CONTAINED: usize = 6;
        let mut seen: HashSet<String> = said.iter().map(|text| text.trim().to_owned()).collect();
        let is_within =
            |value: &str| value.len() >= CONTAINED && said.iter().any(|text| text.contains(value));
        self.lines.sort_by_key(|line| line.rank);
        let mut pairs = HashSet::new();
        self.lines.retain(|line| {
            let name = line.path.rsplit('.').next().map(names::plain).unwrap_or_default();
            let is_of_list = line.path.split('.').any(|name| name.parse::<usize>().is_ok());
            let is_said = is_naming(&name) && seen.contains(&line.value);
            !is_said && (is_of_list || pairs.insert((name, line.value.clone())))
        });
        self.lines.retain(|line| {
            let is_short = line.value.len() < CONTAINED;
            !is_within(&line.value) && (seen.insert(line.value.clone()) || is_short)
        });
        let is_cut = self.is_cut || self.lines.len() > most;
        self.lines.truncate(most);
        let short: Vec<String> =
            self.lines.iter().map(|line| without_wrappers(&line.path, object)).collect();
        let is_one = |name: &String| short.iter().filter(|it| *it == name).count() == 1;
        let lines = self.lines.into_iter().zip(&short).map(|(line, short)| {
            (if is_one(short) { short.clone() } else { line.path }, line.value)
        });
        (lines.collect(), is_cut)
    }
}

/// Whether a field of this name names a machine or a service, which is said once.
fn is_naming(plain: &str) -> bool {
    plain.ends_with("name") || names::HOSTS.contains(&plain) || names::SOURCES.contains(&plain)
}

/// Returns the path of a line without the objects around it that only wrap it, unless the object itself has a field of
/// the same name.
fn without_wrappers(path: &str, object: &Map<String, Value>) -> String {
    let mut rest = path;
    while let Some((above, below)) = rest.split_once('.')
        && (names::is_wrapper(&names::plain(above)) || above == "fields")
    {
        rest = below;
    }
    let is_own = rest.len() < path.len()
        && rest.split('.').next().is_some_and(|name| object.contains_key(name));
    if is_own { path.to_owned() } else { rest.to_owned() }
}

/// Returns the name in an object that is a person or a party.
fn party(name: &str, object: &Map<String, Value>) -> Option<String> {
    names::is_party(&names::plain(name)).then_some(())?;
    names::NAMES_OF_PARTIES.iter().find_map(|wanted| {
        let (_, value) = object.iter().find(|(name, _)| names::plain(name) == *wanted)?;
        value.as_str().filter(|name| !says_nothing(name)).map(str::to_owned)
    })
}

/// Whether an object is a table: all its values are objects with the same simple fields.
fn is_table(object: &Map<String, Value>) -> bool {
    let mut rows = object.values().map(Value::as_object);
    let Some(Some(first)) = rows.next() else { return false };
    let is_simple = |value: &Value| !value.is_object() && !value.is_array();
    object.len() > 1
        && first.len() > 1
        && rows.all(|row| row.is_some_and(|row| row.keys().eq(first.keys())))
        && object.values().filter_map(Value::as_object).flat_map(Map::values).all(is_simple)
}

/// Returns an object, or the only one of a list.
pub(super) fn inner(value: &Value) -> Option<&Map<String, Value>> {
    match value {
        Value::Object(object) => Some(object),
        Value::Array(items) => match &items[..] {
            [Value::Object(object)] => Some(object),
            _ => None,
        },
        _ => None,
    }
}

/// Returns the object in a text that is JSON itself.
pub(super) fn nested(text: &str) -> Option<Map<String, Value>> {
    let trimmed = text.trim();
    let may_be =
        trimmed.starts_with('{') && trimmed.ends_with('}') && trimmed.len() <= NESTED_BYTES;
    may_be.then(|| json::object(trimmed).ok()).flatten().map(|kept| kept.value)
}

/// Returns a value in one text, or `None` if it says nothing: null, blank, zero times and the like.
pub(super) fn words(name: &str, value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => moment::of_named(name, value).unwrap_or_else(|| text.clone()),
        Value::Array(items) => text_of_bytes(name, items)?,
        Value::Null | Value::Object(_) => return None,
        value if moment::is_none(name, value) => return None,
        value => match moment::of_named(name, value) {
            Some(time) => time,
            None => value.to_string(),
        },
    };
    let trimmed = text.trim();
    let is_zero = moment::is_unknown(trimmed)
        || trimmed.len() >= 32 && trimmed.chars().all(|c| matches!(c, '0' | '-'));
    (!says_nothing(trimmed) && !is_zero).then_some(text)
}

/// Whether a text is blank, or one that programs write for nothing.
pub(super) fn says_nothing(text: &str) -> bool {
    const NOTHING: &[&str] =
        &["", ".", "-", "--", "n/a", "null", "nil", "nan", "undefined", "http://", "https://"];
    NOTHING.contains(&text.trim().to_lowercase().as_str())
}

/// Returns an item of a list in a few words: a text, or the name of an object and its value.
fn item(value: &Value) -> Option<String> {
    let Value::Object(object) = value else { return words("", value) };
    let at = |names: &[&str]| {
        names.iter().find_map(|wanted| {
            let (name, value) = object.iter().find(|(name, _)| names::plain(name) == *wanted)?;
            words(name, value)
        })
    };
    let name = at(&[
        "displayname",
        "name",
        "title",
        "tag",
        "key",
        "label",
        "host",
        "hostname",
        "metric",
        "component",
        "service",
        "resource",
        "text",
        "message",
        "id",
    ]);
    let value = at(&["value", "val"]);
    let text = at(&["message", "msg", "text", "description", "summary"])
        .filter(|text| Some(text) != name.as_ref() && !text.contains('\n'));
    let state = at(&["status", "state", "level"]).filter(|state| {
        names::state(state).is_some_and(|word| matches!(word, Word::Fires | Word::Bad))
    });
    let said = match (name, value, text) {
        (Some(name), Some(value), _) => format!("{name}={value}"),
        (Some(name), None, Some(text)) => {
            format!("{name}: {}", text::shorten_middle(&text, ITEM_CHARS))
        }
        (name, value, text) => name.or(value).or(text)?,
    };
    Some(match state {
        Some(state) => format!("{said} ({state})"),
        None => said,
    })
}

/// Returns the text in an array of bytes, which is how some programs write a text that is not plain.
pub(super) fn text_of_bytes(name: &str, items: &[Value]) -> Option<String> {
    /// The smallest number of bytes that is a text whatever its name is.
    const CERTAIN: usize = 24;
    let plain = names::plain(name);
    let is_text = names::TEXTS.contains(&plain.as_str()) || plain == "payload" || plain == "data";
    if items.len() < if is_text { 2 } else { CERTAIN } {
        return None;
    }
    let bytes = items.iter().map(|item| item.as_u64().and_then(|byte| u8::try_from(byte).ok()));
    let text = String::from_utf8(bytes.collect::<Option<Vec<u8>>>()?).ok()?;
    let is_readable = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t' | '\u{1b}');
    let letters = text.chars().filter(|c| c.is_alphabetic() || *c == ' ').count();
    (text.chars().all(is_readable) && 2 * letters >= text.chars().count()).then_some(text)
}

/// Whether a text is an address, perhaps one that was made harmless because a click on it does something.
pub(super) fn is_link(text: &str) -> bool {
    let text = text.trim();
    let schemes = ["http://", "https://", "hxxp://", "hxxps://"];
    schemes.iter().any(|scheme| text.starts_with(scheme)) && !text.contains(char::is_whitespace)
}

/// Whether a value identifies something for machines only.
fn is_noise(name: &str, text: &str) -> bool {
    const NAMES: &[&str] = &[
        "id",
        "uid",
        "uuid",
        "guid",
        "gid",
        "pid",
        "nonce",
        "cursor",
        "etag",
        "hash",
        "digest",
        "checksum",
        "signature",
        "sha",
        "sha256",
        "specversion",
        "apiversion",
        "schema",
        "resourceversion",
        "generation",
        "nodeid",
        "ver",
        "seq",
        "sequence",
        "fingerprint",
        "monotonictimestamp",
        "ns",
        "revision",
        // The forms of a text that has a plain one, too.
        "html",
        "markdown",
        // The parts of a line in Splunk's index.
        "datehour",
        "datemday",
        "dateminute",
        "datemonth",
        "datesecond",
        "datewday",
        "dateyear",
        "datezone",
        "linecount",
        "punct",
        "timeendpos",
        "timestartpos",
    ];
    let is_id = |ending: &str| {
        name.ends_with(&format!("_{ending}"))
            || name.ends_with(&format!("-{ending}"))
            || name.ends_with(&format!(".{ending}"))
            || name.strip_suffix(ending).is_none_or(|it| it == name)
                && name.to_lowercase().ends_with(ending)
                && name.chars().rev().nth(ending.len() - 1).is_some_and(char::is_uppercase)
    };
    let plain = names::plain(name);
    NAMES.contains(&plain.as_str())
        || name.starts_with("__")
        || tidy::is_unfilled(text)
        || !is_name(text)
            && ["id", "uuid", "uid", "hash", "sha", "digest", "checksum", "guid"]
                .iter()
                .any(|it| is_id(it))
        || is_link(text)
            && names::OTHER_LINKS.iter().any(|it| plain.contains(it))
            && !plain.contains("runbook")
        || is_link(text) && is_of_api(text)
        || plain.ends_with("html")
        || (plain.ends_with("url") || plain.ends_with("uri")) && text.starts_with('/')
        || is_machine_word(text)
}

/// Whether a link leads to an interface for programs.
pub(super) fn is_of_api(link: &str) -> bool {
    let (_, rest) = link.split_once("://").unwrap_or_default();
    rest.starts_with("api.") || ["/api/", "/_apis/", "/rest/"].iter().any(|it| rest.contains(it))
}

/// Whether a text can be the name that a person gave to something: `JobID` may be `nightly-backup`.
fn is_name(text: &str) -> bool {
    let is_sign = |c: char| c.is_ascii_lowercase() || matches!(c, '-' | '_');
    (3..=40).contains(&text.len()) && text.chars().all(is_sign)
}

/// Whether a name is an identifier: `WHP936BM1GPVHQ`.
fn is_code(name: &str) -> bool {
    let is_sign = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
    name.len() >= 12 && name.chars().all(is_sign) && name.contains(|c: char| c.is_ascii_digit())
}

/// Whether a text is a UUID, a hash, a key or the like.
pub(super) fn is_machine_word(text: &str) -> bool {
    let text = text.trim().trim_start_matches('{').trim_end_matches('}');
    let is_hex = |text: &str| text.chars().all(|c| c.is_ascii_hexdigit());
    let parts: Vec<usize> = text.split('-').map(str::len).collect();
    let is_uuid = parts == [8, 4, 4, 4, 12] && text.split('-').all(is_hex);
    let has_digit = text.contains(|c: char| c.is_ascii_digit());
    // The identifiers of MongoDB have 24 digits.
    let is_hash = (text.len() >= 32 || text.len() == 24 && has_digit) && is_hex(text);
    let is_urn = text.starts_with("urn:");
    // Vault writes `hmac-sha256:…`.
    let is_digest = text.split_once("sha256:").is_some_and(|(_, hash)| is_hex(hash));
    let is_code = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
    let is_public_key = text.len() >= 40 && text.chars().all(is_code);
    let is_key = text.len() >= 40
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '=' | '_' | '-'))
        && text.chars().any(|c| c.is_ascii_digit())
        && text.chars().any(|c| c.is_ascii_uppercase());
    let is_short_key = text.len() == 26 && has_digit && text.chars().all(is_code);
    is_uuid || is_hash || is_key || is_public_key || is_urn || is_short_key || is_digest
}
