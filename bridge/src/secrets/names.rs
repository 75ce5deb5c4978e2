//! The names of secrets, and the parts of a match that has one.

use std::sync::LazyLock;

use regex::{Captures, Match, Regex, RegexBuilder};

/// The memory for the search with one pattern, in bytes.
const SEARCH_BYTES: usize = 128 * 1024;

/// The words that name a secret, alone or in a key such as `DB_PASSWORD` or `registration-token`.
pub(super) const NAMES: &str = "(?:pass(?:word|wd|phrase|code)|(?:store|key|ssh|root|user|admin)pass|(?:root|user|admin)pw|(?:(?-u:\\b)|[_-]|\\\\[nrt])(?:pass|pw|psk|t?otp)|pwd|secret|token\
    |jwt|signature|passwort|kennwort|wachtwoord|contraseña|(?-u:\\b)senha|mot de passe|пароль|パスワード|비밀번호|密码|密钥|口令|(?:recovery|backup)[-_ ]?code\
    |sess(?:ion)?id|rediscli_auth|(?:access|account|api|auth|client|encryption|master|pre-?shared|private|secret|shared|signing|storage)[-_. ]?key)";

/// The words that name a password, which is often of several words.
pub(super) const PASSWORDS: &str =
    "(?:pass(?:word|wd|phrase|code)|passwort|kennwort|pwd|(?:(?-u:\\b)|\\\\[nrt])p(?:ass|w))";

/// The suffixes that a name may have before `:`, as in `secret_key_base` and `password1`.
pub(super) const PARTS: &str = "(?:s|[-_.]?(?:[0-9]+|admin|base|base64|b64|current|data|encoded|hash|hex|id|key|new|next|old|plain|prod|raw\
    |root|salt|str|string|test|text|user|value)){0,4}";

/// The suffixes that a name may have before `=` or at the end of a quoted key: any words.
pub(super) const MORE_WORDS: &str =
    "(?P<further>s?(?:[-_.]?[0-9]+|[-_.][a-z0-9]+|(?-i:[A-Z][a-z0-9]+))*)";

/// The last part of a key that names a secret.
pub(super) static KEY: LazyLock<Regex> =
    LazyLock::new(|| compiled(&format!("(?i){NAMES}{MORE_WORDS}$")));

/// Compiles a pattern whose search takes little memory.
pub(super) fn compiled(pattern: &str) -> Regex {
    let built = RegexBuilder::new(pattern).dfa_size_limit(SEARCH_BYTES).build();
    built.expect("a test masks with each of them")
}

/// Whether the last word of a key makes it a setting about a secret, as in `_file`, `.path` and `Policy`.
pub(super) fn is_about(further: &str) -> bool {
    const WORDS: &[&str] = &[
        "age",
        "agent",
        "alg",
        "algo",
        "algorithm",
        "at",
        "attempts",
        "audience",
        "auth",
        "authentication",
        "bits",
        "bucket",
        "change",
        "changed",
        "class",
        "count",
        "created",
        "date",
        "dir",
        "directory",
        "enabled",
        "endpoint",
        "env",
        "errors",
        "expiration",
        "expired",
        "expires",
        "expiry",
        "failed",
        "failures",
        "field",
        "file",
        "filename",
        "format",
        "header",
        "hint",
        "in",
        "interval",
        "issuer",
        "last",
        "left",
        "len",
        "length",
        "lifetime",
        "limit",
        "location",
        "manager",
        "max",
        "method",
        "min",
        "mode",
        "name",
        "path",
        "policy",
        "prompt",
        "provider",
        "rate",
        "remaining",
        "required",
        "reset",
        "rotated",
        "rotation",
        "scope",
        "service",
        "set",
        "size",
        "source",
        "state",
        "status",
        "store",
        "time",
        "timeout",
        "total",
        "ttl",
        "type",
        "updated",
        "uri",
        "url",
        "usage",
        "used",
        "valid",
        "var",
        "version",
    ];
    let mut last = further.rsplit(['-', '_', '.']).next().unwrap_or_default();
    if last.contains(char::is_lowercase) {
        last = last.rfind(char::is_uppercase).map_or(last, |start| &last[start..]);
    }
    let last = last.to_lowercase();
    let is = |word: &str| WORDS.contains(&word);
    is(&last) || last.strip_suffix('s').is_some_and(is)
}

/// Whether a text has only digits.
pub(super) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The groups of a pattern that match the secret itself. Without such a group the whole match is the secret.
const GROUPS: [&str; 7] = [
    "secret",
    "secret_in_two",
    "secret_in_one",
    "secret_in_escaped",
    "secret_in_list",
    "secret_in_three",
    "secret_in_three_single",
];

/// Returns the part of a match that is the secret.
pub(super) fn secret_of<'text>(found: &Captures<'text>) -> Match<'text> {
    GROUPS.iter().find_map(|name| found.name(name)).unwrap_or_else(|| found.get_match())
}

/// Returns the text of the secret of a match.
pub(super) fn secret<'text>(found: &Captures<'text>) -> &'text str {
    secret_of(found).as_str()
}
