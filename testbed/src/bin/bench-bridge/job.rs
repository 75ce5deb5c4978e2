//! The servers, and one contender's task on them: a stream and a room of its own.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Result, bail};
use nats_matrix_testbed::{
    Account, BridgeConfig, Homeserver, Nats, ScratchDir, TcpProxy,
    numbered::{number_in, report},
};
use serde_json::json;
use tokio::time::{Instant, sleep};

/// The time without progress after which a contender is given up.
const PATIENCE: Duration = Duration::from_mins(1);

/// The servers and settings that all contenders share.
pub(crate) struct Bench {
    pub(crate) nats: Nats,
    pub(crate) homeserver: Homeserver,
    pub(crate) alice: Account,
    /// The link through which contenders reach NATS, if there is one.
    pub(crate) link: Option<TcpProxy>,
}

/// A stream to take messages from and a room to put them into.
pub(crate) struct Job {
    pub(crate) stream: String,
    pub(crate) subject: String,
    pub(crate) room: String,
    /// The account to send with; it has joined the room.
    pub(crate) bot: Account,
    pub(crate) nats_url: String,
    pub(crate) dir: ScratchDir,
}

impl Bench {
    pub(crate) async fn job(&self) -> Result<Job> {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let stream = format!("BENCH{number}");
        let subject = format!("bench.{number}.report");
        self.nats.create_stream(&stream, &[&subject]).await?;

        let bot = self.homeserver.account("bridge").await?;
        let room = json!({ "preset": "private_chat", "invite": [bot.user_id] });
        let room = self.alice.create_room(room).await?;
        bot.join(&room).await?;
        let nats_url = match &self.link {
            Some(link) => format!("nats://{}", link.address()),
            None => self.nats.url(),
        };
        let dir = ScratchDir::new("bench")?;
        Ok(Job { stream, subject, room, bot, nats_url, dir })
    }

    pub(crate) async fn publish(&self, job: &Job, count: usize) -> Result<()> {
        let payloads = (0..count).map(report);
        self.nats.publish_many(&job.subject, payloads).await?;
        Ok(())
    }

    /// The number of the latest message in the room, asked in the cheapest way.
    pub(crate) async fn latest(&self, job: &Job) -> Result<Option<usize>> {
        let latest = self.alice.latest_message(&job.room).await?;
        latest.map(|event| number_in(event.body())).transpose()
    }

    /// Waits until message `number` is in the room, and says which one is the latest by then.
    pub(crate) async fn wait_for(
        &self,
        job: &Job,
        number: usize,
        every: Duration,
    ) -> Result<usize> {
        let mut latest = None;
        let mut deadline = Instant::now() + PATIENCE;
        loop {
            let now = self.latest(job).await?;
            if let Some(now) = now.filter(|now| *now >= number) {
                return Ok(now);
            }
            if now != latest {
                latest = now;
                deadline = Instant::now() + PATIENCE;
            } else if Instant::now() > deadline {
                bail!("message {number} does not arrive; the latest is {latest:?}");
            }
            sleep(every).await;
        }
    }
}

impl Job {
    /// The bridge's, with which it shows much that waits as a digest.
    pub(crate) fn bridge_config(&self) -> BridgeConfig {
        BridgeConfig::new(&self.nats_url, &self.bot, &self.dir.path().join("state")).route(
            "reports",
            &self.stream,
            &[&self.subject],
            &self.room,
        )
    }
}

/// An alert, of a machine of 500.
pub(crate) fn alert(number: usize) -> String {
    let source = format!("host-{}", number % 500);
    json!({ "severity": "warning", "summary": "Disk almost full", "source": source }).to_string()
}

/// The text that a contender makes of it.
pub(crate) fn text(number: usize) -> String {
    format!(
        "📊 server-{number} Operational Report\n\
         ✅ Completed: Database backup, log cleanup, SSL renewal\n\
         🔄 In progress: Performance optimization, API integration\n\
         💻 Disk usage: 14% | Memory usage: 16%\n\
         😊 Satisfaction rating: 3/5"
    )
}
