//! The bridge as users run it: a process with a configuration file.

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    clock::Clock,
    leash::Leash,
    matrix::Account,
    secrets::{self, Kept},
};

/// A configuration of the bridge for servers of the testbed.
#[derive(Clone, Debug)]
pub struct BridgeConfig {
    toml: String,
}

impl BridgeConfig {
    /// The connections: NATS at this URL without TLS, the homeserver and the account of `bridge`.
    pub fn new(nats_url: &str, bridge: &Account, state_dir: &Path) -> Self {
        Self::of_cluster(&[nats_url], bridge, state_dir)
    }

    /// The same connections with NATS servers at several URLs.
    pub fn of_cluster(nats_urls: &[&str], bridge: &Account, state_dir: &Path) -> Self {
        let servers: Vec<_> = nats_urls.iter().map(|url| quoted(url)).collect();
        let toml = format!(
            "[nats]\nservers = [{}]\n\n\
             [matrix]\nhomeserver = {}\nuser = {}\npassword = {}\nstate_dir = {}\n",
            servers.join(", "),
            quoted(&bridge.homeserver),
            quoted(bridge.localpart()),
            quoted(&bridge.password),
            quoted(&state_dir.to_string_lossy()),
        );
        Self { toml }
    }

    /// The connections of a bridge whose account is made as these sections declare, `[provision]` among them.
    pub fn declared(nats_url: &str, homeserver: &str, state_dir: &Path, sections: &str) -> Self {
        let toml = format!(
            "[nats]\nservers = [{}]\n\n\
             [matrix]\nhomeserver = {}\nuser = \"bridge\"\nstate_dir = {}\n\n{sections}",
            quoted(nats_url),
            quoted(homeserver),
            quoted(&state_dir.to_string_lossy()),
        );
        Self { toml }
    }

    /// Has the bridge log in to NATS with a password.
    pub fn nats_user(mut self, user: &str, password: &str) -> Self {
        let login = format!("user = {}\npassword = {}\n", quoted(user), quoted(password));
        self.toml.insert_str("[nats]\n".len(), &login);
        self
    }

    /// Adds a route.
    pub fn route(mut self, name: &str, stream: &str, subjects: &[&str], room: &str) -> Self {
        let subjects: Vec<String> = subjects.iter().map(|subject| quoted(subject)).collect();
        let route = format!(
            "\n[[routes]]\nname = {}\nstream = {}\nsubjects = [{}]\nroom = {}\n",
            quoted(name),
            quoted(stream),
            subjects.join(", "),
            quoted(room),
        );
        self.toml.push_str(&route);
        self
    }

    /// Has the last route show each message by itself, however many there are.
    pub fn one_by_one(self) -> Self {
        self.digests(0)
    }

    /// Has the last route show more messages than these as a digest; 0 for never.
    pub fn digests(mut self, above: u64) -> Self {
        // Writing to a String cannot fail.
        let _ = writeln!(self.toml, "digest_above = {above}");
        self
    }

    /// Adds lines to the last route.
    pub fn lines(mut self, lines: &str) -> Self {
        self.toml.push_str(lines);
        self
    }

    /// The configuration file's text.
    pub fn toml(&self) -> &str {
        &self.toml
    }
}

/// A TOML string. One in JSON's notation is one in TOML's.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A running `nats-matrix run`, killed when dropped. The test fails if it has printed a [secret](secrets).
#[derive(Debug)]
pub struct BridgeProcess {
    leash: Leash,
    log: PathBuf,
    kept: Kept,
}

impl BridgeProcess {
    /// Starts `binary run --config dir/nats-matrix.toml`, with `dir` as its working directory.
    ///
    /// Its output goes to `dir/nats-matrix.log`, which a later process of the same directory
    /// begins anew.
    pub fn spawn(binary: impl AsRef<Path>, config: &str, dir: impl AsRef<Path>) -> Result<Self> {
        Self::spawn_by(None, binary, config, dir)
    }

    /// Starts it in the same way by a clock of the test's own, if there is one.
    pub fn spawn_by(
        clock: Option<&Clock>,
        binary: impl AsRef<Path>,
        config: &str,
        dir: impl AsRef<Path>,
    ) -> Result<Self> {
        let dir = dir.as_ref();
        let file = dir.join("nats-matrix.toml");
        fs::write(&file, config).with_context(|| format!("cannot write {}", file.display()))?;
        let mut command = Command::new(binary.as_ref());
        command.arg("run").arg("--config").arg(&file).current_dir(dir);
        command.envs(clock.map(Clock::environment).unwrap_or_default());
        Self::spawn_command(&command, dir)
    }

    /// Starts any command in the same way: with other arguments, or with an environment.
    pub fn spawn_command(command: &Command, dir: impl AsRef<Path>) -> Result<Self> {
        let log = dir.as_ref().join("nats-matrix.log");
        match fs::remove_file(&log) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).context(format!("cannot remove {}", log.display()));
            }
            _ => {}
        }
        let kept = secrets::expect(command);
        let leash = Leash::start(command, &log)?;
        Ok(Self { leash, log, kept })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.leash.pid()
    }

    /// Its output so far, on either stream.
    pub fn logs(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Waits until it has printed a line that contains `text`, and returns the first such line.
    pub async fn wait_for_log(&mut self, text: &str, patience: Duration) -> Result<String> {
        let deadline = Instant::now() + patience;
        loop {
            // Asked before the log is read, so that nothing printed at the very end is missed.
            let ended = self.leash.exit_code()?;
            let logs = self.logs();
            if let Some(line) = logs.lines().find(|line| line.contains(text)) {
                return Ok(line.to_owned());
            }
            if let Some(code) = ended {
                bail!("the bridge ended with exit code {code} before it logged {text:?}:\n{logs}");
            }
            if Instant::now() > deadline {
                bail!("the bridge did not log {text:?} within {patience:?}:\n{logs}");
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until it has ended by itself, and returns its exit code; 128 + n is an end by signal n.
    pub async fn ended(&mut self) -> Result<i32> {
        loop {
            if let Some(code) = self.leash.exit_code()? {
                return Ok(code);
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits for its end in the same way, but not longer than `patience`.
    pub async fn wait(&mut self, patience: Duration) -> Result<i32> {
        match timeout(patience, self.ended()).await {
            Ok(code) => code,
            Err(_) => bail!("the bridge still runs after {patience:?}:\n{}", self.logs()),
        }
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.leash.exit_code()?.is_none())
    }

    /// Sends SIGTERM, as systemd does to stop it.
    pub fn terminate(&mut self) -> Result<()> {
        self.leash.signal(Signal::TERM)
    }

    /// Sends SIGHUP, as `systemctl reload` does. The secrets that are there by now are looked for, too.
    pub fn hang_up(&mut self) -> Result<()> {
        self.kept.note();
        self.leash.signal(Signal::HUP)
    }

    /// Freezes it, as a machine that is suspended would.
    pub fn pause(&mut self) -> Result<()> {
        self.leash.signal(Signal::STOP)
    }

    /// Ends a [`Self::pause`].
    pub fn resume(&mut self) -> Result<()> {
        self.leash.signal(Signal::CONT)
    }

    /// Kills it with SIGKILL and returns once it is gone.
    pub fn kill(self) {
        drop(self);
    }

    /// The memory and time that it has used so far.
    pub fn usage(&self) -> Result<Usage> {
        Usage::of(self.pid())
    }

    /// Resident memory in KiB.
    pub fn rss_kib(&self) -> Result<u64> {
        Ok(self.usage()?.rss_kib)
    }

    /// The most resident memory it ever had, in KiB.
    pub fn peak_rss_kib(&self) -> Result<u64> {
        Ok(self.usage()?.peak_rss_kib)
    }

    /// User and system time so far.
    pub fn cpu_time(&self) -> Result<Duration> {
        Ok(self.usage()?.cpu_time)
    }
}

impl Drop for BridgeProcess {
    fn drop(&mut self) {
        self.leash.end();
        if !std::thread::panicking() {
            let log = fs::read(&self.log).expect("the log is there for as long as the process");
            secrets::none_in("the log of nats-matrix", &log, &mut self.kept);
        }
    }
}

/// The memory and time of a running process, from `/proc`.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Resident memory in KiB.
    pub rss_kib: u64,
    /// The most resident memory it ever had, in KiB.
    pub peak_rss_kib: u64,
    /// User and system time.
    pub cpu_time: Duration,
}

impl Usage {
    /// Reads what the process has used so far.
    pub fn of(pid: u32) -> Result<Self> {
        let read = |name: &str| {
            let file = format!("/proc/{pid}/{name}");
            fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))
        };
        let status = read("status")?;
        let kib = |key: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
                .and_then(|value| value.trim().strip_suffix("kB")?.trim().parse().ok())
                .with_context(|| format!("no {key} in /proc/{pid}/status: has it ended?"))
        };

        // The second field is the program's name in parentheses and may hold anything; counted
        // after it, user and system time are the 12th and 13th.
        let stat = read("stat")?;
        let ticks = stat.rsplit_once(')').and_then(|(_, fields)| {
            let mut fields = fields.split_whitespace().skip(11);
            let user: u64 = fields.next()?.parse().ok()?;
            let system: u64 = fields.next()?.parse().ok()?;
            Some(user + system)
        });
        let ticks = ticks.with_context(|| format!("/proc/{pid}/stat is not as expected"))?;
        let per_second = rustix::param::clock_ticks_per_second();
        let milliseconds = ticks.saturating_mul(1000) / per_second.max(1);
        Ok(Self {
            rss_kib: kib("VmRSS")?,
            peak_rss_kib: kib("VmHWM")?,
            cpu_time: Duration::from_millis(milliseconds),
        })
    }
}

/// The bridge's program for a demo or a benchmark: `$NATS_MATRIX_BIN`, or built now with the profile
/// of the running program.
///
/// Cargo does not build another package's binary for us, so this asks it to; it takes no time when
/// there is nothing to do.
pub fn bridge_binary() -> Result<PathBuf> {
    let own = env::current_exe().context("cannot tell which program is running")?;
    // A test is one directory further down.
    let mut directories = own.ancestors().skip(1).filter_map(|dir| dir.file_name()?.to_str());
    let profile = match directories.find(|name| *name != "deps") {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    named_or_built(profile)
}

/// The bridge's program as it is released: `$NATS_MATRIX_BIN`, or built now.
pub fn release_bridge() -> Result<PathBuf> {
    named_or_built("release")
}

fn named_or_built(profile: &str) -> Result<PathBuf> {
    if let Some(path) = env::var_os("NATS_MATRIX_BIN").filter(|path| !path.is_empty()) {
        // It will be started in another directory.
        return fs::canonicalize(&path)
            .with_context(|| format!("NATS_MATRIX_BIN names {}", path.display()));
    }
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(&cargo);
    command.args(["build", "--package", "nats-matrix", "--bin", "nats-matrix"]);
    if profile == "dev" {
        // With the features that its dependencies have in a build of the whole workspace, so that
        // `cargo test` need not compile them once more. A release is what users get: by itself.
        command.args(["--package", "nats-matrix-testbed"]);
    }
    let output = command
        .args(["--profile", profile, "--message-format", "json-render-diagnostics"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {}", cargo.display()))?;
    if !output.status.success() {
        bail!("cargo could not build nats-matrix");
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "nats-matrix")
        .find_map(|message| Some(message["executable"].as_str()?.into()))
        .context("cargo did not say where it put nats-matrix; name it in NATS_MATRIX_BIN")
}
