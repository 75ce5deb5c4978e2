use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::message::{Severity, Status, Urgency};

fn decode(text: &str) -> Decoded {
    Decoded::from_bytes(text.as_bytes())
}

fn payload(text: &str) -> Payload {
    let decoded = decode(text);
    assert_eq!(decoded.flaw, None, "{text}");
    decoded.payload
}

#[test]
fn a_report_is_known_by_its_keys_or_by_its_word() {
    let report = |text: &str| matches!(payload(text), Payload::Report(_));
    assert!(report(r#"{"host":"a","disk_percent":14}"#));
    assert!(report(r#"{"host":"a","completed":[]}"#));
    assert!(report(r#"{"host":"a","kind":"report"}"#));
    assert!(!report(r#"{"host":"a"}"#));
    assert!(!report(r#"{"host":"a","disk_percent":14,"kind":"something else"}"#));
}

#[test]
fn an_alert_is_known_by_its_keys_or_by_its_word() {
    let Payload::Alert(alert) =
        payload(r#"{"severity":"CRIT","summary":"s","labels":{"n":1,"up":false,"x":"y"}}"#)
    else {
        panic!("not an alert")
    };
    assert_eq!(alert.severity, Severity::Critical);
    assert_eq!(alert.status, Status::Firing);
    let labels: Vec<(&str, &str)> =
        alert.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(labels, [("n", "1"), ("up", "false"), ("x", "y")]);
    assert!(matches!(payload(r#"{"severity":"x"}"#), Payload::Object(_)));
}

#[test]
fn an_alert_of_a_severity_of_its_own_is_kept() {
    let Payload::Alert(alert) = payload(r#"{"severity":"Sev-1","summary":"s"}"#) else {
        panic!("not an alert")
    };
    assert_eq!(alert.severity, Severity::Other("Sev-1".to_owned()));
}

#[test]
fn a_wrong_value_costs_its_line_and_not_the_message() {
    for (text, flaw) in [
        (r#"{"host":"a","disk_percent":"full"}"#, Some("disk_percent is not a number")),
        (r#"{"host":["a"],"disk_percent":2}"#, Some("host is not a text")),
        (r#"{"kind":"report","completed":7}"#, Some("host is missing; completed is not a list")),
        (r#"{"host":"a","disk_percent":"N/A","memory_percent":null}"#, None),
        (r#"{"host":7,"disk_percent":"12,5 %","completed":"x"}"#, None),
        (r#"{"host":"a","disk_percent":NaN}"#, Some("is not quite JSON")),
        (r#"{"severity":"info","summary":"s","status":"over"}"#, Some("status is not \"firing\"")),
        (
            r#"{"severity":"info","summary":"s","labels":{"a":[1]}}"#,
            Some("labels is not an object"),
        ),
        (r#"{"severity":"info","summary":"s","labels":7}"#, Some("labels is not an object")),
        (r#"{"kind":"alert","summary":"s"}"#, Some("severity is missing")),
        (r#"{"severity":5,"summary":"s","status":"Closed","labels":{"a":null}}"#, None),
    ] {
        let decoded = decode(text);
        let found = decoded.flaw.map(|flaw| flaw.to_string());
        match flaw {
            Some(flaw) => {
                assert!(found.as_ref().is_some_and(|it| it.contains(flaw)), "{text}: {found:?}");
            }
            None => assert_eq!(found, None, "{text}"),
        }
        let is_it = matches!(decoded.payload, Payload::Report(_) | Payload::Alert(_));
        assert!(is_it, "{text}");
        let is_quiet = decoded.payload.urgency() == Urgency::Routine;
        assert_eq!(
            is_quiet,
            !text.contains("kind\":\"alert")
                && !text.contains("severity\":5,\"summary\":\"s\",\"labels"),
            "{text}"
        );
    }
    let Payload::Report(report) =
        decode(r#"{"host":"a","disk_percent":"N/A","memory_percent":"7%"}"#).payload
    else {
        panic!("not a report")
    };
    assert!(report.unknown.disk && report.disk_percent.is_none());
    assert_eq!(report.memory_percent, Some(7.0));
}

#[test]
fn several_objects_are_several_messages() {
    let text = "\u{feff}{\"severity\":\"critical\",\"summary\":\"a\"}\n{\"host\":\"b\",\"disk_percent\":3}\n{\"x\":1}\n";
    let decoded = decode(text);
    let Payload::Several(items) = &decoded.payload else { panic!("{decoded:?}") };
    let kinds: Vec<_> = items.iter().map(|item| item.decoded.payload.kind().name()).collect();
    assert_eq!(kinds, ["alert", "report", "object"]);
    let originals: Vec<_> = items.iter().map(|item| &text[item.range.clone()]).collect();
    assert_eq!(originals, text.trim_start_matches('\u{feff}').lines().collect::<Vec<_>>());
    assert_eq!(decoded.payload.urgency(), Urgency::Critical);
    let array = decode(r#"[{"severity":"info","summary":"a"},{"severity":"info","summary":"b"}]"#);
    assert!(matches!(array.payload, Payload::Several(items) if items.len() == 2));
    assert!(matches!(payload(r#"[{"severity":"info","summary":"a"}]"#), Payload::Alert(_)));
    assert!(matches!(payload("[1,2]"), Payload::Text(_)));
}

#[test]
fn json_in_a_text_is_decoded_once_more() {
    assert!(matches!(payload(r#""{\"severity\":\"info\",\"summary\":\"a\"}""#), Payload::Alert(_)));
    assert_eq!(payload(r#""\"{}\"""#), Payload::Text("\"{}\"".to_owned()));
    assert_eq!(payload(r#""plain \"text\"""#), Payload::Text("plain \"text\"".to_owned()));
    assert_eq!(payload(r#""no json"#), Payload::Text("\"no json".to_owned()));
}

#[test]
fn a_byte_order_mark_and_white_space_around_are_no_flaw() {
    assert!(matches!(payload("\u{feff} {\"a\":1}\n"), Payload::Object(_)));
}

#[test]
fn what_a_report_holds_besides_is_kept() {
    let Payload::Report(report) = payload(r#"{"host":"a","disk_percent":1,"load":0.5}"#) else {
        panic!("not a report")
    };
    assert_eq!(report.extra.get("load"), Some(&json!(0.5)));
}

proptest! {
    #[test]
    fn no_bytes_make_decoding_fail(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let decoded = Decoded::from_bytes(&bytes);
        if let Payload::Binary(kept) = decoded.payload {
            prop_assert!(kept.len == bytes.len() && bytes.starts_with(&kept.head));
            prop_assert!(decoded.flaw.is_some());
        }
    }

    #[test]
    fn no_object_with_the_keys_of_a_report_or_alert_makes_decoding_fail(
        entries in proptest::collection::btree_map(
            prop_oneof![
                Just("host"), Just("completed"), Just("disk_percent"), Just("satisfaction"), Just("kind"),
                Just("severity"), Just("summary"), Just("labels"), Just("status"), Just("time"), Just("other"),
            ],
            prop_oneof![
                Just(json!(null)), Just(json!("report")), Just(json!("alert")), Just(json!(-1.5e300)),
                Just(json!([1, "x"])), Just(json!({"a": "b"})), Just(json!(true)),
            ],
            0..8,
        )
    ) {
        let object = json!(entries);
        let decoded = decode(&object.to_string());
        prop_assert!(!matches!(decoded.payload, Payload::Text(_) | Payload::Binary(_)));
    }
}

#[test]
fn a_flaw_is_one_clean_line_whatever_it_quotes() {
    let flaw = |text: &str| {
        Decoded::sound(Payload::Text(String::new())).with_flaw(text).flaw.unwrap().to_string()
    };
    assert_eq!(
        flaw("fir\u{202e}\r\nWARN all is\u{200b} lost"),
        "fir\u{fffd} WARN all is\u{fffd} lost"
    );
    let long = flaw(&"x".repeat(1_000_000));
    assert!(long.chars().count() < 410 && long.ends_with(" …"), "{long}");
    assert_eq!(
        flaw("invalid value: password=hunter2"),
        "invalid value: password=[password hidden]"
    );
}
