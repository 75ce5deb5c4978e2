//! A NATS server that keeps streams.

use std::{fmt, fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use async_nats::{
    Client, ConnectOptions,
    jetstream::{self, consumer, stream::Stream},
};
use bytes::Bytes;
use futures_util::{TryStreamExt, future};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    sync::Mutex,
    task::spawn_blocking,
    time::{sleep, timeout},
};

use crate::{
    cache,
    containers::{self, ImageOf},
    process::Program,
    server::{Probe, Server, Software},
    setup::{Placement, Setup},
};

/// The number of publishes of [`Nats::publish_many`] that wait for their ack at a time.
const WINDOW: usize = 500;

/// The time that an answer may take. A busy machine is no reason for a test to fail.
const PATIENCE: Duration = Duration::from_secs(30);

type Options = Box<dyn Fn() -> ConnectOptions + Send + Sync>;

/// A NATS server of one's own, gone when dropped.
pub struct Nats {
    server: Server,
    name: String,
    /// The `JetStream` domain, if it has one.
    domain: Option<String>,
    options: Options,
    /// The connection that the helpers share; made when first needed and anew after a restart.
    client: Mutex<Option<Client>>,
}

/// A NATS server that is more than a plain one.
#[derive(Default)]
pub struct NatsBuilder {
    /// The name of a server in a cluster.
    member: Option<String>,
    domain: Option<String>,
    config: String,
    files: Vec<(String, Vec<u8>)>,
    environment: Vec<(String, String)>,
    options: Option<Options>,
    as_process: bool,
}

impl NatsBuilder {
    /// Makes it one of a cluster, whose servers have names of their own and reach one another on loopback: never in a
    /// container.
    pub(crate) fn member(mut self, name: &str) -> Self {
        self.member = Some(name.to_owned());
        self
    }

    /// Gives it a `JetStream` domain.
    pub fn domain(mut self, name: &str) -> Self {
        self.domain = Some(name.to_owned());
        self
    }

    /// Adds lines to the server's configuration file, for TLS or accounts.
    pub fn config(mut self, lines: &str) -> Self {
        self.config.push_str(lines);
        self.config.push('\n');
        self
    }

    /// Takes messages of at most so many megabytes, headers and payload together, in place of one.
    pub fn max_payload(self, megabytes: usize) -> Self {
        self.config(&format!("max_payload: {megabytes}MB"))
    }

    /// Puts a file into the server's working directory, so that its configuration can name it.
    pub fn file(mut self, name: &str, contents: impl Into<Vec<u8>>) -> Self {
        self.files.push((name.to_owned(), contents.into()));
        self
    }

    /// Sets a variable of the server's environment, to which its configuration can refer.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Has the helpers of [`Nats`] connect with these options, where the server does not take just anyone.
    pub fn client_options(
        mut self,
        options: impl Fn() -> ConnectOptions + Send + Sync + 'static,
    ) -> Self {
        self.options = Some(Box::new(options));
        self
    }

    /// Runs it as a process even if others run in containers, for [`Nats::reload`].
    pub fn as_process(mut self) -> Self {
        self.as_process = true;
        self
    }

    /// Starts the server and waits until it is ready.
    pub async fn start(self) -> Result<Nats> {
        let as_process = self.as_process || self.member.is_some();
        let software = spawn_blocking(move || software(as_process)).await??;
        let name = self.member.unwrap_or_else(|| NAME.to_owned());
        let server = Server::launch("nats-server", &software, Probe::NatsInfo, |place| {
            let setup = Setup::default()
                .file(
                    "nats.conf",
                    configuration(place, &name, self.domain.as_deref(), &self.config),
                )
                .arguments(["--config", "nats.conf"]);
            let files = self.files.iter();
            let setup =
                files.fold(setup, |setup, (name, contents)| setup.file(name, &contents[..]));
            let variables = self.environment.iter();
            variables.fold(setup, |setup, (name, value)| setup.environment(name, value))
        })
        .await?;
        Ok(Nats {
            server,
            name,
            domain: self.domain,
            options: self.options.unwrap_or_else(|| Box::new(ConnectOptions::new)),
            client: Mutex::new(None),
        })
    }
}

/// The name of a server that is in no cluster.
const NAME: &str = "testbed";

fn software(as_process: bool) -> Result<Software> {
    if !as_process && containers::wanted()? {
        Ok(Software::Image(ImageOf::Nats.image()?))
    } else {
        Ok(Software::Program(Program { path: cache::nats_server()?, arguments: &[] }))
    }
}

fn configuration(place: &Placement, name: &str, domain: Option<&str>, extra: &str) -> String {
    let domain = domain.map_or_else(String::new, |domain| format!("domain: {domain}"));
    let Placement { address, port, data, .. } = place;
    format!(
        r#"listen: "{address}:{port}"
server_name: "{name}"
jetstream {{
    store_dir: "{data}/jetstream"
    max_memory_store: 64MB
    max_file_store: 4GB
    {domain}
}}
{extra}"#
    )
}

impl Nats {
    /// Starts a plain server: no TLS, no accounts.
    pub async fn start() -> Result<Self> {
        Self::builder().start().await
    }

    /// Builds a server with TLS or accounts.
    pub fn builder() -> NatsBuilder {
        NatsBuilder::default()
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// The URL that clients connect to.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port())
    }

    /// The output of the server so far.
    pub async fn log(&self) -> String {
        self.server.log().await
    }

    /// The process id while it runs as a process.
    pub fn pid(&self) -> Option<u32> {
        self.server.pid()
    }

    /// The directory with its streams while it runs as a process.
    pub fn data(&self) -> Option<PathBuf> {
        Some(self.server.files()?.join("data"))
    }

    /// A connection; all callers between two restarts share one.
    pub async fn client(&self) -> Result<Client> {
        let mut shared = self.client.lock().await;
        if let Some(client) = &*shared {
            return Ok(client.clone());
        }
        let client = self.client_with((self.options)()).await?;
        *shared = Some(client.clone());
        Ok(client)
    }

    /// A new connection.
    pub async fn client_with(&self, options: ConnectOptions) -> Result<Client> {
        options
            .connect(self.url())
            .await
            .with_context(|| format!("cannot connect to NATS at {}", self.url()))
    }

    /// The server's version.
    pub async fn version(&self) -> Result<String> {
        Ok(self.client().await?.server_info().version)
    }

    /// The streams over [`Self::client`].
    pub async fn jetstream(&self) -> Result<jetstream::Context> {
        Ok(jetstream::context::ContextBuilder::new()
            .timeout(PATIENCE)
            .ack_timeout(PATIENCE)
            .build(self.client().await?))
    }

    /// The streams over a connection of its own, which survives the server's restarts. A request without an answer fails
    /// after `patience`.
    pub async fn patient_jetstream(&self, patience: Duration) -> Result<jetstream::Context> {
        let client = self.client_with((self.options)().retry_on_initial_connect()).await?;
        let context = jetstream::context::ContextBuilder::new();
        Ok(context.timeout(patience).ack_timeout(patience).build(client))
    }

    /// Kills the server with SIGKILL.
    pub async fn kill(&self) {
        *self.client.lock().await = None;
        self.server.kill().await;
    }

    /// Starts the server again on the same port and store, killing it first if it runs.
    pub async fn restart(&self) -> Result<()> {
        self.kill().await;
        self.server.start().await
    }

    /// Has the server, which must be a process, read its configuration again, with these lines in
    /// place of those that it was started with, and these files.
    pub async fn reload(&self, lines: &str, files: &[(&str, &str)]) -> Result<()> {
        let process = self.server.files().zip(self.pid());
        let (directory, pid) = process.context("the server is not a process")?;
        let place = Placement {
            files: directory.to_string_lossy().into_owned(),
            data: directory.join("data").to_string_lossy().into_owned(),
            address: "127.0.0.1",
            port: self.port(),
        };
        for (name, contents) in files {
            fs::write(directory.join(name), contents)?;
        }
        fs::write(
            directory.join("nats.conf"),
            configuration(&place, &self.name, self.domain.as_deref(), lines),
        )?;
        let reloads = async || self.log().await.matches("Reloaded server configuration").count();
        let before = reloads().await;
        let pid = Pid::from_raw(i32::try_from(pid)?).context("a process has a number")?;
        kill_process(pid, Signal::HUP)?;
        let done = async {
            while reloads().await == before {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, done).await.context("the server did not take its configuration")
    }

    /// Freezes the server: connections stay open, but nothing answers.
    pub async fn pause(&self) -> Result<()> {
        self.server.pause().await
    }

    /// Ends a [`Self::pause`].
    pub async fn resume(&self) -> Result<()> {
        self.server.resume().await
    }

    /// Makes a stream that keeps what is published to `subjects`.
    pub async fn create_stream(&self, name: &str, subjects: &[&str]) -> Result<Stream> {
        let config = jetstream::stream::Config {
            name: name.to_owned(),
            subjects: subjects.iter().map(|&subject| subject.to_owned()).collect(),
            ..Default::default()
        };
        self.jetstream()
            .await?
            .create_stream(config)
            .await
            .with_context(|| format!("cannot create the stream {name}"))
    }

    /// The consumer of a route, as [`route_consumer`] finds it.
    pub async fn consumer(&self, stream: &str, route: &str) -> Result<consumer::Info> {
        route_consumer(&self.jetstream().await?, stream, route).await
    }

    /// Deletes a stream with all it holds.
    pub async fn delete_stream(&self, name: &str) -> Result<()> {
        self.jetstream()
            .await?
            .delete_stream(name)
            .await
            .with_context(|| format!("cannot delete the stream {name}"))?;
        Ok(())
    }

    /// Publishes a message, waits until it is stored, and returns its stream sequence.
    pub async fn publish(&self, subject: &str, payload: impl Into<Bytes>) -> Result<u64> {
        self.publish_many(subject, [payload]).await
    }

    /// Publishes messages in order, waits until all are stored, and returns the last one's stream
    /// sequence.
    pub async fn publish_many<P: Into<Bytes>>(
        &self,
        subject: &str,
        payloads: impl IntoIterator<Item = P>,
    ) -> Result<u64> {
        let jetstream = self.jetstream().await?;
        let mut payloads = payloads.into_iter();
        let mut last = 0;
        loop {
            let mut acks = Vec::new();
            for payload in payloads.by_ref().take(WINDOW) {
                acks.push(
                    jetstream
                        .publish(subject.to_owned(), payload.into())
                        .await
                        .with_context(|| format!("cannot publish to {subject}"))?
                        .into_future(),
                );
            }
            if acks.is_empty() {
                return Ok(last);
            }
            let acks = future::try_join_all(acks)
                .await
                .with_context(|| format!("a message published to {subject} was not stored"))?;
            last = acks.last().map_or(last, |ack| ack.sequence);
        }
    }
}

/// The durable consumer of a route of the bridge. Its name is that of the route, with a hash behind it.
pub async fn route_consumer(
    jetstream: &jetstream::Context,
    stream: &str,
    route: &str,
) -> Result<consumer::Info> {
    let stream = jetstream.get_stream(stream).await?;
    let all: Vec<consumer::Info> = stream.consumers().try_collect().await?;
    let is_of_route = |info: &consumer::Info| match info.name.strip_prefix(route) {
        Some("") => true,
        Some(hash) => hash.len() == 9 && hash.starts_with('-'),
        None => false,
    };
    all.into_iter().find(is_of_route).with_context(|| format!("no consumer of route {route}"))
}

impl fmt::Debug for Nats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nats").field("url", &self.url()).finish_non_exhaustive()
    }
}
