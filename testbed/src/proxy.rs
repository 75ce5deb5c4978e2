//! Networks that misbehave on demand: one that speaks HTTP, and one for any TCP connection.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, client, header, server,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use reqwest::Url;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet},
    time::{sleep, sleep_until},
};

/// The fate of a request that a [`Fault`] strikes.
#[derive(Clone, Debug)]
pub enum FaultKind {
    /// It is forwarded only after this long.
    Delay(Duration),
    /// It is answered with this instead of being forwarded.
    Respond {
        /// The HTTP status.
        status: u16,
        /// The JSON body.
        body: Value,
        /// Headers besides the content type.
        headers: Vec<(String, String)>,
    },
    /// It is forwarded and takes effect, but the connection is cut before the answer.
    CutAfterRequest,
    /// The connection is cut and nothing is forwarded.
    CutBeforeRequest,
    /// It is neither forwarded nor answered; [`FaultProxy::clear`] cuts the connection.
    HoldForever,
    /// It is forwarded and takes effect, but is not answered; [`FaultProxy::clear`] cuts the connection.
    HoldAfterRequest,
}

impl FaultKind {
    /// An answer without headers of its own.
    pub fn respond(status: u16, body: Value) -> Self {
        Self::Respond { status, body, headers: Vec::new() }
    }

    /// The answer of a homeserver that wants to be asked less often.
    pub fn rate_limited(retry_after: Duration) -> Self {
        Self::respond(
            429,
            json!({
                "errcode": "M_LIMIT_EXCEEDED",
                "error": "Too Many Requests",
                "retry_after_ms": u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX),
            }),
        )
    }
}

/// A fault waiting for the requests that it strikes.
#[derive(Clone, Debug)]
pub struct Fault {
    path_contains: String,
    kind: FaultKind,
    skip: u32,
    left: Option<u32>,
}

impl Fault {
    /// Strikes every request whose path (with its query) contains this text, until cleared.
    pub fn on(path_contains: &str, kind: FaultKind) -> Self {
        Self { path_contains: path_contains.to_owned(), kind, skip: 0, left: None }
    }

    /// Strikes only so many requests.
    pub fn times(mut self, count: u32) -> Self {
        self.left = Some(count);
        self
    }

    /// Lets so many requests pass first.
    pub fn after(mut self, count: u32) -> Self {
        self.skip = count;
        self
    }
}

/// A request that came to the proxy.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The moment at which it came.
    pub at: Instant,
    /// Such as `PUT`.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The status it was answered with; none if it was cut, or is not answered yet.
    pub status: Option<u16>,
}

/// An HTTP reverse proxy that injects faults.
///
/// It opens a connection of its own for each request, so that a homeserver may be killed and started
/// again behind it.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<HttpShared>,
    accepting: AbortHandle,
}

#[derive(Debug)]
struct HttpShared {
    upstream: String,
    state: Mutex<HttpState>,
    cleared: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct HttpState {
    faults: Vec<Fault>,
    requests: Vec<Recorded>,
}

impl FaultProxy {
    /// Stands in front of the HTTP server at this URL, on a port of its own.
    pub async fn start(upstream: &str) -> Result<Self> {
        let url = Url::parse(upstream).with_context(|| format!("{upstream} is not a URL"))?;
        let host = url.host_str().context("a URL without a host")?;
        let port = url.port_or_known_default().context("a URL without a port")?;
        let shared = Arc::new(HttpShared {
            upstream: format!("{host}:{port}"),
            state: Mutex::default(),
            cleared: watch::Sender::new(()),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(serve_http(listener, shared.clone())).abort_handle();
        Ok(Self { address, shared, accepting })
    }

    /// The address at which clients reach it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds a fault. A request is struck by the oldest fault that fits.
    pub fn inject(&self, fault: Fault) {
        self.shared.state().faults.push(fault);
    }

    /// Removes all faults and cuts the requests that are held.
    pub fn clear(&self) {
        self.shared.state().faults.clear();
        self.shared.cleared.send_replace(());
    }

    /// The requests so far whose path contains this text.
    pub fn requests_matching(&self, path_contains: &str) -> Vec<Recorded> {
        let state = self.shared.state();
        let matching = state.requests.iter().filter(|request| request.path.contains(path_contains));
        matching.cloned().collect()
    }

    /// Waits until so many requests have come whose path contains this text.
    pub async fn wait_for_requests(
        &self,
        path_contains: &str,
        count: usize,
        patience: Duration,
    ) -> Result<Vec<Recorded>> {
        let deadline = Instant::now() + patience;
        loop {
            let requests = self.requests_matching(path_contains);
            if requests.len() >= count {
                return Ok(requests);
            }
            if Instant::now() > deadline {
                anyhow::bail!(
                    "{} of {count} requests for {path_contains} came within {patience:?}",
                    requests.len()
                );
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl HttpShared {
    fn state(&self) -> MutexGuard<'_, HttpState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request; returns its place in the record and what should happen to it.
    fn arrive(&self, method: &Method, path: &str) -> (usize, Option<FaultKind>) {
        let mut state = self.state();
        state.requests.push(Recorded {
            at: Instant::now(),
            method: method.to_string(),
            path: path.to_owned(),
            status: None,
        });
        let place = state.requests.len() - 1;
        for fault in &mut state.faults {
            if fault.left == Some(0) || !path.contains(&fault.path_contains) {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            if let Some(left) = &mut fault.left {
                *left -= 1;
            }
            return (place, Some(fault.kind.clone()));
        }
        (place, None)
    }

    /// Handles a request. An error makes hyper close the connection without an answer.
    async fn handle(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
        // Subscribed before the fault is looked up, so that a `clear` in between is not missed.
        let mut cleared = self.cleared.subscribe();
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let (place, fault) = self.arrive(request.method(), &path);
        let response = match fault {
            None => self.forward(request).await,
            Some(FaultKind::Delay(time)) => {
                sleep(time).await;
                self.forward(request).await
            }
            Some(FaultKind::Respond { status, body, headers }) => {
                // Taken from the wire as a server would, so that the connection stays usable.
                request.into_body().collect().await?;
                answer(status, &body, &headers)?
            }
            Some(FaultKind::CutAfterRequest) => {
                self.forward(request).await;
                anyhow::bail!("cut after the request");
            }
            Some(FaultKind::CutBeforeRequest) => anyhow::bail!("cut before the request"),
            Some(FaultKind::HoldForever) => {
                cleared.changed().await?;
                anyhow::bail!("held until now");
            }
            Some(FaultKind::HoldAfterRequest) => {
                self.forward(request).await;
                cleared.changed().await?;
                anyhow::bail!("its answer was held until now");
            }
        };
        self.state().requests[place].status = Some(response.status().as_u16());
        Ok(response)
    }

    /// Passes a request on; a server that cannot be reached is a 502, as with other proxies.
    async fn forward(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        match self.exchange(request).await {
            Ok(response) => response,
            Err(error) => {
                let body = format!("cannot reach {}: {error:#}", self.upstream);
                let mut response = Response::new(Full::from(body));
                *response.status_mut() = StatusCode::BAD_GATEWAY;
                response
            }
        }
    }

    async fn exchange(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
        let (head, body) = request.into_parts();
        let mut forwarded = Request::new(Full::new(body.collect().await?.to_bytes()));
        *forwarded.method_mut() = head.method;
        *forwarded.uri_mut() = head.uri;
        *forwarded.headers_mut() = head.headers;
        // The two connections are each their own, and the body's length is known by now.
        forwarded.headers_mut().remove(header::CONNECTION);
        forwarded.headers_mut().remove(header::TRANSFER_ENCODING);

        let stream = TcpStream::connect(&self.upstream).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) = client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let exchange = async {
            let (head, body) = sender.send_request(forwarded).await?.into_parts();
            anyhow::Ok((head, body.collect().await?.to_bytes()))
        };
        // The connection does the work of which the exchange is told.
        let (head, body) = tokio::select! {
            biased;
            exchanged = exchange => exchanged?,
            ended = connection => {
                ended?;
                anyhow::bail!("the connection was closed without an answer");
            }
        };
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        response.headers_mut().remove(header::CONNECTION);
        response.headers_mut().remove(header::TRANSFER_ENCODING);
        Ok(response)
    }
}

fn answer(
    status: u16,
    body: &Value,
    headers: &[(String, String)],
) -> Result<Response<Full<Bytes>>> {
    let mut response =
        Response::builder().status(status).header(header::CONTENT_TYPE, "application/json");
    for (name, value) in headers {
        response = response.header(name, value);
    }
    Ok(response.body(Full::from(body.to_string()))?)
}

async fn serve_http(listener: TcpListener, shared: Arc<HttpShared>) {
    // Dropped with this task, and its connections with it.
    let mut connections = JoinSet::new();
    loop {
        // Out of file descriptors, perhaps: the test will fail, and this should not spin until then.
        let Ok((stream, _)) = listener.accept().await else {
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let shared = shared.clone();
        connections.spawn(async move {
            let service = service_fn(|request| shared.handle(request));
            // An error here is a fault on its way, or a client that left.
            let _ = server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// A TCP proxy that adds latency, and can cut, refuse, hold up or forget connections.
#[derive(Debug)]
pub struct TcpProxy {
    address: SocketAddr,
    shared: Arc<TcpShared>,
    accepting: AbortHandle,
}

#[derive(Debug)]
struct TcpShared {
    upstream: String,
    delay: watch::Sender<Duration>,
    blocked: watch::Sender<bool>,
    held: watch::Sender<bool>,
    forgotten: watch::Sender<()>,
    cut: watch::Sender<()>,
}

impl TcpProxy {
    /// Stands in front of the server at this address (such as "127.0.0.1:4222"), and holds each
    /// byte for `one_way_delay` in each direction.
    pub async fn start(upstream: &str, one_way_delay: Duration) -> Result<Self> {
        let shared = Arc::new(TcpShared {
            upstream: upstream.to_owned(),
            delay: watch::Sender::new(one_way_delay),
            blocked: watch::Sender::new(false),
            held: watch::Sender::new(false),
            forgotten: watch::Sender::new(()),
            cut: watch::Sender::new(()),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(serve_tcp(listener, shared.clone())).abort_handle();
        Ok(Self { address, shared, accepting })
    }

    /// The address at which clients reach it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port of [`Self::address`].
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Cuts all connections; new ones are still taken.
    pub fn cut(&self) {
        self.shared.cut.send_replace(());
    }

    /// Closes new connections at once; those that are open stay.
    pub fn block(&self) {
        self.shared.blocked.send_replace(true);
    }

    /// Takes new connections again.
    pub fn unblock(&self) {
        self.shared.blocked.send_replace(false);
    }

    /// Holds each byte that comes from now on for another time, in each direction.
    pub fn set_delay(&self, one_way_delay: Duration) {
        self.shared.delay.send_replace(one_way_delay);
    }

    /// Holds all bytes, of new connections too, as a network that drops packets does.
    pub fn hold(&self) {
        self.shared.held.send_replace(true);
    }

    /// Lets the bytes pass that were held, and those that follow.
    pub fn release(&self) {
        self.shared.held.send_replace(false);
    }

    /// Leaves the connections that are there half open: they are not closed, and no byte passes any more until
    /// they are cut. New ones work. A firewall that has forgotten its connections does the same.
    pub fn forget(&self) {
        self.shared.forgotten.send_replace(());
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve_tcp(listener: TcpListener, shared: Arc<TcpShared>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        if *shared.blocked.borrow() {
            continue;
        }
        let shared = shared.clone();
        let mut cut = shared.cut.subscribe();
        let forgotten = shared.forgotten.subscribe();
        connections.spawn(async move {
            tokio::select! {
                _ = cut.changed() => {}
                _ = connect(stream, &shared, forgotten) => {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn connect(
    mut near: TcpStream,
    shared: &TcpShared,
    mut forgotten: watch::Receiver<()>,
) -> std::io::Result<()> {
    let mut far = TcpStream::connect(&shared.upstream).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (near_read, near_write) = near.split();
    let (far_read, far_write) = far.split();
    let pumps = async {
        tokio::try_join!(pump(near_read, far_write, shared), pump(far_read, near_write, shared))
    };
    tokio::select! {
        ended = pumps => ended.map(drop),
        // The sockets stay as they are.
        _ = forgotten.changed() => std::future::pending().await,
    }
}

/// Copies one direction, each piece a fixed time after it came. It is the latency of a long link and
/// not its bandwidth: pieces follow one another as closely as they came.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    shared: &TcpShared,
) -> std::io::Result<()> {
    let (sender, mut receiver) = mpsc::channel(1024);
    let read = async move {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let length = from.read(&mut buffer).await?;
            let due = tokio::time::Instant::now() + *shared.delay.borrow();
            if length == 0 || sender.send((due, buffer[..length].to_vec())).await.is_err() {
                return Ok(());
            }
        }
    };
    let mut held = shared.held.subscribe();
    let write = async move {
        while let Some((due, bytes)) = receiver.recv().await {
            sleep_until(due).await;
            // The sender is as long there as we are.
            let _ = held.wait_for(|is_held| !is_held).await;
            to.write_all(&bytes).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(read, write)?;
    Ok(())
}
