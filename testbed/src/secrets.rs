//! A search for secrets in what the bridge's program prints: for every secret that any test of this
//! process has used so far.
//!
//! A secret is known from the configuration and environment of a command ([`expect`]), from the accounts that tests
//! log in, or from what the program itself keeps: its session and the passwords that it makes up. The configuration is
//! read again before each signal to do so and in the end, as secrets are renewed while the program runs.
//! [`BridgeProcess`] and
//! [`Homeserver::provision`] look by themselves; a test that runs another command does so with [`output`] or
//! [`none_in_output`].
//!
//! [`BridgeProcess`]: crate::BridgeProcess
//! [`Homeserver::provision`]: crate::Homeserver::provision

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::Value as Json;
use toml::{Table, Value};

/// Keys of a configuration that hold a secret; with `_file` behind them, the name of a file with one.
const KEYS: [&str; 6] =
    ["password", "nkey_seed", "credentials", "token", "access_token", "registration_secret"];
/// A key that names a file with a secret and has no other form.
const PRIVATE_KEY: &str = "key_file";
/// The beginning of an environment variable that stands for a key.
const VARIABLE: &str = "NATS_MATRIX__";
/// A shorter one is no secret, and is found everywhere by chance.
const SHORTEST: usize = 8;

/// Descriptions of all secrets that are known, by the secret.
static KNOWN: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());

/// Places of the secrets that a program is given or makes up, to be read again later: by then there may be others.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    config: Option<PathBuf>,
    /// The directory in which the program was started, if not in ours.
    started_in: Option<PathBuf>,
    sessions: BTreeSet<PathBuf>,
    /// Every file in these is a secret.
    directories: BTreeSet<PathBuf>,
}

fn known() -> MutexGuard<'static, BTreeMap<String, String>> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks for a secret from now on; `what` names it in failures. Of one with several lines, such as a file with a key,
/// each line is looked for that has nothing but a secret.
pub fn note(what: &str, secret: &str) {
    let secret = secret.trim();
    let is_secret = |line: &&str| !line.contains(' ') && !line.starts_with('-');
    let several = secret.lines().filter(is_secret);
    let all: Vec<&str> =
        if secret.contains('\n') { several.map(str::trim).collect() } else { vec![secret] };
    for secret in all.into_iter().filter(|secret| secret.len() >= SHORTEST) {
        known().entry(secret.to_owned()).or_insert_with(|| what.to_owned());
    }
}

/// Looks from now on for the secrets that a command of the bridge's program is given: those in the file after
/// `--config`, in the files that it names, in the environment and in `$CREDENTIALS_DIRECTORY`.
pub fn expect(command: &Command) -> Kept {
    let mut kept = Kept::default();
    let variables = command.get_envs().filter_map(|(name, value)| Some((name.to_str()?, value?)));
    for (name, value) in variables {
        let value = value.to_string_lossy();
        match name.strip_prefix(VARIABLE).and_then(|key| key.rsplit_once("__")) {
            Some((_, key)) if KEYS.contains(&key.to_lowercase().as_str()) => note(name, &value),
            _ if name == "CREDENTIALS_DIRECTORY" => {
                kept.directories.insert(PathBuf::from(&*value));
            }
            _ => {}
        }
    }
    let after_option = command.get_args().skip_while(|it| *it != OsStr::new("--config")).nth(1);
    kept.config = after_option.map(PathBuf::from);
    kept.started_in = command.get_current_dir().map(Path::to_owned);
    kept.note();
    kept
}

fn note_table(what: &str, table: &Table, directory: &Path) {
    for (key, value) in table {
        let what = format!("{key} of {what}");
        match value {
            Value::Table(table) => note_table(&what, table, directory),
            Value::String(text) if KEYS.contains(&key.as_str()) => note(&what, text),
            Value::String(name) if is_file_of_secret(key) => {
                note_file(&what, &directory.join(name));
            }
            _ => {}
        }
    }
}

fn is_file_of_secret(key: &str) -> bool {
    key == PRIVATE_KEY || key.strip_suffix("_file").is_some_and(|key| KEYS.contains(&key))
}

/// Notes the secret in a file. A file that is not there, or not yet, has none.
fn note_file(what: &str, file: &Path) {
    if let Ok(text) = fs::read_to_string(file) {
        note(what, &text);
    }
}

fn note_files(directory: &Path) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    for file in entries.map(|entry| entry.path()).filter(|file| file.is_file()) {
        note_file(&format!("what is in {}", file.display()), &file);
    }
}

impl Kept {
    /// Looks from now on also for the secrets that are there by now.
    pub(crate) fn note(&mut self) {
        self.note_config();
        for file in &self.sessions {
            let text = fs::read_to_string(file).unwrap_or_default();
            let session: Json = serde_json::from_str(&text).unwrap_or_default();
            if let Some(token) = session["access_token"].as_str() {
                note(&format!("the access token in {}", file.display()), token);
            }
        }
        for directory in &self.directories {
            note_files(directory);
        }
    }

    /// Notes the secrets of the configuration. Those that it named before stay known: a program that is told to read
    /// another may still use them.
    fn note_config(&mut self) {
        let Some(file) = &self.config else { return };
        // The program itself says when the file is missing or is no TOML.
        let text = fs::read_to_string(file).unwrap_or_default();
        let config: Table = text.parse().unwrap_or_default();
        let directory = file.parent().unwrap_or(Path::new(""));
        note_table(&file.display().to_string(), &config, directory);
        let state = |section: &str| config.get(section)?.get("state_dir")?.as_str();
        if let Some(state) = state("matrix") {
            let there = self.started_in.as_deref().unwrap_or(directory);
            self.sessions.insert(there.join(state).join("session.json"));
        }
        if let Some(state) = state("provision") {
            let state = directory.join(state);
            self.directories.extend([state.join("passwords"), state]);
        }
    }
}

/// The names of the secrets that a text holds.
fn found_in(text: &str) -> Vec<String> {
    let known = known();
    known
        .iter()
        .filter(|(secret, _)| text.contains(*secret))
        .map(|(_, what)| what.clone())
        .collect()
}

/// Fails the test if what a program has printed shows a secret, with the name of the secret.
///
/// # Panics
///
/// If it shows one.
#[track_caller]
pub(crate) fn none_in(what: &str, printed: &[u8], kept: &mut Kept) {
    kept.note();
    let found = found_in(&String::from_utf8_lossy(printed));
    assert!(found.is_empty(), "{what} shows a secret: {}", found.join("; "));
}

/// Fails the test if a command that ran to its end has printed a secret, with the name of the secret.
///
/// # Panics
///
/// If it printed a secret.
#[track_caller]
pub fn none_in_output(output: &Output, kept: &mut Kept) {
    none_in("the output", &output.stdout, kept);
    none_in("the error output", &output.stderr, kept);
}

/// Runs a command of the bridge's program to its end, and looks at what it printed.
///
/// # Errors
///
/// If it cannot be started.
///
/// # Panics
///
/// If it printed a secret.
#[track_caller]
pub fn output(command: &mut Command) -> io::Result<Output> {
    let mut kept = expect(command);
    let output = command.output()?;
    none_in_output(&output, &mut kept);
    Ok(output)
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::PermissionsExt,
        panic::{AssertUnwindSafe, catch_unwind},
        time::Duration,
    };

    use anyhow::Result;

    use super::*;
    use crate::{BridgeProcess, ScratchDir};

    fn message(panic: &(dyn std::any::Any + Send)) -> &str {
        panic.downcast_ref::<String>().map_or("", String::as_str)
    }

    /// A program that prints what is secret.
    fn talkative(dir: &Path, script: &str) -> PathBuf {
        let program = dir.join("talkative");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        program
    }

    /// The message of a test that had this process.
    fn said_of(process: BridgeProcess) -> String {
        let panic = catch_unwind(AssertUnwindSafe(|| drop(process))).unwrap_err();
        message(&*panic).to_owned()
    }

    #[test]
    fn a_program_that_prints_its_secrets_fails_the_test_and_they_are_not_printed_again() {
        let dir = ScratchDir::new("secrets").unwrap();
        let program = talkative(dir.path(), "cat \"$3\" state/session.json made/passwords/*");
        fs::create_dir_all(dir.path().join("state")).unwrap();
        fs::create_dir_all(dir.path().join("made/passwords")).unwrap();
        fs::write(dir.path().join("seed.nk"), "SUSEEDSEEDSEED\n").unwrap();
        fs::write(dir.path().join("state/session.json"), r#"{"access_token":"tok-en-tok-en"}"#)
            .unwrap();
        fs::write(dir.path().join("made/passwords/alice"), "made-up-made-up\n").unwrap();
        for (config, said) in [
            ("[nats]\nuser = \"x\"\npassword = \"inline-secret-1\"\n", "password of nats of "),
            ("[nats]\nnkey_seed_file = \"seed.nk\"\n# SUSEEDSEEDSEED\n", "nkey_seed_file of nats"),
            ("[matrix]\nstate_dir = \"state\"\n", "the access token in "),
            ("[provision]\nstate_dir = \"made\"\n", "passwords/alice"),
        ] {
            let mut process = BridgeProcess::spawn(&program, config, dir.path()).unwrap();
            let ended = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            ended.block_on(process.wait(Duration::from_mins(1))).unwrap();
            let message = said_of(process);
            assert!(message.contains(said), "{message}");
            for secret in ["inline-secret-1", "SUSEEDSEEDSEED", "tok-en-tok-en", "made-up-made-up"]
            {
                assert!(!message.contains(secret), "a secret is in {message}");
            }
        }
    }

    #[tokio::test]
    async fn a_secret_that_is_renewed_while_the_program_runs_is_found_too() {
        const PATIENCE: Duration = Duration::from_mins(1);
        let script = "trap 'cat seed.nk; exit' HUP TERM; echo ready; while :; do sleep 0.05; done";
        // A secret that a reload reads is known even if it is replaced again before the program ends.
        let hang_up: fn(&mut BridgeProcess) -> Result<()> = BridgeProcess::hang_up;
        for (signal, then) in
            [(hang_up, "SUTHIRDTHIRD"), (BridgeProcess::terminate, "SUSECONDSECOND")]
        {
            let dir = ScratchDir::new("secrets").unwrap();
            let program = talkative(dir.path(), script);
            let seed = |seed: &str| fs::write(dir.path().join("seed.nk"), seed).unwrap();
            seed("SUFIRSTFIRST");
            let config = "[nats]\nnkey_seed_file = \"seed.nk\"\n";
            let mut process = BridgeProcess::spawn(&program, config, dir.path()).unwrap();
            process.wait_for_log("ready", PATIENCE).await.unwrap();
            seed("SUSECONDSECOND");
            signal(&mut process).unwrap();
            process.wait(PATIENCE).await.unwrap();
            seed(then);
            let message = said_of(process);
            assert!(message.contains("nkey_seed_file of nats of "), "{message}");
        }
    }

    #[test]
    fn a_secret_in_the_environment_is_one_and_a_short_word_is_none() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo \"$NATS_MATRIX__NATS__TOKEN\" >&2"]);
        command.env("NATS_MATRIX__NATS__TOKEN", "short");
        output(&mut command).unwrap();
        command.env("NATS_MATRIX__NATS__TOKEN", "long-enough-a-token");
        let panic = catch_unwind(AssertUnwindSafe(|| output(&mut command))).unwrap_err();
        assert_eq!(message(&*panic), "the error output shows a secret: NATS_MATRIX__NATS__TOKEN");
    }

    #[test]
    fn of_a_file_with_a_key_the_lines_count_that_are_secret() {
        note("the key", "-----BEGIN KEY-----\nAAAABBBBCCCC1\n----END KEY----\n\nKeep it well\n");
        assert_eq!(found_in("x AAAABBBBCCCC1"), ["the key"]);
        assert!(found_in("-----BEGIN KEY-----").is_empty());
        assert!(found_in("Keep it well").is_empty());
    }
}
