//! `[publish]`: the subjects and contents of the messages of `nats-matrix report` and `nats-matrix alert`, and the
//! directory in which they wait while NATS is out of reach.

use std::{
    collections::HashMap,
    env,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::{
    config::{
        environment,
        error::ConfigError,
        list,
        location::Source,
        nats::{self, Nats},
        secret::Files,
    },
    failure::Failure,
    secrets::{Masks, Pattern},
    subject::Subject,
};

/// The configuration of a publisher: `[nats]` and `[publish]`. The file may also be that of a bridge, whose other
/// sections are ignored: a machine that reports does not use Matrix.
#[derive(Debug, Clone)]
pub(crate) struct Publisher {
    /// The connection to NATS.
    pub nats: Nats,
    /// The messages to publish.
    pub publish: Publish,
}

/// The settings of the published messages.
#[derive(Debug, Clone)]
pub(crate) struct Publish {
    /// The name of this machine; by default its host name.
    pub host: String,
    /// The subject of reports, which are published under `<this>.<host>`.
    pub report_subject: Subject,
    /// The subject of alerts, which are published under `<this>.<host>`.
    pub alert_subject: Subject,
    /// The mount points of the file systems whose usage is reported; at least one.
    pub disks: Vec<PathBuf>,
    /// The number of published lines from the end of a failed unit's journal; 0 for none.
    pub journal_lines: u16,
    /// The patterns of secrets that are masked in these lines.
    pub masks: Masks,
    /// The directory in which messages wait until NATS has stored them.
    pub spool_dir: PathBuf,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPublish {
    /// The name of the machine.
    #[schemars(example = &"server-01", extend("x-default" = "the host name"))]
    host: Option<String>,
    /// The subject of reports without the host's name, which is appended as one token.
    #[schemars(example = &"fleet.report", extend("x-type" = "subject", "default" = REPORT_SUBJECT))]
    report_subject: Option<String>,
    /// The subject of alerts without the host's name, which is appended as one token.
    #[schemars(example = &"fleet.alert", extend("x-type" = "subject", "default" = ALERT_SUBJECT))]
    alert_subject: Option<String>,
    /// Where the file systems are mounted whose usage is reported.
    #[serde(default, deserialize_with = "list::list")]
    #[schemars(
        example = ["/", "/var"],
        extend("x-type" = "list of paths", "x-default" = "`[\"/\"]`")
    )]
    disks: Vec<String>,
    /// How many of the last lines of its journal the alert about a failed unit shows,
    /// [masked](https://github.com/nats-matrix/nats-matrix/blob/main/docs/src/guide/publishing.md#secrets-in-the-journal).
    /// At most 200.
    #[schemars(example = 0, extend("x-type" = "number", "default" = JOURNAL_LINES))]
    journal_lines: Option<u16>,
    /// Further secrets to mask in them: [regular expressions](https://docs.rs/regex/latest/regex/#syntax). If one has a
    /// group `(?P<secret>...)`, only that group is masked.
    #[serde(default, deserialize_with = "list::list")]
    #[schemars(example = ["acme-[0-9a-f]{32}"], extend("x-type" = "list of patterns"))]
    secret_patterns: Vec<String>,
    /// Where messages wait for NATS.
    #[schemars(
        example = &"/var/spool/nats-matrix",
        extend(
            "x-type" = "directory",
            "x-default" = "`$STATE_DIRECTORY/spool`, else `\"/var/lib/nats-matrix-publish/spool\"`"
        )
    )]
    spool_dir: Option<PathBuf>,
}

/// The sections that a publisher reads.
#[derive(Deserialize)]
struct Sections {
    nats: nats::RawNats,
    #[serde(default)]
    publish: RawPublish,
}

/// The default of `report_subject`.
const REPORT_SUBJECT: &str = "ops.report";

/// The default of `alert_subject`.
const ALERT_SUBJECT: &str = "ops.alert";

/// The default and the highest number of journal lines in an alert about a unit.
const JOURNAL_LINES: u16 = 20;

const MOST_JOURNAL_LINES: u16 = 200;

/// The variable that has the same effect as the option for a server.
const SERVERS: &str = "NATS_MATRIX__NATS__SERVERS";

impl Publisher {
    /// Reads `file` and overrides it with the process environment. If `server` is given, no file is read.
    ///
    /// # Errors
    ///
    /// Returns [`Failure::Config`] with one line that names the file or variable and the key, and says what to do.
    pub(crate) fn load(file: &Path, server: Option<&str>) -> Result<Self, Failure> {
        Self::load_with(file, server, environment::variables()?)
    }

    /// Reads the configuration like [`Publisher::load`], with a given environment.
    pub(crate) fn load_with(
        file: &Path,
        server: Option<&str>,
        mut variables: HashMap<String, String>,
    ) -> Result<Self, Failure> {
        if let Some(server) = server {
            variables.insert(SERVERS.to_owned(), server.to_owned());
            return Self::parse("", Path::new("--server"), &variables);
        }
        let text = match std::fs::read_to_string(file) {
            Ok(text) => Zeroizing::new(text),
            // The environment alone can be enough to reach NATS.
            Err(error)
                if error.kind() == ErrorKind::NotFound && variables.contains_key(SERVERS) =>
            {
                Zeroizing::default()
            }
            Err(error) => {
                return Err(Failure::Config(format!(
                    "cannot read {}: {error}: name a configuration with --config, or a server with --server",
                    file.display()
                )));
            }
        };
        Self::parse(&text, file, &variables)
    }

    /// Parses the text of a file, overridden by an environment.
    pub(crate) fn parse(
        text: &str,
        file: &Path,
        variables: &HashMap<String, String>,
    ) -> Result<Self, Failure> {
        let source = Source { file, text };
        let written: Sections = environment::read(source, variables)?;
        let within = |wrong: ConfigError| wrong.within(source);
        let publish = written.publish.check().map_err(within)?;
        let inbox = nats::publisher_inbox(&publish.host);
        let nats = written.nats.check(&Files::beside(file), &inbox).map_err(within)?;
        Ok(Self { nats, publish })
    }
}

impl RawPublish {
    pub(super) fn check(self) -> Result<Publish, ConfigError> {
        let subject = |key: &str, text: Option<String>, default: &str| {
            Subject::literal(text.as_deref().unwrap_or(default))
                .map_err(|what| ConfigError::new(format!("publish.{key}"), what))
        };
        let host = self.host.unwrap_or_else(host_name);
        if host.trim().is_empty() {
            return Err(ConfigError::new(
                "publish.host",
                "is empty: say what this machine is called",
            ));
        }
        let disks = if self.disks.is_empty() { vec!["/".to_owned()] } else { self.disks };
        if let Some(disk) = disks.iter().find(|disk| !disk.starts_with('/')) {
            return Err(ConfigError::new(
                "publish.disks",
                format!("\"{disk}\" is not a whole path, like \"/var\""),
            ));
        }
        let journal_lines = self.journal_lines.unwrap_or(JOURNAL_LINES);
        if journal_lines > MOST_JOURNAL_LINES {
            return Err(ConfigError::new(
                "publish.journal_lines",
                format!("is {journal_lines}, and may be {MOST_JOURNAL_LINES} at most"),
            ));
        }
        let declared = self.secret_patterns.iter().enumerate().map(|(index, text)| {
            Pattern::new(text).map_err(|what| {
                ConfigError::new(
                    format!("publish.secret_patterns[{index}]"),
                    format!("\"{text}\": {what}"),
                )
            })
        });
        Ok(Publish {
            host,
            journal_lines,
            masks: Masks::with(declared.collect::<Result<_, _>>()?),
            report_subject: subject("report_subject", self.report_subject, REPORT_SUBJECT)?,
            alert_subject: subject("alert_subject", self.alert_subject, ALERT_SUBJECT)?,
            disks: disks.into_iter().map(PathBuf::from).collect(),
            spool_dir: self.spool_dir.unwrap_or_else(default_spool_dir),
        })
    }
}

/// Returns the name of this machine according to the kernel.
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Returns the directory that systemd's `StateDirectory=` created, or else that of the package's units.
fn default_spool_dir() -> PathBuf {
    env::var_os("STATE_DIRECTORY")
        .map_or_else(|| PathBuf::from("/var/lib/nats-matrix-publish"), PathBuf::from)
        .join("spool")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(server: Option<&str>, variables: &[(&str, &str)]) -> Result<Publisher, Failure> {
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Publisher::load_with(Path::new("/no/such/config.toml"), server, variables.collect())
    }

    #[test]
    fn the_environment_or_an_option_does_without_a_file() {
        let by_variable = load(None, &[(SERVERS, "nats://a:1,nats://b:2")]).unwrap();
        assert_eq!(by_variable.nats.servers.len(), 2);
        assert_eq!(by_variable.publish.disks, [Path::new("/")]);
        let by_option = load(
            Some("nats://c:3"),
            &[(SERVERS, "nats://a:1"), ("NATS_MATRIX__PUBLISH__DISKS", "/,/var")],
        );
        let by_option = by_option.unwrap();
        assert_eq!(by_option.nats.servers[0].host(), "c");
        assert_eq!(by_option.publish.disks, [Path::new("/"), Path::new("/var")]);
    }

    #[test]
    fn a_mistake_is_named_with_its_mend() {
        let said = |variables: &[(&str, &str)]| {
            load(Some("nats://a:1"), variables).unwrap_err().to_string()
        };
        let subject = said(&[("NATS_MATRIX__PUBLISH__REPORT_SUBJECT", "ops.>")]);
        assert!(subject.contains("publish.report_subject: \"ops.>\" has wildcards"), "{subject}");
        let lines = said(&[("NATS_MATRIX__PUBLISH__JOURNAL_LINES", "201")]);
        assert!(lines.contains("publish.journal_lines: is 201, and may be 200 at most"), "{lines}");
        let pattern = said(&[("NATS_MATRIX__PUBLISH__SECRET_PATTERNS", "a,(b")]);
        assert!(
            pattern.contains("publish.secret_patterns[1]: \"(b\": unclosed group"),
            "{pattern}"
        );
        let disk = said(&[("NATS_MATRIX__PUBLISH__DISKS", "var")]);
        assert!(disk.contains("publish.disks: \"var\" is not a whole path"), "{disk}");
        let nothing = load(None, &[]).unwrap_err().to_string();
        assert!(nothing.contains("--config") && nothing.contains("--server"), "{nothing}");
    }
}
