//! The stack: NATS, the bridge, the homeserver, and what restarts that.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, bail};
use nats_matrix_testbed::{
    Account, BridgeConfig, BridgeProcess, Homeserver, Nats, ScratchDir, numbered,
};
use reqwest::Client;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    memory::{Memory, look},
    report::{Report, Row},
};

/// The time after which systemd starts the homeserver again, as its unit says.
const RESTART_SEC: Duration = Duration::from_secs(1);

/// The time between two looks at memory and progress.
const LOOK: Duration = Duration::from_millis(200);

/// The time between two questions whether the homeserver answers.
const ASK: Duration = Duration::from_millis(100);

/// The time without progress after which the measurement fails.
const PATIENCE: Duration = Duration::from_mins(2);

const STREAM: &str = "BENCH";
const SUBJECT: &str = "bench.report";
const ROUTE: &str = "reports";

/// Everything that runs.
pub(crate) struct Stack {
    pub(crate) alice: Account,
    pub(crate) room: String,
    bridge: BridgeProcess,
    watch: Option<BridgeProcess>,
    nats: Nats,
    homeserver: Homeserver,
    /// A directory like the cgroup of the homeserver's unit.
    cgroup: ScratchDir,
    _dir: ScratchDir,
}

impl Stack {
    /// Starts the bridge with one route, and the watch if the homeserver is to be restarted.
    pub(crate) async fn start(
        binary: &Path,
        nats: Nats,
        homeserver: Homeserver,
        above: Option<&str>,
    ) -> Result<Self> {
        nats.create_stream(STREAM, &[SUBJECT]).await?;
        let bot = homeserver.account("bridge").await?;
        let alice = homeserver.account("alice").await?;
        let room = json!({ "preset": "private_chat", "invite": [bot.user_id] });
        let room = alice.create_room(room).await?;
        let (dir, cgroup) = (ScratchDir::new("bench")?, ScratchDir::new("cgroup")?);
        let config = BridgeConfig::new(&nats.url(), &bot, &dir.path().join("state"))
            .route(ROUTE, STREAM, &[SUBJECT], &room)
            .one_by_one();
        let bridge = BridgeProcess::spawn(binary, config.toml(), dir.path())?;
        let mut stack =
            Self { alice, room, bridge, watch: None, nats, homeserver, cgroup, _dir: dir };
        stack.list()?;
        if let Some(above) = above {
            let mut command = Command::new(binary);
            let directory = stack.cgroup.path();
            command.arg("refresh").arg("--cgroup").arg(directory).args(["--above", above]);
            stack.watch = Some(BridgeProcess::spawn_command(&command, directory)?);
        }
        Ok(stack)
    }

    /// The output of the bridge and of the watch.
    pub(crate) fn logs(&self) -> String {
        let watch = self.watch.as_ref().map(BridgeProcess::logs).unwrap_or_default();
        format!("the bridge:\n{}the watch:\n{watch}", self.bridge.logs())
    }

    /// Ends the watch and starts the homeserver anew, so that no restart comes while the room is read.
    pub(crate) async fn settle(&mut self) -> Result<()> {
        self.watch = None;
        self.homeserver.restart().await
    }

    /// Has the bridge post the messages, and measures meanwhile.
    pub(crate) async fn run(
        &self,
        messages: usize,
        every: usize,
        report: &mut Report,
    ) -> Result<()> {
        let publish = async {
            self.nats.publish_many(SUBJECT, (0..messages).map(numbered::report)).await?;
            std::future::pending::<Result<()>>().await
        };
        let mut restarts = 0;
        let mut silence = Duration::ZERO;
        let mut progress = Progress::new(self, every);
        let measure = async {
            loop {
                sleep(LOOK).await;
                let (row, done) = progress.look(self).await?;
                if let Some(row) = row {
                    eprintln!("{row}");
                    report.add(row);
                }
                if done >= messages {
                    return anyhow::Ok(());
                }
            }
        };
        tokio::select! {
            done = measure => done?,
            failed = publish => failed?,
            failed = self.keep_up(&mut restarts) => failed?,
            () = self.ask(&mut silence) => {}
        }
        report.end(restarts, silence);
        Ok(())
    }

    /// Starts the homeserver again whenever it ends, as systemd does.
    async fn keep_up(&self, restarts: &mut usize) -> Result<()> {
        loop {
            let code = self.homeserver.ended().await?;
            if code != 0 {
                bail!("the homeserver ended with {code}:\n{}", self.homeserver.log().await);
            }
            sleep(RESTART_SEC).await;
            self.homeserver.restart().await?;
            self.list()?;
            *restarts += 1;
        }
    }

    /// Asks the homeserver again and again, and notes the longest time without an answer.
    async fn ask(&self, silence: &mut Duration) {
        let http = Client::new();
        let url = format!("{}/_matrix/client/versions", self.homeserver.url());
        let mut answered = Instant::now();
        loop {
            let answer = timeout(PATIENCE, http.get(&url).send()).await;
            if matches!(answer, Ok(Ok(answer)) if answer.status().is_success()) {
                *silence = (*silence).max(answered.elapsed());
                answered = Instant::now();
            }
            sleep(ASK).await;
        }
    }

    /// Lists the process of the homeserver in its cgroup.
    fn list(&self) -> Result<()> {
        let pid = self.homeserver.pid().context("the homeserver is no process")?;
        Ok(fs::write(self.cgroup.path().join("cgroup.procs"), format!("{pid}\n"))?)
    }

    /// The number of messages that the bridge has posted.
    async fn done(&self) -> usize {
        let consumer = self.nats.consumer(STREAM, ROUTE).await;
        consumer
            .map_or(0, |consumer| usize::try_from(consumer.ack_floor.stream_sequence).unwrap_or(0))
    }
}

/// The measurement so far.
struct Progress {
    every: usize,
    /// The number of messages at the last row, and when that was.
    row: (usize, Instant),
    /// The number of messages at the last look, and when it last grew.
    last: (usize, Instant),
    /// The process of the homeserver, and its processor time at the last look.
    cpu: (Option<u32>, Duration),
    /// The processor time since the last row.
    spent: Duration,
    /// The most since the last row: of the homeserver, and the resident memory of both together.
    most: Memory,
    most_of_both: u64,
}

impl Progress {
    fn new(stack: &Stack, every: usize) -> Self {
        let pid = stack.homeserver.pid();
        let cpu = pid.and_then(look).map(|(_, cpu)| cpu).unwrap_or_default();
        Self {
            every,
            row: (0, Instant::now()),
            last: (0, Instant::now()),
            cpu: (pid, cpu),
            spent: Duration::ZERO,
            most: Memory::default(),
            most_of_both: 0,
        }
    }

    /// Looks at everything; returns a row if it is time for one, and the number of messages posted.
    async fn look(&mut self, stack: &Stack) -> Result<(Option<Row>, usize)> {
        let pid = stack.homeserver.pid();
        let mut now = Memory::default();
        if let Some((memory, cpu)) = pid.and_then(look) {
            now = memory;
            let before = if self.cpu.0 == pid { self.cpu.1 } else { Duration::ZERO };
            self.spent += cpu.saturating_sub(before);
            self.cpu = (pid, cpu);
        }
        let bridge = look(stack.bridge.pid()).context("the bridge has ended")?.0;
        self.most.rss = self.most.rss.max(now.rss);
        self.most.anonymous = self.most.anonymous.max(now.anonymous);
        self.most_of_both = self.most_of_both.max(now.rss + bridge.rss);

        let done = stack.done().await;
        let time = Instant::now();
        if done > self.last.0 {
            self.last = (done, time);
        } else if time - self.last.1 > PATIENCE {
            bail!("nothing is posted any more after {done} messages");
        }
        let (messages, since) = self.row;
        if done < messages + self.every {
            return Ok((None, done));
        }
        let posted = u32::try_from(done - messages)?;
        let row = Row {
            messages: done,
            most: self.most,
            most_of_both: self.most_of_both,
            per_second: f64::from(posted) / (time - since).as_secs_f64(),
            cpu: self.spent / posted,
        };
        self.row = (done, time);
        (self.spent, self.most, self.most_of_both) = (Duration::ZERO, now, now.rss + bridge.rss);
        Ok((Some(row), done))
    }
}
