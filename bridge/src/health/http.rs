//! The listener: pages for monitoring systems and for people.
//!
//! The listener has no authentication and is read-only, and it must not be able to harm the bridge: it serves few
//! connections at a time, one request on each, and only for a short time. When there are too many connections, the
//! oldest is closed, so that a new request is always served.

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{
        ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST,
        X_CONTENT_TYPE_OPTIONS,
    },
    http::uri::Authority,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, spawn_local},
    time::{sleep, timeout},
};
use tracing::{debug, info, warn};

use crate::{
    failure::Failure,
    health::page,
    status::{Health, State, metrics},
};

/// The number of connections that are served at a time. An answer takes less than a millisecond, so a connection that
/// lasts longer is idle or slow.
const CONNECTIONS: usize = 32;

/// The longest time that a connection may take in total.
const LONGEST: Duration = Duration::from_secs(10);

/// The size limit of a request, in bytes.
const LARGEST_REQUEST: usize = 16 * 1024;

/// The pause after a connection could not be accepted, for example for lack of file descriptors.
const PAUSE: Duration = Duration::from_secs(1);

const TEXT: &str = "text/plain; charset=utf-8";

const JSON: &str = "application/json";

const HTML: &str = "text/html; charset=utf-8";

const OPEN_METRICS: &str = "application/openmetrics-text";

/// The media type of the older metrics format.
const CLASSIC_METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Listens on the address.
///
/// # Errors
///
/// [`Failure::Config`] if the address cannot be used.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    let listener = TcpListener::bind(address).await.map_err(|error| {
        Failure::Config(format!(
            "health.listen: cannot listen on {address}: {error}: configure another address, or stop the program that uses it"
        ))
    })?;
    let address = listener.local_addr().unwrap_or(address);
    info!("serving health, metrics and the status page on http://{address}/");
    Ok(listener)
}

/// Answers requests without end, under the names `hosts` and under any IP address.
pub(crate) async fn serve(listener: TcpListener, hosts: Vec<String>, health: Health) {
    let hosts: Rc<[String]> = hosts.into();
    let mut guests: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                guests.retain(|guest| !guest.is_finished());
                if guests.len() >= CONNECTIONS
                    && let Some(oldest) = guests.pop_front()
                {
                    debug!("health.listen: too many connections, the oldest is closed");
                    oldest.abort();
                }
                let guest = spawn_local(converse(stream, Rc::clone(&hosts), health.clone()));
                guests.push_back(guest.abort_handle());
            }
            Err(error) => {
                warn!("health.listen: cannot accept a connection: {error}");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, hosts: Rc<[String]>, health: Health) {
    let answer = service_fn(|request: Request<Incoming>| {
        let answer =
            if is_for_us(&request, &hosts) { answer(&request, &health) } else { misdirected() };
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(LARGEST_REQUEST)
        .serve_connection(TokioIo::new(stream), answer);
    match timeout(LONGEST, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!("health.listen: {error}"),
        Err(_) => debug!("health.listen: a request took too long"),
    }
}

/// Whether the request names this host. A web page could make its own name resolve to our address (DNS rebinding), so
/// that a browser requests our pages and lets the web page read them. The request then has the name of the web page's
/// host.
pub(super) fn is_for_us<B>(request: &Request<B>, hosts: &[String]) -> bool {
    let said = match (request.uri().authority(), request.headers().get(HOST)) {
        (Some(authority), _) => authority.clone(),
        (None, Some(host)) => match Authority::try_from(host.as_bytes()) {
            Ok(authority) => authority,
            Err(_) => return false,
        },
        // Every browser sends it, so this is not a browser.
        (None, None) => return true,
    };
    let host = said.host().trim_start_matches('[').trim_end_matches(']');
    let is_name = |name: &str| host.trim_end_matches('.').eq_ignore_ascii_case(name);
    host.parse::<IpAddr>().is_ok() || is_name("localhost") || hosts.iter().any(|name| is_name(name))
}

fn misdirected() -> Response<Full<Bytes>> {
    let what = "the bridge does not serve this host name: use an IP address, or add the name to health.hosts\n";
    page(StatusCode::MISDIRECTED_REQUEST, TEXT, what.to_owned())
}

pub(super) fn answer<B>(request: &Request<B>, health: &Health) -> Response<Full<Bytes>> {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut refusal = page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n".to_owned());
        refusal.headers_mut().insert(ALLOW, "GET, HEAD".parse().expect("plain text"));
        return refusal;
    }
    match request.uri().path() {
        "/" => page(StatusCode::OK, HTML, page::html(&health.snapshot())),
        "/livez" => match health.stuck() {
            None => page(StatusCode::OK, TEXT, "alive\n".to_owned()),
            Some(stuck) => page(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{stuck}\n")),
        },
        "/readyz" => {
            let snapshot = health.snapshot();
            let status = match snapshot.state {
                State::Connected => StatusCode::OK,
                _ => StatusCode::SERVICE_UNAVAILABLE,
            };
            let ready = page::readiness(&snapshot);
            page(status, JSON, format!("{ready:#}\n"))
        }
        "/metrics" => {
            let accepted = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
            let text = health.0.metrics.text(&health.snapshot());
            match accepted {
                Some(accepted) if accepted.contains(OPEN_METRICS) => {
                    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                    page(StatusCode::OK, media_type, text)
                }
                _ => page(StatusCode::OK, CLASSIC_METRICS, metrics::classic(&text)),
            }
        }
        _ => page(
            StatusCode::NOT_FOUND,
            TEXT,
            "there are /, /livez, /readyz and /metrics\n".to_owned(),
        ),
    }
}

fn page(status: StatusCode, media_type: &'static str, text: String) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, media_type)
        .header(CACHE_CONTROL, "no-store")
        .header(X_CONTENT_TYPE_OPTIONS, "nosniff")
        .header(CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'")
        .body(Full::new(text.into()))
        .expect("all of it is fixed but the body")
}
