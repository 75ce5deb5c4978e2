//! matrix-nio, run as a script.

use std::{path::PathBuf, process::Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, task::spawn_blocking};

use crate::{cache, matrix::Account};

const READ_ROOM: &str = include_str!("../../clients/read_room.py");

/// matrix-nio, a client library in Python.
#[derive(Debug)]
pub struct MatrixNio {
    python: PathBuf,
}

/// A message as matrix-nio understands it.
#[derive(Clone, Debug, Deserialize)]
pub struct NioMessage {
    /// The event id.
    pub id: String,
    /// The user who sent it.
    pub sender: String,
    /// The name of the class that it has for such messages, like `RoomMessageText`.
    pub kind: String,
    /// The plain text.
    pub body: String,
    /// The HTML, or "".
    pub html: String,
    /// All of the event's content.
    pub content: Value,
}

impl MatrixNio {
    /// Installs it if this machine does not have it yet.
    pub async fn find() -> Result<Self> {
        Ok(Self { python: spawn_blocking(cache::baseline_python).await?? })
    }

    /// Logs in as the owner of this account, and reads the latest 100 events of a room.
    pub async fn read(&self, account: &Account, room: &str) -> Result<Vec<NioMessage>> {
        let session = json!({
            "homeserver": account.homeserver,
            "user": account.user_id,
            "password": account.password,
            "room": room,
        });
        let mut python = tokio::process::Command::new(&self.python)
            .args(["-I", "-c", READ_ROOM])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start Python")?;
        let mut input = python.stdin.take().context("Python has no standard input")?;
        input.write_all(session.to_string().as_bytes()).await?;
        drop(input);
        let output = python.wait_with_output().await?;
        if !output.status.success() {
            bail!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        serde_json::from_slice(&output.stdout).context("what the script printed")
    }
}
