//! The connection of the Cloudflare Tunnel that runs beside the bridge on this machine.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// The longest time to wait for cloudflared, which answers from memory.
const PATIENCE: Duration = Duration::from_secs(5);

/// The beginning of the answer, which has the status.
const STATUS: usize = "HTTP/1.0 200".len();

/// Asks the cloudflared that serves its metrics at an address whether it is connected to Cloudflare.
///
/// # Errors
///
/// The reason why it does not answer.
pub(super) async fn is_connected(metrics: &str) -> io::Result<bool> {
    timeout(PATIENCE, ask(metrics)).await.map_err(|_| io::ErrorKind::TimedOut)?
}

async fn ask(metrics: &str) -> io::Result<bool> {
    let mut connection = TcpStream::connect(metrics).await?;
    connection.write_all(b"GET /ready HTTP/1.0\r\n\r\n").await?;
    let mut status = [0; STATUS];
    connection.read_exact(&mut status).await?;
    Ok(status.ends_with(b" 200"))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one request as cloudflared does, and returns what was asked and what was made of the answer.
    async fn answered(answer: &[u8]) -> (String, io::Result<bool>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serve = async {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut asked = [0; 64];
            let length = connection.read(&mut asked).await.unwrap();
            connection.write_all(answer).await.unwrap();
            String::from_utf8_lossy(&asked[..length]).into_owned()
        };
        tokio::join!(serve, is_connected(&address))
    }

    #[tokio::test]
    async fn a_tunnel_is_connected_if_it_is_ready() {
        let ready = b"HTTP/1.0 200 OK\r\n\r\n{\"status\":200,\"readyConnections\":4}";
        let (asked, connected) = answered(ready).await;
        assert!(asked.starts_with("GET /ready HTTP/1.0\r\n"), "{asked}");
        assert!(connected.unwrap());
        let alone =
            b"HTTP/1.0 503 Service Unavailable\r\n\r\n{\"status\":503,\"readyConnections\":0}";
        assert!(!answered(alone).await.1.unwrap());
        assert!(answered(b"").await.1.is_err());
    }
}
