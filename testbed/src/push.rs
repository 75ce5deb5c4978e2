//! The push gateway of a phone's maker: what it is told is what would have made the phone buzz.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, server, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpListener, task::AbortHandle, time::sleep};

use crate::containers::{self, HOST};

/// A call of the homeserver, for one event.
#[derive(Clone, Debug)]
pub struct Push {
    /// The event.
    pub event_id: String,
    /// The text of the event, if the homeserver sends it along.
    pub body: String,
    /// Whether the phone is told to highlight it.
    pub is_highlight: bool,
}

/// A push gateway that homeservers of the testbed reach.
#[derive(Debug)]
pub struct PushGateway {
    url: String,
    pushes: Arc<Mutex<Vec<Push>>>,
    task: AbortHandle,
}

impl PushGateway {
    /// Starts it on a free port.
    pub async fn start() -> Result<Self> {
        // A homeserver in a container has another loopback.
        let (address, host) =
            if containers::wanted()? { ("0.0.0.0:0", HOST) } else { ("127.0.0.1:0", "127.0.0.1") };
        let listener = TcpListener::bind(address).await.context("no port for a push gateway")?;
        let port = listener.local_addr()?.port();
        let url = format!("http://{host}:{port}/_matrix/push/v1/notify");
        let pushes = Arc::default();
        let task = tokio::spawn(serve(listener, Arc::clone(&pushes))).abort_handle();
        Ok(Self { url, pushes, task })
    }

    /// The URL for [`Account::set_pusher`](crate::Account::set_pusher).
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The pushes so far. Calls that only tell how much is unread are left out.
    pub fn pushes(&self) -> Vec<Push> {
        self.pushes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for so many pushes, but not longer than `patience`, then `quiet` longer for any that should not come.
    pub async fn settle(&self, count: usize, patience: Duration, quiet: Duration) -> Vec<Push> {
        let deadline = Instant::now() + patience;
        while self.pushes().len() < count && Instant::now() < deadline {
            sleep(Duration::from_millis(50)).await;
        }
        sleep(quiet).await;
        self.pushes()
    }
}

impl Drop for PushGateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, pushes: Arc<Mutex<Vec<Push>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let pushes = Arc::clone(&pushes);
        tokio::spawn(async move {
            let service = service_fn(|request| take(request, &pushes));
            // A homeserver that goes away has nothing more to tell.
            let _ = server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn take(
    request: Request<Incoming>,
    pushes: &Mutex<Vec<Push>>,
) -> Result<Response<Full<Bytes>>> {
    let body = request.into_body().collect().await?.to_bytes();
    let told: Value = serde_json::from_slice(&body).context("a push that is no JSON")?;
    let notification = &told["notification"];
    if let Some(event_id) = notification["event_id"].as_str() {
        let devices = notification["devices"].as_array();
        let is_highlight =
            devices.into_iter().flatten().any(|device| device["tweaks"]["highlight"] == true);
        let body = notification["content"]["body"].as_str().unwrap_or_default().to_owned();
        let push = Push { event_id: event_id.to_owned(), body, is_highlight };
        pushes.lock().unwrap_or_else(PoisonError::into_inner).push(push);
    }
    Ok(Response::new(Full::from("{\"rejected\":[]}")))
}
