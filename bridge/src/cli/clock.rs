//! The clock of this machine, compared with that of NATS.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::json;

use crate::nats::Nats;

/// The difference that does no harm.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(1);

/// An answer of JetStream with the time at which it was given.
#[derive(Debug, Deserialize)]
struct Answer {
    ts: Timestamp,
}

/// Returns how wrong the clock is, as a sentence, if it differs from that of NATS. An earlier NATS does not tell its time.
pub(super) async fn difference(nats: &Nats, stream: &str) -> Option<String> {
    let before = Timestamp::now();
    let subject = format!("STREAM.INFO.{stream}");
    let answer: Result<Answer, _> = nats.jetstream.request(subject, &json!({})).await;
    between(answer.ok()?.ts, before, Timestamp::now())
}

/// Compares the time of NATS with those before and after it was asked.
fn between(theirs: Timestamp, before: Timestamp, after: Timestamp) -> Option<String> {
    let (difference, way) = if theirs < before {
        (before.duration_since(theirs), "ahead of")
    } else {
        (theirs.duration_since(after), "behind")
    };
    (difference > TOLERANCE).then(|| {
        let minutes = SignedDuration::from_mins(difference.as_mins());
        format!(
            "the clock of this machine is {minutes:#} {way} that of NATS; certificates, quiet hours and summaries go by it: \
             look at timedatectl on both machines"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_wrong_by_minutes_is_told_and_a_slow_answer_is_not() {
        let at = |minutes| Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes);
        assert_eq!(between(at(100), at(98), at(103)), None, "it took five minutes");
        assert_eq!(between(at(100), at(101), at(101)), None);
        let ahead = between(at(100), at(3090), at(3090)).unwrap();
        assert!(ahead.contains("is 49h 50m ahead of that of NATS"), "{ahead}");
        let behind = between(at(100), at(90), at(95)).unwrap();
        assert!(behind.contains("is 5m behind that of NATS"), "{behind}");
    }
}
