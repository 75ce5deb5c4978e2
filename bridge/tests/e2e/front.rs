//! Somebody who answers in the homeserver's place as no homeserver does, and hands on what is none of that.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
    time::sleep,
};

/// The answers of the front, and the requests that get them: those whose first line contains one of these texts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answers {
    /// Answers of the homeserver, to all requests.
    Honest,
    /// An answer without an end, to a request that sends a message.
    Endless,
    /// An answer whose end is far, to a request that sends a message.
    Huge,
    /// An answer that comes letter by letter, to a request that sends a message.
    Slow,
    /// As many events of 60 kB as were asked for, written by somebody else a moment ago, to the first look into
    /// a room; then as the homeserver.
    HugeEvents,
    /// A refusal of files that are larger than so many bytes.
    NoFileOver(u64),
}

pub(crate) struct Front {
    address: String,
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    upstream: String,
    answers: Mutex<Answers>,
    /// The first lines of all requests.
    asked: Mutex<Vec<String>>,
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Front {
    pub(crate) async fn start(homeserver: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let upstream = homeserver.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let shared = Arc::new(Shared {
            upstream,
            answers: Mutex::new(Answers::Honest),
            asked: Mutex::default(),
        });
        let serve = serve(listener, Arc::clone(&shared));
        Ok(Self { address, shared, task: tokio::spawn(serve).abort_handle() })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn set(&self, answers: Answers) {
        *self.shared.answers.lock().unwrap_or_else(PoisonError::into_inner) = answers;
    }

    /// The first lines of the requests so far that contain a text.
    pub(crate) fn asked(&self, text: &str) -> Vec<String> {
        let asked = self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().filter(|line| line.contains(text)).cloned().collect()
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            // It ends as soon as one of both goes away.
            let _ = answer(client, &shared).await;
        });
    }
}

/// Answers the one request of a connection.
async fn answer(mut client: TcpStream, shared: &Shared) -> Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8(head)?;
    let line = head.lines().next().context("no request")?.to_owned();
    shared.asked.lock().unwrap_or_else(PoisonError::into_inner).push(line.clone());
    let answers = *shared.answers.lock().unwrap_or_else(PoisonError::into_inner);
    let is_send = line.contains("/send/m.room.message/");
    let is_first_look = line.contains("/messages?") && !line.contains("from=");
    match answers {
        Answers::Endless if is_send => {
            client.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n").await?;
            without_end(&mut client).await
        }
        Answers::Huge if is_send => {
            client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000000\r\n\r\n").await?;
            without_end(&mut client).await
        }
        Answers::Slow if is_send => {
            client.write_all(b"HTTP/1.1 200 OK\r\nX-Long: ").await?;
            loop {
                client.write_all(b"x").await?;
                sleep(Duration::from_millis(20)).await;
            }
        }
        Answers::HugeEvents if is_first_look => {
            let limit = line.split("limit=").nth(1).context("no limit")?;
            let limit: usize = limit.split(['&', ' ']).next().unwrap_or_default().parse()?;
            say(&mut client, &huge_events(limit)).await
        }
        Answers::NoFileOver(bytes) if line.contains("/media/") && line.contains("/config") => {
            say(&mut client, &format!("{{\"m.upload.size\":{bytes}}}")).await
        }
        _ => hand_on(client, &head, &shared.upstream).await,
    }
}

async fn without_end(client: &mut TcpStream) -> Result<()> {
    let spaces = vec![b' '; 64 * 1024];
    loop {
        client.write_all(&spaces).await?;
    }
}

fn huge_events(count: usize) -> String {
    let now = jiff::Timestamp::now().as_millisecond();
    let event = |number: usize| {
        serde_json::json!({
            "type": "m.room.message", "event_id": format!("$huge{number}"), "sender": "@mallory:elsewhere",
            "room_id": "!r:elsewhere", "origin_server_ts": now,
            "content": { "msgtype": "m.text", "body": "x".repeat(60_000) },
        })
    };
    let events: Vec<_> = (0..count).map(event).collect();
    serde_json::json!({ "chunk": events, "start": "a", "end": "further" }).to_string()
}

async fn say(client: &mut TcpStream, body: &str) -> Result<()> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    client.write_all(head.as_bytes()).await?;
    client.write_all(body.as_bytes()).await?;
    Ok(client.shutdown().await?)
}

async fn hand_on(mut client: TcpStream, head: &str, upstream: &str) -> Result<()> {
    let mut homeserver = TcpStream::connect(upstream).await?;
    // So that each connection has one request, which can be told from others.
    let head = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    let head = head.replace("&from=further", "").replace("from=further&", "");
    homeserver.write_all(head.as_bytes()).await?;
    copy_bidirectional(&mut client, &mut homeserver).await?;
    Ok(())
}
