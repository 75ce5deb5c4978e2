use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::message::{Severity, Status};

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
fn what_looks_like_a_report_or_alert_but_is_not_is_an_object_with_a_flaw() {
    for (text, shape) in [
        (r#"{"host":"a","disk_percent":"full"}"#, "looks like a report but is not"),
        (r#"{"host":1,"disk_percent":2}"#, "looks like a report but is not"),
        (r#"{"kind":"report"}"#, "looks like a report but is not: missing field `host`"),
        (r#"{"severity":5,"summary":"s"}"#, "looks like an alert but is not"),
        (r#"{"severity":"info","summary":"s","status":"over"}"#, "unknown variant `over`"),
        (r#"{"severity":"info","summary":"s","labels":{"a":[]}}"#, "labels must be an object"),
    ] {
        let decoded = decode(text);
        let flaw = decoded.flaw.expect(text).to_string();
        assert!(flaw.contains(shape), "{flaw}");
        assert!(matches!(decoded.payload, Payload::Object(_)), "{text}");
    }
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
    let alert = |status: &str| {
        let alert = json!({ "severity": "info", "summary": "s", "status": status });
        decode(&alert.to_string()).flaw.unwrap().to_string()
    };
    let flaw = alert("fir\u{202e}\r\nWARN all is\u{200b} lost");
    assert!(flaw.contains("unknown variant `fir\u{fffd} WARN all is\u{fffd} lost`"), "{flaw}");
    let flaw = alert(&"x".repeat(1_000_000));
    assert!(flaw.chars().count() < 410 && flaw.ends_with(" …"), "{flaw}");
}
