//! The least that sending a message can cost: one request on a connection that stays open.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use nats_matrix_testbed::Account;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::job;

pub(crate) struct Sender {
    connection: http1::SendRequest<Full<Bytes>>,
    host: String,
    token: String,
    path: String,
}

impl Sender {
    pub(crate) async fn connect(account: &Account, room: &str) -> Result<Self> {
        let host = account.homeserver.strip_prefix("http://").context("an http:// URL")?;
        let stream = TcpStream::connect(host).await?;
        stream.set_nodelay(true)?;
        let (connection, driver) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(driver);
        // Only these characters of a room id have a meaning in a path.
        let room = room.replace('%', "%25").replace('/', "%2F").replace('?', "%3F");
        Ok(Self {
            connection,
            host: host.to_owned(),
            token: format!("Bearer {}", account.access_token),
            path: format!("/_matrix/client/v3/rooms/{room}/send/m.room.message"),
        })
    }

    pub(crate) async fn send(&mut self, number: usize) -> Result<()> {
        let content = content(number);
        let request = Request::put(format!("{}/raw{number}", self.path))
            .header(header::HOST, &self.host)
            .header(header::AUTHORIZATION, &self.token)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(content.to_string()))?;
        self.connection.ready().await?;
        let response = self.connection.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            bail!("{status} {}", String::from_utf8_lossy(&body));
        }
        Ok(())
    }
}

/// An event as large as the bridge's of the same report: a homeserver takes longer over a larger one.
fn content(number: usize) -> Value {
    let text = job::text(number);
    json!({
        "msgtype": "m.notice",
        "body": text,
        "format": "org.matrix.custom.html",
        "formatted_body": text.replace('\n', "<br>"),
        "m.mentions": {},
        "io.github.nats-matrix.origin": {
            "stream": "BENCH1", "created": "1700000000000000000", "route": "reports", "seq": number, "part": 0
        },
    })
}
