//! Publishing in bulk, and as no client would: headers to the byte as they are.

use std::time::Duration;

use anyhow::{Result, ensure};
use nats_matrix_testbed::Nats;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep},
};

use crate::shape::Message;

/// The server drops what it has too much of before it is stored.
const MOST_UNSTORED: usize = 1_000;
const MOST_UNSTORED_BYTES: usize = 32 * 1024 * 1024;
/// The time that the server may take to store so much.
const PATIENCE: Duration = Duration::from_mins(1);

/// A connection that publishes into one stream, into which nobody else does.
pub(crate) struct Publisher<'a> {
    nats: &'a Nats,
    stream: &'a str,
    server: TcpStream,
    sent: u64,
    unstored: usize,
    unstored_bytes: usize,
}

impl<'a> Publisher<'a> {
    pub(crate) async fn new(nats: &'a Nats, stream: &'a str) -> Result<Self> {
        let mut server = TcpStream::connect(("127.0.0.1", nats.port())).await?;
        server.set_nodelay(true)?;
        server.write_all(b"CONNECT {\"headers\":true,\"verbose\":false}\r\n").await?;
        Ok(Self { nats, stream, server, sent: 0, unstored: 0, unstored_bytes: 0 })
    }

    /// Publishes one message, which is stored by and by.
    pub(crate) async fn publish(&mut self, message: &Message) -> Result<()> {
        let Message { subject, headers, payload } = message;
        let size = headers.len() + payload.len();
        let line = if headers.is_empty() {
            format!("PUB {subject} {size}\r\n")
        } else {
            format!("HPUB {subject} {} {size}\r\n", headers.len())
        };
        let all = [line.as_bytes(), headers, payload, b"\r\n"].concat();
        self.server.write_all(&all).await?;
        self.sent += 1;
        self.unstored += 1;
        self.unstored_bytes += all.len();
        if self.unstored >= MOST_UNSTORED || self.unstored_bytes >= MOST_UNSTORED_BYTES {
            self.stored().await?;
        }
        Ok(())
    }

    /// Waits until all that was published is stored.
    pub(crate) async fn stored(&mut self) -> Result<()> {
        self.server.write_all(b"PING\r\n").await?;
        let jetstream = self.nats.jetstream().await?;
        let mut stream = jetstream.get_stream(self.stream).await?;
        let deadline = Instant::now() + PATIENCE;
        while stream.info().await?.state.messages < self.sent {
            ensure!(Instant::now() < deadline, "a message is not stored; {}", self.said().await);
            sleep(Duration::from_millis(5)).await;
        }
        (self.unstored, self.unstored_bytes) = (0, 0);
        Ok(())
    }

    /// Reads what the server has said to that, as of a message that it does not take.
    async fn said(&mut self) -> String {
        let mut said = vec![0; 4096];
        let read = tokio::time::timeout(Duration::from_secs(1), self.server.read(&mut said)).await;
        let length = read.ok().and_then(Result::ok).unwrap_or_default();
        String::from_utf8_lossy(&said[..length]).into_owned()
    }
}
