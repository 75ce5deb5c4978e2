//! Decides whether a value behind a name is a secret in a text that people read. Hashes, UUIDs, names of machines and
//! sentences about secrets are none.

use std::ops::Range;

use regex::Captures;

use crate::secrets::{
    bare::bare,
    kind::{Label, Secret},
    names::{KEY, is_about, is_number, secret_of},
};

/// The words that people write behind such a name.
const WORDS: &[&str] = &[
    "accepted",
    "access",
    "all",
    "and",
    "are",
    "argument",
    "as",
    "at",
    "authentication",
    "bad",
    "by",
    "can",
    "cannot",
    "change",
    "changed",
    "changes",
    "check",
    "could",
    "created",
    "default",
    "deleted",
    "denied",
    "disabled",
    "does",
    "empty",
    "enabled",
    "error",
    "expired",
    "expires",
    "expiring",
    "failed",
    "failure",
    "failures",
    "false",
    "file",
    "flag",
    "for",
    "found",
    "from",
    "good",
    "has",
    "hidden",
    "if",
    "in",
    "incorrect",
    "invalid",
    "is",
    "it",
    "leaked",
    "length",
    "login",
    "manager",
    "may",
    "mismatch",
    "missing",
    "must",
    "n/a",
    "never",
    "new",
    "nil",
    "no",
    "none",
    "not",
    "null",
    "of",
    "off",
    "ok",
    "on",
    "option",
    "options",
    "or",
    "overdue",
    "policy",
    "prompt",
    "redacted",
    "rejected",
    "removed",
    "renewed",
    "required",
    "reset",
    "revoked",
    "rotated",
    "rotation",
    "set",
    "should",
    "stale",
    "successful",
    "the",
    "to",
    "too",
    "true",
    "unchanged",
    "undefined",
    "unknown",
    "unset",
    "update",
    "updated",
    "used",
    "valid",
    "was",
    "were",
    "will",
    "with",
    "wrong",
    "yes",
];

/// Returns the secret that a name in JSON, of a label or of a header stands for.
pub(crate) fn secret_named(name: &str) -> Option<Secret> {
    let name = bare(name);
    let name = name.trim();
    let plain: String =
        name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    match plain.as_str() {
        "jwt" => return Some(Secret::Jwt),
        "seed" | "nkey" | "nkeyseed" => return Some(Secret::Nkey),
        "auth" | "sig" | "credential" | "credentials" => return Some(Secret::Token),
        _ if is_header(&plain) => return Some(Secret::Token),
        _ => {}
    }
    let found = KEY.captures(name)?;
    if found.name("further").is_some_and(|further| is_about(further.as_str())) {
        return None;
    }
    Some(kind_of(&found[0]))
}

/// Whether a name beside a secret says something about it.
pub(crate) fn is_about_one(name: &str) -> bool {
    let name = name.trim().to_lowercase();
    is_about(&name) || ["_by", "by", "id", "user", "username"].iter().any(|end| name.ends_with(end))
}

/// Whether a name is that of a header whose whole value is a secret.
fn is_header(plain: &str) -> bool {
    plain.ends_with("authorization") || plain.ends_with("cookie")
}

/// Returns the kind of the secret that a text with its name is about.
fn kind_of(name: &str) -> Secret {
    const PASSWORDS: [&str; 15] = [
        "pass",
        "pwd",
        "pw",
        "psk",
        "otp",
        "kennwort",
        "wachtwoord",
        "contrase",
        "senha",
        "mot de",
        "пароль",
        "パスワード",
        "비밀번호",
        "密码",
        "口令",
    ];
    let name = name.to_lowercase();
    if PASSWORDS.iter().any(|word| name.contains(word)) {
        Secret::Password
    } else if name.trim_start_matches(['-', '_']) == "jwt" {
        Secret::Jwt
    } else {
        Secret::Token
    }
}

/// Returns the kind of the secret that a match names in front of it.
pub(super) fn secret_named_before(found: &Captures<'_>) -> Secret {
    kind_of(before(found))
}

fn before<'text>(found: &Captures<'text>) -> &'text str {
    let whole = found.get_match();
    &whole.as_str()[..secret_of(found).start() - whole.start()]
}

/// Whether the secret of a match is a number behind a key of JSON.
pub(super) fn is_number_of_json(found: &Captures<'_>) -> bool {
    let secret = secret_of(found).as_str();
    let rest = secret.trim_start_matches(|c: char| c.is_ascii_digit());
    let is_value =
        rest.len() < secret.len() && (rest.is_empty() || rest.starts_with([',', '}', ']']));
    is_value && before(found).trim_end().ends_with("\":")
}

/// Whether a text says that something is hidden.
pub(super) fn is_hidden(value: &str, label: Label<'_>) -> bool {
    let word = value.trim_matches(|c: char| !c.is_alphanumeric());
    let is_sign = |c: char| matches!(c, '*' | 'x' | 'X' | '.' | '…' | '•' | '<' | '>' | '[' | ']');
    let says = |words: &str| words.trim_matches(['[', ']']) == word || words.starts_with(value);
    value.chars().all(is_sign) || Secret::ALL.into_iter().any(|secret| says(label(secret)))
}

/// Whether the secret of a match is one in a text for people.
pub(super) fn is_secret_in_room(found: &Captures<'_>, kind: Secret) -> bool {
    let (before, value) = (before(found), &secret_of(found).as_str()[cut(found, kind)]);
    let is_quoted = before.ends_with(['"', '\'']);
    let between = before.trim_end();
    let is_sentence = !is_quoted && between.ends_with([':', '：']) && between.len() < before.len();
    let name = between.trim_end_matches(|c: char| !c.is_alphanumeric());
    let start = name.rfind(|c: char| !(c.is_alphanumeric() || "_-.".contains(c)));
    let word = start.map_or(name, |at| &name[at..]).trim_matches(|c: char| !c.is_alphanumeric());
    let word = word.to_lowercase();
    let is_bare = ["secret", "token", "signature", "credential", "jwt", "key", "auth"]
        .contains(&word.trim_end_matches('s'));
    let is_structure = value.starts_with([',', '}', ']', ')'])
        || ["{\"", "{\\", "{}", "--"].iter().any(|start| value.starts_with(start));
    if !is_quoted && is_structure {
        return false;
    }
    // The environment variable PWD is a directory.
    if name.to_lowercase().ends_with("pwd") && value.starts_with('/') {
        return false;
    }
    let all = secret_of(found).as_str();
    if !is_quoted && begins_a_sentence(all) || is_word(value) {
        return false;
    }
    let first = value.split_whitespace().next().unwrap_or_default();
    if !is_quoted && (begins_in_characters(value) || is_range(first)) {
        return false;
    }
    // "PASS: src/login.test.js" and "pass: 120 of 130" are of tests.
    if is_sentence && word == "pass" && (is_number(first) || first.contains('/')) {
        return false;
    }
    match kind {
        Secret::Password => true,
        _ if is_sentence && is_bare && names_an_object(&word, first) => false,
        // A number of tokens, or the position of one.
        _ if is_number(value) && value.len() <= 4 => false,
        // "unexpected token: foo" is a sentence, and so may be "secret: webapp".
        _ if is_sentence && is_bare => is_random(value),
        _ if is_sentence && all.trim().contains(' ') => is_random(value),
        _ if value.trim().contains(' ') => value.split_whitespace().any(is_random),
        _ => true,
    }
}

/// Whether a value is a secret because of its name in JSON, of a label or of a header.
pub(crate) fn is_secret_named(name: &str, kind: Secret, value: &str, label: Label<'_>) -> bool {
    let value = value.trim();
    let plain: String =
        name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    if value.is_empty() || is_hidden(value, label) || is_word(value) || value.starts_with('…') {
        return false;
    }
    if is_header(&plain) {
        let mut words = value.split_whitespace();
        let (first, second) = (words.next().unwrap_or_default(), words.next());
        return second.map_or_else(
            || is_random(first) || first.contains('=') || first.len() >= 16,
            |second| is_credentials(Some(first), second) || first.contains('='),
        );
    }
    if plain.ends_with("pwd") && value.starts_with('/') {
        return false;
    }
    // In most programs this is the name of a method.
    if plain == "auth" {
        return value.len() >= 12 && is_borne(value);
    }
    if begins_in_characters(value) || names_an_object(&plain, value) {
        return false;
    }
    match kind {
        // The number of tests.
        Secret::Password => !(plain == "pass" && is_number(value)),
        // A number that identifies something, such as `signature_id`, is not what it identifies.
        _ if is_number(value) => {
            value.len() > 4 && !plain.ends_with("tokens") && !plain.ends_with("id")
        }
        _ if value.contains(' ') => value.split_whitespace().any(is_random),
        _ => true,
    }
}

/// Returns the part of the secret of a match that is hidden in a room: without the signs of the text around it.
pub(super) fn cut(found: &Captures<'_>, kind: Secret) -> Range<usize> {
    let secret = secret_of(found).as_str();
    if found.name("secret").is_none() {
        return 0..secret.len();
    }
    let mut end = secret.len();
    if kind != Secret::Password {
        end = secret.find(char::is_whitespace).unwrap_or(end);
    }
    let is_next = |(at, sign): (usize, char)| {
        let rest = &secret[at + sign.len_utf8()..end];
        let word =
            rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "_-.".contains(c));
        let starts_next = word.len() < rest.len() && word.starts_with('=');
        match sign {
            '&' | ';' => starts_next,
            ',' => starts_next || rest.starts_with(['"', '\'']),
            '<' => rest.starts_with('/'),
            _ => false,
        }
    };
    let signs = secret[..end].char_indices().filter(|(_, c)| matches!(c, '&' | ';' | ',' | '<'));
    // A text with ever more of these signs and nothing between them is no list of settings.
    if let Some((at, _)) = signs.take(64).find(|at| at.0 > 0 && is_next(*at)) {
        end = at;
    }
    let trimmed = secret[..end].trim_end_matches([',', ';', ')', '}', ']', '>', '|', '\\']);
    0..if trimmed.is_empty() { end } else { trimmed.len() }
}

/// Whether a value is one of the words about a secret, or the mark of none.
fn is_word(value: &str) -> bool {
    let word = value.trim().trim_matches(['.', '!', ',', ';', ')', '"', '\'']).to_lowercase();
    word.is_empty() || WORDS.binary_search(&word.as_str()).is_ok()
}

/// Whether a text begins in Chinese, Japanese or Korean, which no password does.
fn begins_in_characters(value: &str) -> bool {
    let is_one = |c| matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}');
    value.chars().next().is_some_and(is_one)
}

/// Whether a value is a range, as in "8-64 characters".
fn is_range(value: &str) -> bool {
    let is_end = |text: &str| text.len() <= 3 && is_number(text);
    value.split_once(['-', '–']).is_some_and(|(from, to)| is_end(from) && is_end(to))
}

/// Whether a value behind `secret` is the name of an object of Kubernetes, such as `db-credentials-v2`.
fn names_an_object(name: &str, value: &str) -> bool {
    const WORDS: [&str; 14] = [
        "auth",
        "ca",
        "cert",
        "certs",
        "config",
        "cred",
        "creds",
        "credentials",
        "db",
        "key",
        "keys",
        "secret",
        "tls",
        "token",
    ];
    let mut parts = value.split('-');
    let is_part = |part: &str| {
        let is_plain = part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let has_digits = part.bytes().any(|byte| byte.is_ascii_digit());
        is_plain && (1..=if has_digits { 5 } else { 12 }).contains(&part.len())
    };
    matches!(name, "secret" | "secrets" | "credential" | "credentials")
        && (2..=5).contains(&parts.clone().count())
        && parts.clone().all(is_part)
        && parts.any(|part| WORDS.contains(&part))
}

fn begins_a_sentence(value: &str) -> bool {
    value.split_whitespace().next().is_some_and(is_word)
}

/// Whether a word behind `Authorization:` and perhaps a scheme is a secret.
pub(super) fn is_credentials(scheme: Option<&str>, value: &str) -> bool {
    const SCHEMES: [&str; 12] = [
        "apikey",
        "api-key",
        "aws4-hmac-sha256",
        "basic",
        "bearer",
        "bot",
        "digest",
        "hmac",
        "key",
        "negotiate",
        "ntlm",
        "token",
    ];
    let has_scheme = scheme.is_some_and(|scheme| SCHEMES.contains(&scheme.to_lowercase().as_str()));
    !is_word(value) && !value.starts_with(['[', '…', '*']) && (has_scheme || is_random(value))
}

/// Whether a text is that of a header for authorization, with a scheme and a secret.
pub(crate) fn has_scheme(text: &str) -> bool {
    text.split_once(' ').is_some_and(|(scheme, value)| is_credentials(Some(scheme), value.trim()))
}

/// Whether a word behind `Bearer` or `Basic` is a token, and not the next word of a sentence.
pub(super) fn is_borne(value: &str) -> bool {
    let is_of_words = value.contains(['-', '_', '.', '/'])
        && value
            .split(['-', '_', '.', '/'])
            .all(|word| word.chars().skip(1).all(|c| c.is_ascii_lowercase()) && word.len() < 16);
    let is_long = value.len() >= 20 && !is_of_words;
    is_random(value) && value.len() >= 12 || is_long || value.len() >= 8 && value.ends_with('=')
}

/// Whether a value is a secret anywhere below the name of one: nothing else looks like it.
pub(crate) fn stands_alone(value: &str) -> bool {
    let is_moment = value.get(..4).is_some_and(is_number) && value.get(4..5) == Some("-");
    let is_word = value.chars().all(|c| c.is_ascii_graphic()) && !value.contains(['/', ':']);
    is_random(value) && is_word && !is_moment && !looks_like_a_host(value)
}

/// Whether a word looks as if nobody had chosen it.
pub(crate) fn is_random(word: &str) -> bool {
    const LEAST: usize = 8;
    word.len() >= LEAST
        && word.chars().any(|c| c.is_ascii_digit())
        && word.chars().any(|c| c.is_ascii_alphabetic())
}

/// Whether a word looks like the name of a machine, a version, a time or a UUID, such as `db-01.example.com`.
pub(super) fn looks_like_a_host(word: &str) -> bool {
    word.contains(['-', '.', ':'])
        && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.:".contains(c))
        && word.split(['-', '.', ':']).all(|part| part.len() <= 12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_in_order() {
        assert!(WORDS.is_sorted());
    }

    #[test]
    fn names_stand_for_secrets_unless_they_are_about_one() {
        for (name, secret) in [
            ("password2", Some(Secret::Password)),
            ("passwords", Some(Secret::Password)),
            ("spring.datasource.password", Some(Secret::Password)),
            ("dbPasswordOfRoot", Some(Secret::Password)),
            ("new password ", Some(Secret::Password)),
            ("API KEY", Some(Secret::Token)),
            ("AccountKey", Some(Secret::Token)),
            ("aws_access_key_id", Some(Secret::Token)),
            ("http.request.header.authorization", Some(Secret::Token)),
            ("Set-Cookie", Some(Secret::Token)),
            ("pass\u{200b}word", Some(Secret::Password)),
            ("jwt", Some(Secret::Jwt)),
            ("seed", Some(Secret::Nkey)),
            ("password_changed_at", None),
            ("tokenEndpoint", None),
            ("secret_name", None),
            ("public_key", None),
            ("compass", None),
            ("config", None),
            ("key", None),
            ("author", None),
        ] {
            assert_eq!(secret_named(name), secret, "{name}");
        }
    }
}
