//! The measurements.

use std::{
    fmt,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use nats_matrix_testbed::{
    BridgeProcess, Event, Reader, Usage,
    numbered::{number_in, report},
};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::{
    contender::{Contender, Running},
    job::{Bench, Job, alert},
    raw,
};

/// The pause between two looks at the room while a backlog is drained: long, to leave the homeserver to
/// the contender.
const SELDOM: Duration = Duration::from_millis(100);
const OFTEN: Duration = Duration::from_millis(5);

/// A backlog drained.
pub(crate) struct Drain {
    pub(crate) messages_per_second: f64,
    /// The time from the start of the process to its first message; a task has no start worth measuring.
    pub(crate) start_to_first: Option<Duration>,
    /// Processor time for 1,000 messages, once it has begun.
    pub(crate) cpu_per_1000: Option<Duration>,
    pub(crate) peak_rss_kib: Option<u64>,
}

/// Has a contender drain a backlog. The times are the homeserver's stamps on the messages.
pub(crate) async fn drain(bench: &Bench, contender: &Contender, messages: usize) -> Result<Drain> {
    let job = bench.job().await?;
    bench.publish(&job, messages).await?;
    let started = now_ms()?;
    let running = contender.start(&job, messages).await?;

    let (begun, before) = wait(bench, &job, &running, 0, OFTEN).await?;
    let (done, after) = wait(bench, &job, &running, messages - 1, SELDOM).await?;
    let cpu_per_1000 = match (before, after) {
        (Some(before), Some(after)) if done > begun => {
            let cpu = after.cpu_time.saturating_sub(before.cpu_time);
            Some(cpu.mul_f64(1000.0 / count(done - begun)))
        }
        _ => None,
    };

    let sent = bench.alice.messages(&job.room).await?;
    let order: Result<Vec<usize>> = sent.iter().map(|event| number_in(event.body())).collect();
    if !order?.into_iter().eq(0..messages) {
        bail!("the room has {} messages, or not in order, of {messages}", sent.len());
    }
    let (first, last) = match sent.as_slice() {
        [first, .., last] => (first.origin_server_ts, last.origin_server_ts),
        _ => bail!("a backlog of fewer than two messages has no rate"),
    };
    let seconds = Duration::from_millis(last.saturating_sub(first).max(1)).as_secs_f64();
    Ok(Drain {
        messages_per_second: count(messages - 1) / seconds,
        start_to_first: after.map(|_| Duration::from_millis(first.saturating_sub(started))),
        cpu_per_1000,
        peak_rss_kib: after.map(|usage| usage.peak_rss_kib),
    })
}

/// Messages at a steady pace.
pub(crate) struct Paced {
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) idle_rss_kib: Option<u64>,
}

/// Sends 10 messages a second. The latency is from the moment before the publish to the moment at
/// which a client that follows the room has the message.
pub(crate) async fn paced(bench: &Bench, contender: &Contender, time: Duration) -> Result<Paced> {
    let job = bench.job().await?;
    // The first message tells that everything is up; it is not counted.
    bench.publish(&job, 1).await?;
    let running = contender.start(&job, 1).await?;
    wait(bench, &job, &running, 0, OFTEN).await?;
    sleep(Duration::from_secs(2)).await;
    let idle = running.usage()?;

    let messages = usize::try_from(time.as_millis() / 100)?.max(1);
    let reader = bench.alice.reader(&job.room).await?;
    let (sent, seen) =
        tokio::try_join!(send_paced(bench, contender, &job, messages), receive(reader, messages))?;
    let mut latencies: Vec<Duration> =
        sent.iter().zip(&seen).map(|(sent, seen)| seen.duration_since(*sent)).collect();
    latencies.sort_unstable();
    Ok(Paced {
        p50: percentile(&latencies, 50),
        p99: percentile(&latencies, 99),
        idle_rss_kib: idle.map(|usage| usage.rss_kib),
    })
}

/// Sends messages 1 to `messages` and says when each set out.
async fn send_paced(
    bench: &Bench,
    contender: &Contender,
    job: &Job,
    messages: usize,
) -> Result<Vec<Instant>> {
    let mut raw = match contender {
        Contender::Raw => Some(raw::Sender::connect(&job.bot, &job.room).await?),
        Contender::Baseline { .. } | Contender::Other { .. } | Contender::Bridge { .. } => None,
    };
    let mut pace = interval(Duration::from_millis(100));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sent = Vec::with_capacity(messages);
    for number in 1..=messages {
        pace.tick().await;
        sent.push(Instant::now());
        match &mut raw {
            Some(raw) => raw.send(number).await?,
            None => {
                bench.nats.publish(&job.subject, report(number)).await?;
            }
        }
    }
    Ok(sent)
}

/// Follows the room until it has `messages` more than now, and says when each was seen.
async fn receive(mut reader: Reader, messages: usize) -> Result<Vec<Instant>> {
    let before = reader.events().len();
    let mut seen = Vec::with_capacity(messages);
    while seen.len() < messages {
        let events = reader.wait_for(before + seen.len() + 1, Duration::from_mins(1)).await?;
        seen.resize(events.len() - before, Instant::now());
    }
    Ok(seen)
}

/// The memory that a queue costs.
pub(crate) struct Memory {
    pub(crate) queued: usize,
    /// The most resident memory until 100 messages were sent.
    pub(crate) peak_rss_kib: u64,
    /// The same until 3,000 were, if the queue is that deep.
    pub(crate) later_rss_kib: Option<u64>,
}

/// Starts a contender on a queue and looks at its memory while it sends the first few thousand.
pub(crate) async fn memory(bench: &Bench, contender: &Contender, queued: usize) -> Result<Memory> {
    let job = bench.job().await?;
    bench.publish(&job, queued).await?;
    let running = contender.start(&job, queued).await?;
    let (_, usage) = wait(bench, &job, &running, queued.min(100) - 1, OFTEN).await?;
    let usage = usage.context("only a process has memory of its own")?;
    let later = if queued > 3000 {
        let (_, usage) = wait(bench, &job, &running, 2999, SELDOM).await?;
        usage.map(|usage| usage.peak_rss_kib)
    } else {
        None
    };
    Ok(Memory { queued, peak_rss_kib: usage.peak_rss_kib, later_rss_kib: later })
}

/// A backlog after an outage, shown as a digest.
pub(crate) struct Storm {
    pub(crate) alerts: usize,
    /// The time from the start of the process until a client that follows the room has all of them.
    pub(crate) readable: Duration,
    pub(crate) peak_rss_kib: u64,
}

/// Starts the bridge on a queue of alerts.
pub(crate) async fn storm(bench: &Bench, binary: &Path, alerts: usize) -> Result<Storm> {
    let job = bench.job().await?;
    bench.nats.publish_many(&job.subject, (0..alerts).map(alert)).await?;
    let mut reader = bench.alice.reader(&job.room).await?;
    let started = Instant::now();
    let process = BridgeProcess::spawn(binary, job.bridge_config().toml(), job.dir.path())?;
    // Each has a line over it, with its time and subject, in the thread.
    let shown = |events: &[Event]| -> usize {
        events.iter().map(|event| event.body().matches("── ").count()).sum()
    };
    let all = reader.wait_until(|events| shown(events) >= alerts, Duration::from_mins(2)).await;
    let events = all.with_context(|| format!("its log:\n{}", process.logs()))?;
    if shown(events) != alerts {
        bail!("the room has {} alerts of {alerts}", shown(events));
    }
    let readable = started.elapsed();
    Ok(Storm { alerts, readable, peak_rss_kib: process.usage()?.peak_rss_kib })
}

/// Waits until message `number` is in the room; the latest message and the usage at that moment.
async fn wait(
    bench: &Bench,
    job: &Job,
    running: &Running,
    number: usize,
    every: Duration,
) -> Result<(usize, Option<Usage>)> {
    let latest = bench.wait_for(job, number, every).await;
    let latest = latest.with_context(|| format!("its log:\n{}", running.logs()))?;
    Ok((latest, running.usage()?))
}

fn now_ms() -> Result<u64> {
    Ok(Timestamp::now().as_millisecond().try_into()?)
}

/// A count as a number to reckon with; ours are far from where that is inexact.
fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::MAX, f64::from)
}

/// The smallest value that so many per cent do not exceed.
pub(crate) fn percentile<T: Copy + Default>(sorted: &[T], per_cent: usize) -> T {
    let rank = (sorted.len() * per_cent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

impl fmt::Display for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} msg/s", self.messages_per_second)?;
        if let Some(cpu) = self.cpu_per_1000 {
            write!(f, ", {:.2} s CPU per 1000", cpu.as_secs_f64())?;
        }
        if let Some(rss) = self.peak_rss_kib {
            write!(f, ", peak {rss} KiB")?;
        }
        if let Some(start) = self.start_to_first {
            write!(f, ", first after {} ms", start.as_millis())?;
        }
        Ok(())
    }
}

impl fmt::Display for Paced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p50 {:.1?}, p99 {:.1?}", self.p50, self.p99)?;
        match self.idle_rss_kib {
            Some(rss) => write!(f, ", idle {rss} KiB"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Storm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { alerts, readable, peak_rss_kib } = self;
        write!(f, "{alerts} alerts readable after {readable:.1?}, peak {peak_rss_kib} KiB")
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "peak {} KiB after 100 messages", self.peak_rss_kib)?;
        match self.later_rss_kib {
            Some(rss) => write!(f, ", {rss} KiB after 3000"),
            None => Ok(()),
        }
    }
}
