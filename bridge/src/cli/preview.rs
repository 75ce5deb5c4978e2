//! `nats-matrix preview`

use std::io::Read;

use clap::ValueEnum;
use time::OffsetDateTime;

use crate::{
    config::Display,
    failure::Failure,
    payload::Decoded,
    render::{Incoming, Rendered, Renderer, Urgency},
};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The subject that the message would be published on.
    #[arg(long, default_value = "ops.report.example")]
    subject: String,
    /// Everything for a person, or the content of the Matrix event.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

#[expect(clippy::print_stdout, reason = "the preview is what was asked for")]
pub(super) fn main(options: &Options) -> Result<(), Failure> {
    let mut payload = Vec::new();
    std::io::stdin().read_to_end(&mut payload).map_err(|error| {
        Failure::Config(format!("cannot read the payload from standard input: {error}"))
    })?;
    let decoded = Decoded::from_bytes(&payload);
    let rendered = Renderer::new(&Display::default()).render(&Incoming {
        subject: &options.subject,
        headers: None,
        stream: "OPS",
        sequence: 1,
        published: OffsetDateTime::now_utc(),
        route: "preview",
        decoded: &decoded,
        original: &payload,
    });
    match options.format {
        Format::Text => println!("{}", text(&decoded, &rendered)),
        Format::Json => println!("{:#}", rendered.content(&[])),
    }
    Ok(())
}

fn text(decoded: &Decoded, rendered: &Rendered) -> String {
    let urgency = match rendered.urgency {
        Urgency::Routine => "m.notice (does not make a phone buzz)",
        Urgency::Notable => "m.text (makes a phone buzz)",
        Urgency::Critical => "m.text (makes a phone buzz, and mentions whom the route names)",
    };
    let mut lines = vec![format!("Sent as: {urgency}")];
    lines.extend(decoded.flaw.iter().map(|flaw| format!("Flaw:    {flaw}")));
    lines.extend(rendered.attachment.iter().map(|file| {
        format!("File:    the original, {} bytes of {}", file.bytes.len(), file.media_type)
    }));
    lines.push(format!("\n--- plain ---\n{}", rendered.plain));
    lines.push(format!("\n--- HTML ---\n{}", rendered.html.replace("<br>", "<br>\n")));
    lines.join("\n")
}
