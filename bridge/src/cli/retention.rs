//! Finds out whether a stream keeps messages for as long as they may have to wait in it.

use std::time::Duration;

use async_nats::jetstream::stream::{DiscardPolicy, Info, State};
use jiff::Timestamp;

use crate::nats::timestamp;

/// The number of messages from which on the current rate tells something.
const ENOUGH: u64 = 20;

/// The shortest time over which a rate is taken.
const SHORTEST: Duration = Duration::from_mins(1);

/// The number of messages of each subject that a stream has to keep. One that keeps fewer drops messages of a storm.
const OF_SUBJECT: i64 = 100;

/// Returns one line for each limit by which a stream drops messages that have waited for less than `needed`.
pub(super) fn too_short(stream: &Info, needed: Duration, now: Timestamp) -> Vec<String> {
    let (config, state) = (&stream.config, &stream.state);
    let words = |time: Duration| format!("{:#}", jiff::SignedDuration::from_secs(secs(time)));
    let mut lines = Vec::new();
    let age = config.max_age;
    if !age.is_zero() && age < needed {
        lines.push(format!("max_age of {} drops messages that wait for longer", words(age)));
    }
    // Other streams refuse new messages instead.
    if config.discard != DiscardPolicy::Old {
        return lines;
    }
    for (name, most, held) in [
        ("max_msgs", config.max_messages, state.messages),
        ("max_bytes", config.max_bytes, state.bytes),
    ] {
        if let Some(kept) = kept_for(most, held, state, now).filter(|kept| *kept < needed) {
            lines.push(format!(
                "{name} of {most} is reached in {} at the current rate, and drops the first messages then",
                words(kept)
            ));
        }
    }
    let of_subject = config.max_messages_per_subject;
    if (1..OF_SUBJECT).contains(&of_subject) {
        lines.push(format!(
            "max_msgs_per_subject of {of_subject} drops earlier messages that still wait"
        ));
    }
    lines
}

/// Returns for how long a stream keeps messages by a limit at the current rate, if there are enough to tell.
fn kept_for(most: i64, held: u64, state: &State, now: Timestamp) -> Option<Duration> {
    let most = u64::try_from(most).ok().filter(|most| *most > 0)?;
    if state.messages < ENOUGH.min(most) || held == 0 {
        return None;
    }
    let since = now.duration_since(timestamp(state.first_timestamp)).unsigned_abs();
    let seconds = u128::from(since.max(SHORTEST).as_secs()) * u128::from(most) / u128::from(held);
    u64::try_from(seconds).ok().map(Duration::from_secs)
}

fn secs(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}
