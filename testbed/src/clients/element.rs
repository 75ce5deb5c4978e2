//! The engine of Element Web, on a page of our own in a browser without a window.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, header, server, service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    task::{AbortHandle, spawn_blocking},
    time::sleep,
};

use super::browser;
use crate::{
    cache,
    leash::{Leash, ScratchDir},
    matrix::Account,
};

/// matrix-js-sdk, the engine of Element Web, in a browser without a window.
#[derive(Debug)]
pub struct ElementEngine {
    chromium: PathBuf,
    script: PathBuf,
}

/// A message of a room's main timeline as Element Web shows it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ElementMessage {
    /// The event id.
    pub id: String,
    /// The user who sent it.
    pub sender: String,
    /// Such as `m.text`.
    pub msgtype: String,
    /// The plain text, after edits.
    pub body: String,
    /// The HTML after edits, or "".
    pub html: String,
    /// Whether it is shown as edited.
    pub is_edited: bool,
    /// The messages in its thread.
    #[serde(default)]
    pub replies: Vec<ElementMessage>,
}

impl ElementEngine {
    /// Looks for a browser, and makes the script if this machine does not have it yet.
    pub async fn find() -> Result<Self> {
        spawn_blocking(|| {
            Ok(Self { chromium: cache::clients::chromium()?, script: cache::clients::js_client()? })
        })
        .await?
    }

    /// Opens a room in a new session of the owner of this account.
    pub async fn open(&self, account: &Account, room: &str) -> Result<ElementView> {
        let session = Account::login(&account.homeserver, account.localpart(), &account.password);
        let session = session.await?;
        let session = json!({
            "homeserver": session.homeserver,
            "userId": session.user_id,
            "deviceId": session.device_id,
            "accessToken": session.access_token,
            "room": room,
        });
        let page = Arc::new(Page {
            session: format!("window.session = {session};"),
            script: fs::read_to_string(&self.script)?,
            seen: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", listener.local_addr()?);
        let serving = tokio::spawn(serve(listener, Arc::clone(&page))).abort_handle();
        let profile = ScratchDir::new("chromium")?;
        let browser = start(&self.chromium, profile.path(), &url)?;
        Ok(ElementView { browser, serving, page, _profile: profile })
    }
}

fn start(chromium: &Path, profile: &Path, url: &str) -> Result<Leash> {
    let mut command = browser::command(chromium, profile);
    Leash::start(command.arg(url), &profile.join("log"))
}

/// A room that is open in the engine of Element Web, until dropped.
#[derive(Debug)]
pub struct ElementView {
    // Dropped in this order: the browser, then its directory.
    browser: Leash,
    serving: AbortHandle,
    page: Arc<Page>,
    _profile: ScratchDir,
}

impl ElementView {
    /// Waits until `predicate` holds for what is shown.
    ///
    /// # Errors
    ///
    /// When it does not within `patience`; the error has what is shown instead.
    pub async fn wait_until(
        &self,
        predicate: impl Fn(&[ElementMessage]) -> bool,
        patience: Duration,
    ) -> Result<Vec<ElementMessage>> {
        let deadline = Instant::now() + patience;
        loop {
            let seen = self.page.seen();
            if let Some(messages) = seen.get("messages") {
                let messages = Vec::deserialize(messages).context("what the page tells")?;
                if predicate(&messages) {
                    return Ok(messages);
                }
            }
            if Instant::now() > deadline {
                bail!(
                    "not shown within {patience:?}; what is: {seen:#}; the browser: {}",
                    self.browser.log_tail(5)
                );
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for ElementView {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The page that the browser is given, and what it tells of the room.
#[derive(Debug)]
struct Page {
    session: String,
    script: String,
    seen: Mutex<Value>,
}

const HTML: &str = r#"<!doctype html><meta charset="utf-8"><title>A room</title>
<script src="session.js"></script><script type="module" src="read-room.js"></script>"#;

impl Page {
    fn seen(&self) -> Value {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
        let script = "text/javascript; charset=utf-8";
        let (status, kind, body) = match (request.method(), request.uri().path()) {
            (&Method::GET, "/") => (StatusCode::OK, "text/html; charset=utf-8", HTML.to_owned()),
            (&Method::GET, "/session.js") => (StatusCode::OK, script, self.session.clone()),
            (&Method::GET, "/read-room.js") => (StatusCode::OK, script, self.script.clone()),
            (&Method::POST, "/seen") => {
                let told = request.into_body().collect().await?.to_bytes();
                *self.seen.lock().unwrap_or_else(PoisonError::into_inner) =
                    serde_json::from_slice(&told)?;
                (StatusCode::NO_CONTENT, "text/plain", String::new())
            }
            _ => (StatusCode::NOT_FOUND, "text/plain", String::new()),
        };
        let response = Response::builder().status(status).header(header::CONTENT_TYPE, kind);
        Ok(response.body(Full::from(body))?)
    }
}

async fn serve(listener: TcpListener, page: Arc<Page>) {
    while let Ok((stream, _)) = listener.accept().await {
        let page = Arc::clone(&page);
        tokio::spawn(async move {
            // A browser that is closed has nothing more to ask.
            let _ = server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(|request| page.answer(request)))
                .await;
        });
    }
}
