//! Child processes and directories that cannot outlive this process, however it dies.
//!
//! A destructor does not run when a test is killed, when a static is never dropped or when the
//! machine's patience ends with SIGKILL. So each server is started by a small `sh` that blocks in
//! `read` on a pipe of which only this process holds the other end. When this process is gone, for
//! whatever reason, the kernel closes that end, `read` returns, and the shell does the rest.
//!
//! Everything here is plain `std`: no async runtime is involved, so a server may outlive the
//! runtime of the test that happened to start it.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};

/// Runs `"$@"` in the background, prints its pid and in the end its exit code.
///
/// The reader has to take the pipe from descriptor 3, since a shell gives its background jobs
/// `/dev/null` as standard input. The main shell is the one that waits, so that neither the server
/// nor the reader is left behind as a zombie. Last it kills its process group, in which by then are
/// only itself and what the server may have started.
const WATCHDOG: &str = r#"
exec 3<&0
"$@" 3<&- </dev/null >&2 &
server=$!
echo "$server"
{ read -r _ <&3; kill -s KILL "$server"; } >/dev/null 2>&1 &
reader=$!
wait "$server"
echo "$?"
{ kill -s KILL "$reader"; wait "$reader"; } 2>/dev/null
kill -s KILL 0
"#;

/// A running child process that dies with us.
#[derive(Debug)]
pub struct Leash {
    name: String,
    watchdog: Child,
    /// The numbers that the watchdog prints.
    report: BufReader<ChildStdout>,
    pid: Pid,
    exit_code: Option<i32>,
    log: PathBuf,
}

impl Leash {
    /// Starts `command`; what it prints, on either stream, is appended to the file `log`.
    ///
    /// Program, arguments, environment and working directory are taken from `command`; its standard
    /// streams are not.
    pub fn start(command: &Command, log: &Path) -> Result<Self> {
        let program = command.get_program();
        let name = Path::new(program).file_name().unwrap_or(program).to_string_lossy().into_owned();
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write the log {}", log.display()))?;

        let mut shell = Command::new("sh");
        shell
            .args(["-c", WATCHDOG, "watchdog"])
            .arg(program)
            .args(command.get_args())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(output)
            // Out of the terminal's process group: Ctrl-C is ours to handle, and the order in
            // which things stop is ours to choose.
            .process_group(0);
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(key, value),
                None => shell.env_remove(key),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            shell.current_dir(dir);
        }

        let mut watchdog = shell.spawn().context("cannot start sh")?;
        let stdout = watchdog.stdout.take().context("sh has no stdout")?;
        let mut report = BufReader::new(stdout);
        let Some(pid) = next_number(&mut report)?.and_then(Pid::from_raw) else {
            let _ = watchdog.kill();
            let _ = watchdog.wait();
            bail!("cannot start {name}: {}", tail(log, 5));
        };
        Ok(Self { name, watchdog, report, pid, exit_code: None, log: log.to_owned() })
    }

    /// The process id of the program itself, not of its watchdog.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// The program's exit code once it has ended; 128 + n if signal n ended it, as shells count.
    pub fn exit_code(&mut self) -> Result<Option<i32>> {
        if self.exit_code.is_none() && self.watchdog.try_wait()?.is_some() {
            // No code is there if somebody killed the watchdog.
            self.exit_code = Some(next_number(&mut self.report)?.unwrap_or(-1));
        }
        Ok(self.exit_code)
    }

    /// Sends a signal to the program; an error if it has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if let Some(code) = self.exit_code()? {
            bail!("{} has already ended with exit code {code}", self.name);
        }
        rustix::process::kill_process(self.pid, signal)
            .with_context(|| format!("cannot signal {}", self.name))
    }

    /// Kills the program with SIGKILL and returns once it is gone, its sockets closed.
    pub fn kill(mut self) {
        self.end();
    }

    /// The last lines of what the program printed.
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.log, lines)
    }

    /// Ends the program, if it has not ended; what it printed is whole then.
    pub(crate) fn end(&mut self) {
        // Closing the pipe is all it takes, even if the program is stopped.
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        self.end();
    }
}

/// A shell command that runs when this value is dropped or, failing that, when this process dies.
#[derive(Debug)]
pub struct OnExit {
    shell: Child,
}

impl OnExit {
    /// `script` finds `args` as `$1`, `$2`, ...
    pub fn run(script: &str, args: &[&str]) -> Result<Self> {
        let shell = Command::new("sh")
            .args(["-c", &format!("read -r _\n{script}"), "on-exit"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot start sh")?;
        Ok(Self { shell })
    }
}

impl Drop for OnExit {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// A temporary directory that is removed even if we are killed.
#[derive(Debug)]
pub struct ScratchDir {
    path: PathBuf,
    _removal: OnExit,
}

/// Tries for a while, since the server that writes there may be dying at the same moment.
const REMOVE: &str = r#"
tries=0
until rm -rf -- "$1" || [ "$tries" -ge 50 ]; do
    tries=$((tries + 1))
    sleep 0.1
done
"#;

impl ScratchDir {
    /// Makes an empty directory whose name contains `name`.
    pub fn new(name: &str) -> Result<Self> {
        let path = tempfile::Builder::new()
            .prefix(&format!("nats-matrix-{name}-"))
            .tempdir()
            .context("cannot make a temporary directory")?
            .keep();
        let text = path.to_str().context("the temporary directory's path is not UTF-8")?;
        let removal = OnExit::run(REMOVE, &[text])?;
        Ok(Self { path, _removal: removal })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The number on the next line, if there is one.
fn next_number(report: &mut BufReader<ChildStdout>) -> Result<Option<i32>> {
    let mut line = String::new();
    report.read_line(&mut line)?;
    Ok(line.trim().parse().ok())
}

/// The last lines of a log, or why there are none.
pub(crate) fn tail(log: &Path, lines: usize) -> String {
    let text = match fs::read(log) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => return format!("(no log: {error})"),
    };
    let all: Vec<&str> = text.trim_end().lines().collect();
    if all.is_empty() {
        return "(it printed nothing)".to_owned();
    }
    all[all.len().saturating_sub(lines)..].join("\n")
}
