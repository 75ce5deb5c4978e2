//! A stranger who takes the port of a server while it is down. On the homeserver's port the stranger is told nothing; on
//! that of a NATS server without TLS the stranger cannot fill the log.

use std::{
    io::{self, BufRead},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use nats_matrix_testbed::{Event, not_run};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::sleep,
};

use crate::{
    health::{Pages, listening},
    reload::{users, with_password},
    scene::{Config, PATIENCE, Scene, read_numbered},
};

/// A NATS server that refuses the bridge, which may be in the place of the right one.
#[tokio::test]
async fn a_nats_server_that_refuses_the_bridge_does_not_end_it() -> Result<()> {
    let scene = with_password("right").await?;
    let config = scene.config().nats("user = \"bridge\"\npassword = \"right\"");
    let config = listening(config);
    let mut reader = scene.reader().await?;
    let is_told = |events: &[Event]| {
        events.iter().filter(|event| event.body().contains("nothing arrives here until")).count()
    };
    let mut bridge = scene.start(&config)?;
    let pages = Pages::of(&mut bridge).await?;
    pages.wait_for("connected").await?;
    let accepted = scene.dir.path().join("state/nats-accepted.json");
    let begun = tokio::time::Instant::now();
    while !accepted.exists() {
        anyhow::ensure!(begun.elapsed() < PATIENCE, "no {}: {}", accepted.display(), bridge.logs());
        sleep(Duration::from_millis(100)).await;
    }
    // While it runs.
    scene.nats.reload(&users("wrong"), &[]).await?;
    reader
        .wait_until(|events| is_told(events) == 1, PATIENCE)
        .await
        .with_context(|| bridge.logs())?;
    pages.wait_for("credentials-refused").await?;
    bridge.kill();
    // And from its start on.
    let mut bridge = scene.start(&config)?;
    let pages = Pages::of(&mut bridge).await?;
    pages.wait_for("credentials-refused").await?;
    reader
        .wait_until(|events| is_told(events) == 2, PATIENCE)
        .await
        .with_context(|| bridge.logs())?;
    scene.nats.reload(&users("right"), &[]).await?;
    pages.wait_for("connected").await?;
    scene.nats.publish("ops.x", "hello").await?;
    let has_it = |events: &[Event]| events.iter().any(|event| event.said() == "hello");
    let events = reader.wait_until(has_it, PATIENCE).await.with_context(|| bridge.logs())?;
    assert_eq!(is_told(events), 2, "said once each: {events:?}");
    let alert = events.iter().find(|event| event.body().contains("nothing arrives")).unwrap();
    assert_eq!(alert.msgtype(), "m.text", "it is not silent");
    assert!(alert.body().contains("under [nats]"), "{}", alert.body());
    Ok(())
}

/// A user of this machine that nobody is.
const MALLORY: u32 = 12_345;

/// Listens on a port, writes down what it is sent and, if it has somewhere to, passes it on.
const PROGRAM: &str = r#"
import socket, sys, threading
port, upstream, told = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", port))
server.listen(50)
print("listening", flush=True)
def carry(source, sink):
    while data := source.recv(65536):
        sink.sendall(data)
    sink.shutdown(socket.SHUT_WR)
def serve(guest):
    if upstream:
        host = socket.create_connection(("127.0.0.1", upstream))
        threading.Thread(target=carry, args=(host, guest), daemon=True).start()
        carry(guest, host)
        return
    while data := guest.recv(65536):
        with open(told, "ab") as file:
            file.write(data)
while True:
    guest, _ = server.accept()
    threading.Thread(target=serve, args=(guest,), daemon=True).start()
"#;

/// Another user's program on a port.
struct Stranger(Child);

impl Stranger {
    /// `upstream` is the port that it passes things on to, or 0.
    fn on(port: u16, upstream: u16, told: &std::path::Path) -> Result<Self> {
        let mut child = Command::new("python3")
            .args(["-c", PROGRAM, &port.to_string(), &upstream.to_string()])
            .arg(told)
            .current_dir("/")
            .stdout(Stdio::piped())
            .uid(MALLORY)
            .gid(MALLORY)
            .spawn()
            .context("cannot start python3 as another user")?;
        let stdout = child.stdout.take().context("no output")?;
        let stranger = Self(child);
        let mut line = String::new();
        io::BufReader::new(stdout).read_line(&mut line)?;
        anyhow::ensure!(line.contains("listening"), "the port is taken");
        Ok(stranger)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The homeserver's port: passes everything on, and closes all when it is dropped, like a server that is killed.
struct Port(JoinHandle<()>);

impl Port {
    async fn on(port: u16, upstream: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        Ok(Self(tokio::spawn(async move {
            let mut guests = tokio::task::JoinSet::new();
            while let Ok((mut guest, _)) = listener.accept().await {
                guests.spawn(async move {
                    if let Ok(mut host) = TcpStream::connect(("127.0.0.1", upstream)).await {
                        let _ = copy_bidirectional(&mut guest, &mut host).await;
                    }
                });
            }
        })))
    }

    async fn close(self) {
        self.0.abort();
        let _ = self.0.await;
    }
}

/// A port for the homeserver, the homeserver's own, and a file that another user may write.
struct Place {
    scene: Scene,
    port: u16,
    upstream: u16,
    told: std::path::PathBuf,
}

impl Place {
    async fn new() -> Result<Self> {
        let scene = Scene::new().await?;
        let homeserver: url::Url = scene.bot.homeserver.parse()?;
        let upstream = homeserver.port().context("no port")?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let told = std::env::temp_dir().join(format!("nats-matrix-told-{port}"));
        Ok(Self { scene, port, upstream, told })
    }

    fn config(&self, matrix: &str) -> Config {
        let url = format!("http://127.0.0.1:{}", self.port);
        let mut config = Config::new(&self.scene.nats.url(), &url, &self.scene.bot);
        config.matrix.push_str(matrix);
        listening(config.route("reports", "ops.>", &self.scene.room))
    }

    fn told(&self) -> Vec<u8> {
        std::fs::read(&self.told).unwrap_or_default()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.told);
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[tokio::test]
async fn whoever_takes_the_port_of_the_homeserver_is_told_nothing() -> Result<()> {
    if !is_root() {
        return not_run(&anyhow!("only root can be another user"));
    }
    let place = Place::new().await?;
    let scene = &place.scene;
    let homeserver = Port::on(place.port, place.upstream).await?;
    let mut bridge = scene.start(&place.config(""))?;
    let pages = Pages::of(&mut bridge).await?;
    scene.publish_numbered(1, 1).await?;
    let mut reader = scene.reader().await?;
    reader.wait_for(1, PATIENCE).await?;
    pages.wait_for("connected").await?;

    homeserver.close().await;
    let stranger = Stranger::on(place.port, 0, &place.told)?;
    scene.publish_numbered(2, 3).await?;
    let said = pages.wait_for("homeserver-untrusted").await?;
    let who = format!("127.0.0.1:{} belongs to the user with uid {MALLORY}", place.port);
    assert!(said["reasons"][0].as_str().unwrap().contains(&who), "{said}");
    assert!(bridge.logs().contains(&who), "{}", bridge.logs());
    // The token is not the only secret, and `run` not the only one that has them.
    for command in ["check", "connect"] {
        let output = scene.run(&place.config(""), &[command])?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert_eq!(output.status.code(), Some(69), "{text}");
        assert!(text.contains(&who), "{text}");
    }
    sleep(Duration::from_secs(3)).await;
    assert_eq!(String::from_utf8_lossy(&place.told()), "", "it was told this");

    drop(stranger);
    let _homeserver = Port::on(place.port, place.upstream).await?;
    read_numbered(&mut reader, 3).await?;
    pages.wait_for("connected").await?;
    Ok(())
}

#[tokio::test]
async fn the_homeserver_may_be_another_users_if_that_is_declared() -> Result<()> {
    if !is_root() {
        return not_run(&anyhow!("only root can be another user"));
    }
    let place = Place::new().await?;
    let scene = &place.scene;
    let _other = Stranger::on(place.port, place.upstream, &place.told)?;
    scene.publish_numbered(1, 1).await?;
    let bridge = scene.start(&place.config("homeserver_owner = \"nats-matrix-conduit\"\n"))?;
    let mut bridge = bridge;
    let line = bridge.wait_for_log("belongs to the user with uid", PATIENCE).await?;
    assert!(line.contains("not to nats-matrix-conduit, a user that does not exist"), "{line}");
    bridge.kill();
    let mut reader = scene.reader().await?;
    for (count, owner) in [(1, "12345"), (2, "*")] {
        let _bridge = scene.start(&place.config(&format!("homeserver_owner = \"{owner}\"\n")))?;
        reader.wait_for(count, PATIENCE).await?;
        scene.publish_numbered(count + 1, count + 1).await?;
    }
    let _bridge = scene.start(&place.config("homeserver_owner = \"*\"\n"))?;
    read_numbered(&mut reader, 3).await?;
    Ok(())
}

/// The harm that a false NATS server does to a client that it has let in.
#[derive(Clone, Copy)]
enum Harm {
    /// It says without end that something is wrong, each time in other words.
    Complain,
    /// It closes the connection.
    Close,
}

/// Stands in for a NATS server. Returns its port, and how many connections it has had.
async fn false_nats(harm: Harm) -> Result<(u16, Arc<AtomicUsize>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((guest, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(receive(guest, harm));
        }
    });
    Ok((port, connections))
}

async fn receive(mut guest: TcpStream, harm: Harm) -> Result<()> {
    let info = json!({
        "server_id": "x", "server_name": "x", "version": "2.12.1", "go": "go", "host": "127.0.0.1", "port": 4222,
        "headers": true, "max_payload": 1_048_576, "jetstream": true, "proto": 1,
    });
    guest.write_all(format!("INFO {info}\r\n").as_bytes()).await?;
    let mut guest = BufReader::new(guest);
    let mut line = String::new();
    while line != "PING\r\n" {
        line.clear();
        anyhow::ensure!(guest.read_line(&mut line).await? > 0, "no client");
    }
    guest.write_all(b"PONG\r\n").await?;
    if matches!(harm, Harm::Close) {
        sleep(Duration::from_millis(5)).await;
        return Ok(());
    }
    for number in 0_u64.. {
        let line = format!("-ERR 'Slow Consumer {number} {}'\r\n", "x".repeat(1_000));
        guest.write_all(line.repeat(10).as_bytes()).await?;
        sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// The log of a bridge after five seconds with a false NATS server, and how often that was connected to.
async fn with_false_nats(harm: Harm) -> Result<(String, usize)> {
    let (port, connections) = false_nats(harm).await?;
    let scene = Scene::new().await?;
    let mut config = scene.config();
    config.nats = format!("servers = [\"nats://127.0.0.1:{port}\"]\n");
    let mut bridge = scene.start(&config)?;
    bridge.wait_for_log("NATS", PATIENCE).await?;
    sleep(Duration::from_secs(5)).await;
    anyhow::ensure!(bridge.is_running()?, "{}", bridge.logs());
    Ok((bridge.logs(), connections.load(Ordering::SeqCst)))
}

#[tokio::test]
async fn a_nats_server_that_complains_without_end_does_not_fill_the_log() -> Result<()> {
    let (log, _) = with_false_nats(Harm::Complain).await?;
    let complaints = log.lines().filter(|line| line.contains("Slow Consumer")).count();
    assert!((1..=10).contains(&complaints), "{complaints} complaints");
    assert!(log.lines().count() < 40, "{log}");
    assert!(log.lines().all(|line| line.len() < 1_000), "{log}");
    Ok(())
}

#[tokio::test]
async fn a_nats_server_that_closes_each_connection_is_connected_to_ever_more_slowly() -> Result<()>
{
    let (log, connections) = with_false_nats(Harm::Close).await?;
    assert!((2..=6).contains(&connections), "{connections} connections: {log}");
    assert!(log.lines().count() < 40, "{log}");
    Ok(())
}
