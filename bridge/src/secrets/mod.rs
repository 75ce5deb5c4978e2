//! Secrets in texts from other programs, masked before anybody reads them.
//!
//! Programs print passwords and tokens in addresses, command lines and dumps of settings. The forms of secrets are the
//! same for rooms ([`hide`], used by [`mask`](crate::mask)) and for the journals of units ([`Masks`]). A journal hides
//! everything that looks like a secret, rather too much than too little. In a room, which has sentences, the value
//! decides, too. Neither recognises a secret that looks like an ordinary word.

mod bare;
pub(crate) mod kind;
mod names;
pub(crate) mod tokens;
mod usual;
pub(crate) mod value;

use std::{borrow::Cow, ops::Range};

use regex::{Captures, Regex, RegexBuilder};
use thiserror::Error;

use crate::secrets::{
    kind::{Label, Secret},
    names::secret_of,
    usual::{InRoom, Names, USUAL, Usual},
};

pub(crate) use self::{
    bare::bare,
    usual::{has_trigger, may_be_secret},
};

/// The text that replaces a secret.
pub(crate) const MASK: &str = "***";

/// The maximum size of a compiled pattern, in bytes.
const MOST_COMPILED: usize = 1 << 20;

/// The maximum number of kept bytes of each line, from its beginning. An alert shows far fewer.
const MOST_BYTES_OF_A_LINE: usize = 4096;

/// The maximum number of kept bytes of all lines, from the end of the text. It bounds the time that masking takes.
const MOST_BYTES: usize = 1 << 19;

/// The maximum number of passes over a text.
const MOST_ROUNDS: usize = 4;

/// A pattern of secrets from the configuration.
#[derive(Debug, Clone)]
pub(crate) struct Pattern(Regex);

impl Pattern {
    /// Compiles a regular expression in the syntax of the crate `regex`. Its group `secret` is masked, or the whole
    /// match if there is no such group.
    ///
    /// # Errors
    ///
    /// [`InvalidPattern`], whose text is one line.
    pub(crate) fn new(text: &str) -> Result<Self, InvalidPattern> {
        let built = RegexBuilder::new(text).multi_line(true).size_limit(MOST_COMPILED).build();
        let regex = built.map_err(InvalidPattern::Syntax)?;
        if regex.is_match("") {
            return Err(InvalidPattern::MatchesNothing);
        }
        Ok(Self(regex))
    }
}

/// The reason why a text is no pattern of secrets.
#[derive(Debug, Error)]
pub(crate) enum InvalidPattern {
    /// The text is not a regular expression.
    #[error("{}", last_line(.0))]
    Syntax(regex::Error),
    /// The expression matches the empty text, which is everywhere.
    #[error("matches the empty text")]
    MatchesNothing,
}

/// Returns the reason alone: the lines of the error before the last one only show the position.
fn last_line(error: &regex::Error) -> String {
    let shown = error.to_string();
    let what = shown.lines().last().unwrap_or_default();
    what.strip_prefix("error: ").unwrap_or(what).to_owned()
}

/// The patterns that find secrets: the usual ones and those from the configuration.
#[derive(Debug, Clone, Default)]
pub(crate) struct Masks {
    declared: Vec<Pattern>,
}

impl Masks {
    /// Combines the usual patterns with these.
    pub(crate) fn with(declared: Vec<Pattern>) -> Self {
        Self { declared }
    }

    /// Returns a text with [`MASK`] in place of each secret, without terminal sequences and cut to the limits. The
    /// text has to be whole: a secret that was cut into pieces is not recognised.
    pub(crate) fn mask<'text>(&self, text: &'text str) -> Cow<'text, str> {
        let mut text = bounded(text);
        replace(&mut text, bare);
        // The declared patterns are applied first, to the unmasked text.
        for Pattern(regex) in &self.declared {
            replace(&mut text, |text| masked(text, regex, &mut whole));
        }
        // Masking one secret can make another one recognisable.
        for _ in 0..MOST_ROUNDS {
            let before = text.clone();
            for usual in USUAL.iter().flat_map(|group| &group.forms) {
                let mut by =
                    |found: &Captures<'_>| (usual.fits)(found).then(|| whole(found)).flatten();
                replace(&mut text, |text| masked(text, usual.pattern(), &mut by));
            }
            if text == before {
                break;
            }
        }
        text
    }
}

/// Replaces a text by the result of `by`, if that has changed anything.
fn replace(text: &mut Cow<'_, str>, by: impl FnOnce(&str) -> Cow<'_, str>) {
    if let Cow::Owned(other) = by(text) {
        *text = Cow::Owned(other);
    }
}

/// Keeps the last lines of a text, and the beginning of each of them.
fn bounded(text: &str) -> Cow<'_, str> {
    if text.len() <= MOST_BYTES && text.lines().all(|line| line.len() <= MOST_BYTES_OF_A_LINE) {
        return Cow::Borrowed(text);
    }
    let (mut lines, mut bytes) = (Vec::new(), 0);
    for line in text.rsplit('\n') {
        let line = &line[..line.floor_char_boundary(MOST_BYTES_OF_A_LINE)];
        bytes += line.len() + 1;
        if bytes > MOST_BYTES {
            break;
        }
        lines.push(line);
    }
    lines.reverse();
    Cow::Owned(lines.join("\n"))
}

/// The work that a text has made.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// The number of secrets.
    pub(crate) secrets: u64,
    /// The number of places that were looked at, because a form fits them. Most of the time goes there.
    pub(crate) places: usize,
    /// The number of texts with a word that can stand in front of a secret. Each is searched for every form.
    pub(crate) texts: usize,
}

/// Replaces the secrets of a text for a room, which is one piece of bounded length and [`bare()`]. `hides` says which
/// kinds are hidden. Adds to `tally`.
pub(crate) fn hide(
    text: &mut Cow<'_, str>,
    hides: &dyn Fn(Secret) -> bool,
    label: Label<'_>,
    tally: &mut Tally,
) {
    tally.texts += usize::from(has_trigger(text));
    for _ in 0..MOST_ROUNDS {
        let before = tally.secrets;
        for group in USUAL.iter() {
            if !group.triggers.is_match(text) {
                continue;
            }
            for usual in &group.forms {
                if matches!(usual.in_room, InRoom::Never) {
                    continue;
                }
                let mut by = |found: &Captures<'_>| {
                    let replaced =
                        in_room(usual, found, label).filter(|(secret, ..)| hides(*secret));
                    tally.secrets += u64::from(replaced.is_some());
                    tally.places += 1;
                    replaced.map(|(_, place, words)| (place, words))
                };
                replace(text, |text| masked(text, usual.pattern(), &mut by));
            }
        }
        if tally.secrets == before {
            break;
        }
    }
}

/// Returns the kind of the secret of a match, its place in the text, and the words for it, if it is one in a room.
fn in_room(
    usual: &Usual,
    found: &Captures<'_>,
    label: Label<'_>,
) -> Option<(Secret, Range<usize>, Cow<'static, str>)> {
    let secret = secret_of(found);
    let kind = match usual.names {
        // A route can show these.
        _ if secret.as_str().starts_with("eyJ") && secret.as_str().contains('.') => Secret::Jwt,
        Names::Name => value::secret_named_before(found),
        Names::Form(secret) => secret,
        Names::Address => Secret::Password,
    };
    let place = match usual.names {
        Names::Name => value::cut(found, kind),
        Names::Form(_) | Names::Address => 0..secret.len(),
    };
    let is_one = (usual.fits)(found)
        && !value::is_hidden(&secret.as_str()[place.clone()], label)
        && match usual.in_room {
            InRoom::Never => false,
            InRoom::ByName => value::is_secret_in_room(found, kind),
            InRoom::If(fits) => fits(found),
        };
    if !is_one {
        return None;
    }
    let words = match usual.names {
        Names::Address => Cow::Borrowed("…"),
        // A number in JSON, which stays JSON.
        Names::Name if value::is_number_of_json(found) => {
            Cow::Owned(format!("\"{}\"", label(kind)))
        }
        Names::Name | Names::Form(_) => Cow::Borrowed(label(kind)),
    };
    Some((kind, secret.start() + place.start..secret.start() + place.end, words))
}

/// Returns the place of the whole secret of a match, and the mask.
#[expect(clippy::unnecessary_wraps, reason = "it is one of several ways to replace a match")]
fn whole(found: &Captures<'_>) -> Option<(Range<usize>, Cow<'static, str>)> {
    Some((secret_of(found).range(), Cow::Borrowed(MASK)))
}

/// Decides where a match is replaced, and by which words.
type By<'a> = &'a mut dyn FnMut(&Captures<'_>) -> Option<(Range<usize>, Cow<'static, str>)>;

/// Returns a text in which words take the places that `by` returns for the matches of a pattern.
fn masked<'text>(text: &'text str, regex: &Regex, by: By<'_>) -> Cow<'text, str> {
    /// The bytes that are looked at again, for each byte of the text. It keeps the time linear.
    const MOST_AGAIN: usize = 8;
    let (mut masked, mut done, mut from, mut again) = (String::new(), 0, 0, 0);
    while let Some(found) = regex.captures_at(text, from) {
        let (whole, secret) = (found.get_match(), secret_of(&found));
        if let Some((place, words)) = by(&found) {
            masked.push_str(&text[done..place.start]);
            masked.push_str(&words);
            (done, from) = (place.end, whole.end().max(place.end));
            continue;
        }
        // A match that is not a secret may contain the beginning of one.
        let next = if secret.start() > whole.start() { secret.start() } else { whole.end() };
        again += whole.end() - next;
        from = if again > MOST_AGAIN * text.len() { whole.end() } else { next };
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    masked.push_str(&text[done..]);
    Cow::Owned(masked)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mask(text: &str) -> String {
        Masks::default().mask(text).into_owned()
    }

    /// Asserts that the secret is masked and the text around it is kept.
    #[track_caller]
    fn hides(before: &str, secret: &str, after: &str) {
        let text = format!("{before}{secret}{after}");
        assert_eq!(mask(&text), format!("{before}{MASK}{after}"), "of {text}");
    }

    #[test]
    fn passwords_in_addresses_are_hidden() {
        hides("connecting to postgres://app:", "hunter2", "@db-01:5432/app failed");
        hides("redis://:", "hunter2", "@cache");
        hides("nats://bridge:", "p@ss:word", "@hub:4222");
        hides("fetching https://", "0123456789abcdef0123", "@sentry.example.com/4");
        for plain in ["https://example.com/a@b", "ssh://git@example.com/x", "http://[::1]:80/"] {
            assert_eq!(mask(plain), plain);
        }
    }

    #[test]
    fn values_are_hidden_by_the_names_of_their_keys() {
        hides("password=", "hunter2", "");
        hides("DB_PASSWORD=", "hunter2", " LANG=C");
        hides("MYSQL_PWD: ", "hunter2", "\nnext");
        hides("DB_PASS=", "a,b;c", "");
        hides("{\"api_key\": \"", "two words", "\", \"port\": 1}");
        hides("{\\\"token\\\":\\\"", "hunter2", "\\\"}");
        hides("client-secret = '", "hun ter2", "'");
        hides("registration_token => ", "hunter2", "");
        hides("GET /hook?user=a&access_token=", "hunter2", "");
        hides("aws_secret_access_key = ", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "");
        hides("X-Api-Key: ", "hunter2", "");
        hides("password: \"", "cut off in the mid", "\nnext line");
        hides("backup --repo x --password ", "hunter2", " --verbose");
        hides("[\"--auth-token\", \"", "hunter2", "\"]");
        hides("curl -u alice:", "hunter2", " https://example.com");
        for plain in [
            "Failed password for root from 192.0.2.1 port 22",
            "password_file=/run/secrets/x",
            "max_tokens=4096",
            "compass: north, bypass=yes",
            "token expired",
        ] {
            assert_eq!(mask(plain), plain);
        }
    }

    #[test]
    fn secrets_are_hidden_however_they_are_written() {
        // The secret stands between « and ».
        let texts = [
            // Programs with their own letters for a password option.
            "mysql -u root -p«hunter2» app",
            "exec /usr/bin/mysqldump '-p«hunter2»' app",
            "sshpass -p «hunter2» ssh backup@example.com",
            "redis-cli -h cache -a «hunter2» PING",
            "ldapsearch -x -D cn=admin -w «hunter2» uid=a",
            "smbclient //nas/share -U alice%«hunter2» -c ls",
            "docker login -u ci -p «hunter2» registry.example.com",
            "mosquitto_pub -u a -P «hunter2» -t x",
            "curl -ualice:«hunter2» https://example.com",
            "curl -u 'alice:«two words»' https://example.com",
            "[\"curl\", \"-u\", \"alice:«two words»\", \"https://example.com\"]",
            "openssl rsa -in a.pem -passin pass:«hunter2»",
            "keytool -storepass «hunter2»",
            "tool --key «hunter2» --verbose",
            "ENV RESTIC_PASSWORD «hunter»",
            // Addresses.
            "GET https://example.com/a?key=«hunter2»&sig=«a%2Bb» 200",
            "fetching http://user:«pa/ss»@example.com/",
            "fetching http://user:«p@s/s»@example.com/",
            "dsn root:«hunter2»@tcp(db:3306)/app",
            "dsn root:«hun/ter2»@unix(/run/mysqld.sock)/app",
            "connecting to app:«hunter2»@db.example.com:5432",
            // Logins.
            "sent Basic «YWxpY2U6aHVudGVyMg==» to a",
            "C: AUTH PLAIN «AGFsaWNlAGh1bnRlcjI=»",
            "\"auth\": \"«YWxpY2U6aHVudGVyMg==»\"",
            // Markup, and texts inside texts.
            "<password>«hunter2»</password>",
            "<ns:dbPassword type=\"text\">«two words»</ns:dbPassword>",
            "<add key=\"Password\" value=\"«two words»\"/>",
            "- name: DB_PASSWORD\n  value: «hunter2»",
            "body password%3D«hunter2»",
            "password = \"\"\"«hunter2»\"\"\"",
            "password = \"\"\"«\nhun\nter\n»\"\"\"",
            "\"password\":[«\"hunter2\"»]",
            "\"tokens\": [«\n  \"a1\",\n  \"b2\"\n»]",
            "passwords: [«one, two»]",
            "password: «Some(\"hunter2»\")",
            "{\\\\\\\"token\\\\\\\":\\\\\\\"«hunter2»\\\\\\\"}",
            // Keys with a suffix after the name.
            "password1=«hunter2»",
            "MY_TOKEN_2=«hunter2»",
            "secret_key_base: «hunter2»",
            "secret_id=«hunter2»",
            "token_value=«hunter2»",
            "password_hash=«hunter2»",
            "ENCRYPTION_KEY_BASE64=«hunter2»",
            "DB_PASSWORD_OF_ROOT=«hunter2»",
            "\"passwordOfRoot\": \"«hunter2»\"",
            "pw=«hunter2»",
            "psk=«hunter2»",
            "otp=«123456»",
            "PIN=«4711»",
            "CARD_PIN: «abcd»",
            "credential=«hunter2»",
            "\"credentials\": \"«hunter2»\"",
            "token: >-\n  «hunter2\n  continued»\nnext: line",
            // Words.
            "cannot log in with password '«hunter2»' as bob",
            "Password for root: «hunter2»",
            "[sudo] password for alice: «two words»",
            "RESTIC_PASSWORD «hunter2»",
            "the api key «SECRET» of bob",
            "machine example.com login bob password «hunter2»",
            // Quotes in quotes.
            "password = '«it''s two words»'",
            "password='«it'\\''s two words»'",
            "password=«X\"tail»",
            "password=«X\"two words\"»",
            "password = \"«a \\\"q\\\" tail»\"",
            "Password: «two words»\nnext line",
            "  api_key: «two words»\nnext line",
            "client_secret = «two words»\nnext line",
            "the password is «SECRET», said bob",
        ];
        let failed: Vec<String> = texts
            .iter()
            .filter_map(|text| {
                let (said, mut expected) = (text.replace(['«', '»'], ""), String::new());
                for (index, part) in text.split(['«', '»']).enumerate() {
                    expected.push_str(if index % 2 == 0 { part } else { MASK });
                }
                let masked = mask(&said);
                (masked != expected).then(|| format!("{masked:?}\n  instead of {expected:?}"))
            })
            .collect();
        assert!(failed.is_empty(), "{}:\n{}", failed.len(), failed.join("\n"));
    }

    #[test]
    fn colours_do_not_hide_a_key() {
        for text in [
            "\x1b[31mpassword\x1b[0m=\x1b[32mhunter2",
            "\x1b[1;31mpass\x1b[0mword\x1b[K=hunter2\x1b[0m",
            "#033[31mpassword#033[0m=#033[32mhunter2",
            "\\x1b[31mpass\\x1b[0mword=\\u001b[32mhunter2",
            "\x1b]8;;http://a\x1b\\password\x1b]8;;\x07=hunter2",
        ] {
            assert_eq!(mask(text), "password=***", "of {text:?}");
        }
        assert_eq!(mask("[ \x1b[32mOK\x1b[0m ] Started a."), "[ OK ] Started a.");
    }

    #[test]
    fn lines_of_a_private_key_without_its_ends_are_hidden() {
        let line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj";
        assert_eq!(mask(&format!("a\n{line}\n{line}\nb")), "a\n***\n***\nb");
        hides("x\n", "kqhkiG9w0BAQEFAASCBKc==", "\ny");
        hides("key: ", &format!("{line}\\n{line}\\n"), "-----END PRIVATE KEY-----");
    }

    #[test]
    fn ordinary_lines_stay() {
        for line in [
            "backup.service: Main process exited, code=exited, status=3/NOTIMPLEMENTED",
            "backup.service: Failed with result 'exit-code'.",
            "Failed to start backup.service - Nightly backup.",
            "systemd-ask-password-console.path: Deactivated successfully.",
            "secret-service.socket: Succeeded.",
            "Started user@1000.service - User Manager for UID 1000.",
            "Accepted publickey for root from 192.0.2.1 port 22 ssh2: ED25519 SHA256:+Xh1bnRlcjI",
            "Failed password for root from 192.0.2.1 port 22 ssh2",
            "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh rhost=192.0.2.1",
            "Access denied for user 'root'@'localhost' (using password: YES)",
            "the token expired at 2026-11-30T07:22:52Z",
            "password changed for bob",
            "last change of the password 2026-11-30",
            "key not found: app.settings.colour",
            "api key is missing, api key not found",
            "RESTIC_PASSWORD is not set, nor is RESTIC_PASSWORD_FILE",
            "unexpected token '}' in JSON at position 12",
            "secret \"db-creds\" not found",
            "HEAD is now at 99a20ea6c1b1d6f0d7d8a6d6b2a2f1f6f7a9c1d2 Keep only so many",
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "request 550e8400-e29b-41d4-a716-446655440000 took 12 ms",
            "/nix/store/0c4fhl2z4wy8qm5xk6b0x3h3hnc9fl1y-hello-2.12/bin/hello: not found",
            "copying /var/lib/app/Data1/2026 to /mnt/backup",
            "curl --key /etc/ssl/private/a.key --cert a.pem https://example.com",
            "sort --key 2 /tmp/a",
            "password_file=/run/secrets/x token_type=bearer password_min_length=8 tokenEndpoint=https://a",
            "max_tokens=4096 prompt_tokens: 12",
            "GOOGLE_APPLICATION_CREDENTIALS=/etc/app/google.json",
            "bearer authentication required, basic authentication failed",
            "the server offers AUTH PLAIN LOGIN",
            "pulled registry.example.com:5000/app:1.2@sha256:9f86d081884c7d65",
            "dialing http://example.com:8080/a/@scope/b and nats://hub:4222",
            "4: nats_matrix::secrets::tests::hides at src/secrets.rs:219:9",
            "status installed python3-jwt:all 2.6.0-1",
            "Preparing to unpack .../034-gir1.2-glib-2.0_1.74.0-3_amd64.deb ...",
            "   Compiling signature v2.2.0",
            "gpio pin=17 went high",
            "docker run -u 1000:1000 -p 8080:80 app",
            "mysqld: ready for connections. Version: '8.0.36' port: 3306",
            "SET search_path = public; -- 3 rows, key (id)=(17) already exists",
        ] {
            assert_eq!(mask(line), line);
        }
    }

    #[test]
    fn no_text_takes_long() {
        let line = "mysql password_file=a://b:c auth ".repeat(40_000);
        let lines = "token: >-\n  password for a b c\n".repeat(60_000);
        for text in [&line, &lines, &"\\\"'[".repeat(400_000)] {
            let started = std::time::Instant::now();
            let masked = mask(text);
            assert!(masked.len() <= MOST_BYTES, "{}", masked.len());
            // An optimised build takes less than a second.
            assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
        }
        let long = format!("first\n{}\npassword=hunter2", "ä".repeat(MOST_BYTES));
        let shown = "ä".repeat(MOST_BYTES_OF_A_LINE / 2);
        assert_eq!(mask(&long), format!("first\n{shown}\npassword=***"));
    }

    #[test]
    fn headers_are_hidden() {
        hides("> Authorization: Basic ", "YWxpY2U6aHVudGVyMg==", "\r\n> Host: a");
        hides("authorization: ", "syntax-of-its-own", "");
        hides("-H 'Authorization: Bearer ", "hunter2 more", "'");
        hides("sent Bearer ", "abcdefgh.12345", " to a");
        hides("Set-Cookie: ", "session=1234; Path=/", "\nnext");
    }

    #[test]
    fn private_keys_are_hidden_whole_or_cut() {
        let key = "\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n";
        hides("a\n-----BEGIN PRIVATE KEY-----", key, "-----END PRIVATE KEY-----\nb");
        hides("-----BEGIN OPENSSH PRIVATE KEY-----", key, "");
        hides("in words:\n", "MIIEvQIBADANBgkq\nhkiG9w0B\n", "-----END RSA PRIVATE KEY-----");
        let public = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----";
        assert_eq!(mask(public), public);
    }

    #[test]
    fn tokens_are_known_by_their_beginning() {
        for token in [
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl",
            "eyJhbGciOiJIUzI1NiJ9.eyJz",
            "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY",
            "SAAJ3BWQXCAWAPUVNQHDFWOEWVQPZHZOLFNPRKWWMYQNR4DPJ6ZJHUQGXI",
            "syt_YWxpY2U_AbCdEfGhIjKlMnOpQrSt_1a2B3c",
            "AKIAIOSFODNN7EXAMPLE",
            "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
            "github_pat_11ABCDEFG0123456789_abcdef",
            "glpat-abcdEFGH1234_ijkl-mn",
            "xoxb-123456789012-abcdefABCDEF",
            "hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXX",
            "bot123456789:AAF0123456789abcdefghijklmnopqrstuv",
            "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
            "sk-ant-api03-abcdefghijklmnopqrst",
            "hvs.CAESIJabcdefghijklmnop",
            "AGE-SECRET-KEY-1QQPQQYZQQPQQYZQQPQQYZ",
            "$6$rounds=5000$saltsalt$hashhashhash",
        ] {
            hides("said \"", token, "\" and ended");
            hides("", token, "");
        }
        let plain = "the unit sk-1 of SUNDAYS and a.eyJx ended with $1$ and syt_";
        assert_eq!(mask(plain), plain);
    }

    #[test]
    fn declared_patterns_are_hidden_by_their_group_or_whole() {
        let patterns = ["acme-[0-9]{4}", "^PIN (?P<secret>[0-9]+)$"];
        let masks = Masks::with(patterns.map(|text| Pattern::new(text).unwrap()).to_vec());
        let masked = masks.mask("a acme-1234 b\nPIN 99\npassword=x");
        assert_eq!(masked, "a *** b\nPIN ***\npassword=***");
    }

    #[test]
    fn a_wrong_pattern_is_told_in_one_line() {
        let said = |text: &str| Pattern::new(text).unwrap_err().to_string();
        assert_eq!(said("(a"), "unclosed group");
        assert_eq!(said("a*"), "matches the empty text");
        let large = said("(?:a{500}){500}");
        assert!(large.contains("size"), "{large}");
    }

    proptest! {
        #[test]
        fn a_secret_is_hidden_in_any_text(
            before in "(?s).{0,40}", after in "(?s).{0,40}", secret in "[A-Z2-7]{56}",
        ) {
            let secret = format!("SU{secret}");
            let masked = mask(&format!("{before} {secret} {after}"));
            prop_assert!(!masked.contains(&secret), "{masked}");
        }

        #[test]
        fn a_password_of_any_signs_is_hidden_where_it_is_known_to_be_one(
            secret in "[A-Za-z#$%][A-Za-z0-9!#$%*+,.:;=@^_~/?-]{3,9}[0-9][a-z]{3}", before in "[a-z ]{0,20}", after in "[a-z ]{0,20}",
        ) {
            for (from, to) in [
                ("password=", " "), ("PASSWORD_2: ", "\n"), ("\"token\": \"", "\","), ("secret_id='", "' "),
                ("<password>", "</password>"), ("passwords: [", "]"), ("--password ", " "),
                ("sshpass -p '", "' "), ("mysql -u a -p'", "' "), ("curl -u 'a:", "' "), ("with password '", "' "),
                ("http://a:", "@host/ "), ("a:", "@tcp(db:3306)/ "), ("\x1b[1mpass\x1b[0mword=\x1b[2m", "\x1b[0m "),
            ] {
                let masked = mask(&format!("{before} {from}{secret}{to}{after}"));
                prop_assert!(!masked.contains(&secret), "{masked}");
            }
        }

        #[test]
        fn a_masked_text_stays_so(
            text in concat!(
                r"(?s)(.{0,12}(password(1|_of)?=|Password: |token: >-\n |: |://a:b/?@|a:b@tcp\(|Bearer |mysql -p| -u |",
                r#"eyJ0123456789|'|"|\[|\\|<secret>|\x1b\[1m|api key a1|[A-Za-z0-9+/]{30})){0,6}"#,
            ),
        ) {
            let once = mask(&text);
            prop_assert_eq!(mask(&once), once);
        }
    }
}
