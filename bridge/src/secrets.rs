//! Secrets in texts of others, masked before anybody reads them.
//!
//! Passwords and tokens find their way into what programs print: in addresses, command lines, dumps of settings. A mask
//! hides what looks like one, rather too much than too little. It cannot know a secret that looks like any other
//! word.

use std::{borrow::Cow, sync::LazyLock};

use regex::{Captures, Regex, RegexBuilder};

/// The text that stands where a secret was.
pub(crate) const MASK: &str = "***";
/// A compiled pattern may take this many bytes.
const MOST_COMPILED: usize = 1 << 20;

/// The words that name a secret, at the end of a key such as `DB_PASSWORD` or `registration-token`.
const NAMES: &str = "(?:pass(?:word|wd|phrase|code)|(?:(?-u:\\b)|[_-])pass|pwd|secret|token|jwt|signature\
    |(?:access|account|api|auth|client|encryption|master|private|secret|shared|signing)[-_. ]?key)";
/// A value: all of what is in quotes, also where their end was cut off, else all up to the next blank.
const VALUE: &str = r#"(?:\\?"(?P<secret_in_two>(?:[^"\\\r\n]|\\[^"\r\n])+)|'(?P<secret_in_one>[^'\r\n]+)|(?P<secret>[^\s"']+))"#;
/// The groups of a pattern that are the secret. Without one all that fits is.
const GROUPS: [&str; 3] = ["secret", "secret_in_two", "secret_in_one"];

/// What secrets usually look like. Each is linear in the length of a text, as all of the crate `regex` is.
static USUAL: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let patterns = [
        // A private key in PEM or of age, also where its end or its beginning was cut off.
        r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?P<secret>(?s:.*?))(?:-----END|\z)".to_owned(),
        r"(?m)(?P<secret>(?:^[A-Za-z0-9+/=]+\r?\n)+)-----END [A-Z0-9 ]*PRIVATE KEY".to_owned(),
        // scheme://user:password@host, and scheme://token@host.
        r#"(?i)\b[a-z][a-z0-9+.-]*://[^\s/:@"'<>]*:(?P<secret>[^\s/"'<>]+)@"#.to_owned(),
        r#"(?i)\b[a-z][a-z0-9+.-]*://(?P<secret>[^\s/:@"'<>]{16,})@"#.to_owned(),
        // Whatever the scheme is, all that comes behind it.
        r#"(?i)\b(?:proxy-)?authorization["']?\s*[:=]\s*["']?(?:[a-z][a-z0-9-]*[ \t]+)?(?P<secret>[^\r\n"']+)"#.to_owned(),
        r#"(?i)\b(?:set-)?cookie["']?\s*[:=]\s*["']?(?P<secret>[^\r\n"']+)"#.to_owned(),
        r"(?i)\bbearer[ \t]+(?P<secret>[a-z0-9._~+/=-]{8,})".to_owned(),
        // password=..., "api_key": "...", DB_PASSWORD: ...; and --password ..., --token=...
        format!(r#"(?i){NAMES}\\?["']?\s*(?:=>|:=|[=:])\s*{VALUE}"#),
        format!(r"(?i)(?:^|[\s\x22'\[])--?(?:[a-z0-9]+[-_])*{NAMES}(?:[\s\x22',]+|=){VALUE}"),
        // curl --user name:password
        r"(?:^|\s)(?:-u|--user)[\s=]+[^\s:]+:(?P<secret>\S+)".to_owned(),
        known_tokens(),
    ];
    patterns.iter().map(|text| Regex::new(text).expect("a test masks with each of them")).collect()
});

/// Tokens that are known by how they begin.
fn known_tokens() -> String {
    let kinds = [
        // JSON Web Tokens, whole or cut off: what begins so is the JSON of an object in base64.
        r"eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){0,4}",
        // NATS: seeds of nkeys.
        r"S[UANOCX][A-Z2-7]{40,}",
        // Matrix: Synapse, Matrix Authentication Service.
        r"sy[tlr]_[A-Za-z0-9_-]{10,}",
        r"m[ac]t_[A-Za-z0-9_]{16,}",
        r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{12,}",
        r"(?:gh[pousr]|github_pat)_[A-Za-z0-9_]{16,}",
        r"gl[a-z]{2,6}-[A-Za-z0-9_.-]{16,}",
        r"(?:xox[a-z]|xapp)-[A-Za-z0-9-]{8,}",
        // Addresses that let whoever knows them write into a channel of Slack, Discord or Teams.
        r"hooks\.slack\.com/[A-Za-z0-9/_+-]+",
        r"discord(?:app)?\.com/api/webhooks/[A-Za-z0-9/_-]+",
        r"[a-z0-9.-]+\.webhook\.office\.com/[A-Za-z0-9/_@-]+",
        // Telegram.
        r"(?:bot)?[0-9]{8,10}:[A-Za-z0-9_-]{30,}",
        // Google, Stripe, OpenAI and Anthropic, npm, PyPI, SendGrid, Hugging Face, DigitalOcean, Vault, age.
        r"AIza[A-Za-z0-9_-]{30,}",
        r"ya29\.[A-Za-z0-9_-]{16,}",
        r"[rs]k_(?:live|test)_[A-Za-z0-9]{8,}",
        r"sk-[A-Za-z0-9_-]{20,}",
        r"npm_[A-Za-z0-9]{20,}",
        r"pypi-[A-Za-z0-9_-]{16,}",
        r"SG\.[A-Za-z0-9_-]{16,}(?:\.[A-Za-z0-9_-]*)?",
        r"hf_[A-Za-z0-9]{20,}",
        r"do[opr]_v1_[a-f0-9]{16,}",
        r"hv[sbr]\.[A-Za-z0-9_-]{16,}",
        r"AGE-SECRET-KEY-1[A-Z0-9]{16,}",
    ];
    // And passwords as crypt(3) keeps them.
    format!(
        r#"(?-u:\b)(?:{})|\$(?:[1567y]|2[abxy]|argon2(?:id?|d))\$[^\s:"']{{8,}}"#,
        kinds.join("|")
    )
}

/// A declared pattern of a secret.
#[derive(Debug, Clone)]
pub(crate) struct Pattern(Regex);

impl Pattern {
    /// Reads a regular expression as the crate `regex` has them. Its group `secret`, or else all that fits, is
    /// masked.
    ///
    /// # Errors
    ///
    /// One line that says what is wrong with it.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        let built = RegexBuilder::new(text).multi_line(true).size_limit(MOST_COMPILED).build();
        let regex = built.map_err(|error| {
            // The lines before the last one show the place.
            let shown = error.to_string();
            let what = shown.lines().last().unwrap_or_default();
            what.strip_prefix("error: ").unwrap_or(what).to_owned()
        })?;
        if regex.is_match("") {
            return Err("fits where nothing is".to_owned());
        }
        Ok(Self(regex))
    }
}

/// The patterns by which secrets are found: the usual ones, and those that are declared.
#[derive(Debug, Clone, Default)]
pub struct Masks {
    declared: Vec<Pattern>,
}

impl Masks {
    /// The usual patterns, and these.
    pub(crate) fn with(declared: Vec<Pattern>) -> Self {
        Self { declared }
    }

    /// A text with [`MASK`] for each secret in it. It has to be whole: a secret that was cut into pieces is not
    /// recognised.
    pub(crate) fn mask<'text>(&self, text: &'text str) -> Cow<'text, str> {
        // The declared ones see the text as it is.
        let patterns = self.declared.iter().map(|Pattern(regex)| regex).chain(USUAL.iter());
        patterns.fold(Cow::Borrowed(text), |text, regex| match masked(&text, regex) {
            Cow::Borrowed(_) => text,
            Cow::Owned(masked) => Cow::Owned(masked),
        })
    }
}

fn masked<'text>(text: &'text str, regex: &Regex) -> Cow<'text, str> {
    regex.replace_all(text, |found: &Captures<'_>| {
        let whole = &found[0];
        let Some(secret) = GROUPS.iter().find_map(|name| found.name(name)) else {
            return MASK.to_owned();
        };
        let start = found.get_match().start();
        let (before, after) = (&whole[..secret.start() - start], &whole[secret.end() - start..]);
        format!("{before}{MASK}{after}")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mask(text: &str) -> String {
        Masks::default().mask(text).into_owned()
    }

    /// The secret is gone, and what is around it stays.
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
        let said = |text: &str| Pattern::new(text).unwrap_err();
        assert_eq!(said("(a"), "unclosed group");
        assert_eq!(said("a*"), "fits where nothing is");
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
        fn a_masked_text_stays_so(text in "(?s)(.{0,20}(password=|://a:b@|Bearer |eyJ0123456789|'|\")){0,4}") {
            let once = mask(&text);
            prop_assert_eq!(mask(&once), once);
        }
    }
}
