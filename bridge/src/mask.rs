//! Finds secrets in texts that are about to be shown, and puts words in their places.
//!
//! Publishers do not mean to publish secrets; they forward what a program prints. Secrets are therefore recognised by
//! their own form (a JWT, a private key, a token with a well-known prefix), or by the name in front of them
//! (`password=`). Hashes, UUIDs and fingerprints have no such form or name, and stay.
//!
//! The masks in [`secrets`](crate::secrets), which are for the journals of units, hide rather too much than too little. Here
//! a hash or a sentence that is hidden is a fault, as most messages are written to be read.
//!
//! The time is linear in the length of a text, whatever it contains: a text is searched in pieces of bounded length.

pub(crate) mod tokens;

use std::{borrow::Cow, fmt, ops::Range, sync::LazyLock};

use regex::{Captures, Regex, RegexBuilder};

/// The kinds of secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secret {
    Jwt,
    PrivateKey,
    /// The seed of an nkey, or the credentials of a NATS user.
    Nkey,
    Password,
    /// A token, API key or cookie.
    Token,
    /// A link that unsubscribes whoever opens it. It stays readable, but clients do not make it a link.
    Unsubscribe,
}

impl Secret {
    pub(crate) const ALL: [Self; 6] =
        [Self::Jwt, Self::PrivateKey, Self::Nkey, Self::Password, Self::Token, Self::Unsubscribe];

    /// The name in the configuration.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Jwt => "jwt",
            Self::PrivateKey => "private-key",
            Self::Nkey => "nkey",
            Self::Password => "password",
            Self::Token => "token",
            Self::Unsubscribe => "unsubscribe-link",
        }
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The words that take the place of a secret.
pub(crate) type Label<'a> = &'a dyn Fn(Secret) -> &'static str;

/// The words in the log and for publishers.
pub(crate) fn english(secret: Secret) -> &'static str {
    match secret {
        Secret::Jwt => "[JWT hidden]",
        Secret::PrivateKey => "[private key hidden]",
        Secret::Nkey => "[NATS credentials hidden]",
        Secret::Password => "[password hidden]",
        Secret::Token => "[token hidden]",
        Secret::Unsubscribe => "[link hidden]",
    }
}

/// The length of the pieces in which a text is searched, in bytes.
const PIECE: usize = 16 * 1024;

/// The part at the end of a piece in which a better place for its end is looked for, in bytes.
const SEAM: usize = 4 * 1024;

/// The memory of a compiled pattern, and that of its search, in bytes.
const PATTERN_BYTES: usize = 256 * 1024;

/// The names in front of a secret. `pwd` is left to the check of its value, as it is also a directory.
const NAMES: &str = r"(?:password|passwd|passphrase|pwd|secret|token|api[_-]?key|apikey|access[_-]?key(?:[_-]?id)?|private[_-]?key|secret[_-]?key|auth[_-]?key|authorization|credentials?|cookie|x-amz-signature|x-amz-security-token|[?&;]sig|[?&;]signature)";

/// Secrets by their own form, and those with a name in front of them.
static PATTERN: LazyLock<Regex> = LazyLock::new(|| {
    let forms = [
        r"(?P<jwt>(?-u:\b)eyJ[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_-]*){2,4})",
        r"(?P<nkey>(?-u:\b)S[ACNOUX][A-Z2-7]{56}(?-u:\b))",
        &format!("(?P<token>{})", tokens::whole()),
        r"(?P<hook>hooks\.slack\.com/(?:services|workflows)/|discord(?:app)?\.com/api/webhooks/[0-9]{1,24}/)(?P<hooked>[A-Za-z0-9_/-]{8,})",
        r"(?P<user>://[!-.0-9;=?A-~]{0,64}:)(?P<userword>[!-.0-;=?A-~]{1,100})@",
        r"(?P<bearer>(?i-u:bearer|basic)[ \t]{1,3})(?P<borne>[A-Za-z0-9._~+/=-]{16,})",
    ];
    let option = r"(?P<option>--(?i-u:[a-z0-9-]{0,32}(?:password|passwd|passphrase|secret|token|api-key))[ \t]{1,3})(?P<argument>[!#$%&(-,./0-Z^-~][!#-&(-~]{0,100})";
    let named = format!(
        r#"(?P<name>(?i-u:{NAMES}))(?P<between>\\{{0,4}}["']?[ \t]{{0,3}}(?:=>|[:=])[ \t]{{0,3}})(?P<scheme>(?i-u:bearer|basic|digest|token)[ \t]{{1,3}})?(?P<value>"(?:[^"\\]|\\.)*|'[^']*|\\{{1,4}}["'][^"'\\]*|[^\s"'&,;)}}\]<>|\\]+)"#
    );
    compiled(&format!("{}|{option}|{named}", forms.join("|")))
});

/// Addresses that unsubscribe. They have a pattern of their own: an address can be long, and contain secrets.
static UNSUBSCRIBE: LazyLock<Regex> = LazyLock::new(|| {
    compiled(r#"https?://[^\s"'<>\\]*(?i-u:unsubscribe|opt-?out|list-manage)[^\s"'<>\\]*"#)
});

fn compiled(pattern: &str) -> Regex {
    RegexBuilder::new(pattern)
        .size_limit(PATTERN_BYTES)
        .dfa_size_limit(PATTERN_BYTES)
        .build()
        .expect("the pattern is valid; a test uses it")
}

/// The choice of what is hidden.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mask {
    /// The kinds that are shown as they are.
    pub(crate) shown: Vec<Secret>,
}

impl Mask {
    /// Returns a text in which words take the places of secrets, and the number of those.
    pub(crate) fn text<'a>(&self, text: &'a str, label: Label<'_>) -> (Cow<'a, str>, u64) {
        let hides = |secret| !self.shown.contains(&secret);
        let mut count = 0;
        let mut hidden = Cow::Borrowed(text);
        for (place, secret) in blocks(text).into_iter().rev().filter(|(_, secret)| hides(*secret)) {
            hidden.to_mut().replace_range(place, label(secret));
            count += 1;
        }
        if let Some(replaced) = in_pieces(&hidden, |piece| {
            let replaced = PATTERN.replace_all(piece, |found: &Captures<'_>| {
                let replaced = replaced(found, label).filter(|(secret, _)| hides(*secret));
                count += u64::from(replaced.is_some());
                replaced.map_or_else(|| found[0].to_owned(), |(_, text)| text)
            });
            owned(replaced)
        }) {
            hidden = Cow::Owned(replaced);
        }
        if hides(Secret::Unsubscribe)
            && let Some(defused) = in_pieces(&hidden, |piece| {
                owned(UNSUBSCRIBE.replace_all(piece, |found: &Captures<'_>| defused(&found[0])))
            })
        {
            hidden = Cow::Owned(defused);
        }
        (hidden, count)
    }

    /// Returns the secret that a value is because of its name, as in `{"password": "…"}`.
    pub(crate) fn of_name(&self, name: &str, value: &str) -> Option<Secret> {
        let secret = secret_named(name)?;
        let name = plain(name);
        let is_sentence = value.trim().contains(' ') && secret != Secret::Password;
        let is_one = is_secret(&name, "=", value.trim()) && !is_sentence;
        (is_one && !self.shown.contains(&secret)).then_some(secret)
    }
}

/// Returns a text for the log without secrets.
pub(crate) fn for_log(text: &str) -> String {
    Mask::default().text(text, &english).0.into_owned()
}

fn owned(text: Cow<'_, str>) -> Option<String> {
    match text {
        Cow::Borrowed(_) => None,
        Cow::Owned(text) => Some(text),
    }
}

/// Replaces parts of a text piece by piece. Returns `None` if nothing changes.
fn in_pieces(text: &str, mut replace: impl FnMut(&str) -> Option<String>) -> Option<String> {
    if text.len() <= PIECE {
        return replace(text);
    }
    // Most texts stay as they are, so a copy is made only where something changes.
    let (mut whole, mut done) = (None::<String>, 0);
    while done < text.len() {
        let end = done + end_of_piece(&text[done..]);
        let piece = &text[done..end];
        match (&mut whole, replace(piece)) {
            (None, None) => {}
            (None, Some(replaced)) => whole = Some(format!("{}{replaced}", &text[..done])),
            (Some(whole), replaced) => whole.push_str(replaced.as_deref().unwrap_or(piece)),
        }
        done = end;
    }
    whole
}

/// Returns where the first piece of a text ends: between words, if possible.
fn end_of_piece(text: &str) -> usize {
    if text.len() <= PIECE {
        return text.len();
    }
    let end = text.floor_char_boundary(PIECE);
    let seam = text.floor_char_boundary(PIECE - SEAM);
    let is_between = |c: char| c.is_whitespace() || matches!(c, ',' | '}' | ']');
    text[seam..end].rfind(is_between).map_or(end, |at| seam + at + 1)
}

/// Returns the blocks between `-----BEGIN …-----` and `-----END …-----` that are secret. A block without an end ends
/// where it no longer looks like one.
fn blocks(text: &str) -> Vec<(Range<usize>, Secret)> {
    const BEGIN: &str = "-----BEGIN ";
    const END: &str = "-----END ";
    /// The longest name of a block, in bytes.
    const NAME: usize = 48;
    let (mut blocks, mut from, mut has_ends) = (Vec::new(), 0, true);
    while let Some(found) = text[from..].find(BEGIN) {
        let begin = from + found;
        from = begin + BEGIN.len();
        let Some(length) = text[from..].find("-----").filter(|length| *length <= NAME) else {
            continue;
        };
        let name = &text[from..from + length];
        if !name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == ' ') {
            continue;
        }
        let secret = if name.contains("PRIVATE KEY") {
            Secret::PrivateKey
        } else if name.contains("NKEY SEED") || name.contains("USER JWT") {
            Secret::Nkey
        } else {
            continue;
        };
        let body = from + length + "-----".len();
        let end = if has_ends { text[body..].find(END) } else { None };
        has_ends = end.is_some();
        let end = if let Some(end) = end {
            let after = body + end + END.len();
            let tail = text[after..].find("-----").filter(|length| *length <= NAME);
            tail.map_or(after, |length| after + length + "-----".len())
        } else {
            let is_body = |c: char| c.is_ascii_alphanumeric() || "+/=\\-_.\r\n\t ".contains(c);
            text[body..].find(|c| !is_body(c)).map_or(text.len(), |length| body + length)
        };
        // Credentials of NATS end with six hyphens.
        let end = end + text[end..].len() - text[end..].trim_start_matches('-').len();
        blocks.push((begin..end, secret));
        from = end;
    }
    blocks
}

/// Returns what a match of [`PATTERN`] becomes, unless it is no secret.
fn replaced(found: &Captures<'_>, label: Label<'_>) -> Option<(Secret, String)> {
    let at = |name: &str| found.name(name).map(|it| it.as_str());
    for (name, secret) in [("jwt", Secret::Jwt), ("nkey", Secret::Nkey), ("token", Secret::Token)] {
        if found.name(name).is_some() {
            return Some((secret, label(secret).to_owned()));
        }
    }
    let token = label(Secret::Token);
    if let Some(address) = at("hook") {
        return Some((Secret::Token, format!("{address}{token}")));
    }
    if let Some(user) = at("user") {
        // An address stays one word, so that it is still shown as an address.
        return Some((Secret::Password, format!("{user}…@")));
    }
    if let Some(scheme) = at("bearer") {
        let is_one = is_random(at("borne")?);
        return is_one.then(|| (Secret::Token, format!("{scheme}{token}")));
    }
    if let Some(option) = at("option") {
        let secret = secret_named(option)?;
        return Some((secret, format!("{option}{}", label(secret))));
    }
    let (name, between, value) = (at("name")?, at("between")?, at("value")?);
    let quote: String = value.chars().take_while(|c| matches!(c, '\\' | '"' | '\'')).collect();
    let bare = &value[quote.len()..];
    let secret = secret_named(name)?;
    let scheme = at("scheme").unwrap_or_default();
    let is_quoted = !quote.is_empty();
    let between_is = if is_quoted { "=" } else { between };
    if !is_secret(&plain(name), between_is, bare)
        || is_quoted && bare.contains(' ') && secret == Secret::Token
    {
        return None;
    }
    Some((secret, format!("{name}{between}{scheme}{quote}{}", label(secret))))
}

/// Brings a name into a form without case and punctuation.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// Returns the secret that a name stands for.
fn secret_named(name: &str) -> Option<Secret> {
    const PASSWORDS: [&str; 4] = ["password", "passwd", "passphrase", "pwd"];
    const TOKENS: [&str; 16] = [
        "secret",
        "token",
        "apikey",
        "accesskey",
        "accesskeyid",
        "privatekey",
        "secretkey",
        "authkey",
        "authorization",
        "credentials",
        "credential",
        "cookie",
        "xamzsignature",
        "xamzsecuritytoken",
        "sig",
        "signature",
    ];
    let plain = plain(name);
    let ends = |names: &[&str]| names.iter().any(|it| plain.ends_with(it));
    match plain.as_str() {
        "jwt" => Some(Secret::Jwt),
        "seed" | "nkey" | "nkeyseed" => Some(Secret::Nkey),
        "pass" => Some(Secret::Password),
        _ if ends(&PASSWORDS) => Some(Secret::Password),
        _ if ends(&TOKENS) => Some(Secret::Token),
        _ => None,
    }
}

/// Whether a value behind a name is a secret, and not a word about one. `between` is what separates them.
fn is_secret(name: &str, between: &str, value: &str) -> bool {
    /// The words that people write behind such a name.
    const WORDS: [&str; 22] = [
        "true",
        "false",
        "null",
        "none",
        "nil",
        "n/a",
        "yes",
        "no",
        "expired",
        "invalid",
        "wrong",
        "incorrect",
        "required",
        "missing",
        "changed",
        "reset",
        "failed",
        "rejected",
        "redacted",
        "hidden",
        "authentication",
        "is",
    ];
    let lower = value.to_lowercase();
    let is_hidden = value.chars().all(|c| matches!(c, '*' | 'x' | 'X' | '.' | '…' | '•'))
        || value.starts_with(['[', '…']);
    if value.is_empty() || is_hidden || WORDS.contains(&lower.trim_matches(['.', '!', ','])) {
        return false;
    }
    // The environment variable PWD is a directory.
    if name.ends_with("pwd") && value.starts_with('/') {
        return false;
    }
    // A number of tokens, or the position of one.
    let is_small_number = value.len() <= 4 && value.chars().all(|c| c.is_ascii_digit());
    let is_password = name.contains("pass") || name.ends_with("pwd");
    // "unexpected token: foo" is a sentence, and so may be "secret: webapp".
    let is_sentence = between.starts_with(':') && between.ends_with(char::is_whitespace);
    match (is_password, is_sentence) {
        (true, _) => true,
        (false, true) => is_random(value),
        (false, false) => !is_small_number,
    }
}

/// Whether a word looks as if nobody had chosen it.
fn is_random(word: &str) -> bool {
    const LEAST: usize = 8;
    word.len() >= LEAST
        && word.chars().any(|c| c.is_ascii_digit())
        && word.chars().any(|c| c.is_ascii_alphabetic())
}

/// Writes an address so that no client makes a link of it, but a person can: `hxxps://example[.]com/…`.
fn defused(address: &str) -> String {
    let address = address.replacen("http", "hxxp", 1);
    let host_end = address.match_indices('/').nth(2).map_or(address.len(), |(at, _)| at);
    let (host, rest) = address.split_at(host_end);
    format!("{}{rest}", host.replace('.', "[.]"))
}

#[cfg(test)]
mod tests;
