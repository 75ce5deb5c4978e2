//! Shows each sample of each built-in shape as a room does: in a snapshot beside it, and in the book.

use std::{cell::RefCell, collections::BTreeMap, fmt::Write, fs, path::PathBuf};

use async_nats::HeaderMap;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    config::Display,
    decode::{
        Decoder,
        shape::{Outcome, Surroundings, Trace},
        webhook_tests::pointers,
    },
    message::{Decoded, Payload, Status, Urgency, alert::identity},
    nats::headers,
    render::{Incoming, Rendered, Renderer, incoming::SAMPLES_PUBLISHED},
};

/// A sample of a shape.
struct Sample {
    shape: String,
    name: String,
    about: String,
    subject: String,
    headers: HeaderMap,
    payload: Bytes,
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("shapes")
}

/// Reads all samples. Each is described in the file of its shape.
fn samples() -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut ids: Vec<_> =
        fs::read_dir(directory()).unwrap().map(|it| it.unwrap().file_name()).collect();
    ids.sort();
    for id in ids {
        let id = id.to_str().unwrap();
        let directory = directory().join(id);
        let shape = fs::read_to_string(directory.join("shape.toml")).unwrap();
        let mut shape: toml::Table = toml::from_str(&shape).unwrap();
        let mut described: BTreeMap<String, String> =
            shape.remove("samples").unwrap().try_into().unwrap();
        assert!(!described.is_empty(), "{id} has no sample");
        let mut files: Vec<PathBuf> =
            fs::read_dir(directory).unwrap().map(|it| it.unwrap().path()).collect();
        files.sort();
        for file in files {
            let extension = file.extension().unwrap().to_str().unwrap();
            let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
            if !["json", "txt"].contains(&extension) {
                continue;
            }
            let about = described.remove(&name).unwrap_or_else(|| panic!("{id}: describe {name}"));
            let lines = fs::read_to_string(file.with_extension("headers")).unwrap_or_default();
            let mut headers = HeaderMap::new();
            for line in lines.lines() {
                let (name, value) = line.split_once(": ").unwrap();
                headers::add(&mut headers, &name.parse().unwrap(), &value.parse().unwrap());
            }
            let payload = fs::read(&file).unwrap().into();
            let subject = format!("ops.{id}");
            samples.push(Sample { shape: id.to_owned(), name, about, subject, headers, payload });
        }
        assert!(described.is_empty(), "{id} describes {described:?}, which are no files");
    }
    samples
}

impl Sample {
    fn decode(&self, payload: &[u8], trace: Option<&RefCell<Trace>>) -> Decoded {
        let around = Surroundings { subject: &self.subject, headers: Some(&self.headers) };
        Decoder { own: None, around, mask: None, trace }.decode(payload)
    }

    fn render(&self, decoded: &Decoded, payload: &Bytes) -> Rendered {
        Renderer::new(&Display::default()).render(&Incoming {
            subject: &self.subject,
            headers: Some(&self.headers),
            stream: "OPS",
            sequence: 1,
            published: SAMPLES_PUBLISHED,
            route: "all",
            decoded,
            original: payload,
        })
    }

    /// Describes how a room shows the sample, and what it does to the conversation about the problem.
    fn page(&self) -> String {
        let decoded = self.decode(&self.payload, None);
        let rendered = self.render(&decoded, &self.payload);
        let urgency = match rendered.urgency {
            Urgency::Routine => "silent",
            Urgency::Notable => "makes a phone buzz",
            Urgency::Critical => "makes a phone buzz and mentions people",
        };
        let conversation = conversation(&decoded.payload);
        let file = rendered.attachment.as_ref().map_or("", |_| "\nwith the original as a file");
        let html = rendered.html.replace("<br>", "<br>\n");
        format!(
            "{}\n\n{urgency}\n{conversation}{file}\n\n{}\n\n-- HTML\n\n{html}",
            self.about, rendered.plain
        )
    }
}

fn conversation(payload: &Payload) -> String {
    let verb = |status: Status| match status {
        Status::Firing => "opens",
        Status::Resolved => "ends",
    };
    match payload {
        Payload::Alert(alert) => {
            let id = alert.group.clone().unwrap_or_else(|| identity(alert).join(" / "));
            format!("{} the conversation {}", verb(alert.status), id.replace('\n', " / "))
        }
        Payload::Alerts(group) => {
            let fires = group.alerts.iter().any(|alert| alert.status == Status::Firing);
            let status = if fires { Status::Firing } else { Status::Resolved };
            let id = group.fingerprint.as_deref().unwrap_or("of its title and labels");
            format!("{} the conversation {}", verb(status), id.replace('\n', " / "))
        }
        _ => "no conversation".to_owned(),
    }
}

#[test]
fn every_sample_of_a_shape_reads_as_its_snapshot_says() {
    for sample in samples() {
        insta::with_settings!({
            snapshot_path => directory().join(&sample.shape),
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, {
            insta::assert_snapshot!(sample.name.clone(), sample.page());
        });
    }
}

#[test]
fn every_sample_is_understood_by_its_own_shape_and_no_field_of_it_fails() {
    for sample in samples() {
        let trace = RefCell::new(Trace::default());
        let decoded = sample.decode(&sample.payload, Some(&trace));
        let (name, trace) = (format!("{}/{}", sample.shape, sample.name), trace.into_inner());
        assert_eq!(decoded.flaw, None, "{name}");
        if let Some((_, _, id)) = trace.rule {
            assert_eq!(id, sample.shape, "{name}");
        } else {
            assert!(["alertmanager", "cloudevents"].contains(&sample.shape.as_str()), "{name}");
        }
        for field in trace.fields {
            assert!(!matches!(field.value, Outcome::Fails(_)), "{name}: {field:?}");
        }
    }
}

/// A message that is damaged may be understood less well, but it must never call people whom the whole one does not
/// call. One that has lost the word that an alert is over reads like any program's alert, which is as urgent as it says.
#[test]
fn a_damaged_sample_is_shown_and_calls_nobody_whom_the_whole_one_does_not_call() {
    let others =
        [json!(null), json!(true), json!(7.5), json!("text"), json!([]), json!([[1]]), json!({})];
    for sample in samples() {
        let mut whole = sample.decode(&sample.payload, None).payload;
        if let Payload::Alert(alert) = &mut whole {
            alert.status = Status::Firing;
        }
        let most = whole.urgency().max(Urgency::Notable);
        let check = |payload: Vec<u8>, what: &str| {
            let decoded = sample.decode(&payload, None);
            let urgency = decoded.payload.urgency();
            assert!(urgency <= most, "{}/{} {what}: {urgency:?}", sample.shape, sample.name);
        };
        for length in (0..sample.payload.len()).step_by(211) {
            check(sample.payload[..length].to_vec(), "cut");
        }
        let Ok(whole) = serde_json::from_slice::<Value>(&sample.payload) else { continue };
        let mut places = Vec::new();
        pointers(&whole, "", &mut places);
        for place in places {
            for other in &others {
                let mut changed = whole.clone();
                *changed.pointer_mut(&place).unwrap() = other.clone();
                check(changed.to_string().into_bytes(), &place);
            }
        }
    }
}

/// The chapter of the book that shows all samples. `UPDATE_PAYLOADS=1` writes it.
#[test]
fn the_book_shows_every_sample_as_a_room_does() {
    let file = directory().join("../../docs/src/reference/payloads-of-others.md");
    let book = book();
    if std::env::var_os("UPDATE_PAYLOADS").is_some() {
        fs::write(&file, &book).unwrap();
    }
    let written = fs::read_to_string(&file).unwrap();
    assert!(written == book, "{} is stale: run `just payloads`", file.display());
}

fn book() -> String {
    let mut book = String::from(
        "# Messages of other programs\n\n\
         The bridge knows these programs. Each message below is a sample in \
         [bridge/shapes](https://github.com/nats-matrix/nats-matrix/tree/main/bridge/shapes), beside the\n\
         [shape](../guide/shapes.md) that recognises it. This page is made of them (`just payloads`).\n",
    );
    let mut last = String::new();
    for sample in samples() {
        if sample.shape != last {
            let shape = fs::read_to_string(directory().join(&sample.shape).join("shape.toml"));
            let shape: toml::Table = toml::from_str(&shape.unwrap()).unwrap();
            let name = shape["name"].as_str().unwrap();
            writeln!(book, "\n## {}{}", name[..1].to_uppercase(), &name[1..]).unwrap();
            last.clone_from(&sample.shape);
        }
        let decoded = sample.decode(&sample.payload, None);
        let rendered = sample.render(&decoded, &sample.payload);
        let urgency = match rendered.urgency {
            Urgency::Routine => "Silent",
            Urgency::Notable => "A phone buzzes",
            Urgency::Critical => "A phone buzzes, and people are mentioned",
        };
        let does = match &decoded.payload {
            Payload::Alert(alert) if alert.status == Status::Resolved => "; the open alert ends",
            Payload::Alert(_) | Payload::Alerts(_) => "; an alert opens",
            _ => "",
        };
        writeln!(
            book,
            "\n**{}** {urgency}{does}.\n\n```text\n{}\n```",
            sample.about, rendered.plain
        )
        .unwrap();
    }
    book
}
