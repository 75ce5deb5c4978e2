//! The bridge as a service manager runs it: started again when it ends.

use std::{
    convert::Infallible,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nats_matrix_testbed::BridgeProcess;
use tokio::{sync::Mutex, time::sleep};

/// The pause before it is started again when it ended by itself.
const RESTART: Duration = Duration::from_secs(1);
/// The time in which a bridge that is told to stop does so, whatever is broken.
const STOPS: Duration = Duration::from_mins(1);
/// The exit code of a bridge that NATS refuses.
const DENIED: i32 = 77;
/// The words of NATS to a bridge that may not hear its answers, and to one that connects while the users are reloaded.
const REFUSALS: [&str; 2] = ["Permissions Violation for Subscription", "authorization violation"];

/// The bridge, whichever process it is at the moment.
pub(crate) struct Bridge {
    binary: PathBuf,
    config: PathBuf,
    environment: Vec<(&'static str, String)>,
    logs: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    process: Option<BridgeProcess>,
    starts: u32,
    /// The ends of those processes that nobody had killed.
    ends: Vec<String>,
    /// The number of second bridges, and of those that stood by.
    seconds: u32,
    stood_by: usize,
}

/// The life of the bridge, as the logs of all its processes tell it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Life {
    pub(crate) starts: u32,
    /// The number of times that it logged in again because its token was refused.
    pub(crate) logins: usize,
    /// The number of times that it could not keep its session.
    pub(crate) disk_full: usize,
    /// The number of second bridges that stood by while this one posted.
    pub(crate) stood_by: usize,
    /// The number of times that it missed a right in NATS.
    pub(crate) denied: usize,
    /// The way it ended each time that it ended by itself.
    pub(crate) ends: Vec<String>,
}

impl Bridge {
    /// A bridge that is not started yet. Each process has a directory of its own for its log below `logs`.
    pub(crate) fn new(
        binary: &Path,
        config: &Path,
        logs: &Path,
        environment: Vec<(&'static str, String)>,
    ) -> Self {
        Self {
            binary: binary.to_owned(),
            config: config.to_owned(),
            environment,
            logs: logs.to_owned(),
            state: Mutex::default(),
        }
    }

    /// Starts it, if it does not run.
    pub(crate) async fn start(&self) -> Result<()> {
        let mut state = self.state.lock().await;
        if state.process.is_none() {
            state.starts += 1;
            let dir = self.dir(state.starts);
            fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
            let mut command = Command::new(&self.binary);
            command.arg("run").arg("--config").arg(&self.config).current_dir(&dir);
            command.env("NATS_MATRIX_LOG", "nats_matrix=debug");
            command.envs(self.environment.iter().map(|(name, value)| (name, value)));
            state.process = Some(BridgeProcess::spawn_command(&command, &dir)?);
        }
        Ok(())
    }

    /// Runs a second bridge with this configuration for a while, and then stops or kills it.
    ///
    /// # Errors
    ///
    /// It has ended by itself, or does not end.
    pub(crate) async fn run_second(
        &self,
        config: &Path,
        lasts: Duration,
        kill: bool,
    ) -> Result<()> {
        let number = {
            let mut state = self.state.lock().await;
            state.seconds += 1;
            state.seconds
        };
        let dir = self.logs.join(format!("second-{number:04}"));
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let mut command = Command::new(&self.binary);
        command.arg("run").arg("--config").arg(config).current_dir(&dir);
        command.env("NATS_MATRIX_LOG", "nats_matrix=debug");
        let mut process = BridgeProcess::spawn_command(&command, &dir)?;
        sleep(lasts).await;
        if !process.is_running()? {
            let (code, logs) = (process.wait(STOPS).await?, process.logs());
            // NATS has never accepted this one, so that it takes rights that are revoked for good.
            let is_refused = REFUSALS.iter().any(|refusal| logs.contains(refusal));
            ensure!(code == DENIED && is_refused, "it ended by itself with {code}: {logs}");
            return Ok(());
        }
        if process.logs().contains("standing by: ") {
            self.state.lock().await.stood_by += 1;
        }
        if kill {
            process.kill();
        } else {
            process.terminate()?;
            let code = process.wait(STOPS).await?;
            ensure!(code == 0, "it ended with {code}: {}", process.logs());
        }
        Ok(())
    }

    /// Kills it with SIGKILL, if it runs.
    pub(crate) async fn kill(&self) {
        if let Some(process) = self.state.lock().await.process.take() {
            process.kill();
        }
    }

    /// Has it read its configuration again, if it runs.
    pub(crate) async fn hang_up(&self) {
        loop {
            match &mut self.state.lock().await.process {
                // A process that has not logged anything may not listen for signals yet, and would end.
                Some(process) if process.logs().is_empty() => {}
                Some(process) => {
                    // It may end by itself at this very moment, which the watch notices.
                    let _ = process.hang_up();
                    return;
                }
                None => return,
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Freezes it, if it runs.
    pub(crate) async fn pause(&self) {
        if let Some(process) = &mut self.state.lock().await.process {
            // It may end by itself at this very moment, which the watch notices.
            let _ = process.pause();
        }
    }

    /// Ends a [`Self::pause`].
    pub(crate) async fn resume(&self) {
        if let Some(process) = &mut self.state.lock().await.process {
            let _ = process.resume();
        }
    }

    /// The process id, while it runs.
    pub(crate) async fn pid(&self) -> Option<u32> {
        self.state.lock().await.process.as_ref().map(BridgeProcess::pid)
    }

    /// Starts it again whenever it ends by itself, which it never should; does not return otherwise.
    pub(crate) async fn watch(&self) -> Result<Infallible> {
        loop {
            sleep(Duration::from_millis(100)).await;
            let mut state = self.state.lock().await;
            let Some(process) = &mut state.process else { continue };
            if process.is_running()? {
                continue;
            }
            let code = process.wait(Duration::from_secs(1)).await?;
            let logs = process.logs();
            let last = logs.trim_end().lines().next_back().unwrap_or_default();
            let end = format!("bridge-{:04} ended with {code}: {last}", state.starts);
            state.ends.push(end);
            state.process = None;
            drop(state);
            sleep(RESTART).await;
            self.start().await?;
        }
    }

    /// Reads what happened to it so far.
    pub(crate) async fn life(&self) -> Life {
        let state = self.state.lock().await;
        let mut life = Life {
            starts: state.starts,
            stood_by: state.stood_by,
            ends: state.ends.clone(),
            ..Life::default()
        };
        for number in 1..=state.starts {
            let log = fs::read(self.dir(number).join("nats-matrix.log")).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            life.logins += log.matches("logging in again").count();
            life.denied += log.matches("NATS does not let us ").count();
            life.disk_full += log.matches("cannot keep the session").count();
        }
        life
    }

    fn dir(&self, number: u32) -> PathBuf {
        self.logs.join(format!("bridge-{number:04}"))
    }
}
