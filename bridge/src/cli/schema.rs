//! The subcommand `nats-matrix schema`: prints the JSON Schema of a message.

use clap::ValueEnum;
use schemars::{Schema, schema_for};

use crate::message::{Alert, Report};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The kind of message.
    kind: Kind,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Report,
    Alert,
}

impl Kind {
    fn schema(self) -> Schema {
        match self {
            Self::Report => schema_for!(Report),
            Self::Alert => schema_for!(Alert),
        }
    }
}

pub(super) fn main(options: &Options) {
    crate::cli::common::print(&text(options.kind));
}

fn text(kind: Kind) -> String {
    serde_json::to_string_pretty(&kind.schema()).expect("a schema is valid JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Publishers in other languages use the schemas in the repository.
    #[test]
    fn the_committed_schemas_are_current() {
        for (kind, name) in [(Kind::Report, "report"), (Kind::Alert, "alert")] {
            let path = format!("{}/schema/{name}.schema.json", env!("CARGO_MANIFEST_DIR"));
            let committed = std::fs::read_to_string(&path).unwrap();
            assert_eq!(
                committed.trim_end(),
                text(kind),
                "make it again: nats-matrix schema {name} > {path}"
            );
        }
    }
}
