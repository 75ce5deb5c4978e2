//! The manual pages and the completions of shells, which packages install. They are made of the
//! command line's own definition and committed in `bridge/manual`, so that nobody who builds a
//! package has to run a program that may be for another machine.

use std::{fs, path::Path};

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

use crate::cli::Cli;

const EXIT_STATUS: [(&str, &str); 5] = [
    ("0", "All is well, or the bridge was told to stop."),
    ("64", "The configuration or the command line is wrong."),
    (
        "69",
        "A server is unavailable. run keeps trying; a report or an alert that is kept until NATS is back ends with 0, \
         unless no stream takes it.",
    ),
    ("70", "A bug of this program."),
    ("77", "Credentials are refused."),
];

const ENVIRONMENT: [(&str, &str); 4] = [
    ("NATS_MATRIX_CONFIG", "The configuration, where --config is not given."),
    (
        "NATS_MATRIX__SECTION__KEY",
        "Wins over the key of that section in the configuration, as in NATS_MATRIX__MATRIX__USER=bridge.",
    ),
    (
        "CREDENTIALS_DIRECTORY",
        "Set by systemd: where relative names of secrets are looked for first, then beside the configuration.",
    ),
    (
        "NATS_MATRIX_LOG",
        "What is logged, as in nats_matrix=debug; wins over level in [log] of the configuration.",
    ),
];

const FILES: [(&str, &str); 4] = [
    (
        "/etc/nats-matrix/config.toml",
        "The configuration. Its keys are explained in it, and in the README.",
    ),
    (
        "/etc/nats-matrix/secrets",
        "With the Debian package: the secrets that the configuration names.",
    ),
    ("/var/lib/nats-matrix", "The session with the homeserver."),
    ("/var/lib/nats-matrix-publish/spool", "Reports and alerts that wait for NATS."),
];

/// What is in `bridge/manual`: names and texts.
fn files() -> Vec<(String, String)> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut files = vec![page(&command, true)];
    files.extend(command.get_subcommands().map(|subcommand| page(subcommand, false)));
    files.extend([Shell::Bash, Shell::Fish, Shell::Zsh].map(completions));
    files
}

fn page(command: &Command, is_main: bool) -> (String, String) {
    // clap takes the name for good, unless all of its names were strings.
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
            "manual/{name} is stale; make it anew: MAKE_MANUAL=1 cargo test -p nats-matrix manual"
        );
    }
}
