//! Writes the manual pages and shell completions that packages install, generated from the definition of the command
//! line: `cargo run --release -p nats-matrix-manual -- DIRECTORY`. It runs on the machine that builds the package, also
//! if the package is for another kind of machine.

use std::{env, fs, io, path::Path, process::ExitCode};

use clap::Command;
use clap_complete::Shell;
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

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
        "The configuration. Its comments and the documentation explain its keys.",
    ),
    (
        "/etc/nats-matrix/secrets",
        "The secret files that the configuration names, with the Debian package.",
    ),
    ("/var/lib/nats-matrix", "The session with the homeserver."),
    ("/var/lib/nats-matrix-publish/spool", "Reports and alerts that wait for NATS."),
];

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let (Some(directory), None) = (arguments.next(), arguments.next()) else {
        return failed("usage: nats-matrix-manual DIRECTORY");
    };
    let directory = Path::new(&directory);
    match write(directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            failed(&format!("cannot write the manual into {}: {error}", directory.display()))
        }
    }
}

#[expect(clippy::print_stderr, reason = "the error message of a command")]
fn failed(reason: &str) -> ExitCode {
    eprintln!("{reason}");
    ExitCode::FAILURE
}

/// Writes all files into a directory, which is created if necessary.
fn write(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    for (name, text) in files()? {
        fs::write(directory.join(name), text)?;
    }
    Ok(())
}

/// Returns the names and contents of the files.
fn files() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut command = nats_matrix::command().disable_help_subcommand(true);
    command.build();
    let mut files = vec![page(&command, true)?];
    for subcommand in command.get_subcommands() {
        files.push(page(subcommand, false)?);
    }
    files.extend([Shell::Bash, Shell::Fish, Shell::Zsh].map(completions));
    Ok(files)
}

fn page(command: &Command, is_main: bool) -> io::Result<(String, Vec<u8>)> {
    // clap needs a name that lives for ever here.
    let name: &'static str =
        command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned().leak();
    let man = Man::new(command.clone().name(name).version(env!("CARGO_PKG_VERSION")));
    let mut text = Vec::new();
    man.render(&mut text)?;
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
        roff.to_writer(&mut text)?;
    }
    Ok((format!("{name}.1"), text))
}

fn completions(shell: Shell) -> (String, Vec<u8>) {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut nats_matrix::command(), "nats-matrix", &mut text);
    let name = match shell {
        Shell::Zsh => "_nats-matrix".to_owned(),
        other => format!("nats-matrix.{other}"),
    };
    (name, text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::allow_attributes, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn every_subcommand_has_a_page_and_every_shell_completes_it() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().join("new/manual");
        write(&directory).unwrap();
        let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap();
        let main = read("nats-matrix.1");
        for title in ["\"EXIT STATUS\"", "ENVIRONMENT", "FILES"] {
            assert!(main.contains(&format!(".SH {title}\n")), "{title}: {main}");
        }
        let completions = ["nats-matrix.bash", "nats-matrix.fish", "_nats-matrix"].map(read);
        let command = nats_matrix::command();
        let subcommands: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
        assert!(subcommands.contains(&"run"), "{subcommands:?}");
        for name in &subcommands {
            assert!(read(&format!("nats-matrix-{name}.1")).starts_with(".ie"), "{name}");
            assert!(main.contains(&format!("nats\\-matrix\\-{name}(1)")), "{name}: {main}");
            assert!(completions.iter().all(|text| text.contains(name)), "{name}");
        }
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1 + subcommands.len() + 3);
    }
}
