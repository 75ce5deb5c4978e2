mod files;
mod forms;

use proptest::prelude::*;

use super::*;

fn hidden(text: &str) -> String {
    Mask::default().text(text, &english).0.into_owned()
}

/// A token of the given length after a prefix. The tests contain no text that a scanner would take for a real one.
fn made(prefix: &str, length: usize) -> String {
    let letters = "aB3dE5fG7hJ9kL2mN4pQ6rS8tU1vW0xYz";
    let letters = letters.chars().cycle().take(length);
    prefix.chars().chain(letters).collect()
}

fn base32(prefix: &str) -> String {
    prefix.chars().chain("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".chars().cycle().take(56)).collect()
}

const JWT: &str = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJub2JvZHkifQ.bm8tc2lnbmF0dXJl";

#[test]
fn secrets_are_hidden_by_their_own_form() {
    for (secret, label) in [
        (JWT.to_owned(), "[JWT hidden]"),
        (base32("SU"), "[NATS credentials hidden]"),
        (base32("SA"), "[NATS credentials hidden]"),
        (format!("AKIA{}", "ABCDEFGHIJ234567"), "[token hidden]"),
        (made("ghp_", 36), "[token hidden]"),
        (made("github_pat_", 60), "[token hidden]"),
        (made("glpat-", 20), "[token hidden]"),
        (made("xoxb-", 40), "[token hidden]"),
        (made("sk_live_", 24), "[token hidden]"),
        (made("12345678:AA", 33), "[token hidden]"),
        (made("hf_", 34), "[token hidden]"),
        (made("ya29.", 60), "[token hidden]"),
        (made("glrt-", 20), "[token hidden]"),
        (format!("glsa_{}_0a1b2c3d", made("", 32)), "[token hidden]"),
        (made("npg_", 14), "[token hidden]"),
        (format!("dop_v1_{}", "0a1b2c3d".repeat(8)), "[token hidden]"),
        (made("pypi-AgEIcHlwaS5vcmc", 60), "[token hidden]"),
        (format!("rubygems_{}", "0a1b2c3d".repeat(6)), "[token hidden]"),
        (format!("shpat_{}", "0a1b2c3d".repeat(4)), "[token hidden]"),
        (made("sq0atp-", 22), "[token hidden]"),
        (made("AIza", 35), "[token hidden]"),
        (made("hvb.", 138), "[token hidden]"),
        (made("dckr_pat_", 27), "[token hidden]"),
        (made("GOCSPX-", 28), "[token hidden]"),
        (format!("{}_aB3dE5", made("mct_", 30)), "[token hidden]"),
        (format!("{}_aB3dE5", made("mct_", 20)), "[token hidden]"),
        (format!("{}_1abcde", made("syt_Ym9i_", 20)), "[token hidden]"),
        (format!("{}.GabcDe.{}", made("MT", 22), made("", 28)), "[token hidden]"),
        (format!("key-{}", "0a1b2c3d".repeat(4)), "[token hidden]"),
        (made("tskey-auth-", 30), "[token hidden]"),
        (format!("PMAK-{}-{}", "0a1b".repeat(6), "0a1b".repeat(8)), "[token hidden]"),
    ] {
        for (before, after) in
            [("", ""), ("it is ", ", you know"), ("(", ")"), ("\"", "\"\n"), ("x=", "&y=z")]
        {
            let text = format!("{before}{secret}{after}");
            let shown = hidden(&text);
            assert!(!shown.contains(&secret[4..]) && shown.contains(label), "{shown}");
            assert!(shown.starts_with(before) && shown.ends_with(after), "{shown}");
        }
    }
}

#[test]
fn secrets_are_hidden_behind_their_names() {
    for (text, expected) in [
        ("password=hunter2 user=x", "password=[password hidden] user=x"),
        ("DB_PASSWORD=hunter2", "DB_PASSWORD=[password hidden]"),
        ("Password: correct-horse", "Password: [password hidden]"),
        ("PGPASSWORD='a b c' psql", "PGPASSWORD='[password hidden]' psql"),
        (r#"{"password":"a\"b","n":1}"#, r#"{"password":"[password hidden]","n":1}"#),
        (r#"{"client_secret" : "abc", "n":1}"#, r#"{"client_secret" : "[token hidden]", "n":1}"#),
        (r#""{\"token\":\"abc\",\"n\":1}""#, r#""{\"token\":\"[token hidden]\",\"n\":1}""#),
        ("https://a.example/?x=1&token=abc&y=2", "https://a.example/?x=1&token=[token hidden]&y=2"),
        ("https://a.example/?sv=1&sig=ab%2Fc", "https://a.example/?sv=1&sig=[token hidden]"),
        ("Authorization: Bearer abcdefgh12345678", "Authorization: Bearer [token hidden]"),
        ("authorization: basic dXNlcjpwYXNzd29yZDEyMw==", "authorization: basic [token hidden]"),
        ("sent Bearer abcdefgh-12345678", "sent Bearer [token hidden]"),
        (
            "restic --repo x --db-password hunter2 -v",
            "restic --repo x --db-password [password hidden] -v",
        ),
        ("api-key=abcdef", "api-key=[token hidden]"),
        ("token: abcdef123456", "token: [token hidden]"),
        ("aws_secret_access_key = wJalr/Xyz+A", "aws_secret_access_key = [token hidden]"),
        ("postgres://app:hunter2@db/x", "postgres://app:…@db/x"),
        (
            "https://hooks.slack.com/services/T0/B0/abcdef",
            "https://hooks.slack.com/services/[token hidden]",
        ),
    ] {
        assert_eq!(hidden(text), expected);
    }
}

#[test]
fn blocks_of_keys_are_hidden_whole() {
    let key = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQ+/=\nabc\n-----END EC PRIVATE KEY-----";
    assert_eq!(hidden(&format!("a\n{key}\nb")), "a\n[private key hidden]\nb");
    let in_json = format!("{{\"a\":\"{}\\n\",\"b\":1}}", key.replace('\n', "\\n"));
    assert_eq!(hidden(&in_json), "{\"a\":\"[private key hidden]\\n\",\"b\":1}");
    assert_eq!(hidden("-----BEGIN PRIVATE KEY-----\nMIIabc"), "[private key hidden]");
    let creds = format!(
        "-----BEGIN NATS USER JWT-----\n{JWT}\n------END NATS USER JWT------\n\nIMPORTANT\n-----BEGIN USER NKEY \
         SEED-----\n{}\n------END USER NKEY SEED------\n",
        base32("SU")
    );
    assert_eq!(
        hidden(&creds),
        "[NATS credentials hidden]\n\nIMPORTANT\n[NATS credentials hidden]\n"
    );
    let public = "-----BEGIN CERTIFICATE-----\nMIIabc\n-----END CERTIFICATE-----";
    assert_eq!(hidden(public), public);
}

#[test]
fn what_only_looks_like_a_secret_stays() {
    for text in [
        "731f7eaddfb6af01cb2173e18f0f75b0ba780ef1",
        "pypi-publish-to-the-mirror",
        "mat_model_view_projection",
        "hf_download_of_the_model",
        "the sk-learn-contrib packages",
        "ops.report.glsa_dashboard",
        "590edd7b-da51-4041-8dbb-aa3d6a915340",
        "fingerprint=f2a74de452e6b438",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "commit 731f7eaddfb6af01cb2173e18f0f75b0ba780ef1 by alice",
        "Failed password for root from 192.0.2.7",
        "password expired",
        "password: expired",
        "unexpected token: foo",
        "token=5 max_tokens=100",
        "PWD=/home/alice",
        "secret: webapp",
        "use --password --verbose",
        "basic authentication failed",
        "Bearer authentication is required",
        "password=****",
        "password=",
        "password_changed=true",
        "http://[::1]:8080/a@b",
        "https://a.example:8443/x?y=z",
        "UAEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAM",
        "disk-usage-of-the-database-server",
        "eyJ is how a JWT begins",
    ] {
        assert_eq!(hidden(text), text);
    }
}

#[test]
fn a_link_that_unsubscribes_is_no_link() {
    let (shown, count) =
        Mask::default().text("see https://a.example.com/unsubscribe?u=1.", &english);
    assert_eq!((shown.as_ref(), count), ("see hxxps://a[.]example[.]com/unsubscribe?u=1.", 0));
    assert_eq!(hidden("https://a.example.com/subscribe"), "https://a.example.com/subscribe");
}

#[test]
fn a_route_can_show_some_kinds() {
    let mask = Mask { shown: vec![Secret::Password] };
    let (shown, count) = mask.text("password=hunter2 token=abc", &english);
    assert_eq!((shown.as_ref(), count), ("password=hunter2 token=[token hidden]", 1));
    assert_eq!(mask.of_name("db.password", "hunter2", &english), None);
    assert_eq!(Mask::default().of_name("db.password", "hunter2", &english), Some(Secret::Password));
    assert_eq!(Mask::default().of_name("apiToken", "abc", &english), Some(Secret::Token));
    assert_eq!(
        Mask::default().of_name("db_password", "two words", &english),
        Some(Secret::Password)
    );
    assert_eq!(Mask::default().of_name("secret", "it is a secret", &english), None);
    assert_eq!(Mask::default().of_name("password_hint", "my cat", &english), None);
    assert_eq!(Mask::default().of_name("tokens", "17", &english), None);
}

#[test]
fn a_long_text_is_searched_in_linear_time_and_at_its_seams() {
    let filler = "word ".repeat(PIECE / 5);
    let text = format!("{filler}{JWT} {filler} password=hunter2 {filler}");
    let (shown, count) = Mask::default().text(&text, &english);
    assert_eq!(count, 2);
    assert!(!shown.contains("hunter2") && !shown.contains("eyJ"));
    // No secret is parted from its name where a piece ends.
    for shift in 0..40 {
        let text = format!("{}password: S3cret99 {filler}", "x ".repeat((PIECE - shift) / 2));
        assert!(!Mask::default().text(&text, &english).0.contains("S3cret99"), "{shift}");
    }
    // Words for very many secrets do not make it much longer.
    let many = "password=x1 ".repeat(40_000);
    let (shown, count) = Mask::default().text(&many, &english);
    assert!(!shown.contains("x1") && shown.len() < many.len() + MOST_GROWN + 2 * PIECE);
    assert!(count > MOST_PLACES as u64 / 10, "{count}");
    // Each of these could begin a secret, and none is one: the search must not begin anew at each.
    for part in [
        "eyJ-",
        "://a:",
        "token=a",
        "-----BEGIN PRIVATE KEY-----",
        "https://a",
        "password=\"",
        "\\\\\\",
        "Bearer ",
        "password: expired ",
        "mysql -p5 ",
        "token: a,b=&c=;",
        "Authorization: a ",
        "a:b@c:",
        "\u{1b}[",
        "<password>",
        "name: secret value: ",
    ] {
        let text = part.repeat(200_000 / part.len());
        let begun = std::time::Instant::now();
        let _ = Mask::default().text(&text, &english);
        assert!(begun.elapsed().as_secs() < 20, "{part}: {:?}", begun.elapsed());
    }
}

/// Looking at each place of a large text takes seconds, in which no other message is shown. So in the rest of it whole lines
/// are hidden.
#[test]
fn after_many_places_whole_lines_are_hidden() {
    let (many, token) = ("password=x1\n".repeat(2 * MOST_PLACES), made("ghp_", 36));
    let rest = format!(
        "all is well\nall is well\npassword:\n  x1\n\n{token}\n{}end",
        "all is well\n".repeat(2)
    );
    let text = format!("{many}{rest}");
    let begun = std::time::Instant::now();
    let (shown, _) = Mask::default().text(&text, &english);
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    assert!(!shown.contains("x1") && !shown.contains(&token), "{}", &shown[shown.len() - 200..]);
    let end = "\nall is well\n***\n***\n\n***\n***\nall is well\nend";
    assert!(shown.ends_with(end), "{}", &shown[shown.len() - 200..]);
    assert!(shown.starts_with("password=[password hidden]\n"));
}

proptest! {
    #[test]
    fn no_text_makes_it_fail_and_nothing_is_hidden_twice(text in "(eyJ|token|password|=|:|\"|\\\\|[a-z0-9]{1,9}|-----BEGIN |PRIVATE KEY|-----|\\.|://|@| |\n|é){0,40}") {
        let once = hidden(&text);
        prop_assert_eq!(hidden(&once), once);
    }
}
