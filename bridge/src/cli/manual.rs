//! The manual pages and shell completions that packages install. They are generated from the definition of the
//! command line and committed in `bridge/manual`, so that nobody who builds a package has to run a program that may
//! be for another machine.

use std::{fs, path::Path};

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

use crate::cli::Cli;

const EXIT_STATUS: [(&str, &str); 5] = [
    ("0", "Success, or the bridge was stopped by a signal."),
    ("64", "The configuration or the command line is wrong."),
    (
        "69",
        "A server is unavailable. run keeps trying; report and alert exit with 0 if they keep the message until NATS is back, \
         unless no stream takes it.",
    ),
    ("70", "A bug in this program."),
    (
        "77",
        "A server refuses the credentials; run keeps trying a NATS that has accepted them before.",
    ),
];

const ENVIRONMENT: [(&str, &str); 4] = [
    ("NATS_MATRIX_CONFIG", "The configuration file, unless --config is given."),
    (
        "NATS_MATRIX__SECTION__KEY",
        "Overrides the key of that section in the configuration, as in NATS_MATRIX__MATRIX__USER=bridge.",
    ),
    (
        "CREDENTIALS_DIRECTORY",
        "Set by systemd: the directory in which secret files with relative names are looked for first, before that of the configuration.",
    ),
    (
        "NATS_MATRIX_LOG",
        "The log filter, such as nats_matrix=debug; overrides level in [log] of the configuration.",
    ),
];

const FILES: [(&str, &str); 4] = [
    (
        "/etc/nats-matrix/config.toml",
        "The configuration. Comments in it and the README explain its keys.",
    ),
    (
        "/etc/nats-matrix/secrets",
        "The secret files that the configuration names, with the Debian package.",
    ),
    ("/var/lib/nats-matrix", "The session with the homeserver."),
    ("/var/lib/nats-matrix-publish/spool", "Reports and alerts that wait for NATS."),
];

/// Generates the files of `bridge/manual`: their names and texts.
fn files() -> Vec<(String, String)> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut files = vec![page(&command, true)];
    files.extend(command.get_subcommands().map(|subcommand| page(subcommand, false)));
    files.extend([Shell::Bash, Shell::Fish, Shell::Zsh].map(completions));
    files
}

fn page(command: &Command, is_main: bool) -> (String, String) {
    // clap needs a name that lives for ever here.
    let name: &'static str =
        command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned().leak();
    let man = Man::new(command.clone().name(name).version(env!("CARGO_PKG_VERSION")));
    let mut text = Vec::new();
    man.render(&mut text).unwrap();
    if is_main {
        let mut roff = Roff::new();
        for (title, items) in [
            ("EXIT STATUS", &EXIT_STATUS[..]),
            ("ENVIRONMENT", &ENVIRONMENT[..]),
            ("FILES", &FILES[..]),
        ] {
            roff.control("SH", [title]);
            for (item, meaning) in items {
                roff.control("TP", []).text([bold(*item)]).text([roman(*meaning)]);
            }
        }
        roff.to_writer(&mut text).unwrap();
    }
    (format!("{name}.1"), String::from_utf8(text).unwrap())
}

fn completions(shell: Shell) -> (String, String) {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "nats-matrix", &mut text);
    let name = match shell {
        Shell::Zsh => "_nats-matrix".to_owned(),
        other => format!("nats-matrix.{other}"),
    };
    (name, String::from_utf8(text).unwrap())
}

#[test]
fn the_committed_manual_is_current() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("manual");
    let current = files();
    if std::env::var_os("MAKE_MANUAL").is_some() {
        fs::create_dir_all(&dir).unwrap();
        for (name, text) in &current {
            fs::write(dir.join(name), text).unwrap();
        }
    }
    let mut committed: Vec<String> = fs::read_dir(&dir)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    committed.sort();
    let mut expected: Vec<&str> = current.iter().map(|(name, _)| name.as_str()).collect();
    expected.sort_unstable();
    assert_eq!(committed, expected, "the files of {}", dir.display());
    for (name, text) in &current {
        assert!(
            fs::read_to_string(dir.join(name)).unwrap() == *text,
            "manual/{name} is stale; make it again: MAKE_MANUAL=1 cargo test -p nats-matrix manual"
        );
    }
}
