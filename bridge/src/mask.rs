//! Finds secrets in texts that are about to be shown, and puts words in their places.
//!
//! Publishers do not mean to publish secrets; they forward what a program prints. Secrets are therefore recognised by
//! their own form (a JWT, a private key, a token with a well-known prefix), or by the name in front of them
//! (`password=`), in any of the forms in [`secrets`]. Hashes, UUIDs and fingerprints have no such form or
//! name, and stay. A hash or a sentence that is hidden is a fault, as most messages are written to be read.
//!
//! Colours and characters that cannot be seen do not part a name or a secret: they are removed before.
//!
//! The time is linear in the length of a text, whatever it contains: a text is searched in pieces of bounded length. After
//! [`MOST_PLACES`] places that could be secrets the rest is not searched, and whole lines are hidden that could have one.

mod document;
mod edits;
mod json;

use std::{borrow::Cow, ops::Range, sync::LazyLock};

use regex::{Captures, Regex, RegexBuilder};

use crate::secrets::{self, Tally, tokens, value};

pub(crate) use crate::secrets::kind::{Label, Secret, english};

/// The length of the pieces in which a text is searched, in bytes.
const PIECE: usize = 16 * 1024;

/// The part at the end of a piece in which a better place for its end is looked for, in bytes.
const SEAM: usize = 4 * 1024;

/// The part before the end of a piece in which no name of a secret should be, in bytes.
const NAME: usize = 64;

/// The number of places for the end of a piece that are tried.
const TRIED: usize = 64;

/// The number of bytes by which words in the places of secrets may make a text longer. Further secrets get [`SHORT`].
const MOST_GROWN: usize = 64 * 1024;

/// The number of places in a text that are looked at one by one. Each takes microseconds, and while they pass, no route gets
/// on: 8 MB of nothing but passwords would take seconds.
const MOST_PLACES: usize = 20_000;

/// The number of texts of a file that are searched for every form, such as the strings of JSON.
const MOST_TEXTS: usize = 5 * MOST_PLACES;

/// The shortest text in the place of a secret.
const SHORT: &str = "*";

/// The memory of a compiled pattern, and that of its search, in bytes.
const PATTERN_BYTES: usize = 256 * 1024;

/// Secrets by their own form.
static PATTERN: LazyLock<Regex> = LazyLock::new(|| {
    let words = [
        r"(?P<jwt>eyJ[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_-]*){2,4})",
        r"(?P<nkey>S[ACNOUX][A-Z2-7]{56}(?-u:\b))",
        &format!("(?P<token>{})", tokens::whole()),
    ];
    let forms = [
        &format!("(?P<seam>{})(?:{})", tokens::SEAM, words.join("|")),
        r"(?P<hook>hooks\.slack\.com/(?:services|workflows)/|discord(?:app)?\.com/api/webhooks/[0-9]{1,24}/|\.webhook\.office\.com/)(?P<hooked>[A-Za-z0-9_/@-]{8,})",
        r"(?P<user>://[!-.0-9;=?A-~]{0,64}:)(?P<userword>[!-.0-;=?A-~]{1,100})@",
    ];
    compiled(&forms.join("|"))
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
        let mut work = Work::new(self, label);
        (work.text(text), work.tally.secrets)
    }

    /// Returns the secret that a value is because of its name, as in `{"password": "…"}`.
    pub(crate) fn of_name(&self, name: &str, value: &str, label: Label<'_>) -> Option<Secret> {
        let secret = value::secret_named(name)?;
        let is_one = value::is_secret_named(name, secret, value, label);
        (is_one && !self.shown.contains(&secret)).then_some(secret)
    }
}

/// The work on one text, or on all parts of a file: the choice of what is hidden in it, and what was found.
struct Work<'a> {
    mask: &'a Mask,
    label: Label<'a>,
    tally: Tally,
    /// The number of bytes by which words in the places of secrets have made it longer.
    grown: usize,
}

impl<'a> Work<'a> {
    fn new(mask: &'a Mask, label: Label<'a>) -> Self {
        Self { mask, label, tally: Tally::default(), grown: 0 }
    }

    fn hides(&self, secret: Secret) -> bool {
        !self.mask.shown.contains(&secret)
    }

    /// Whether so many places were looked at that no more are.
    fn is_spent(&self) -> bool {
        self.tally.places > MOST_PLACES || self.tally.texts > MOST_TEXTS
    }

    /// The words that take the places of secrets.
    fn label(&self) -> Label<'a> {
        if self.grown < MOST_GROWN { self.label } else { &|_| SHORT }
    }

    /// Returns a text in which words take the places of secrets. It is borrowed if nothing has changed.
    fn text<'t>(&mut self, text: &'t str) -> Cow<'t, str> {
        let mut hidden = self.without_blocks(text);
        if let Some(replaced) = in_pieces(&hidden, |piece| self.covered(piece)) {
            hidden = Cow::Owned(replaced);
        }
        if self.hides(Secret::Unsubscribe)
            && let Some(defused) = in_pieces(&hidden, |piece| {
                owned(UNSUBSCRIBE.replace_all(piece, |found: &Captures<'_>| defused(&found[0])))
            })
        {
            hidden = Cow::Owned(defused);
        }
        hidden
    }

    /// Returns a piece of a text without its secrets, or `None` if it has none.
    fn covered(&mut self, original: &str) -> Option<String> {
        if self.is_spent() {
            return coarsely(original, &mut self.tally);
        }
        let before = self.tally.secrets;
        let piece = self.piece(original);
        // A text without a secret stays as it came.
        (self.tally.secrets > before).then(|| {
            self.grown += piece.len().saturating_sub(original.len());
            piece.into_owned()
        })
    }

    /// Returns a text without blocks of keys.
    fn without_blocks<'t>(&mut self, text: &'t str) -> Cow<'t, str> {
        let mut blocks = blocks(text);
        blocks.retain(|(_, secret)| self.hides(*secret));
        if blocks.is_empty() {
            return Cow::Borrowed(text);
        }
        let (mut hidden, mut done) = (String::with_capacity(text.len()), 0);
        for (place, secret) in blocks {
            hidden.push_str(&text[done..place.start]);
            hidden.push_str((self.label)(secret));
            self.tally.secrets += 1;
            done = place.end;
        }
        hidden.push_str(&text[done..]);
        Cow::Owned(hidden)
    }

    /// Hides the secrets of one piece of a text, and counts them. What could part them is removed from it.
    fn piece<'t>(&mut self, piece: &'t str) -> Cow<'t, str> {
        let (mask, label) = (self.mask, self.label());
        let hides = |secret| !mask.shown.contains(&secret);
        let mut piece = secrets::bare(piece);
        let replaced = PATTERN.replace_all(&piece, |found: &Captures<'_>| {
            let replaced = replaced(found, label).filter(|(secret, _)| hides(*secret));
            self.tally.secrets += u64::from(replaced.is_some());
            self.tally.places += 1;
            replaced.map_or_else(|| found[0].to_owned(), |(_, text)| text)
        });
        if let Some(replaced) = owned(replaced) {
            piece = Cow::Owned(replaced);
        }
        secrets::hide(&mut piece, &hides, label, &mut self.tally);
        piece
    }
}

/// Returns a text for the log without secrets.
pub(crate) fn for_log(text: &str) -> String {
    Mask::default().text(text, &english).0.into_owned()
}

/// Hides each line of a piece that could have a secret, and the line below it, in which a value could be. Returns `None` if
/// there is none.
fn coarsely(piece: &str, tally: &mut Tally) -> Option<String> {
    let (bare, mut kept, mut is_below, before) =
        (secrets::bare(piece), String::new(), false, tally.secrets);
    for line in bare.split_inclusive('\n') {
        let may_have = secrets::may_be_secret(line) || PATTERN.is_match(line);
        if !may_have && !is_below {
            kept.push_str(line);
        } else if !line.trim().is_empty() {
            tally.secrets += 1;
            kept.push_str(secrets::MASK);
            kept.push_str(if line.ends_with('\n') { "\n" } else { "" });
        }
        is_below = may_have;
    }
    (tally.secrets > before).then_some(kept)
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
            (None, Some(replaced)) => {
                let mut begun = String::with_capacity(text.len() + MOST_GROWN + PIECE);
                begun.push_str(&text[..done]);
                begun.push_str(&replaced);
                whole = Some(begun);
            }
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
    let between = |c: char| c.is_whitespace() || matches!(c, ',' | '}' | ']');
    let places =
        || text[seam..end].rmatch_indices(between).map(|(at, sign)| seam + at + sign.len());
    // No name of a secret is right before the end: the secret would be in the next piece.
    let is_good = |at: &usize| {
        let before = text.floor_char_boundary(at.saturating_sub(NAME));
        !secrets::has_trigger(&text[before..*at])
    };
    places().take(TRIED).find(is_good).or_else(|| places().next()).unwrap_or(end)
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
        let is_static = name.starts_with("OpenVPN Static key");
        let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == ' ';
        if !is_static && !name.chars().all(is_name) {
            continue;
        }
        let secret = if is_static || name.contains("PRIVATE KEY") {
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
            return Some((secret, format!("{}{}", at("seam").unwrap_or_default(), label(secret))));
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
    None
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
