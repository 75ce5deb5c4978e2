//! Hides the secrets of JSON by the keys in front of them, before a shape moves a value away from its key.

use serde_json::{Map, Value};

use crate::{
    mask::{Mask, blocks},
    secrets::{
        has_trigger,
        kind::{Label, Secret},
        value::{has_scheme, is_about_one, is_random, is_secret_named, secret_named, stands_alone},
    },
};

/// The keys of a name beside a value, as in `{"name": "DB_PASSWORD", "value": "…"}`.
const NAMES: [&str; 6] = ["name", "key", "title", "label", "field", "header"];

/// The keys of such a value, and of a value in an object of its own, as in `{"password": {"value": "…"}}`.
const VALUES: [&str; 12] = [
    "value",
    "val",
    "values",
    "data",
    "content",
    "current",
    "plain",
    "plaintext",
    "raw",
    "secret",
    "stringvalue",
    "text",
];

/// The longest item of a list that can be a name or an argument, in bytes.
pub(super) const MOST_ITEM: usize = 256;

/// The longest text that is opened to look for JSON in it, in bytes.
const MOST_OPENED: usize = 64 * 1024;

/// The depth below which nothing is looked at. The parser allows no more.
pub(super) const MOST_DEPTH: usize = 128;

impl Mask {
    /// Puts words in the places of the values that are secrets because of their keys. Returns their number.
    pub(crate) fn object(&self, object: &mut Map<String, Value>, label: Label<'_>) -> u64 {
        let mut walk = Walk { mask: self, label, hidden: 0 };
        walk.object(object, None, 0);
        walk.hidden
    }
}

struct Walk<'a> {
    mask: &'a Mask,
    label: Label<'a>,
    hidden: u64,
}

impl Walk<'_> {
    /// Looks at the entries of an object. `above` is the name of the secret that all of it may be.
    fn object(&mut self, object: &mut Map<String, Value>, above: Option<&str>, depth: usize) {
        let beside = name_beside(object);
        let is_of_kind = object.get("kind").and_then(Value::as_str).is_some_and(is_kind);
        for (key, value) in object {
            if is_of_kind && is_data(key) {
                self.every(value);
                continue;
            }
            // The other entries of its object say whose secret it is.
            let is_alone =
                |value: &Value| value.as_str().is_some_and(stands_alone) && !is_about_one(key);
            let name = match (secret_named(key), &beside, above) {
                (Some(_), ..) => Some(key.as_str()),
                (None, Some(name), _) if is_of_name(key) => Some(name.as_str()),
                (None, _, Some(name)) if is_of_value(key) || is_alone(value) => Some(name),
                _ => None,
            };
            self.value(value, name, depth + 1);
        }
    }

    /// Hides every text below a value.
    fn every(&mut self, value: &mut Value) {
        match value {
            Value::Object(object) => object.values_mut().for_each(|value| self.every(value)),
            Value::Array(items) => items.iter_mut().for_each(|item| self.every(item)),
            Value::String(text) if text.is_empty() || self.mask.shown.contains(&Secret::Token) => {}
            Value::String(_) => self.hide(value, Secret::Token),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn value(&mut self, value: &mut Value, name: Option<&str>, depth: usize) {
        if depth > MOST_DEPTH {
            return;
        }
        match value {
            Value::Object(object) => self.object(object, name, depth),
            Value::Array(items) => self.array(items, name, depth),
            Value::String(text) => {
                if let Some(secret) = name.and_then(|name| self.secret(name, text)) {
                    self.hide(value, secret);
                } else if let Some(covered) = self.json_in(text, depth) {
                    *value = Value::String(covered);
                }
            }
            Value::Number(number) => {
                // A number of one digit is no password, but a switch.
                let text = number.to_string();
                if text.len() > 1
                    && let Some(secret) = name.and_then(|name| self.secret(name, &text))
                {
                    self.hide(value, secret);
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// Hides the secrets in a text that is JSON itself.
    fn json_in(&mut self, text: &str, depth: usize) -> Option<String> {
        if text.len() > MOST_OPENED
            || !text.trim_start().starts_with(['{', '['])
            || !has_trigger(text)
        {
            return None;
        }
        let before = self.hidden;
        let mut inner: Value = serde_json::from_str(text).ok()?;
        self.value(&mut inner, None, depth + 1);
        (self.hidden > before).then(|| inner.to_string())
    }

    fn array(&mut self, items: &mut Vec<Value>, name: Option<&str>, depth: usize) {
        self.key_in_lines(items);
        let (mut before, mut program) = (None::<String>, None::<String>);
        for item in items {
            let text = item.as_str().filter(|text| text.len() <= MOST_ITEM).map(str::to_owned);
            let named = before.as_deref().filter(|before| names_the_next(before, text.as_deref()));
            self.value(item, name.or(named.map(trimmed)), depth + 1);
            if let Some(program) = &program {
                self.argument(item, before.as_deref().unwrap_or_default(), program);
            }
            program = program.or_else(|| text.clone());
            before = text;
        }
    }

    /// Hides the password in an argument of a program. `before` is the argument before.
    fn argument(&mut self, item: &mut Value, before: &str, program: &str) {
        let text = item.as_str().filter(|_| !self.mask.shown.contains(&Secret::Password));
        let Some(text) = text else { return };
        if let Some(kept) = argument(text, before, program) {
            *item = Value::String(format!("{}{}", &text[..kept], (self.label)(Secret::Password)));
            self.hidden += 1;
        }
    }

    /// Hides a private key whose lines are the items of a list.
    fn key_in_lines(&mut self, items: &mut Vec<Value>) {
        let is_begin =
            |item: &Value| item.as_str().is_some_and(|text| text.contains("-----BEGIN "));
        while let Some(begin) = items.iter().position(is_begin) {
            let Some(text) = items[begin].as_str() else { return };
            let Some((_, secret)) =
                blocks(text).pop().filter(|(_, it)| !self.mask.shown.contains(it))
            else {
                return;
            };
            let is_end =
                |item: &Value| item.as_str().is_some_and(|text| text.contains("-----END "));
            let end =
                items[begin..].iter().position(is_end).map_or(items.len(), |at| begin + at + 1);
            items.drain(begin + 1..end);
            self.hide(&mut items[begin], secret);
        }
    }

    fn secret(&self, name: &str, value: &str) -> Option<Secret> {
        let secret = secret_named(name)?;
        let is_one = is_secret_named(name, secret, value, self.label);
        (is_one && !self.mask.shown.contains(&secret)).then_some(secret)
    }

    fn hide(&mut self, value: &mut Value, secret: Secret) {
        *value = Value::String((self.label)(secret).to_owned());
        self.hidden += 1;
    }
}

/// Returns how much is kept of an argument such as `-p…` or `-u name:…` of a program that takes a password so. `before` is
/// the argument before.
pub(super) fn argument(text: &str, before: &str, program: &str) -> Option<usize> {
    let program = program.rsplit('/').next().unwrap_or_default();
    let is_of = |programs: &[&str]| programs.iter().any(|known| program.starts_with(known));
    let kept = if is_of(&["mysql", "mariadb", "sshpass"]) && text.starts_with("-p") {
        2
    } else if is_of(&["curl", "wget"]) && ["-u", "--user", "--proxy-user"].contains(&before) {
        text.find(':')? + 1
    } else {
        return None;
    };
    (kept < text.len()).then_some(kept)
}

/// Whether a key has the data of an object of Kubernetes.
pub(super) fn is_data(key: &str) -> bool {
    matches!(key, "data" | "stringData")
}

/// Whether the kind of an object of Kubernetes is a secret, whose data are secrets under any keys.
pub(super) fn is_kind(kind: &str) -> bool {
    kind == "Secret"
}

/// Whether a key has the name of the value beside it.
pub(super) fn is_name_beside(key: &str) -> bool {
    NAMES.contains(&plain(key).as_str())
}

/// Whether a key has the value of the name beside it.
pub(super) fn is_of_name(key: &str) -> bool {
    ["value", "val", "values", "stringvalue"].contains(&plain(key).as_str())
}

/// Whether a key has the value of the name above it.
pub(super) fn is_of_value(key: &str) -> bool {
    VALUES.contains(&plain(key).as_str())
}

/// Whether a text is the name of a secret beside its value.
pub(super) fn is_beside(name: &str) -> bool {
    // A longer one is a sentence.
    name.len() <= 128 && name.split_whitespace().count() <= 2 && secret_named(name).is_some()
}

/// Returns the name of a secret that an object with a name and a value is.
fn name_beside(object: &Map<String, Value>) -> Option<String> {
    let names = object.iter().filter(|(key, _)| is_name_beside(key));
    let mut names = names.filter_map(|(_, value)| value.as_str());
    names.find(|name| is_beside(name)).map(str::to_owned)
}

/// Whether an item of a list is the name of a secret that is the next item, as in `["--password", "…"]`,
/// `["Authorization", "…"]` and `["password:", "…"]`.
pub(super) fn names_the_next(item: &str, next: Option<&str>) -> bool {
    let next = next.unwrap_or_default();
    let is_name = item.starts_with('-')
        || item.ends_with([':', '='])
        || is_random(next) && !next.contains(' ')
        || has_scheme(next);
    is_name && !next.starts_with("--") && secret_named(trimmed(item)).is_some()
}

/// Removes the signs around a name among arguments or lines.
pub(super) fn trimmed(name: &str) -> &str {
    name.trim_start_matches('-').trim_end_matches([':', '=']).trim()
}

fn plain(key: &str) -> String {
    key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mask::english;

    fn hidden(value: &Value) -> (String, u64) {
        let Value::Object(mut object) = json!({ "x": value }) else { unreachable!() };
        let count = Mask::default().object(&mut object, &english);
        (object["x"].to_string(), count)
    }

    #[test]
    fn values_are_hidden_by_their_keys() {
        for value in [
            json!({ "password": "S3cret" }),
            json!({ "password": { "value": "S3cret" } }),
            json!({ "password": { "a": { "b": 1 }, "stringValue": "S3cret" } }),
            json!({ "password": ["S3cret"] }),
            json!({ "passwords": ["S3cret"], "a": 1 }),
            json!({ "password": { "a": "S3cret-Zq9x" } }),
            json!({ "secrets": { "db": "x7S3cret9x" } }),
            json!({ "pass\u{200b}word": "S3cret" }),
            json!({ "message": "{\"a\":[{\"name\":\"password\",\"value\":\"S3cret\"}]}" }),
            json!({ "password2": "S3cret" }),
            json!({ "pass": "S3cret" }),
            json!({ "Authorization": "Token S3cret" }),
            json!({ "Authorization": "ApiKey S3cret" }),
            json!({ "authorization": ["Bearer S3cret"] }),
            json!({ "headers": [["Authorization", "Basic S3cret"]] }),
            json!({ "headers": [{ "name": "Authorization", "value": "Bearer S3cret" }] }),
            json!({ "Cookie": "s=S3cret" }),
            json!({ "env": [{ "name": "DB_PASSWORD", "value": "S3cret" }] }),
            json!({ "key": "db.password", "value": { "stringValue": "S3cret" } }),
            json!({ "fields": [{ "title": "Password", "value": "S3cret" }] }),
            json!({ "args": ["restic", "--password", "S3cret"] }),
            json!({ "args": ["mysql", "-u", "root", "-pS3cret"] }),
            json!({ "args": ["curl", "-u", "admin:S3cret"] }),
            json!({ "auths": { "a.example": { "auth": "dTpzZWNyS3cret=" } } }),
            json!({ "log": ["password:", "S3cret"] }),
            json!({ "data": { "db": "S3cret" }, "kind": "Secret" }),
            json!({ "kind": "Secret", "stringData": { "conf": "S3cret" } }),
            json!({ "storage_key": "S3cret" }),
            json!({ "recovery_codes": ["S3cret"] }),
            json!({ "sessionid": "S3cret" }),
            json!({ "rootpw": "S3cret" }),
            json!({ "パスワード": "S3cret", "a": "b" }),
            json!({ "Пароль": "S3cret" }),
            json!({ "pass\u{3164}word": "S3cret" }),
            json!({ "lines": ["a", "-----BEGIN PRIVATE KEY-----", "S3cret", "-----END PRIVATE KEY-----", "b"] }),
            json!({ "lines": ["-----BEGIN RSA PRIVATE KEY-----", "S3cret"] }),
        ] {
            let (shown, count) = hidden(&value);
            assert!(
                !shown.contains("S3cret") && shown.contains(" hidden]") && count == 1,
                "{value}: {shown}"
            );
            // The same in a file.
            let file = json!({ "x": value }).to_string();
            let (shown, count) = Mask::default().document(&file, &english);
            assert!(
                !shown.contains("S3cret") && shown.contains(" hidden]") && count == 1,
                "{file}: {shown}"
            );
            let is_json = serde_json::from_str::<Value>(&shown).is_ok();
            assert!(is_json, "{shown}");
        }
        assert_eq!(hidden(&json!({ "password": 1_234_567_890 })).1, 1);
        assert_eq!(hidden(&json!({ "credentials": { "user": "u", "pass": "S3cret" } })).1, 1);
    }

    #[test]
    fn other_values_stay() {
        for value in [
            json!({ "pass": 12, "fail": 33 }),
            json!({ "secret": "db-credentials-v2", "secrets": ["db-creds-2", "tls-cert-2024x"] }),
            json!({ "密码": "连续输错5次" }),
            json!({ "data": { "db": "x1" }, "kind": "ConfigMap" }),
            json!({ "password": null, "secret": true, "token": "" }),
            json!({ "tokens": 4096, "max_tokens": 128_000, "token_count": 17, "prompt_tokens": 123_456 }),
            json!({ "secret": { "name": "db-creds", "namespace": "prod" } }),
            json!({ "secret": { "uid": "550e8400-e29b-41d4-a716-446655440000", "created": "2026-11-30T10:00:00Z" } }),
            json!({ "password": { "changed_by": "alice2000x", "policy": "strict9000" } }),
            json!({ "message": "{ \"a\": \"password expired\" }" }),
            json!({ "secretName": "db-creds", "tokenEndpoint": "https://a.example" }),
            json!({ "password": "expired", "password_changed": "2026-11-30" }),
            json!({ "authorization": "failed for user bob" }),
            json!({ "words": ["token", "bucket"], "n": ["--password", "--verbose"] }),
            json!({ "key": "disk", "value": "97 %" }),
            json!({ "auth": "ldap", "title": "Nobody knows the password", "value": "of db-01" }),
            json!({ "title": "Lost password", "text": "It was lost on db-01." }),
            json!({ "tags": ["password", "must be changed"] }),
            json!({ "name": "token bucket", "value": "12" }),
            json!({ "lines": ["-----BEGIN CERTIFICATE-----", "MIIB", "-----END CERTIFICATE-----"] }),
            json!({ "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08" }),
        ] {
            assert_eq!(hidden(&value), (value.to_string(), 0));
            let file = value.to_string();
            assert_eq!(Mask::default().document(&file, &english), (file.as_str().into(), 0));
        }
    }

    #[test]
    fn a_kind_that_is_shown_stays() {
        let Value::Object(mut object) =
            json!({ "password": "S3cret", "args": ["mysql", "-pS3cret"] })
        else {
            unreachable!()
        };
        let mask = Mask { shown: vec![Secret::Password] };
        assert_eq!(mask.object(&mut object, &english), 0);
    }
}
