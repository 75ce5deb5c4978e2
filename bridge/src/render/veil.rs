//! Hides secrets in a message before anything of it is rendered. Everything that a room shows goes through here, with
//! the attached file and what templates of the user read.

use std::{borrow::Cow, cell::Cell};

use async_nats::HeaderMap;
use bytes::Bytes;
use serde_json::Map;

use crate::{
    decode::encoding::{self, Readable},
    json,
    mask::{self, Label, Mask, Secret},
    message::{Decoded, Object, Payload},
    nats::headers,
    render::words::Words,
};

/// Hides the secrets of one message, and counts them.
pub(super) struct Veil<'a> {
    mask: &'a Mask,
    words: &'static dyn Words,
    hidden: Cell<u64>,
}

impl<'a> Veil<'a> {
    pub(super) fn new(mask: &'a Mask, words: &'static dyn Words) -> Self {
        Self { mask, words, hidden: Cell::new(0) }
    }

    /// The number of secrets in the payload.
    pub(super) fn hidden(&self) -> u64 {
        self.hidden.get()
    }

    pub(super) fn decoded(&self, decoded: &Decoded) -> Decoded {
        let mut decoded = decoded.clone();
        decoded.payload.each_text(&mut |name, text| {
            if let Some(translated) = self.translated(text) {
                *text = translated;
            }
            self.cover(name, text);
        });
        self.hidden.set(self.hidden.get() + decoded.hidden);
        decoded
    }

    /// Returns a text with the words of this language in the places of those for secrets that were hidden while decoding,
    /// which knows no language. Returns `None` if there are none.
    fn translated(&self, text: &str) -> Option<String> {
        let words = |secret| (mask::english(secret), self.words.hidden(secret));
        let is_other = |secret: &Secret| {
            let (from, to) = words(*secret);
            from != to && text.contains(from)
        };
        let others = Secret::ALL.into_iter().filter(is_other);
        others.fold(None, |done: Option<String>, secret| {
            let (from, to) = words(secret);
            Some(done.as_deref().unwrap_or(text).replace(from, to))
        })
    }

    /// Hides the secrets of a text with a name.
    fn cover(&self, name: &str, text: &mut String) {
        if let Some(secret) = self.mask.of_name(name, text, &|secret| self.words.hidden(secret)) {
            self.words.hidden(secret).clone_into(text);
            self.hidden.set(self.hidden.get() + 1);
            return;
        }
        let (covered, count) = self.text(text);
        if let Cow::Owned(covered) = covered {
            *text = covered;
        }
        self.hidden.set(self.hidden.get() + count);
    }

    fn text<'t>(&self, text: &'t str) -> (Cow<'t, str>, u64) {
        self.mask.document(text, &|secret: Secret| self.words.hidden(secret))
    }

    /// Hides the secrets of a line that is not counted.
    pub(super) fn line<'t>(&self, line: &'t str) -> Cow<'t, str> {
        let covered = self.text(line).0;
        self.translated(&covered).map_or(covered, Cow::Owned)
    }

    /// Returns the published bytes without secrets, those of a text in UTF-8. Bytes that are no text are returned as they
    /// are, and bytes of which most are text without the secrets of that.
    pub(super) fn original(&self, original: &Bytes) -> Bytes {
        let label: Label<'_> = &|secret| self.words.hidden(secret);
        let Some(Readable { text, encoding }) = encoding::read(original) else {
            let is_text = encoding::is_mostly_text(original);
            let covered = if is_text { self.mask.bytes(original, label) } else { None };
            return covered.map_or_else(|| original.clone(), Bytes::from);
        };
        match self.mask.document(&text, label).0 {
            Cow::Borrowed(_) if encoding.is_none() => original.clone(),
            covered => Bytes::from(covered.into_owned()),
        }
    }

    /// Returns the JSON that templates read without secrets, also those that only their keys tell. Other bytes are
    /// returned as [`Self::original`] does.
    pub(super) fn readable(&self, original: &Bytes) -> Bytes {
        let text = encoding::read(original).map(|readable| readable.text);
        let Some(Ok(json)) = text.map(|text| json::any(&text)) else {
            return self.original(original);
        };
        // The value has no name of its own.
        let mut payload = Map::from_iter([(String::new(), json.value)]);
        self.mask.object(&mut payload, &|secret| self.words.hidden(secret));
        let mut payload = Payload::Object(Object::new(payload));
        payload.each_text(&mut |name, text| self.cover_uncounted(name, text));
        let Payload::Object(payload) = payload else { return Bytes::new() };
        let value = payload.fields().values().next().map(ToString::to_string);
        value.map_or_else(Bytes::new, Bytes::from)
    }

    pub(super) fn headers(&self, original: &HeaderMap) -> HeaderMap {
        let mut covered = HeaderMap::new();
        for (name, values) in original.iter() {
            for value in values {
                let mut text = value.as_str().to_owned();
                self.cover_uncounted(name.as_ref(), &mut text);
                if let Ok(value) = text.parse() {
                    headers::add(&mut covered, name, &value);
                }
            }
        }
        covered
    }

    fn cover_uncounted(&self, name: &str, text: &mut String) {
        let hidden = self.hidden.get();
        self.cover(name, text);
        self.hidden.set(hidden);
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        config::{Display, Language},
        render::voice::Voice,
    };

    fn payload() -> Value {
        let token = format!("ghp_{}", "Zq7Rk2Lm9Vb4".repeat(3));
        json!({ "event": "x", "password": { "value": "Zq7Rk2Lm" }, "api_key": 123_456_789, token: "a",
            "args": ["--password", "Zq7Rk2Lm"], "text": "--token \"Zq7Rk2Lm x1\"", "n": 5 })
    }

    fn chinese() -> &'static dyn Words {
        let display = Display { language: Language::Chinese, time_zone: TimeZone::UTC };
        Voice::of(&display).words
    }

    #[test]
    fn secrets_are_hidden_once_and_in_the_language_of_the_room() {
        let mask = Mask::default();
        let veil = Veil::new(&mask, chinese());
        let decoded = Decoded::from_bytes(payload().to_string().as_bytes());
        let covered = format!("{:?}", veil.decoded(&decoded));
        assert!(!covered.contains("Zq7Rk2Lm") && !covered.contains("123456789"), "{covered}");
        assert!(covered.contains("已隐藏密码") && !covered.contains(" hidden]"), "{covered}");
        assert_eq!(veil.hidden(), 5, "{covered}");
    }

    #[test]
    fn a_file_has_no_secrets_behind_escapes_or_beside_bytes_that_are_no_text() {
        let token = format!("ghp_{}", "Zq7Rk2Lm9Vb4".repeat(3));
        let log = format!("{}\n{token}\npassword:\n  Zq7Rk2Lm\n", "all is well ".repeat(100_000));
        let json = serde_json::json!({ "log": log, "n": [1, { "stringValue": "a" }] }).to_string();
        let (mut cut, mut bad) = (log.clone().into_bytes(), json.clone().into_bytes());
        cut.push(0xe2);
        bad.insert(10, 0xff);
        let mask = Mask::default();
        let veil = Veil::new(&mask, chinese());
        for published in [json.clone().into_bytes(), log.into_bytes(), cut] {
            let file = veil.original(&Bytes::from(published.clone()));
            let shown = String::from_utf8_lossy(&file);
            assert!(!shown.contains("Zq7Rk2Lm"), "{}", &shown[shown.len() - 150..]);
            assert!(shown.contains("[已隐藏密码]") && file.len() > published.len() / 2);
            assert_eq!(file.last(), published.last());
        }
        let shown = veil.original(&Bytes::from(bad));
        assert!(!String::from_utf8_lossy(&shown).contains(&token));
        let shown: Value = serde_json::from_slice(&veil.original(&Bytes::from(json))).unwrap();
        assert_eq!(shown["n"], json!([1, { "stringValue": "a" }]));
        // A file that is no text stays.
        let archive = Bytes::from(
            [&[0x1f, 0x8b, 8, 0, 0xff][..], b"password=Zq7Rk2Lm ", &vec![0; 600_000]].concat(),
        );
        assert_eq!(veil.original(&archive), archive);
    }

    #[test]
    fn templates_read_json_without_secrets() {
        let mask = Mask::default();
        let read = Veil::new(&mask, chinese()).readable(&Bytes::from(payload().to_string()));
        let read: Value = serde_json::from_slice(&read).unwrap();
        assert!(!read.to_string().contains("Zq7Rk2Lm"), "{read}");
        assert_eq!((&read["n"], &read["args"][1]), (&json!(5), &json!("[已隐藏密码]")), "{read}");
        let text = Veil::new(&mask, chinese()).readable(&Bytes::from("password=Zq7Rk2Lm"));
        assert_eq!(text, "password=[已隐藏密码]");
    }
}
