//! The subcommand `nats-matrix preview`: shows what a room would show.

mod page;

use std::{io::Read, path::PathBuf};

use bytes::Bytes;
use clap::{ValueEnum, builder::PossibleValuesParser};
use jiff::{Timestamp, tz::TimeZone};

use crate::{
    cli::{common::print, preview::page::Shown},
    config::{Display, Language, time_zone},
    failure::Failure,
    message::{Decoded, Urgency, payload},
    render::{Incoming, Renderer},
    samples::{SAMPLES, Sample},
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
    let sample = options.sample.as_deref().and_then(Sample::named);
    let shown: Vec<Shown> = match sample {
        _ if options.gallery => {
            SAMPLES.iter().map(|sample| show_sample(&renderer, options, sample)).collect()
        }
        Some(sample) => vec![show_sample(&renderer, options, &sample)],
        None => {
            let payload = read_payload()?;
            let subject = options.subject.clone().unwrap_or_else(|| usual_subject(&payload));
            vec![show(&renderer, ("", &subject, payload))]
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

/// Returns a subject that ends with the name of the message's source, as publishers use.
fn usual_subject(payload: &[u8]) -> String {
    let decoded = Decoded::from_bytes(payload);
    match payload::sources(&decoded.payload)[..] {
        [source] if !source.contains(char::is_whitespace) => format!("ops.report.{source}"),
        _ => "ops.report.example".to_owned(),
    }
}

fn read_payload() -> Result<Bytes, Failure> {
    let mut payload = Vec::new();
    std::io::stdin().read_to_end(&mut payload).map_err(|error| {
        Failure::Config(format!("cannot read the payload from standard input: {error}"))
    })?;
    Ok(payload.into())
}

fn show_sample(renderer: &Renderer, options: &Options, sample: &Sample) -> Shown {
    let subject = options.subject.as_deref().unwrap_or(sample.subject);
    show(renderer, (sample.name, subject, Bytes::from_static(sample.payload)))
}

fn show(with: &Renderer, (name, subject, payload): (&str, &str, Bytes)) -> Shown {
    let decoded = Decoded::from_bytes(&payload);
    let message = Incoming {
        subject,
        headers: None,
        stream: "OPS",
        sequence: 1,
        published: Timestamp::now(),
        route: "preview",
        decoded: &decoded,
        original: &payload,
    };
    let rendered = with.render(&message);
    Shown { name: name.to_owned(), subject: subject.to_owned(), payload, decoded, rendered }
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
