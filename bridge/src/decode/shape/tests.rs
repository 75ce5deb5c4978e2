use std::{collections::BTreeSet, path::Path};

use serde_json::json;

use super::*;
use crate::{
    decode::Decoder,
    message::{Payload, Severity, Urgency},
};

#[test]
fn every_built_in_shape_is_valid_and_compiled_in() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("shapes");
    let there = std::fs::read_dir(&directory).unwrap();
    let there: BTreeSet<String> =
        there.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let compiled: BTreeSet<String> =
        builtin::FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(compiled, there);
    for (name, text) in builtin::FILES {
        let file = format!("{name}.toml");
        let shape = Shape::parse(text, Path::new(&file), false);
        if let Err(faults) = shape {
            panic!("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
        }
    }
    assert_eq!(Shapes::builtin().len(), builtin::FILES.len());
}

fn faults(text: &str) -> Vec<String> {
    let faults = Shape::parse(text, Path::new("own.toml"), false).unwrap_err();
    faults.iter().map(ToString::to_string).collect()
}

#[test]
fn a_wrong_file_is_refused_with_the_line_and_what_to_do() {
    let rule = |lines: &str| {
        format!(
            "name = 'Own'\nrecognise.has = ['a']\n[[rule]]\nas = 'alert'\nsummary = 'payload.a'\n{lines}\n"
        )
    };
    assert!(Shape::parse(&rule(""), Path::new("own.toml"), false).is_ok());
    for (text, fault) in [
        (
            rule("sumary = 'payload.b'"),
            "own.toml:6: there is no field `sumary`; did you mean `summary`?",
        ),
        (
            rule("source = 'paylod.b'"),
            "own.toml:6: `source` uses the name `paylod`, which does not exist; did you mean",
        ),
        (rule("source = 'payload.'"), "own.toml:6: `source` is not an expression: "),
        (rule("source = 5"), "own.toml:6: `source` is an expression in quotes"),
        (
            rule("source = { a = 'payload' }"),
            "own.toml:6: `source` is one expression in quotes, not a table",
        ),
        (rule("labels.b = 'payload.c | uper'"), "own.toml:6: `b` uses the filter `uper`"),
        (rule("event = 'push'"), "own.toml:6: `event` is for a rule with as = \"note\""),
        (
            rule("[severities]\nx = 'bad'"),
            "own.toml:7: \"bad\" is not a severity; write \"critical\"",
        ),
        (rule("[states]\nx = 'over'"), "own.toml:7: \"over\" is not a state; write \"firing\""),
        (rule("[[rule]]\nas = 'alrt'"), "own.toml:7: \"alrt\" is not one of \"alert\""),
        (rule("[[rule]]\nas = 'note'"), "own.toml:7: a rule with as = \"note\" needs `headline`"),
        (rule("[other]"), "own.toml:6: unknown field `other`"),
        ("name = 'x'".to_owned(), "own.toml: there is no [[rule]]"),
        ("name = ".to_owned(), "own.toml:1: "),
        (
            "name = 'x'\n[[rule]]\nas = 'text'\ntext = 'payload.a'".to_owned(),
            "own.toml:3: this rule takes every message; say which it is for",
        ),
    ] {
        let faults = faults(&text);
        assert!(faults.iter().any(|it| it.starts_with(fault)), "{fault}: {faults:?}");
    }
}

fn own(text: &str) -> Shapes {
    Shapes::parse(text, Path::new("own.toml")).unwrap()
}

/// Returns an object of which nothing is hidden.
fn covered(object: &Map<String, serde_json::Value>) -> Covered<'_> {
    static MASK: Mask = Mask { shown: Vec::new() };
    Covered { published: object, object, mask: &MASK }
}

fn decoded(shapes: &Shapes, message: &serde_json::Value) -> Decoded {
    let around = Surroundings { subject: "ops.own.db-01", headers: None };
    match shapes.decode(covered(message.as_object().unwrap()), around, None) {
        Some(Matched::Decoded(decoded)) => *decoded,
        Some(Matched::Lacking { field, .. }) => panic!("{field}"),
        None => panic!("not matched"),
    }
}

#[test]
fn a_shape_makes_alerts_of_the_items_of_a_list() {
    let shapes = own(
        "name = 'Own'\nrecognise.has = ['checks']\nseverities.bad = 'critical'\n[[rule]]\nas = 'alert'\n\
         each = 'payload.checks'\nseverity = 'item.level'\nsummary = 'item.name'\nsource = 'tokens[2]'\n\
         fingerprint = 'item.name'\nlabels.site = 'payload.site'\ngroup_title = 'payload.site'",
    );
    let check = |name: &str| json!({ "name": name, "level": "BAD" });
    let message = json!({ "site": "eu", "checks": [check("disk"), check("memory")] });
    let Payload::Alerts(group) = decoded(&shapes, &message).payload else { panic!("not a group") };
    assert_eq!((group.title.as_str(), group.alerts.len()), ("eu", 2));
    assert_eq!(group.labels["site"], "eu");
    let first = &group.alerts[0];
    assert_eq!(first.severity, Severity::Critical);
    assert_eq!(first.source.as_deref(), Some("db-01"));
    assert_eq!(first.fingerprint.as_deref(), Some("own:disk"));
    let one = json!({ "checks": [check("disk")] });
    assert!(matches!(decoded(&shapes, &one).payload, Payload::Alert(_)));
}

#[test]
fn an_alert_that_does_not_say_whether_it_goes_on_wakes_nobody() {
    let shapes = own(
        "name = 'Own'\nrecognise.has = ['a']\n[[rule]]\nas = 'alert'\nseverity = \"'critical'\"\n\
         summary = 'payload.a'\nstatus = 'payload.state'",
    );
    let urgency = |message| decoded(&shapes, &message).payload.urgency();
    assert_eq!(urgency(json!({ "a": "x", "state": "on fire" })), Urgency::Critical);
    assert_eq!(urgency(json!({ "a": "x", "state": "OK" })), Urgency::Routine);
    assert_eq!(urgency(json!({ "a": "x", "state": [[]] })), Urgency::Notable);
    assert_eq!(urgency(json!({ "a": "x" })), Urgency::Notable);
    let shapes = own(
        "name = 'Own'\nrecognise.has = ['a']\nstates.problem = 'firing'\n[[rule]]\nas = 'alert'\n\
         severity = \"'critical'\"\nsummary = 'payload.a'\nstatus = 'payload.state'",
    );
    let urgency = |state| decoded(&shapes, &json!({ "a": "x", "state": state })).payload.urgency();
    assert_eq!(urgency("Problem"), Urgency::Critical);
    assert_eq!(urgency("on fire"), Urgency::Notable);
    assert_eq!(urgency("ok"), Urgency::Routine);
}

#[test]
fn a_failing_field_costs_that_field_and_is_traced() {
    let shapes = own(
        "name = 'Own'\nrecognise.has = ['a']\n[[rule]]\nname = 'all'\nas = 'report'\nhost = 'payload.a'\n\
         disk_percent = 'payload.a / 0'\nmemory_percent = 'payload.memory'",
    );
    let trace = RefCell::default();
    let message = json!({ "a": "db-01", "memory": "71%" });
    let around = Surroundings::default();
    let matched = shapes.decode(covered(message.as_object().unwrap()), around, Some(&trace));
    let Some(Matched::Decoded(decoded)) = matched else { panic!("not matched") };
    let Payload::Report(report) = decoded.payload else { panic!("not a report") };
    assert_eq!((report.disk_percent, report.memory_percent), (None, Some(71.0)));
    let trace = trace.into_inner();
    assert_eq!(trace.rule.unwrap().1, "all");
    assert!(
        trace
            .fields
            .iter()
            .any(|field| field.name == "disk_percent" && matches!(field.value, Outcome::Fails(_)))
    );
}

#[test]
fn a_shape_does_not_move_a_secret_away_from_its_key() {
    let shapes = own(
        "name = 'S'\n[recognise]\nvalues = { token = ['S3cret-99'] }\n[[rule]]\nas = 'alert'\nseverity = \"'critical'\"\n\
         summary = 'payload.password'\n\
         description = \"headers['X-Token'] ~ ' ' ~ payload.user ~ ' ' ~ (payload.args | join(' '))\"\n\
         rows = { who = 'payload.token' }\n",
    );
    let message = serde_json::json!({
        "token": "S3cret-99", "password": "S3cret-99", "user": "bob", "args": ["--password", "S3cret-99"],
    });
    let mut headers = async_nats::HeaderMap::new();
    #[expect(clippy::disallowed_methods, reason = "a text without a line break")]
    headers.insert("X-Token", "S3cret-99");
    let around = Surroundings { subject: "ops.own.db-01", headers: Some(&headers) };
    let decode = |mask: Option<&Mask>| {
        let decoder = Decoder { own: Some(&shapes), around, mask, trace: None };
        decoder.decode(message.to_string().as_bytes())
    };
    let shown = decode(None);
    let Payload::Alert(alert) = &shown.payload else { panic!("{shown:?}") };
    assert!(!format!("{shown:?}").contains("S3cret"), "{shown:?}");
    assert_eq!(
        alert.description.as_deref(),
        Some("[token hidden] bob --password [password hidden]"),
        "{shown:?}"
    );
    assert_eq!(shown.hidden, 3);
    let all = Mask { shown: crate::mask::Secret::ALL.to_vec() };
    assert!(format!("{:?}", decode(Some(&all))).contains("S3cret"), "a route can show them");
}
