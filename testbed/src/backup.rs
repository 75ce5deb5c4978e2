//! Backups of streams.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::Client;
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::timeout;

/// The time that the next part of a backup may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A backup of a stream, as `nats stream backup` makes it.
#[derive(Debug)]
pub struct StreamBackup {
    stream: String,
    about: Value,
    chunks: Vec<Bytes>,
}

impl StreamBackup {
    /// Makes a backup without the consumers.
    pub async fn of(client: &Client, stream: &str) -> Result<Self> {
        Self::make(client, stream, false).await
    }

    /// Makes a backup with the consumers, and with what they know of deliveries and acknowledgements.
    pub async fn with_consumers(client: &Client, stream: &str) -> Result<Self> {
        Self::make(client, stream, true).await
    }

    async fn make(client: &Client, stream: &str, with_consumers: bool) -> Result<Self> {
        let inbox = client.new_inbox();
        let mut chunks = client.subscribe(inbox.clone()).await?;
        let wanted = json!({
            "deliver_subject": inbox, "no_consumers": !with_consumers, "chunk_size": 65536,
        });
        let subject = format!("$JS.API.STREAM.SNAPSHOT.{stream}");
        let answer = client.request(subject, wanted.to_string().into()).await?;
        let about: Value = serde_json::from_slice(&answer.payload)?;
        ensure!(about["error"].is_null(), "{about}");
        let mut backup = Self { stream: stream.to_owned(), about, chunks: Vec::new() };
        loop {
            let chunk = timeout(PATIENCE, chunks.next()).await.context("no end of the backup")?;
            let chunk = chunk.context("no end of the backup")?;
            if chunk.payload.is_empty() {
                // The server gives up in the same way, and says so in a header.
                let is_whole = chunk.status.is_none_or(|status| status.is_success());
                ensure!(is_whole, "the backup ended: {:?}", chunk.description);
                return Ok(backup);
            }
            if let Some(reply) = chunk.reply {
                client.publish(reply, Bytes::new()).await?;
            }
            backup.chunks.push(chunk.payload);
        }
    }

    /// Makes the stream, which must not exist, as it was.
    ///
    /// # Errors
    ///
    /// The server refuses it, or does not answer.
    pub async fn restore(&self, client: &Client) -> Result<()> {
        let wanted = json!({ "config": self.about["config"], "state": self.about["state"] });
        let subject = format!("$JS.API.STREAM.RESTORE.{}", self.stream);
        let answer = client.request(subject, wanted.to_string().into()).await?;
        let answer: Value = serde_json::from_slice(&answer.payload)?;
        let subject = answer["deliver_subject"].as_str().with_context(|| answer.to_string())?;
        let end = Bytes::new();
        let mut last = Value::Null;
        for chunk in self.chunks.iter().chain([&end]) {
            let answer = client.request(subject.to_owned(), chunk.clone()).await?;
            last = serde_json::from_slice(&answer.payload).unwrap_or_default();
        }
        ensure!(last["error"].is_null(), "{last}");
        Ok(())
    }
}
