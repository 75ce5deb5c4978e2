//! The subcommand `nats-matrix schema`: prints the JSON Schema of a message or of the configuration.

use clap::ValueEnum;
use schemars::{Schema, schema_for};

use crate::{
    config,
    listen::event::AnswerEvent,
    message::{Alert, Report},
};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The subject of the schema: a message of this kind, or the configuration file.
    kind: Kind,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// A report.
    Report,
    /// An alert.
    Alert,
    /// An answer of a person to an alert, as the bridge publishes it.
    Answer,
    /// The configuration file, for editors.
    Config,
}

impl Kind {
    fn schema(self) -> Schema {
        match self {
            Self::Report => schema_for!(Report),
            Self::Alert => schema_for!(Alert),
            Self::Answer => schema_for!(AnswerEvent),
            Self::Config => config::schema(),
        }
    }
}

pub(super) fn main(options: &Options) {
    crate::cli::common::print(&text(options.kind));
}

/// Returns the names and texts of all schemas.
pub(super) fn all() -> Vec<(String, String)> {
    let named = |kind: &Kind| Some((kind.to_possible_value()?.get_name().to_owned(), text(*kind)));
    Kind::value_variants().iter().filter_map(named).collect()
}

fn text(kind: Kind) -> String {
    serde_json::to_string_pretty(&kind.schema()).expect("a schema is valid JSON")
}
