//! A queue of messages, and what becomes of it when the bridge is started under a limit.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use jiff::{Timestamp, ToSpan};
use nats_matrix_testbed::{
    Account, BridgeConfig, BridgeProcess, Homeserver, Nats, Reader, ScratchDir,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    limit::Limit,
    publish::Publisher,
    recorder::Recorder,
    seen::{Published, Seen, numbers},
    shape::{BAD, Shape, good},
    watch::Watch,
};

const STREAM: &str = "OPS";
const ROUTE: &str = "reports";
/// A message that is larger than this, in bytes, is a good part of all the memory that there is.
const HUGE: usize = 4 * 1024 * 1024;
/// The room of the recorder.
const ROOM: &str = "!room:recorder.localhost";
/// A bridge that shows nothing more for so long is stuck. Eight megabytes take a debug build a while.
const STUCK: Duration = Duration::from_mins(2);
/// The time in which events that should not come could still come.
const QUIET: Duration = Duration::from_millis(300);
/// The time for which idle routes are looked at, which is longer than a request for messages stays with NATS.
const IDLE_FOR: Duration = Duration::from_secs(12);
/// The beginning of the subjects of idle routes.
const IDLE: &str = "idle";

/// A queue of messages, and the route that it is for.
pub(crate) struct Trial {
    pub(crate) name: String,
    /// The shapes of the bad ones, which take turns.
    pub(crate) shapes: Vec<&'static Shape>,
    /// The bytes of a bad message, at most.
    pub(crate) size: usize,
    /// The number of bad ones.
    pub(crate) bad: usize,
    /// The number of bad ones after which a good one comes; there is one before and one after all.
    pub(crate) good_every: usize,
    pub(crate) setting: Setting,
    /// `digest_above` of the route.
    pub(crate) digest_above: u64,
    /// The anonymous memory in KiB that the bridge has to stay below.
    pub(crate) most_kib: u64,
}

/// The way in which the route differs from a plain one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    Plain,
    /// It has templates that look into payload and headers.
    Templates,
    /// It takes what other routes do not, whose `match` looks into payloads.
    Match,
    /// So many more routes take all of it, too, each into a room of its own that is compared as well.
    MoreRoutes(usize),
    /// So many more routes wait for messages that never come.
    IdleRoutes(usize),
    /// All is held back, and shown when the quiet hours are taken away.
    QuietHours,
    /// Nothing is relayed: `nats-matrix summary` reads all of it.
    Summary,
    /// A real homeserver in place of the recorder.
    RealHomeserver,
}

/// The outcome of a trial.
pub(crate) struct Outcome {
    pub(crate) name: String,
    /// The bytes of the largest message.
    pub(crate) bytes: usize,
    pub(crate) queued: usize,
    pub(crate) peak_kib: u64,
    /// The memory in KiB that the peak has to stay below.
    pub(crate) most_kib: u64,
    /// The number of events in the room.
    pub(crate) events: usize,
    pub(crate) took: Duration,
    /// The mistakes that were found.
    pub(crate) complaints: Vec<String>,
}

/// The programs and settings with which all trials are run.
pub(crate) struct Bench<'a> {
    pub(crate) binary: &'a Path,
    pub(crate) limit: &'a Limit,
    pub(crate) nats: &'a Nats,
    pub(crate) recorder: &'a Recorder,
    pub(crate) homeserver: Option<&'a Homeserver>,
}

/// The room, and how it is read.
enum Room<'a> {
    Recorded(&'a Recorder),
    Real(Box<Reader>),
}

impl Room<'_> {
    /// The contents of the events from a number on.
    async fn events(&mut self, from: usize) -> Result<Vec<Value>> {
        match self {
            Self::Recorded(recorder) => Ok(recorder.events(ROOM, from)),
            Self::Real(reader) => {
                let events = reader.settle(QUIET).await?;
                Ok(events.iter().skip(from).map(|event| event.content.clone()).collect())
            }
        }
    }
}

impl Trial {
    /// Publishes what the trial is of, starts the bridge, waits until all is shown or it is clear that it will not be,
    /// and says what it came to.
    ///
    /// # Errors
    ///
    /// Failures that have nothing to do with the bridge.
    pub(crate) async fn run(&self, bench: &Bench<'_>) -> Result<Outcome> {
        let begun = Instant::now();
        forget(bench.nats).await?;
        bench.recorder.forget();
        bench.nats.create_stream(STREAM, &["ops.>", &format!("{IDLE}.>")]).await?;
        let published = self.publish(bench.nats).await?;
        let mut run = Run::new(bench, self, published).await?;
        match self.setting {
            Setting::Summary => run.summarise().await?,
            Setting::QuietHours => {
                run.relay(&Self::quiet_line(), false).await?;
                if run.complaints.is_empty() {
                    run.relay("", true).await?;
                }
            }
            _ => run.relay("", true).await?,
        }
        Ok(run.outcome(begun.elapsed()))
    }

    async fn publish(&self, nats: &Nats) -> Result<Published> {
        let mut publisher = Publisher::new(nats, STREAM).await?;
        let mut all = Published { good: 1, bad: vec![None], largest: 0 };
        publisher.publish(&good(1)).await?;
        let shapes = self.shapes.iter().cycle().take(self.bad);
        for (number, shape) in (1..).zip(shapes) {
            let message = shape.message(self.size, number);
            publisher.publish(&message).await?;
            all.largest = all.largest.max(message.bytes());
            all.bad.push(Some(number));
            if number % self.good_every == 0 || number == self.bad {
                all.good += 1;
                all.bad.push(None);
                publisher.publish(&good(all.good)).await?;
            }
        }
        publisher.stored().await?;
        Ok(all)
    }

    /// Quiet hours that began an hour ago.
    fn quiet_line() -> String {
        let now = Timestamp::now();
        let hour = |time: Timestamp| time.strftime("%H:00");
        let (from, to) = (hour(now - 1.hour()), hour(now + 11.hours()));
        format!("quiet = {{ from = \"{from}\", to = \"{to}\" }}\n")
    }
}

/// A trial under way.
struct Run<'a> {
    bench: &'a Bench<'a>,
    trial: &'a Trial,
    published: Published,
    bot: Account,
    /// The room's id, and whoever reads it.
    room: (String, Room<'a>),
    dir: ScratchDir,
    seen: Seen,
    /// The same of the rooms of further routes, with their ids.
    others: Vec<(String, Seen)>,
    peak_kib: u64,
    complaints: Vec<String>,
}

impl<'a> Run<'a> {
    async fn new(bench: &'a Bench<'a>, trial: &'a Trial, published: Published) -> Result<Self> {
        let (bot, room) = match trial.setting {
            Setting::RealHomeserver => {
                let homeserver = bench.homeserver.context("no homeserver was started")?;
                let (bot, alice) =
                    (homeserver.account("bridge").await?, homeserver.account("alice").await?);
                let invite = json!({ "preset": "private_chat", "invite": [bot.user_id] });
                let room = alice.create_room(invite).await?;
                let reader = alice.reader(&room).await?;
                (bot, (room, Room::Real(Box::new(reader))))
            }
            _ => (bench.recorder.account(), (ROOM.to_owned(), Room::Recorded(bench.recorder))),
        };
        let dir = ScratchDir::new("memory")?;
        let count = if let Setting::MoreRoutes(count) = trial.setting { count } else { 0 };
        let others = (0..count).map(|number| (room_of(number), Seen::default())).collect();
        let (seen, peak_kib, complaints) = (Seen::default(), 0, Vec::new());
        Ok(Self { bench, trial, published, bot, room, dir, seen, others, peak_kib, complaints })
    }

    /// Starts a subcommand under the limit, with these lines for the last route.
    fn start(&self, arguments: &[&str], lines: &str) -> Result<(BridgeProcess, Watch)> {
        let file = self.config(lines)?;
        let mut command = self.bench.limit.command(self.bench.binary);
        command.args(arguments).arg("--config").arg(&file).current_dir(self.dir.path());
        let bridge = BridgeProcess::spawn_command(&command, self.dir.path())?;
        let watch = Watch::of(bridge.pid())?;
        Ok((bridge, watch))
    }

    fn config(&self, lines: &str) -> Result<PathBuf> {
        let (dir, room) = (self.dir.path(), &self.room.0);
        let state = dir.join("state");
        let mut config = BridgeConfig::new(&self.bench.nats.url(), &self.bot, &state);
        let mut more = lines.to_owned();
        match self.trial.setting {
            Setting::Match => {
                // Each route has one message in hand, so what they take together grows with their number and that size.
                let others =
                    if self.trial.size > HUGE { &["first"][..] } else { &["first", "second"] };
                for name in others {
                    config = config.route(name, STREAM, &["ops.>"], room).one_by_one();
                    config = config.lines("match.\"payload.a.b\" = \"no such value\"\n");
                }
                more += "default = true\n";
            }
            Setting::MoreRoutes(count) => {
                for number in 0..count {
                    config = config
                        .route(&another(number), STREAM, &["ops.>"], &room_of(number))
                        .digests(self.trial.digest_above)
                        .lines("continue = true\n");
                }
            }
            Setting::IdleRoutes(count) => {
                for number in 0..count {
                    let subject = format!("{IDLE}.{number}");
                    config = config.route(&another(number), STREAM, &[&subject], &room_of(number));
                }
            }
            Setting::Templates => {
                let templates = dir.join("templates");
                fs::create_dir_all(&templates)?;
                for kind in ["report", "alert", "event", "object"] {
                    let template = format!("{TEMPLATE}{ROWS}");
                    fs::write(templates.join(format!("{kind}.html.jinja")), template)?;
                }
                for kind in ["alerts", "note", "text"] {
                    fs::write(templates.join(format!("{kind}.html.jinja")), TEMPLATE)?;
                }
                more += "templates = \"templates\"\n";
            }
            _ => {}
        }
        config = config.route(ROUTE, STREAM, &["ops.>"], room).digests(self.trial.digest_above);
        let file = dir.join("nats-matrix.toml");
        fs::write(&file, config.lines(&more).toml())?;
        Ok(file)
    }

    /// Runs the bridge until the last good report is in the room or, if none is to come there, until nothing waits.
    async fn relay(&mut self, lines: &str, is_shown: bool) -> Result<()> {
        let (mut bridge, watch) = self.start(&["run"], lines)?;
        let (mut last, mut before) = (Instant::now(), (0, u64::MAX));
        loop {
            self.look().await?;
            let waiting = if is_shown { 0 } else { self.waiting().await? };
            let is_done = if is_shown { self.all_shown() } else { waiting == 0 };
            if is_done {
                break;
            }
            if !bridge.is_running()? {
                let code = bridge.ended().await?;
                self.complain(&format!("{}, {}", end(code), self.progress()), &bridge);
                break;
            }
            let events = self.all_seen().map(Seen::events).sum::<usize>();
            let now = (events, waiting);
            if now != before {
                (last, before) = (Instant::now(), now);
            }
            if last.elapsed() > STUCK {
                let what = format!("nothing more for {} s, {}", STUCK.as_secs(), self.progress());
                self.complain(&what, &bridge);
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        let is_idle = matches!(self.trial.setting, Setting::IdleRoutes(_));
        sleep(if is_idle { IDLE_FOR } else { QUIET }).await;
        self.look().await?;
        self.check_idle().await?;
        self.peak_kib = self.peak_kib.max(watch.peak_kib());
        if bridge.is_running()? {
            bridge.terminate()?;
            let code = bridge.wait(Duration::from_secs(20)).await?;
            if code != 0 {
                self.complain(&format!("{} when told to stop", end(code)), &bridge);
            }
        }
        // A run that failed already says how far it came.
        if is_shown && self.complaints.is_empty() {
            let dead = self.dead().await?;
            let wrong = self.all_seen().flat_map(|seen| seen.complaints(&self.published, &dead));
            self.complaints = wrong.collect();
        }
        Ok(())
    }

    fn all_seen(&self) -> impl Iterator<Item = &Seen> {
        std::iter::once(&self.seen).chain(self.others.iter().map(|(_, seen)| seen))
    }

    /// Whether each room shows the last good report.
    fn all_shown(&self) -> bool {
        self.all_seen().all(|seen| seen.good.contains(&self.published.good))
    }

    /// Complains unless each idle route has a consumer, without which it would not wait for anything.
    async fn check_idle(&mut self) -> Result<()> {
        let Setting::IdleRoutes(count) = self.trial.setting else { return Ok(()) };
        let mut stream = self.bench.nats.jetstream().await?.get_stream(STREAM).await?;
        let consumers = stream.info().await?.state.consumer_count;
        if consumers != count + 1 {
            self.complaints.push(format!("{consumers} consumers of {} routes", count + 1));
        }
        Ok(())
    }

    /// Has all of it summed up.
    async fn summarise(&mut self) -> Result<()> {
        let (mut bridge, watch) = self.start(&["summary"], "")?;
        let code = bridge.wait(STUCK).await?;
        self.peak_kib = watch.peak_kib();
        let all = format!("{} reports from 1 host", self.published.good);
        if code != 0 {
            self.complain(&end(code), &bridge);
        } else if !bridge.logs().contains(&all) {
            self.complain(&format!("no \"{all}\" in the summary"), &bridge);
        }
        Ok(())
    }

    async fn look(&mut self) -> Result<()> {
        for content in self.room.1.events(self.seen.events()).await? {
            self.seen.note(&content, &self.published);
        }
        for (room, seen) in &mut self.others {
            for content in self.bench.recorder.events(room, seen.events()) {
                seen.note(&content, &self.published);
            }
        }
        Ok(())
    }

    /// The number of messages that the route's consumer has not done with.
    async fn waiting(&self) -> Result<u64> {
        let stream = self.bench.nats.jetstream().await?.get_stream(STREAM).await?;
        let all = self.published.bad.len() as u64;
        Ok(stream
            .consumer_info(ROUTE)
            .await
            .map_or(all, |info| info.num_pending + info.num_ack_pending as u64))
    }

    /// The bad messages that are dead letters.
    async fn dead(&self) -> Result<BTreeSet<usize>> {
        let jetstream = self.bench.nats.jetstream().await?;
        let Ok(mut stream) = jetstream.get_stream("NATS_MATRIX_DEAD_LETTERS").await else {
            return Ok(BTreeSet::new());
        };
        let mut dead = BTreeSet::new();
        let state = stream.info().await?.state.clone();
        for sequence in state.first_sequence..=state.last_sequence {
            let message = stream.get_raw_message(sequence).await?;
            let subject = message.headers.get("Nats-Matrix-Subject").map(ToString::to_string);
            dead.extend(numbers(&subject.unwrap_or_default(), BAD));
        }
        Ok(dead)
    }

    fn progress(&self) -> String {
        let fewest = self.all_seen().map(|seen| seen.good.len()).min().unwrap_or_default();
        format!("after {fewest} of {} good reports", self.published.good)
    }

    /// Notes what is wrong, with the end of the log on the terminal.
    fn complain(&mut self, what: &str, bridge: &BridgeProcess) {
        let logs = bridge.logs();
        let lines: Vec<&str> = logs.trim_end().lines().collect();
        for line in &lines[lines.len().saturating_sub(3)..] {
            let head: String = line.chars().take(300).collect();
            eprintln!("    {head}");
        }
        self.complaints.push(what.to_owned());
    }

    fn outcome(self, took: Duration) -> Outcome {
        Outcome {
            name: self.trial.name.clone(),
            bytes: self.published.largest,
            queued: self.published.bad.len(),
            peak_kib: self.peak_kib,
            most_kib: self.trial.most_kib,
            events: self.seen.events(),
            took,
            complaints: self.complaints,
        }
    }
}

/// Asks for what may not be there, and shows all that a template can get at.
const TEMPLATE: &str = "<b>{{ payload.x.y | default('') }}</b>{{ headers['X-Y'] | default('') }}\
    {{ headers | length }} {{ payload | length if payload is mapping else '' }} {{ payload }} {{ headers }}";
/// The same, where there is more than what is known of the kind.
const ROWS: &str = "{% for name, value in rows %}{{ name }} {{ value }}{% endfor %}";

/// The name of one of the further routes.
fn another(number: usize) -> String {
    format!("another-{number}")
}

/// The room of one of the further routes, at the recorder.
fn room_of(number: usize) -> String {
    ROOM.replace("!room", &format!("!{}", another(number)))
}

/// An exit code in words.
fn end(code: i32) -> String {
    match code {
        137 => "KILLED for its memory".to_owned(),
        134 => "ABORTED for want of memory".to_owned(),
        code => format!("ENDED with exit code {code}"),
    }
}

/// Deletes all streams and buckets.
async fn forget(nats: &Nats) -> Result<()> {
    let jetstream = nats.jetstream().await?;
    let names: Vec<String> = jetstream.stream_names().try_collect().await?;
    for name in names {
        nats.delete_stream(&name).await?;
    }
    Ok(())
}
