//! The subcommand `nats-matrix preview`: shows what a room would show.

mod page;

use std::{cell::RefCell, io::Read, path::PathBuf};

use async_nats::{HeaderMap, HeaderName, HeaderValue};

use bytes::Bytes;
use clap::{ValueEnum, builder::PossibleValuesParser};
use jiff::{Timestamp, tz::TimeZone};

use crate::{
    cli::{common::print, preview::page::Shown},
    config::{Display, Language, time_zone},
    decode::{
        Decoder,
        shape::{Outcome, Shapes, Surroundings, Trace},
    },
    failure::Failure,
    message::{Payload, Status, Urgency, alert::identity, payload},
    nats::headers,
    render::{Incoming, Renderer},
    samples::{SAMPLES, Sample},
    text::shown::line,
};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The subject of the message; a sample has one of its own.
    #[arg(long)]
    subject: Option<String>,
    /// The output: text for a person, the content of the Matrix event, or a page for a browser.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// A template, or a directory of templates, to use instead of the built-in ones.
    #[arg(long, value_name = "PATH")]
    template: Option<PathBuf>,
    /// A shape, or a directory of shapes, to try before the built-in ones. The rule that takes the message is shown with
    /// each of its fields.
    #[arg(long, value_name = "PATH")]
    shape: Option<PathBuf>,
    /// A header of the message, as in "X-GitHub-Event: push"; may be given several times.
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(HeaderName, HeaderValue)>,
    /// The language of the built-in texts.
    #[arg(long, value_enum, default_value_t)]
    language: Language,
    /// The time zone for times, like "Europe/Berlin".
    #[arg(long, value_name = "ZONE", default_value = "UTC", value_parser = time_zone)]
    time_zone: TimeZone,
    /// Show this sample instead of standard input.
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(SAMPLES.iter().map(|sample| sample.name)))]
    sample: Option<String>,
    /// Show all samples.
    #[arg(long, conflicts_with_all = ["sample", "subject"])]
    gallery: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
    Html,
}

pub(super) fn main(options: &Options) -> Result<(), Failure> {
    let display = Display { language: options.language, time_zone: options.time_zone.clone() };
    let renderer = match &options.template {
        None => Renderer::new(&display),
        Some(path) => Renderer::with_templates(&display, path).map_err(|faults| {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            Failure::Config(faults.join("\n"))
        })?,
    };
    let own = options.shape.as_deref().map(Shapes::load).transpose().map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        Failure::Config(faults.join("\n"))
    })?;
    let mut headers = HeaderMap::new();
    for (name, value) in &options.header {
        headers::add(&mut headers, name, value);
    }
    let preview = Preview { renderer, own, headers };
    let sample = options.sample.as_deref().and_then(Sample::named);
    let shown: Vec<Shown> = match sample {
        _ if options.gallery => {
            SAMPLES.iter().map(|sample| preview.sample(options, sample)).collect()
        }
        Some(sample) => vec![preview.sample(options, &sample)],
        None => {
            let payload = read_payload()?;
            let subject =
                options.subject.clone().unwrap_or_else(|| preview.usual_subject(&payload));
            vec![preview.show(("", &subject, payload))]
        }
    };
    match options.format {
        Format::Html => print(&page::page(&shown, options.language)),
        Format::Text | Format::Json => {
            for shown in &shown {
                print(&match options.format {
                    Format::Json => format!("{:#}", shown.rendered.content(&[])),
                    _ => text(shown),
                });
            }
        }
    }
    Ok(())
}

fn read_payload() -> Result<Bytes, Failure> {
    let mut payload = Vec::new();
    std::io::stdin().read_to_end(&mut payload).map_err(|error| {
        Failure::Config(format!("cannot read the payload from standard input: {error}"))
    })?;
    Ok(payload.into())
}

/// Reads a header from the command line.
fn header(written: &str) -> Result<(HeaderName, HeaderValue), InvalidHeader> {
    let (name, value) = written.split_once(':').ok_or(InvalidHeader)?;
    let name = name.trim().parse().map_err(|_| InvalidHeader)?;
    let value = value.trim().parse().map_err(|_| InvalidHeader)?;
    Ok((name, value))
}

#[derive(Debug, thiserror::Error)]
#[error("a header is written as in \"X-GitHub-Event: push\"")]
struct InvalidHeader;

/// The way in which messages are shown.
struct Preview {
    renderer: Renderer,
    own: Option<Shapes>,
    headers: HeaderMap,
}

impl Preview {
    /// Returns a subject that ends with the name of the message's source, as publishers use.
    fn usual_subject(&self, payload: &[u8]) -> String {
        let around = Surroundings { subject: "ops.report.example", headers: Some(&self.headers) };
        let decoded =
            Decoder { own: self.own.as_ref(), around, ..Decoder::default() }.decode(payload);
        match payload::sources(&decoded.payload)[..] {
            [source] if !source.contains(char::is_whitespace) => format!("ops.report.{source}"),
            _ => "ops.report.example".to_owned(),
        }
    }

    fn sample(&self, options: &Options, sample: &Sample) -> Shown {
        let subject = options.subject.as_deref().unwrap_or(sample.subject);
        self.show((sample.name, subject, Bytes::from_static(sample.payload)))
    }

    fn show(&self, (name, subject, payload): (&str, &str, Bytes)) -> Shown {
        let trace = RefCell::new(Trace::default());
        let around = Surroundings { subject, headers: Some(&self.headers) };
        let own = self.own.as_ref();
        let decoded = Decoder { own, around, mask: Some(&self.renderer.mask), trace: Some(&trace) }
            .decode(&payload);
        let message = Incoming {
            subject,
            headers: Some(&self.headers),
            stream: "OPS",
            sequence: 1,
            published: Timestamp::now(),
            route: "preview",
            decoded: &decoded,
            original: &payload,
        };
        let rendered = self.renderer.render(&message);
        let has_fields = self.own.is_some();
        let trace = trace.into_inner();
        let (name, subject) = (name.to_owned(), subject.to_owned());
        Shown { name, subject, payload, decoded, rendered, trace, has_fields }
    }
}

/// Returns the lines that say by which rule a message was understood.
fn understood(shown: &Shown) -> Vec<String> {
    let Some((shape, rule, _)) = &shown.trace.rule else {
        return shown.has_fields.then(|| "Shape:   none".to_owned()).into_iter().collect();
    };
    let mut lines = vec![format!("Shape:   {shape}, {rule}")];
    for field in shown.trace.fields.iter().filter(|_| shown.has_fields) {
        let value = match &field.value {
            Outcome::Text(value) => line(value),
            Outcome::Nothing => "(nothing)".to_owned(),
            Outcome::Fails(error) => format!("(fails: {error})"),
        };
        lines.push(format!("  {} = {}\n    {value}", field.name, line(&field.expression)));
    }
    lines
}

/// Says whether an alert opens or ends a problem, and what identifies it.
fn problem(payload: &Payload) -> Option<String> {
    let Payload::Alert(alert) = payload else { return None };
    let verb = match alert.status {
        Status::Firing => "open",
        Status::Resolved => "over",
    };
    let id = alert.group.clone().unwrap_or_else(|| identity(alert).join(" / "));
    Some(format!("{verb}, {}", line(&id)))
}

fn text(shown: &Shown) -> String {
    let rendered = &shown.rendered;
    let urgency = match rendered.urgency {
        Urgency::Routine => "m.notice (does not make a phone buzz)",
        Urgency::Notable => "m.text (makes a phone buzz)",
        Urgency::Critical => "m.text (makes a phone buzz, and mentions whom the route names)",
    };
    let mut lines = Vec::new();
    if !shown.name.is_empty() {
        lines.push(format!("=== {} on {} ===", shown.name, shown.subject));
    }
    lines.push(format!("Sent as: {urgency}"));
    lines.extend(problem(&shown.decoded.payload).map(|problem| format!("Problem: {problem}")));
    lines.extend(understood(shown));
    lines.extend(shown.decoded.flaw.iter().map(|flaw| format!("Flaw:    {flaw}")));
    lines.extend(rendered.fault.iter().map(|fault| format!("Fault:   {fault}")));
    lines.extend(rendered.attachment.iter().map(|file| {
        format!("File:    the original, {} bytes of {}", file.bytes.len(), file.media_type)
    }));
    lines.push(format!("\n--- plain ---\n{}", rendered.plain));
    lines.push(format!("\n--- HTML ---\n{}", rendered.html.replace("<br>", "<br>\n")));
    if !shown.name.is_empty() {
        lines.push(String::new());
    }
    lines.join("\n")
}
