//! The bridges that are measured.

use std::{path::PathBuf, process::Command};

use anyhow::Result;
use nats_matrix_testbed::{BridgeProcess, Usage};
use tokio::task::AbortHandle;

use crate::{job::Job, raw};

/// A way to get messages into a room.
pub(crate) enum Contender {
    /// A connection to the homeserver without NATS: nobody who sends one message after
    /// another can be faster.
    Raw,
    /// A plain Python bot.
    Baseline { python: PathBuf, script: PathBuf },
    /// Another build of this project, such as the one before a change.
    Other { binary: PathBuf },
    /// This project.
    Bridge { binary: PathBuf },
}

/// A contender at work; it stops when dropped.
pub(crate) enum Running {
    Task(AbortHandle),
    Process(Box<BridgeProcess>),
}

impl Contender {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Baseline { .. } => "baseline",
            Self::Other { .. } => "other",
            Self::Bridge { .. } => "bridge",
        }
    }

    /// Starts on the job. As a task that sends `messages` one after another, or as a process that
    /// takes what its stream has.
    pub(crate) async fn start(&self, job: &Job, messages: usize) -> Result<Running> {
        match self {
            Self::Raw => {
                let mut sender = raw::Sender::connect(&job.bot, &job.room).await?;
                let task = tokio::spawn(async move {
                    for number in 0..messages {
                        // The receiver gives up when no messages come.
                        if sender.send(number).await.is_err() {
                            return;
                        }
                    }
                });
                Ok(Running::Task(task.abort_handle()))
            }
            Self::Baseline { python, script } => {
                let mut command = Command::new(python);
                command
                    .arg(script)
                    .env("HOMESERVER", &job.bot.homeserver)
                    .env("MATRIX_USER", &job.bot.user_id)
                    .env("MATRIX_PASSWORD", &job.bot.password)
                    .env("ROOM", &job.room)
                    .env("NATS_URL", &job.nats_url)
                    .env("STREAM", &job.stream)
                    .env("SUBJECTS", &job.subject);
                let process = BridgeProcess::spawn_command(&command, job.dir.path())?;
                Ok(Running::Process(Box::new(process)))
            }
            Self::Other { binary } | Self::Bridge { binary } => {
                let config = job.bridge_config().one_by_one();
                let process = BridgeProcess::spawn(binary, config.toml(), job.dir.path())?;
                Ok(Running::Process(Box::new(process)))
            }
        }
    }
}

impl Running {
    /// The memory and time of its process; a task has none of its own.
    pub(crate) fn usage(&self) -> Result<Option<Usage>> {
        match self {
            Self::Task(_) => Ok(None),
            Self::Process(process) => process.usage().map(Some),
        }
    }

    /// Its log, for an error.
    pub(crate) fn logs(&self) -> String {
        match self {
            Self::Task(_) => String::new(),
            Self::Process(process) => process.logs(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Self::Task(task) = self {
            task.abort();
        }
    }
}
