//! The usual forms of secrets in the output of programs.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use crate::secrets::{
    kind::Secret,
    names::{
        MORE_WORDS, NAMES, PARTS, PASSWORDS, compiled, is_about, is_number, secret, secret_of,
    },
    tokens, value,
};

/// The separator between a key and its value, also in its URL-encoded form.
const BETWEEN: &str =
    r"[ \t]*(?:=>|:=|[=:]|[：＝]|%3D|%3A|\\u003d)[ \t]*(?:\\?\r?\n[ \t]+(?:-[ \t]+)?)?";

/// A value: a list, the whole of a quoted text even if its end was cut off, or else everything up to the next blank.
/// Quotes inside belong to the value if they are escaped or doubled, or if the text goes on right after them.
const VALUE: &str = concat!(
    r#"(?:"""(?P<secret_in_three>(?s:.+?))(?:"""|\z)"#,
    r#"|'''(?P<secret_in_three_single>(?s:.+?))(?:'''|\z)"#,
    r#"|\[(?P<secret_in_list>\s*(?:"(?:[^"\\\r\n]|\\[^\r\n])*"\s*,?\s*)+|[^\]\r\n]+)"#,
    r#"|\\+"(?P<secret_in_escaped>(?:[^"\\\r\n]|\\+[^"\\\r\n])+)"#,
    r#"|"(?P<secret_in_two>(?:[^"\\\r\n]|\\[^\r\n]|""|"[A-Za-z0-9_$@!#%^*+-])+)"#,
    r#"|'(?P<secret_in_one>(?:[^'\\\r\n]|\\[^\r\n]|''|'\\''|'[A-Za-z0-9_$@!#%^*+-])+)"#,
    r#"|(?P<secret>[^\s"'\[][^\s"']*(?:(?:"[^\s"',;:)}\]>\\&][^"\r\n]*"?|'[^\s"',;:)}\]>\\&][^'\r\n]*'?)[^\s"']*)*))"#,
);

/// The rest of a line or of a quoted text.
const SEVERAL_WORDS: &str =
    r#"(?P<secret>[^\s"'\[][^\s"']*(?:[ \t]+[^\s"']+|["'][^\s"',;:)}\]>\\&][^\s"']*)*)"#;

/// An argument on a command line or in a list of arguments.
const ARGUMENT: &str = r#"(?:"(?P<secret_in_two>(?:[^"\\\r\n]|\\[^\r\n])+)|'(?P<secret_in_one>[^'\r\n]+)|(?P<secret>[^\s"',][^\s"']*))"#;

/// One usual form of secrets.
pub(super) struct Usual {
    /// The pattern, compiled when a text has one of its triggers: together they take megabytes, and most texts have none.
    pattern: LazyLock<Regex, Box<dyn FnOnce() -> Regex + Send>>,
    /// Decides whether a match is a secret.
    pub(super) fits: fn(&Captures<'_>) -> bool,
    pub(super) names: Names,
    /// Decides whether a match is a secret in a room, too. Rooms show sentences, which must stay.
    pub(super) in_room: InRoom,
}

impl Usual {
    pub(super) fn pattern(&self) -> &Regex {
        &self.pattern
    }
}

/// The source of the kind of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// The name in front of the secret.
    Name,
    /// The form itself.
    Form(Secret),
    /// An address, which stays one word.
    Address,
}

/// The decision about a match in a text for a room.
#[derive(Clone, Copy)]
pub(super) enum InRoom {
    /// The form is too frequent in ordinary texts.
    Never,
    /// The name and the value decide.
    ByName,
    /// A check of its own decides.
    If(fn(&Captures<'_>) -> bool),
}

impl Usual {
    fn in_room(self, in_room: InRoom) -> Self {
        Self { in_room, ..self }
    }

    fn in_room_if(self, fits: fn(&Captures<'_>) -> bool) -> Self {
        self.in_room(InRoom::If(fits))
    }

    fn of(self, secret: Secret) -> Self {
        Self { names: Names::Form(secret), ..self }
    }

    fn in_address(self) -> Self {
        Self { names: Names::Address, ..self }
    }
}

/// The forms of one group, and the texts of which at least one is in each of their matches.
pub(super) struct Group {
    pub(super) triggers: Regex,
    pub(super) forms: Vec<Usual>,
}

/// The forms of secrets. The crate `regex` matches each in time linear in the length of the text.
pub(super) static USUAL: LazyLock<Vec<Group>> = LazyLock::new(|| {
    const NAMED: &str = "(?i)identified|pass|kennwort|pwd|pw|psk|otp|secret|token|jwt|signature|key|cred|auth|pin|contrase\
        |wachtwoord|senha|пароль|パスワード|비밀번호|密码|密钥|口令|sess(?:ion)?id|(?:recovery|backup)[-_ ]?code";
    const COMMANDS: &str = concat!(
        "(?i)pass|kennwort|pwd|pw|psk|otp|secret|token|jwt|signature|key|contrase|密码|口令",
        "|-u|--(?:proxy-)?user|mysql|mariadb|7z|rar|mongo|login|redis-cli|valkey-cli|ldap|zip|mosquitto|ipmi",
        "|sqlcmd|bcp|isql|snmp",
    );
    let groups: [(&str, Vec<Usual>); 7] = [
        (r"[A-Za-z0-9+/=]{14}|-----", private_keys()),
        ("://|@|=", addresses()),
        ("(?i)auth|cookie|bearer|basic|negotiate|ntlm", headers()),
        (NAMED, keys()),
        (COMMANDS, commands()),
        (NAMED, words()),
        ("", known_forms()),
    ];
    let group = |(triggers, forms)| Group { triggers: compiled(triggers), forms };
    groups.map(group).into_iter().collect()
});

/// Whether a text has a word that can stand in front of a secret.
pub(crate) fn has_trigger(text: &str) -> bool {
    USUAL[1..6].iter().any(|group| group.triggers.is_match(text))
}

/// Whether a line could have a secret of any form.
pub(crate) fn may_be_secret(line: &str) -> bool {
    let (unnamed, named) = (&USUAL[0].forms, &USUAL[6].forms);
    let has_form = || unnamed.iter().chain(named).any(|usual| usual.pattern().is_match(line));
    has_trigger(line) || has_form()
}

fn always(pattern: impl AsRef<str>) -> Usual {
    if_it(|_| true, pattern)
}

fn if_it(fits: fn(&Captures<'_>) -> bool, pattern: impl AsRef<str>) -> Usual {
    let pattern = pattern.as_ref().to_owned();
    let pattern = LazyLock::new(Box::new(move || compiled(&pattern)) as Box<_>);
    Usual { pattern, fits, names: Names::Name, in_room: InRoom::ByName }
}

fn private_keys() -> Vec<Usual> {
    vec![
        // Keys in PEM or of age, even if their beginning or end was cut off.
        always(
            r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?P<secret>(?s:.*?))(?:-----END|\z)",
        )
        .in_room(InRoom::Never),
        always(
            r"(?m)(?P<secret>(?:^[ \t]*[A-Za-z0-9+/=]+\r?\n)+|[A-Za-z0-9+/=]+(?:\\n[A-Za-z0-9+/=]*)+)[ \t]*-----END [A-Z0-9 ]*PRIVATE KEY",
        )
        .of(Secret::PrivateKey)
        .in_room_if(|_| true),
        // A key of PuTTY.
        always(r"(?i)private-lines: *[0-9]+\r?\n(?P<secret>[A-Za-z0-9+/=]+(?:\r?\n[A-Za-z0-9+/=]+)*)")
            .of(Secret::PrivateKey)
            .in_room_if(|_| true),
        // Lines of a key whose beginning and end were both cut off.
        if_it(
            looks_encoded,
            r"(?m)^[ \t]*(?P<secret>[A-Za-z0-9+/]{60,}={0,2}|[A-Za-z0-9+/]{14,}={1,2})[ \t]*\r?$",
        )
        .in_room(InRoom::Never),
    ]
}

fn addresses() -> Vec<Usual> {
    vec![
        // scheme://user:password@host, and scheme://token@host.
        always(r#"(?i)\b[a-z][a-z0-9+.-]*://[^\s/:@"'<>\[]*:(?P<secret>[^\s/"'<>]+)@"#)
            .in_address()
            .in_room_if(|_| true),
        if_it(
            |found| !starts_with_a_port(secret(found)) && !has_address(secret(found)),
            r#"(?i)\b[a-z][a-z0-9+.-]*://[^\s/:@"'<>\[]*:(?P<secret>[^\s"'<>]+)@"#,
        )
        .in_address()
        .in_room_if(|_| true),
        always(r#"(?i)\b[a-z][a-z0-9+.-]*://(?P<secret>[^\s/:@"'<>]{16,})@"#)
            .in_address()
            .in_room_if(|found| value::is_random(secret(found))),
        // user:password@tcp(host:port), user:password@host:port
        always(
            r#"(?i)(?:^|[\s"'=(,])[^\s:@/"'=(),]+:(?P<secret>[^\s"']+)@(?:tcp|udp|unix)[46]?\("#,
        )
        .of(Secret::Password)
        .in_room_if(|_| true),
        always(
            r#"(?m)(?:^|[\s"'=(,])[^\s:@/"'=(),]+:(?P<secret>[^\s/@"']+)@[A-Za-z0-9.-]+:[0-9]{1,5}(?:[^\w.-]|$)"#,
        )
        .of(Secret::Password)
        .in_room_if(|_| true),
        // Keys and signatures in the query of a URL.
        always(
            r#"(?i)(?:[?&;]|%26|%3F)(?:[a-z0-9]+[-_])*(?:key|sig|hmac|code|auth|credential|session(?:id)?|sid|ticket|pin)=(?P<secret>[^\s&"'<>]+)"#,
        )
        .of(Secret::Token)
        .in_room_if(|found| value::is_random(secret(found)) || found[0].to_lowercase().contains("sig=")),
    ]
}

fn headers() -> Vec<Usual> {
    vec![
        // Everything after the scheme, whatever the scheme is.
        always(
            r#"(?i)(?:\b|\\[nrt])(?:proxy-)?authorization["']?\s*[:=]\s*["']?(?:[a-z][a-z0-9-]*[ \t]+)?(?P<secret>[^\r\n"']+)"#,
        )
        .in_room(InRoom::Never),
        // The parameters of these schemes.
        always(
            r#"(?i)(?:\b|\\[nrt])authorization\\*["']?\s*[:=]\s*\\*["']?(?:digest|aws4-hmac-sha256|hmac(?:-[a-z0-9]+)?)[ \t]+(?P<secret>[^\r\n]+)"#,
        )
        .of(Secret::Token)
        .in_room_if(|found| secret(found).contains('=')),
        // One word after the scheme, as a sentence may go on behind it.
        always(
            r#"(?i)(?:\b|\\[nrt])authorization(?:\\*["']\s*,|\\*["']?\s*[:=])\s*\[?\s*\\*["']?(?:(?P<scheme>[a-z][a-z0-9_-]*)[ \t]+)?(?P<secret>[^\s"',;\\]+)"#,
        )
        .of(Secret::Token)
        .in_room_if(|found| {
            value::is_credentials(found.name("scheme").map(|scheme| scheme.as_str()), secret(found))
        }),
        always(r#"(?i)(?:\b|\\[nrt])(?:set-)?cookie["']?\s*[:=]\s*["']?(?P<secret>[^\r\n"']+)"#)
            .of(Secret::Token)
            .in_room_if(|found| secret(found).contains('=') || value::is_random(secret(found))),
        if_it(
            |found| looks_encoded(found) || secret(found).len() >= 20,
            r"(?i)(?:^|[^=\w])(?:bearer|basic|negotiate|ntlm)[ \t]+(?P<secret>[a-z0-9._~+/=-]{8,})",
        )
        .of(Secret::Token)
        .in_room_if(|found| value::is_borne(secret(found))),
        // The login command of a mail client.
        if_it(
            looks_encoded,
            r"(?i)\bauth(?:enticate)?[ \t]+(?:plain|login|xoauth2|oauthbearer|cram-md5|scram-[a-z0-9-]+)[ \t]+(?P<secret>[a-z0-9+/=_-]{4,})",
        )
        .of(Secret::Token)
        .in_room_if(|found| value::is_borne(secret(found))),
    ]
}

fn keys() -> Vec<Usual> {
    vec![
        // `token: >-` with the value in the lines below.
        always(format!(
            r#"(?i){NAMES}{PARTS}["']?:[ \t]*[|>][-+0-9]{{0,2}}[ \t]*\r?\n[ \t]+(?P<secret>[^\r\n]+(?:\r?\n[ \t]+[^\r\n]+)*)"#
        )),
        // `Password: several words`, also as part of a prompt.
        if_it(
            is_no_setting,
            format!(
                r"(?i){PASSWORDS}{PARTS}(?:[ \t]+(?:for|of)(?:[ \t]+[^\s:]+){{1,3}})?:[ \t]+{SEVERAL_WORDS}"
            ),
        )
        .in_room_if(|found| is_prompt(found) && value::is_secret_in_room(found, Secret::Password)),
        // Any other name at the beginning of a line.
        if_it(
            is_no_setting,
            format!(
                r"(?im)^[ \t-]*[a-z0-9_.-]*?{NAMES}{PARTS}(?::[ \t]+|[ \t]+=[ \t]+){SEVERAL_WORDS}"
            ),
        ),
        // `password=...`, `"api_key": "..."`, `DB_PASSWORD: ...`
        if_it(is_no_setting, format!(r#"(?i){NAMES}{PARTS}\\*(?:["']|%22)?{BETWEEN}{VALUE}"#)),
        // `PASSWORD_OF_ROOT=...`, `"tokenOfRoot": ...`
        if_it(
            is_no_setting,
            format!(r#"(?i){NAMES}{MORE_WORDS}(?:[ \t]*(?:=|%3D)[ \t]*|\\*["']{BETWEEN}){VALUE}"#),
        ),
        // Names that stand for a secret in some texts only.
        if_it(
            |found| is_no_setting(found) && is_no_path(secret(found)),
            format!(
                r#"(?i)(?:(?-u:\b)|[_-])cred(?:ential)?s?(?:\\*["']{BETWEEN}|[ \t]*[=:][ \t]*){VALUE}"#
            ),
        ),
        always(r#"(?i)(?:\b|[_-])pin["']?[ \t]*[=:][ \t]*["']?(?P<secret>[0-9]{4,})\b"#)
            .in_room(InRoom::Never),
        always(r#"(?:\b|_)PIN["']?[ \t]*[=:][ \t]*["']?(?P<secret>[^\s"',;]{4,})"#)
            .in_room(InRoom::Never),
        if_it(
            looks_encoded,
            r#"(?i)(?:\b|_)auth["']?[ \t]*[=:][ \t]*["']?(?P<secret>[a-z0-9+/_-]{8,}={0,2})"#,
        )
        .of(Secret::Token)
        .in_room_if(|found| value::is_borne(secret(found)) && secret(found).len() >= 12),
        // `<password>...</password>`
        if_it(
            is_no_setting,
            format!(r"(?i)<[a-z0-9_.:-]*?{NAMES}{MORE_WORDS}(?:\s[^<>]*)?>(?:<!\[CDATA\[)?(?P<secret>[^<]+)"),
        ),
        // `"password": {"value": "..."}`
        if_it(
            is_no_setting,
            format!(
                r#"(?i){NAMES}{MORE_WORDS}\\*["']\s*:\s*\{{\s*\\*["'](?:current|data|plain(?:text)?|raw|secret|(?:string_?)?value|text)\\*["']\s*:\s*{VALUE}"#
            ),
        ),
        // `password=` with the value alone in the next line.
        if_it(
            looks_chosen,
            format!(
                r#"(?i){NAMES}{PARTS}["']?[ \t]*[=:][ \t]*\\?(?:(?:\r\n|\n|\r)[ \t]*){{1,3}}(?P<secret>[^\s"'=:]{{4,}})[ \t]*(?:[\r\n]|\z)"#
            ),
        )
        .in_room_if(stands_out),
        // `<name>db.password</name><value>...</value>`, `<key>password</key><string>...</string>`
        if_it(
            is_no_setting,
            format!(
                r"(?i)<(?:key|name)>[^<>]*?{NAMES}{MORE_WORDS}\s*</(?:key|name)>\s*<(?:data|string|value)>(?:<!\[CDATA\[)?(?P<secret>[^\s<]+)"
            ),
        ),
        // `<property name="password">...</property>`
        if_it(
            is_no_setting,
            format!(
                r#"(?i)<[a-z0-9_.:-]+\s(?:[^<>]*?\s)?(?:id|key|name)\s*=\s*["'][^"'<>]*?{NAMES}{MORE_WORDS}["'][^<>]*>(?:<!\[CDATA\[)?(?P<secret>[^\s<]+)</"#
            ),
        ),
        // `password = "..." -> "..."`, a change in a plan: the first value is hidden before.
        if_it(
            is_no_setting,
            format!(
                r#"(?i){NAMES}{PARTS}["']?[ \t]*[=:][ \t]*"[^"\r\n]*"[ \t]*->[ \t]*"(?P<secret>[^"\r\n]+)"#
            ),
        ),
        // `name: DB_PASSWORD` with `value: ...`, and `<add key="Password" value="..."/>`
        if_it(
            is_no_setting,
            format!(
                r#"(?i)\b(?:key|name)["']?\s*[:=]\s*["']?[a-z0-9_.:-]*?(?:{NAMES}{MORE_WORDS}|authorization|cookie)["']?[\s,]+["']?value["']?\s*[:=]\s*{VALUE}"#
            ),
        ),
    ]
}

fn commands() -> Vec<Usual> {
    // `--password ...`, `--token=...`
    let mut usual = vec![
        if_it(
            is_no_setting,
            format!(
                r"(?i)(?:^|[\s\x22'\[])--?(?:[a-z0-9]+[-_])*(?:[a-z]*{NAMES}){PARTS}(?:[\x22']?[\s,]+|=){VALUE}"
            ),
        ),
        if_it(
            |found| is_no_path(secret(found)) && !is_number(secret(found)),
            format!(r#"(?:^|[\s"'\[])--?key(?:["']?[\s,]+|=){ARGUMENT}"#),
        )
        .in_room(InRoom::Never),
        // `curl --user name:password`
        if_it(
            |found| !secret(found).starts_with("//") && !is_number(secret(found)),
            concat!(
                r#"(?m)(?:^|[\s"'\[])(?:-u|(?:-[a-zA-Z]{0,6}[uU]|--(?:proxy-)?user)["']?[\s,=]+)"#,
                r#"(?:"[^\s:"']+:(?P<secret_in_two>[^"\r\n]+)|'[^\s:"']+:(?P<secret_in_one>[^'\r\n]+)|[^\s:"'/]+:(?P<secret>\S+))"#,
            ),
        )
        .of(Secret::Password)
        .in_room_if(|found| !is_name_too(found)),
        // `smbclient -U name%password`
        always(
            r#"(?:^|[\s"'])(?:-U|--user(?:name)?)["']?[\s,=]*["']?[^\s%"']+%(?P<secret>[^\s"']+)"#,
        )
        .of(Secret::Password)
        .in_room_if(|_| true),
        // `openssl -passin pass:...`
        always(r#"\s-pass(?:in|out)?[ \t]+["']?pass:(?P<secret>[^\s"']+)"#)
            .of(Secret::Password)
            .in_room_if(|_| true),
        // `ENV DB_PASSWORD ...`
        if_it(
            is_no_setting,
            format!(
                r"(?i)(?:^|\s)(?:env|arg|setx?|setenv)[ \t]+[a-z0-9_]*{NAMES}{MORE_WORDS}[ \t]+{ARGUMENT}"
            ),
        )
        .in_room_if(looks_chosen),
    ];
    // A one-letter option takes a password with some programs only.
    let options = [
        ("(?:mysql|mariadb)[a-z-]*", "-p"),
        (r"7z[ar]?|rar|unrar", "-h?p"),
        (
            r"sshpass|mongo(?:sh|dump|restore|export|import)?|(?:docker|podman|buildah|skopeo|helm|oc|az)[ \t]+(?:[a-z]+[ \t]+)?login",
            r"-p(?:[\x22']?[\s,]+)?",
        ),
        (r"redis-cli|valkey-cli", r"-a[\x22']?[\s,]+"),
        (r"ldap[a-z]+", r"-w[\x22']?[\s,]+"),
        (r"zip|unzip|mosquitto_(?:pub|sub|rr)|ipmitool|sqlcmd|bcp|isql", r"-P(?:[\x22']?[\s,]+)?"),
        (r"snmp[a-z]+", r"-[cAX][\x22']?[\s,]+"),
    ];
    usual.extend(options.map(|(programs, option)| {
        always(format!(
            r#"(?:^|[\s"'/\[(=:])(?:{programs})["']?[\s,](?:[^\r\n|;&]*?[\s"',])?{option}{ARGUMENT}"#
        ))
        .of(Secret::Password)
        .in_room_if(|found| !is_number(secret(found)) && !secret(found).starts_with('-'))
    }));
    usual
}

fn words() -> Vec<Usual> {
    vec![
        // `with password '...'`
        always(format!(
            r#"(?i){PASSWORDS}[ \t]+(?:(?:is|was)[ \t]+)?(?:"(?P<secret_in_two>[^"\r\n]+)"|'(?P<secret_in_one>[^'\r\n]+)')"#
        )),
        if_it(
            looks_chosen,
            format!(
                r#"(?i){NAMES}[ \t]+(?:(?:is|was):?[ \t]+)?["']?(?P<secret>[^\s"':=/.(\[<][^\s"']{{3,}})"#
            ),
        )
        .in_room_if(stands_out),
        // `with password ...`
        if_it(
            looks_chosen,
            format!(
                r#"(?i)(?:default|initial|new|old|temporary|the|using|with)[ \t]+{PASSWORDS}[ \t]+(?:(?:is|was):?[ \t]+)?["']?(?P<secret>[^\s"':=/.(\[<][^\s"']{{3,}})"#
            ),
        )
        .of(Secret::Password)
        .in_room_if(|found| !value::looks_like_a_host(secret(found))),
        // `password -> ...`, `password(...)`, `setPassword('...')`
        if_it(
            looks_chosen,
            format!(
                r#"(?i){PASSWORDS}{PARTS}(?:["']?[ \t]*(?:->|→)[ \t]*|\([ \t]*)["']?(?P<secret>[^\s"'(),]+)"#
            ),
        )
        .in_room_if(stands_out),
        // `a temporary password is generated for root@localhost: ...`, `password for the user bob is ...`
        if_it(
            looks_chosen,
            format!(
                r#"(?i){PASSWORDS}[ \t]+(?:[a-z]+[ \t]+){{0,3}}?(?:for|of)[ \t]+(?:[^\s:]+[ \t]+){{0,5}}?(?:[^\s:]+:|is:?)[ \t]+["']?(?P<secret>[^\s"']{{8,}})"#
            ),
        )
        .of(Secret::Password)
        .in_room_if(|found| value::is_random(secret(found)) && !value::looks_like_a_host(secret(found))),
        // `use the following password to proceed:` with the password alone below.
        if_it(
            |found| looks_chosen(found) && secret(found).len() >= 12,
            format!(
                r#"(?i){PASSWORDS}[ \t][^\r\n:=]*:[ \t]*(?:(?:\r\n|\n|\r)[ \t]*){{1,3}}(?P<secret>[^\s"'=:]{{12,}})[ \t]*(?:[\r\n]|\z)"#
            ),
        )
        .of(Secret::Password)
        .in_room_if(|found| value::is_random(secret(found)) && !value::looks_like_a_host(secret(found))),
        // In SQL.
        always(
            r#"(?i)identified[ \t]+(?:with[ \t]+\S+[ \t]+)?by[ \t]+(?:password[ \t]+)?["'](?P<secret>[^"'\r\n]+)"#,
        )
        .of(Secret::Password)
        .in_room_if(|_| true),
        // `SOME_PASSWORD ...`, and `api key ...` in capital letters.
        if_it(
            |found| looks_chosen(found) || in_capitals(found),
            format!(
                r#"(?:[A-Z0-9]+_(?i:{NAMES})|(?i:{PASSWORDS}|(?:access|api|auth)[-_ ]?key))[ \t]+(?:(?:is|was)[ \t]+)?["']?(?P<secret>[A-Za-z0-9_!@#$%^&*+=-]{{4,}})"#
            ),
        )
        .in_room(InRoom::Never),
    ]
}

/// Whether a supposed password is the name before it, too: `-u www-data:www-data` are a user and a group.
fn is_name_too(found: &Captures<'_>) -> bool {
    let (whole, secret) = (found.get_match(), secret_of(found));
    let before = &whole.as_str()[..secret.start() - whole.start()];
    let name = before.trim_end_matches(':').rsplit([' ', '\t', '"', '\'', '=', ',']).next();
    name == Some(secret.as_str())
}

/// Whether a match is a prompt such as `Password for root: ...`.
fn is_prompt(found: &Captures<'_>) -> bool {
    let before = &found[0][..secret_of(found).start() - found.get_match().start()];
    before.contains(" for ") || before.contains(" of ")
}

/// Whether a word behind the name of a secret is no word of a sentence: "password db-01" is part of one.
fn stands_out(found: &Captures<'_>) -> bool {
    let word = secret(found).trim_end_matches(['.', ',', ':', ';', ')', '!', '?']);
    let is_password = value::secret_named_before(found) == Secret::Password;
    let is_stated = [" is ", " was "].iter().any(|verb| found[0].contains(verb));
    let least = if is_password && is_stated {
        4
    } else if is_password {
        8
    } else {
        16
    };
    let is_mixed = value::is_random(word) || is_password && is_stated;
    word.len() >= least && is_mixed && !value::looks_like_a_host(word)
}

/// Tokens that are recognised by their form wherever they are.
fn known_forms() -> Vec<Usual> {
    vec![
        always(known_tokens()).in_room(InRoom::Never),
        // A bot of Telegram.
        always(format!("(?:bot|{})(?P<secret>[0-9]{{6,12}}:AA[A-Za-z0-9_-]{{30,}})", tokens::SEAM))
            .of(Secret::Token)
            .in_room_if(|_| true),
    ]
}

/// Tokens that are recognised by their prefix.
fn known_tokens() -> String {
    let kinds = [
        // JSON Web Tokens, whole or cut off: base64 of a JSON object begins like this.
        r"eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){0,4}",
        // NATS: seeds of nkeys.
        r"S[UANOCX][A-Z2-7]{40,}",
        // Webhook addresses that let anybody who knows them post to Slack, Discord or Teams.
        r"hooks\.slack\.com/[A-Za-z0-9/_+-]+",
        r"discord(?:app)?\.com/api/webhooks/[A-Za-z0-9/_-]+",
        r"[a-z0-9.-]+\.webhook\.office\.com/[A-Za-z0-9/_@-]+",
    ];
    // The second part matches password hashes in the form of crypt(3).
    format!(
        r#"{}(?P<secret>{}|{})|(?P<secret_in_one>\$(?:[1567y]|2[abxy]|argon2(?:id?|d))\$[^\s:"']{{8,}})"#,
        tokens::SEAM,
        kinds.join("|"),
        tokens::whole_or_cut()
    )
}

/// Whether a key with its value is more than a setting about secrets, such as `password_file=...`, `max_tokens=4096`,
/// `using password: YES` and `secrets::tests`.
fn is_no_setting(found: &Captures<'_>) -> bool {
    // The architectures are in the list because Debian writes them after the name of a package.
    const WORDS: [&str; 12] =
        ["true", "false", "yes", "no", "null", "none", "nil", "on", "off", "all", "amd64", "arm64"];
    let value = secret(found).trim_end_matches([',', ';', ')', '}']).to_lowercase();
    let begins_a_block = matches!(value.trim_end_matches(['-', '+']), "|" | ">" | "\\");
    let about = found.name("further").is_some_and(|further| is_about(further.as_str()));
    let before = &found[0][..secret_of(found).start() - found.get_match().start()];
    let name = before.to_lowercase();
    let identifies = name.trim_end_matches(|c: char| !c.is_alphanumeric()).ends_with("id");
    let counts = is_number(&value) && (name.contains("tokens") || identifies);
    let is_path_of_code = before.ends_with(':') && value.starts_with(':');
    !(is_path_of_code || WORDS.contains(&value.as_str()) || begins_a_block || counts || about)
}

/// Whether a text is not the path of a file.
fn is_no_path(text: &str) -> bool {
    let extension = text.rsplit_once('.').map_or("", |(_, extension)| extension);
    let has_one = (1..=8).contains(&extension.len())
        && extension.bytes().all(|byte| byte.is_ascii_lowercase());
    !(has_one || ["/", "./", "../", "~"].iter().any(|start| text.starts_with(start)))
}

/// Whether the supposed password before an `@` starts with a port, as in `http://host:80/@a`.
fn starts_with_a_port(text: &str) -> bool {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    (1..=5).contains(&(text.len() - rest.len()))
        && (rest.is_empty() || rest.starts_with(['/', '?']))
}

/// Whether the supposed password before an `@` spans the beginning of another address, as in `http://host:a,http://b@c`. The
/// signs `://` alone can be of a password.
fn has_address(text: &str) -> bool {
    let is_of_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '.' | '-');
    text.match_indices("://").any(|(at, _)| {
        let before = text[..at].trim_end_matches(is_of_scheme);
        before.len() < at && before.ends_with([',', ';', '|', '(', ')'])
    })
}

/// Whether a word in a sentence looks more like a password or a token than like an ordinary word, a path, a version,
/// a setting or a time.
fn looks_chosen(found: &Captures<'_>) -> bool {
    let word = secret(found).trim_end_matches(['.', ',', ':', ';', ')', '!', '?']);
    let has = |kind: fn(char) -> bool| word.contains(kind);
    let of_several = has(|c| c.is_ascii_digit()) && has(char::is_alphabetic)
        || has(char::is_alphabetic) && word.contains(['!', '#', '$', '%', '^', '*', '+', '~']);
    let is_moment = word.get(..4).is_some_and(is_number) && word.get(4..5) == Some("-");
    let mut numbers = word.strip_prefix('v').unwrap_or(word).split('.');
    let is_version = numbers.next().is_some_and(is_number) && numbers.next().is_some();
    let is_setting = word.trim_end_matches('=').contains(['=', ':', '/', '(']);
    word.chars().count() >= 4
        && of_several
        && is_no_path(word)
        && !is_moment
        && !is_version
        && !is_setting
}

/// Whether a word is in capital letters and is not `NULL` or `NONE`.
fn in_capitals(found: &Captures<'_>) -> bool {
    let word = secret(found);
    word.len() >= 4
        && word != "NULL"
        && word != "NONE"
        && word.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// Whether a word looks like bytes in base64.
fn looks_encoded(found: &Captures<'_>) -> bool {
    let word = secret(found);
    let has = |kind: fn(&char) -> bool| word.chars().skip(1).any(|c| kind(&c));
    let digit = has(char::is_ascii_digit);
    let (upper, lower) = (has(char::is_ascii_uppercase), has(char::is_ascii_lowercase));
    upper && lower
        || (word.len() < 40 && digit && (upper || lower))
        || (word.ends_with('=') && (upper || lower))
}
