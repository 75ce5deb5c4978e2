//! Files: JSON, in which escapes must not part names, secrets and words, and bytes that are not all text.

use std::fmt::Write;

use serde_json::{Value, json};

use super::{
    JWT, base32,
    forms::{FORMS, X},
    made,
};
use crate::mask::{MOST_GROWN, MOST_PLACES, Mask, english};

fn hidden(text: &str) -> String {
    Mask::default().document(text, &english).0.into_owned()
}

/// Writes JSON with every character beyond ASCII escaped, as Python does.
fn in_ascii(value: &Value) -> String {
    value.to_string().encode_utf16().fold(String::new(), |mut text, unit| {
        match u8::try_from(unit).ok().filter(u8::is_ascii) {
            Some(byte) => text.push(char::from(byte)),
            None => write!(text, "\\u{unit:04x}").unwrap(),
        }
        text
    })
}

fn shows(text: &str, secret: &str) -> bool {
    (0..secret.len() - 3).any(|at| text.contains(&secret[at..at + 4]))
}

#[test]
fn every_form_is_hidden_in_the_strings_of_json() {
    let pad = "lorem ipsum dolor ".repeat(20);
    let long = "lorem ipsum dolor ".repeat(4_000);
    let others = [
        "login failed\npassword:\n  @@\nbye\n",
        "password:\r\n@@\r\nbye",
        "password:\t@@\nbye",
        "password: |\n  @@\nbye",
        "set password \"@@\"\n",
        "Cookie: sid=@@; b=@@\n",
        "password\u{a0}=\u{a0}@@\n",
        "a\npw=@@",
    ];
    let mut failed = Vec::new();
    for (number, form) in FORMS.iter().chain(&others).enumerate() {
        let text = form.replace("@@", X);
        let value = |text: &str| json!({ "summary": "x", "description": text });
        let usual = value(&format!("{pad}\n{text}\n{pad}"));
        let within = json!({ "body": json!({ "log": [format!("a\n{text}"), "b"] }).to_string() });
        let mut files = vec![
            usual.to_string(),
            in_ascii(&usual),
            serde_json::to_string_pretty(&usual).unwrap(),
            format!("{usual}\n{usual}\n"),
            format!("{usual}\n not JSON\n"),
            json!({ "event": { "details": [{ "log": format!("{text}\n{pad}") }, 1] } }).to_string(),
            in_ascii(&within),
            in_ascii(&json!([format!("a\n{text}"), pad])),
        ];
        // A long text is read in windows.
        if number % 8 == 0 {
            files.push(in_ascii(&value(&format!("{long}\n{text}\n{long}"))));
        }
        for file in files {
            let shown = hidden(&file);
            if shows(&shown, X) || !shown.contains(" hidden]") && !shown.contains('…') {
                failed.push(format!("{text:?}: {file:.60}"));
            }
        }
    }
    assert!(failed.is_empty(), "{}:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn all_but_the_secrets_stays_as_it_came() {
    for (file, expected) in [
        (
            "{ \"a\" : 1.50,\r\n\t\"\\u00e9\": [1e400, -0, \"\\/\\u00e9\"],\"password\":\"x1\", \"a\":\"\\u000a\" }\n",
            "{ \"a\" : 1.50,\r\n\t\"\\u00e9\": [1e400, -0, \"\\/\\u00e9\"],\"password\":\"[password hidden]\", \"a\":\"\\u000a\" }\n",
        ),
        (
            r#"{"password":"x1","password":"y1"}"#,
            r#"{"password":"[password hidden]","password":"[password hidden]"}"#,
        ),
        (
            r#"{"value":"x1","n":[{}],"name":"DB_PASSWORD"}"#,
            r#"{"value":"[password hidden]","n":[{}],"name":"DB_PASSWORD"}"#,
        ),
        (r#"{"pin":12,"password":1234567890}"#, r#"{"pin":12,"password":"[password hidden]"}"#),
        (
            r#"{"a":"{\"password\":\"x1\",\"n\":1.0}"}"#,
            r#"{"a":"{\"password\":\"[password hidden]\",\"n\":1.0}"}"#,
        ),
        (
            r#"{"a":"say \"password=x1\" \u0021"}"#,
            r#"{"a":"say \"password=[password hidden]\" !"}"#,
        ),
        (
            r#"["a","-----BEGIN PRIVATE KEY-----","x1","-----END PRIVATE KEY-----","b"]"#,
            r#"["a","[private key hidden]","…","…","b"]"#,
        ),
        ("{\"password\":\"x1\"} {\"n\":1}\n", "{\"password\":\"[password hidden]\"} {\"n\":1}\n"),
        (
            "begin\n{\"password\":\"x1\"}\npassword=x1\n",
            "begin\n{\"password\":\"[password hidden]\"}\npassword=[password hidden]\n",
        ),
    ] {
        assert_eq!(hidden(file), expected);
        assert_eq!(hidden(expected), expected);
    }
    for file in [
        "{\"a\":\"\\ud800\\u0041 \\ud83d\\ude00\"}".to_owned(),
        format!("{{\"a\":\"{}\"}}", "\\u00e9 and so on ".repeat(20_000)),
        format!("{}\"password\"{}", "[".repeat(300), "]".repeat(300)),
        "[1, 2".to_owned(),
        "\"".to_owned(),
        "{\"a\": \"b\\".to_owned(),
    ] {
        let shown = Mask::default().document(&file, &english);
        assert!(matches!(shown.0, std::borrow::Cow::Borrowed(_)) && shown.1 == 0, "{file:.80}");
    }
    // A kind that is shown stays.
    let mask = Mask { shown: vec![crate::mask::Secret::Password] };
    let file = r#"{"password":"x1","args":["mysql","-px1"],"log":"a\npassword=x1"}"#;
    assert_eq!(mask.document(file, &english).0, file);
}

#[test]
fn a_token_is_known_behind_an_escape() {
    let secrets = [
        JWT.to_owned(),
        base32("SU"),
        format!("AKIA{}", "ABCDEFGHIJ234567"),
        made("ghp_", 36),
        made("glpat-", 20),
        made("12345678:AA", 33),
        format!("dop_v1_{}", "0a1b2c3d".repeat(8)),
    ];
    for secret in secrets {
        for before in [
            r"a\n",
            r"a\t",
            r"a\r\n",
            r"a\\n",
            r"a\u0022",
            r"a\u000a",
            r"a\x0a",
            r"a\x1b[1m",
            r"a\033[1m",
            r"a\u001b[1m",
            "a%0A",
            "a\x1b[1m",
            "a\x1b[0m\x1b[1m",
            "a\u{200b}",
            r#"a\""#,
        ] {
            for text in [
                format!("ERROR x {before}{secret} b"),
                format!("ERROR {{\"a\":\"x{before}{secret}\"}}"),
                format!("{{\"a\":\"x{before}{secret}\"}},,"),
            ] {
                let shown = Mask::default().text(&text, &english).0;
                assert!(
                    !shown.contains(&secret[8..]) && shown.contains(" hidden]"),
                    "{text}: {shown}"
                );
            }
        }
        let many = format!("[{}1]", format!("{{\"a\":\"x\\n{secret}\"}},").repeat(17));
        assert!(!hidden(&many).contains(&secret), "{many}");
    }
}

#[test]
fn a_text_with_some_bytes_that_are_none_has_no_secrets() {
    let line = format!("2026-11-30 app[12]: postgres://bob:{X}@db/x password={X}\n");
    let line = format!("{}{line}and so on\n", "all is well ".repeat(100));
    let text = line.repeat(80_000 / line.len()).into_bytes();
    let json = json!({ "log": String::from_utf8(text.clone()).unwrap() }).to_string().into_bytes();
    let cut = "é".as_bytes()[..1].to_vec();
    for (begin, end) in
        [(vec![], vec![0xff, b'\n']), (vec![], cut), (vec![0xff, 0xfe, 0xfd], vec![b'\n'])]
    {
        for middle in [&text, &json] {
            let bytes = [&begin[..], middle, &end].concat();
            let shown = Mask::default().bytes(&bytes, &english).unwrap();
            assert!(shown.starts_with(&begin) && shown.ends_with(&end));
            assert!(!shows(&String::from_utf8_lossy(&shown), X));
        }
    }
    let within = [b"\xe9 password=Zq7\xfcRk2Lm \xfc\xf4\x8f\xbf\xbf", &[0xff; 200][..]].concat();
    let expected =
        [b"\xe9 password=[password hidden] \xfc\xf4\x8f\xbf\xbf", &[0xff; 200][..]].concat();
    assert_eq!(Mask::default().bytes(&within, &english), Some(expected));
}

#[test]
fn a_large_file_takes_bounded_time() {
    let size = 200_000;
    for part in [
        "{\"password\":\"x1\"},",
        "\"--password\",\"x1\",",
        "{\"value\":{\"value\":1}},",
        "{\"data\":{}},",
        "\"a\\npassword=x1 \",",
        "\"{\\\"password\\\":\\\"x1\\\"}\",",
        "\"-----BEGIN PRIVATE KEY-----\",",
        "\"abc\",",
        "\"token\",",
    ] {
        let file = format!("[{}1]", part.repeat(size / part.len()));
        let begun = std::time::Instant::now();
        let shown = hidden(&file);
        assert!(begun.elapsed().as_secs() < 20, "{part}: {:?}", begun.elapsed());
        assert!(!shown.contains("x1"), "{part}");
        assert!(shown.len() < 2 * file.len() + MOST_GROWN + MOST_PLACES, "{part}: {}", shown.len());
        serde_json::from_str::<Value>(&shown).unwrap();
    }
}
