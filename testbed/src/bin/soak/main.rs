//! `cargo soak`: whether the bridge keeps its promises while everything around it fails.
//!
//! Publishers send numbered messages into a JetStream cluster, and the bridge brings them into rooms, while faults
//! strike it, NATS, the homeserver and the connections between them, at times that are made from a seed. When all
//! is repaired and nothing waits any more, the rooms are read as a person reads them.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it shows things to a person")]

mod bridge;
mod check;
mod disk;
mod leaf;
mod operate;
mod publish;
mod report;
mod rights;
mod routes;
mod scene;
mod schedule;
mod strike;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Parser;
use futures_util::future;
use nats_matrix_testbed::{Event, HomeserverKind, bridge_binary, machine};
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep, sleep_until},
};

use bridge::Life;
use check::{Evidence, Mark, Notice, Verdict};
use publish::Publishers;
use report::Report;
use routes::{PURGED, ROUTES, Route};
use scene::Scene;
use schedule::{Kind, Lane, Schedule};

/// The time in which messages that should not come could still come.
const QUIET: Duration = Duration::from_secs(3);

/// The time in which the bridge tells of removed messages, when nothing is broken any more.
const NOTICED: Duration = Duration::from_mins(1);

/// Breaks everything around the bridge, on this machine, while messages flow, and tells whether each arrived once
/// and in order. The exit code is 0 only if all did.
#[derive(Debug, Parser)]
#[command(name = "cargo soak", bin_name = "cargo soak")]
struct Arguments {
    /// Minutes in which faults strike; then all that waits is delivered.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,

    /// Seed of the faults: the same seed makes the same faults [default: a random one, which is printed].
    #[arg(long)]
    seed: Option<u64>,

    /// Messages to publish in a second, on all routes together [default: 20, with Synapse 6].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    messages_per_second: Option<u32>,

    /// Only faults of these kinds, separated by commas [default: all].
    #[arg(long, value_delimiter = ',')]
    faults: Vec<Kind>,

    /// Fail unless a fault of each of these kinds struck.
    #[arg(long)]
    all_kinds: bool,

    /// Write the result as JSON, too.
    #[arg(long)]
    json: Option<PathBuf>,

    /// Only print which faults would strike and when.
    #[arg(long)]
    dry_run: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let kinds = match &arguments.faults[..] {
        [] => Kind::all(),
        some => some,
    };
    if kinds.contains(&Kind::DiskFull) && !arguments.dry_run {
        disk::enter_namespace();
    }
    let result = Runtime::new()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(interruptible(run(&arguments, kinds))));
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cargo soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs until done or until Ctrl-C. Either way what was started is stopped by being dropped.
async fn interruptible(run: impl Future<Output = Result<bool>>) -> Result<bool> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        result = run => result,
        _ = interrupt.recv() => Ok(false),
        _ = terminate.recv() => Ok(false),
    }
}

async fn run(arguments: &Arguments, kinds: &[Kind]) -> Result<bool> {
    let seed = arguments.seed.unwrap_or_else(|| u64::from(fastrand::u32(..)));
    let length = Duration::from_mins(arguments.minutes);
    let schedule = Schedule::new(seed, length, kinds);
    if arguments.dry_run {
        println!("seed {seed}");
        schedule.faults.iter().for_each(|fault| println!("{fault}"));
        return Ok(true);
    }
    let binary = bridge_binary()?;
    let logs = tempfile::Builder::new().prefix("nats-matrix-soak-logs-").tempdir()?;
    let scene = Scene::new(&binary, logs.path(), kinds, length).await?;
    let rate = arguments.messages_per_second.unwrap_or(match scene.homeserver.kind() {
        HomeserverKind::Conduit | HomeserverKind::Tuwunel => 20,
        HomeserverKind::Synapse | HomeserverKind::Dendrite => 6,
    });
    let setting = setting(&scene, rate).await?;
    println!("{setting}");
    println!(
        "faults for {} min, made from seed {seed}; logs in {}",
        arguments.minutes,
        logs.path().display()
    );

    let result = Box::pin(soak(&scene, &schedule, rate, seed)).await;
    scene.keep_logs(logs.path()).await?;
    let soaked = match result {
        Ok(soaked) => soaked,
        Err(error) => {
            // The end of a process may be the cause.
            for end in life(&scene).await.ends {
                eprintln!("the bridge gave up: {end}");
            }
            return Err(error.context(format!("logs are in {}", logs.keep().display())));
        }
    };
    let Soaked { faults, not_run, undelivered, verdicts, rooms } = soaked;
    let life = life(&scene).await;
    let minutes = arguments.minutes;
    let required = if arguments.all_kinds { kinds.to_vec() } else { Vec::new() };
    let report =
        Report { setting, seed, minutes, faults, required, not_run, verdicts, undelivered, life };
    println!("\n{report}");
    if let Some(file) = &arguments.json {
        let text = format!("{:#}\n", report.to_json());
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if !report.is_well() {
        keep_rooms(logs.path(), &rooms)?;
        println!("\nlogs and rooms are in {}", logs.keep().display());
    }
    Ok(report.is_well())
}

/// The results that a run leaves behind.
struct Soaked {
    faults: BTreeMap<Kind, usize>,
    not_run: Vec<(Kind, String)>,
    undelivered: u64,
    verdicts: Vec<(&'static str, Verdict)>,
    /// Their timelines, in the order of [`ROUTES`].
    rooms: Vec<Vec<Event>>,
}

async fn soak(scene: &Scene, schedule: &Schedule, rate: u32, seed: u64) -> Result<Soaked> {
    scene.bridge.start().await?;
    scene.leaf.bridge.start().await?;
    let publishers = Publishers::start(scene, rate, seed).await?;
    let work = async {
        let (faults, not_run) = strike_all(scene, schedule).await?;
        println!("all is repaired; {} messages were published", publishers.count());
        let published = publishers.stop().await?;
        let undelivered =
            scene.drain(|left| println!("{left} messages are not delivered yet")).await?;
        if faults.contains_key(&Kind::StreamPurged) {
            wait_for_notices(scene, &published).await?;
        }
        sleep(QUIET).await;
        let (mut verdicts, mut rooms) = (Vec::new(), Vec::new());
        for route in &ROUTES {
            let (verdict, timeline) = judge(scene, route, &published).await?;
            verdicts.push((route.name, verdict));
            rooms.push(timeline);
        }
        anyhow::Ok(Soaked { faults, not_run, undelivered, verdicts, rooms })
    };
    tokio::select! {
        soaked = work => soaked,
        watched = scene.bridge.watch() => match watched? {},
        watched = scene.leaf.bridge.watch() => match watched? {},
    }
}

/// Compares the room of a route with what was published for it. Also returns the room.
async fn judge(
    scene: &Scene,
    route: &'static Route,
    published: &BTreeSet<Mark>,
) -> Result<(Verdict, Vec<Event>)> {
    let timeline = scene.timeline(route).await?;
    let (stored, purges) = scene.history(route).await?;
    let verdict = Verdict::of(&Evidence {
        published: &of_route(published, route),
        stored: &stored,
        seen: &check::seen(&timeline, route.name),
        notices: &Notice::all_in(&timeline, route.stream.name),
        purges,
    });
    Ok((verdict, timeline))
}

/// Lets an hour pass for the bridge, and waits until its rooms are told of what was removed: it does not do so more
/// often. If they never are, the verdict is that messages are lost.
async fn wait_for_notices(scene: &Scene, published: &BTreeSet<Mark>) -> Result<()> {
    if let Ok(clock) = &scene.clock {
        clock.set(2 * 60 * 60)?;
    }
    let deadline = Instant::now() + NOTICED;
    for route in ROUTES.iter().filter(|route| *route.stream == PURGED) {
        while !judge(scene, route, published).await?.0.is_well() && Instant::now() < deadline {
            sleep(Duration::from_secs(1)).await;
        }
    }
    Ok(())
}

/// The lives of the bridges of both sites. The one at the leaf node is restarted now and then, and may not end either.
async fn life(scene: &Scene) -> Life {
    let mut life = scene.bridge.life().await;
    let leaf = scene.leaf.bridge.life().await;
    life.ends.extend(leaf.ends.into_iter().map(|end| format!("at the leaf node: {end}")));
    life
}

fn of_route(published: &BTreeSet<Mark>, route: &Route) -> BTreeSet<Mark> {
    published.iter().filter(|mark| mark.route == route.name).copied().collect()
}

/// All faults, each at its time; how many of each kind struck, and which could not.
async fn strike_all(
    scene: &Scene,
    schedule: &Schedule,
) -> Result<(BTreeMap<Kind, usize>, Vec<(Kind, String)>)> {
    let start = Instant::now();
    let struck: Mutex<BTreeMap<Kind, usize>> = Mutex::default();
    let lanes = Lane::ALL.map(|lane| {
        let (faults, struck) = (schedule.of(lane), &struck);
        async move {
            for fault in faults {
                if scene.obstacle(fault.kind).is_some() {
                    continue;
                }
                sleep_until(start + fault.at).await;
                println!("{fault}");
                scene.strike(&fault).await.with_context(|| fault.kind.words())?;
                let mut struck = struck.lock().unwrap_or_else(PoisonError::into_inner);
                *struck.entry(fault.kind).or_default() += 1;
            }
            anyhow::Ok(())
        }
    });
    future::try_join_all(lanes).await?;
    let struck = struck.into_inner().unwrap_or_else(PoisonError::into_inner);
    let obstacles = Kind::all().iter().filter_map(|kind| {
        let is_wanted = schedule.faults.iter().any(|fault| fault.kind == *kind);
        let obstacle = scene.obstacle(*kind).filter(|_| is_wanted)?;
        Some((*kind, format!("{obstacle:#}")))
    });
    Ok((struck, obstacles.collect()))
}

async fn setting(scene: &Scene, rate: u32) -> Result<String> {
    let nodes = scene.cluster.nodes();
    let version = nodes.first().context("a cluster without servers")?.version().await?;
    Ok(format!(
        "{}. {} {}, {} nats-servers {version}, all on loopback; {rate} messages a second on {} routes.",
        machine(),
        scene.homeserver.kind().name(),
        scene.homeserver.version(),
        nodes.len(),
        ROUTES.len(),
    ))
}

fn keep_rooms(logs: &Path, rooms: &[Vec<Event>]) -> Result<()> {
    for (route, events) in ROUTES.iter().zip(rooms) {
        let mut text = String::new();
        for event in events {
            let line = serde_json::json!({
                "event_id": event.event_id,
                "sender": event.sender,
                "origin_server_ts": event.origin_server_ts,
                "type": event.kind,
                "content": event.content,
            });
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{line}");
        }
        fs::write(logs.join(format!("room-{}.jsonl", route.name.replace(' ', "-"))), text)?;
    }
    Ok(())
}
