//! A homeserver that takes everything at once, and keeps what it was sent: what is measured is the bridge, and ten
//! thousand messages are to be quick. One of the runs is on a real one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, body::Incoming, header, server, service::service_fn};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use nats_matrix_testbed::Account;
use reqwest::Url;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::AbortHandle};

/// The user that the bridge is there.
const USER: &str = "@bridge:recorder.localhost";
/// The most events that a page of history has.
const MOST_OF_A_PAGE: usize = 100;

/// A homeserver that runs until it is dropped.
pub(crate) struct Recorder {
    url: String,
    state: Arc<Mutex<State>>,
    task: AbortHandle,
}

#[derive(Default)]
struct State {
    /// The events, by room, in order.
    rooms: HashMap<String, Vec<Value>>,
    /// The number in its room of the event that each transaction made.
    transactions: HashMap<String, usize>,
    /// The sizes of all files in bytes.
    files: Vec<usize>,
}

impl Recorder {
    /// Starts it on a free port.
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port")?;
        let url = format!("http://127.0.0.1:{}", listener.local_addr()?.port());
        let state = Arc::<Mutex<State>>::default();
        let task = tokio::spawn(serve(listener, Arc::clone(&state))).abort_handle();
        Ok(Self { url, state, task })
    }

    /// The bridge's account.
    pub(crate) fn account(&self) -> Account {
        Account {
            homeserver: self.url.clone(),
            password: "of nobody but the bridge".to_owned(),
            user_id: USER.to_owned(),
            device_id: "DEVICE".to_owned(),
            access_token: "token-of-the-recorder".to_owned(),
        }
    }

    /// The contents of a room's events from a number on.
    pub(crate) fn events(&self, room: &str, from: usize) -> Vec<Value> {
        let state = lock(&self.state);
        let events = state.rooms.get(room).into_iter().flatten().skip(from);
        events.map(|event| event["content"].clone()).collect()
    }

    /// Forgets all rooms and files, and returns how many bytes of files there were.
    pub(crate) fn forget(&self) -> usize {
        std::mem::take(&mut *lock(&self.state)).files.iter().sum()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, &state));
            // A bridge that was killed has nothing more to say.
            let _ = server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(request: Request<Incoming>, state: &Mutex<State>) -> Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let url = Url::parse("http://recorder.localhost")?.join(&head.uri.to_string())?;
    let parts: Vec<String> =
        url.path_segments().into_iter().flatten().map(percent_decoded).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let query: HashMap<_, _> = url.query_pairs().into_owned().collect();
    let (status, answer) = match lock(state).answer(&head.method, &parts, &query, &body) {
        Some(answer) => (200, answer),
        None => (404, json!({ "errcode": "M_NOT_FOUND", "error": "there is none" })),
    };
    Ok(Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::from(answer.to_string()))?)
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        let digits = |bytes: &mut std::str::Bytes<'_>| {
            let text = [bytes.next()?, bytes.next()?];
            u8::from_str_radix(std::str::from_utf8(&text).ok()?, 16).ok()
        };
        match byte {
            b'%' => decoded.extend(digits(&mut bytes)),
            byte => decoded.push(byte),
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

impl State {
    /// `None` for what there is not.
    fn answer(
        &mut self,
        method: &Method,
        path: &[&str],
        query: &HashMap<String, String>,
        body: &[u8],
    ) -> Option<Value> {
        let me = json!({ "user_id": USER, "device_id": "DEVICE", "access_token": "token-of-the-recorder" });
        let path = path.strip_prefix(&["_matrix"])?;
        match (method, path) {
            (&Method::GET, ["client", "versions"]) => {
                Some(json!({ "versions": ["v1.1", "v1.11"] }))
            }
            (&Method::POST, ["client", "v3", "login"])
            | (&Method::GET, ["client", "v3", "account", "whoami"]) => Some(me),
            (&Method::POST, ["client", "v3", "join", room]) => {
                self.rooms.entry((*room).to_owned()).or_default();
                Some(json!({ "room_id": room }))
            }
            (&Method::GET, ["client", "v3", "joined_rooms"]) => {
                Some(json!({ "joined_rooms": self.rooms.keys().collect::<Vec<_>>() }))
            }
            (&Method::GET, ["client", "v3", "rooms", _, "state"]) => Some(json!([])),
            (&Method::PUT, ["client", "v3", "rooms", room, "send", _, transaction]) => {
                let content = serde_json::from_slice(body).ok()?;
                let number = self.add(room, transaction, &content);
                Some(json!({ "event_id": event_id(room, number) }))
            }
            (&Method::GET, ["client", "v3", "rooms", room, "messages"]) => self.page(room, query),
            (&Method::POST, ["media" | "client", .., "upload"]) => {
                self.files.push(body.len());
                Some(
                    json!({ "content_uri": format!("mxc://recorder.localhost/{}", self.files.len()) }),
                )
            }
            _ => None,
        }
    }

    /// The number of the event that the transaction made, now or before.
    fn add(&mut self, room: &str, transaction: &str, content: &Value) -> usize {
        let events = self.rooms.entry(room.to_owned()).or_default();
        *self.transactions.entry(format!("{room} {transaction}")).or_insert_with(|| {
            let number = events.len();
            events.push(json!({
                "event_id": event_id(room, number),
                "room_id": room,
                "sender": USER,
                "type": "m.room.message",
                "origin_server_ts": Timestamp::now().as_millisecond(),
                "content": content,
            }));
            number
        })
    }

    /// The events before a number, the newest first.
    fn page(&self, room: &str, query: &HashMap<String, String>) -> Option<Value> {
        let events = self.rooms.get(room)?;
        let number = |key: &str| query.get(key)?.parse::<usize>().ok();
        let end = number("from").unwrap_or(events.len()).min(events.len());
        let begin = end.saturating_sub(number("limit").unwrap_or(10).min(MOST_OF_A_PAGE));
        let chunk: Vec<&Value> = events[begin..end].iter().rev().collect();
        let mut page = json!({ "start": end.to_string(), "chunk": chunk });
        if begin > 0 {
            page["end"] = json!(begin.to_string());
        }
        Some(page)
    }
}

fn event_id(room: &str, number: usize) -> String {
    // An id of version 4 has only these letters.
    let room: String = room.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("${room}-{number}")
}
