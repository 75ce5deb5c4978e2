//! The scene that most tests begin with: NATS with a stream, a homeserver with a room, the bridge's account in it and
//! a person who reads.

use std::{
    fmt::Write as _,
    process::{Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use async_nats::jetstream::{consumer::push, stream::Stream};
use nats_matrix_testbed::{
    Account, BridgeProcess, Clock, Event, FaultProxy, Homeserver, HomeserverKind, Nats,
    PushGateway, Reader, ScratchDir, secrets,
};
use serde_json::json;
use tokio::time::{Instant, sleep};
use url::Url;

use crate::connections::{Pki, tls_front};

/// The time that is long enough on a busy machine; a test that passes never waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// The number of seconds of a bridge [in haste](Scene::in_haste) that pass in a second.
pub(crate) const HASTE: u32 = 6;

/// The program under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_nats-matrix");

/// A homeserver for a test that does it no harm; the next call may return another one.
pub(crate) async fn shared_homeserver() -> Result<&'static Homeserver> {
    Homeserver::shared(BINARY, 40).await
}

pub(crate) struct Scene {
    pub(crate) nats: Nats,
    pub(crate) bot: Account,
    pub(crate) alice: Account,
    pub(crate) room: String,
    pub(crate) dir: ScratchDir,
    /// The implementation of the homeserver.
    pub(crate) kind: HomeserverKind,
    /// The clock that the bridge goes by, if it is not the machine's.
    clock: Option<Clock>,
}

impl Scene {
    /// Sets the scene on a homeserver that is shared with other tests.
    pub(crate) async fn new() -> Result<Self> {
        Self::on(shared_homeserver().await?).await
    }

    /// Sets the scene on a homeserver of the test's own.
    pub(crate) async fn on(homeserver: &Homeserver) -> Result<Self> {
        Self::with(homeserver, Nats::start().await?).await
    }

    /// Sets the scene on given servers. NATS gets the stream OPS that takes `ops.>`.
    pub(crate) async fn with(homeserver: &Homeserver, nats: Nats) -> Result<Self> {
        nats.create_stream("OPS", &["ops.>"]).await?;
        let bot = homeserver.account("bridge").await?;
        let alice = homeserver.account("alice").await?;
        let room =
            alice.create_room(json!({ "preset": "private_chat", "invite": [bot.user_id] })).await?;
        let (dir, kind) = (ScratchDir::new("e2e")?, homeserver.kind());
        Ok(Self { nats, bot, alice, room, dir, kind, clock: None })
    }

    /// Gives the bridge a clock that can be set.
    pub(crate) fn with_clock(mut self) -> Result<(Self, Clock)> {
        let clock = Clock::new(self.dir.path())?;
        self.clock = Some(clock.clone());
        Ok((self, clock))
    }

    /// Lets the bridge's time pass faster than that of everybody else, for what it does every half minute or minute. Its
    /// patience with the servers ends sooner by the same factor.
    pub(crate) fn in_haste(mut self) -> Result<Self> {
        self.clock = Some(Clock::hasty(self.dir.path(), HASTE)?);
        Ok(self)
    }

    /// A configuration with one route, `ops.>` to the room.
    pub(crate) fn config(&self) -> Config {
        self.config_for("ops.>", &self.room)
    }

    /// A configuration with one route, from `subject` to `room`.
    pub(crate) fn config_for(&self, subject: &str, room: &str) -> Config {
        Config::new(&self.nats.url(), &self.bot.homeserver, &self.bot)
            .route("reports", subject, room)
    }

    /// [`Scene::config`] with a proxy between the bridge and the homeserver.
    pub(crate) async fn through_proxy(&self) -> Result<(FaultProxy, Config)> {
        let proxy = FaultProxy::start(&self.bot.homeserver).await?;
        let config = Config::new(&self.nats.url(), &proxy.url(), &self.bot);
        Ok((proxy, config.route("reports", "ops.>", &self.room)))
    }

    pub(crate) fn start(&self, config: &Config) -> Result<BridgeProcess> {
        let clock = self.clock.as_ref();
        BridgeProcess::spawn_by(clock, BINARY, &config.toml(), self.dir.path())
    }

    /// A gateway that gets what would make alice's phone buzz.
    pub(crate) async fn phone(&self) -> Result<PushGateway> {
        let gateway = PushGateway::start().await?;
        let url = if self.kind.pushes_without_tls() {
            gateway.url().to_owned()
        } else {
            let url = Url::parse(gateway.url())?;
            let upstream = format!("127.0.0.1:{}", url.port().context("no port")?);
            let port = tls_front(&Pki::without_key_usage()?, &upstream).await?;
            format!("https://127.0.0.1:{port}{}", url.path())
        };
        self.alice.set_pusher(&url).await?;
        Ok(gateway)
    }

    pub(crate) async fn reader(&self) -> Result<Reader> {
        self.alice.reader(&self.room).await
    }

    /// Publishes "message `first`" to "message `last`".
    pub(crate) async fn publish_numbered(&self, first: usize, last: usize) -> Result<()> {
        let texts = (first..=last).map(|number| format!("message {number}"));
        self.nats.publish_many("ops.text", texts).await?;
        Ok(())
    }

    /// Asserts that the room shows "message 1" to "message `count`", each once, in order, and nothing else.
    pub(crate) async fn shows_numbered(&self, count: usize) -> Result<()> {
        read_numbered(&mut self.reader().await?, count).await
    }

    /// Removes what the bridge keeps in its state directory: the next start logs in on a new device, for which the
    /// homeserver knows no transaction of the one before.
    pub(crate) fn forget_session(&self) -> Result<()> {
        Ok(std::fs::remove_dir_all(self.dir.path().join("state"))?)
    }

    /// The route's consumer, as JetStream knows it.
    pub(crate) async fn consumer(&self) -> Result<async_nats::jetstream::consumer::Info> {
        self.nats.consumer("OPS", "reports").await
    }

    /// Waits until all messages up to this one are acknowledged, and none is left.
    pub(crate) async fn wait_until_done(&self, last: u64) -> Result<()> {
        let begun = Instant::now();
        loop {
            let done = self.consumer().await?;
            if done.num_pending == 0 && done.ack_floor.stream_sequence == last {
                return Ok(());
            }
            anyhow::ensure!(begun.elapsed() < PATIENCE, "{done:?}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Gives the stream a consumer that is of no use to the bridge, as it pushes.
    pub(crate) async fn add_push_consumer(&self, name: &str) -> Result<Stream> {
        let stream = self.nats.jetstream().await?.get_stream("OPS").await?;
        let config = push::Config {
            durable_name: Some(name.to_owned()),
            deliver_subject: "elsewhere".to_owned(),
            ..push::Config::default()
        };
        stream.create_consumer(config).await?;
        Ok(stream)
    }

    /// Runs another subcommand to its end, with `input` on its standard input.
    pub(crate) fn run(&self, config: &Config, arguments: &[&str]) -> Result<Output> {
        let path = self.dir.path().join("check.toml");
        std::fs::write(&path, config.toml())?;
        let mut command = Command::new(BINARY);
        command.args(arguments).arg("--config").arg(path).stdin(Stdio::null());
        Ok(secrets::output(&mut command)?)
    }
}

/// All that a command has printed, its standard output first.
pub(crate) fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// A configuration file under construction.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) nats: String,
    pub(crate) matrix: String,
    pub(crate) routes: String,
}

impl Config {
    pub(crate) fn new(nats: &str, homeserver: &str, bot: &Account) -> Self {
        Self {
            nats: format!("servers = [\"{nats}\"]\n"),
            matrix: format!(
                "homeserver = \"{homeserver}\"\nuser = \"{}\"\npassword = \"{}\"\nstate_dir = \"state\"\n",
                bot.user_id, bot.password
            ),
            routes: String::new(),
        }
    }

    /// Adds a route from stream OPS that shows each message by itself, however many there are.
    pub(crate) fn route(mut self, name: &str, subject: &str, room: &str) -> Self {
        // Writing to a String cannot fail.
        let _ = write!(
            self.routes,
            "[[routes]]\nname = \"{name}\"\nstream = \"OPS\"\nsubjects = [\"{subject}\"]\nroom = \"{room}\"\ndigest_above = 0\n"
        );
        self
    }

    /// Shows more than `above` messages as a digest.
    pub(crate) fn digests(mut self, above: u64) -> Self {
        self.routes = self.routes.replace("digest_above = 0", &format!("digest_above = {above}"));
        self
    }

    /// Adds lines to the last route.
    pub(crate) fn lines(mut self, lines: &str) -> Self {
        self.routes.push_str(lines);
        self.routes.push('\n');
        self
    }

    /// Adds lines to `[nats]`.
    pub(crate) fn nats(mut self, lines: &str) -> Self {
        self.nats += lines;
        self.nats.push('\n');
        self
    }

    pub(crate) fn toml(&self) -> String {
        format!("[nats]\n{}\n[matrix]\n{}\n{}", self.nats, self.matrix, self.routes)
    }
}

/// Asserts that the room shows "message 1" to "message `count`", each once, in order, and nothing else.
#[track_caller]
pub(crate) fn assert_each_once_in_order(events: &[Event], count: usize) {
    let seen: Vec<&str> = events.iter().map(Event::said).collect();
    let expected: Vec<String> = (1..=count).map(|number| format!("message {number}")).collect();
    if seen == expected {
        return;
    }
    let times = |text: &str| seen.iter().filter(|seen| **seen == text).count();
    let lost: Vec<_> = expected.iter().filter(|text| times(text) == 0).collect();
    let twice: Vec<_> = expected.iter().filter(|text| times(text) > 1).collect();
    let at = seen.iter().zip(&expected).position(|(seen, expected)| seen != expected);
    panic!(
        "lost {lost:?}; more than once {twice:?}; {} shown; the first difference is at {at:?}",
        seen.len()
    );
}

/// A scene on a shared homeserver with a proxy before it, and a configuration that leads through the proxy.
pub(crate) async fn through_proxy() -> Result<(Scene, FaultProxy, Config)> {
    let scene = Scene::new().await?;
    let (proxy, config) = scene.through_proxy().await?;
    Ok((scene, proxy, config))
}

/// Asserts that a room shows "message 1" to "message `count`", each once, in order, and nothing else.
pub(crate) async fn read_numbered(reader: &mut Reader, count: usize) -> Result<()> {
    assert_each_once_in_order(&read_all(reader, count).await?, count);
    Ok(())
}

/// Waits for `count` messages, as long as they keep coming, then a while longer for any that should
/// not be there.
pub(crate) async fn read_all(reader: &mut Reader, count: usize) -> Result<Vec<Event>> {
    for some in (1..count).step_by(100).chain([count]) {
        let wait = reader.wait_for(some, PATIENCE).await;
        wait.with_context(|| format!("waiting for {count} messages"))?;
    }
    Ok(reader.settle(Duration::from_secs(2)).await?.to_vec())
}
