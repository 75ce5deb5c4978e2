//! Reads messages that were delivered and are not acknowledged from the stream itself.
//!
//! Having them delivered again would take until `ack_wait` is over, and a message whose headers the client cannot read
//! would break the connection again each time.

use async_nats::jetstream::consumer::{DeliverPolicy, Info as ConsumerInfo};
use jiff::Timestamp;

use crate::{
    nats::{Nats, Need, Reservation, timestamp},
    source::{
        consumer::{self, MAX_ACK_PENDING},
        delivery::Delivery,
        feed::Feed,
        problem::ReadError,
        pull::BATCH_BYTES,
        stored::Stored,
    },
};

/// Whether messages may be outstanding. A server that has just become the consumer's leader may not have counted them
/// yet, but knows from which number on some are not acknowledged.
pub(super) fn is_any(info: &ConsumerInfo) -> bool {
    info.num_ack_pending > 0 || info.ack_floor.consumer_sequence < info.delivered.consumer_sequence
}

/// Returns the number of the message up to which a feed is done with all: any, if nothing waits.
pub(crate) fn done(feed: &Feed, info: &ConsumerInfo) -> u64 {
    if is_any(info) {
        return info.ack_floor.stream_sequence;
    }
    // Messages that wait on subjects that were added show only once the consumer has these.
    let is_all = info.num_pending == 0 && !consumer::lacks(feed, info);
    if is_all { u64::MAX } else { info.delivered.stream_sequence }
}

/// Returns the number of messages up to `until` that are not done with, or a larger one: the server only counts all.
pub(crate) fn left(info: &ConsumerInfo, until: u64) -> u64 {
    consumer::unsettled(info).min(until.saturating_sub(info.ack_floor.stream_sequence))
}

/// Reads some outstanding messages in stream order, starting after the message `after`; returns none only if there are
/// no more. Messages that the stream no longer has are left out. Acknowledged messages may be among them, even many, if
/// one before them is not acknowledged. They are small, together not much more than [`Memory::in_hand`], or one is large
/// and alone, with a reservation of its own.
///
/// Messages from `recover` on are read even if they are acknowledged, because somebody else did that.
///
/// [`Memory::in_hand`]: crate::nats::Memory::in_hand
pub(super) async fn read(
    nats: &Nats,
    info: &ConsumerInfo,
    after: Option<u64>,
    recover: Option<u64>,
    mut memory: Reservation,
) -> Result<Vec<Delivery>, ReadError> {
    let (begin, since) = match (begin(info), recover) {
        ((begin, _), Some(recover)) => (begin.min(recover), None),
        (known, None) => known,
    };
    // Without a gap every message behind the first one is not acknowledged either.
    let delivered =
        info.delivered.consumer_sequence.saturating_sub(info.ack_floor.consumer_sequence);
    let has_no_gap = info.num_ack_pending as u64 == delivered;
    let (stream, filters) = (&info.stream_name, consumer::filters(&info.config));
    let (mut some, mut bytes) = (Vec::new(), 0);
    let last = info.delivered.stream_sequence;
    let mut from = begin.max(after.unwrap_or(0) + 1);
    let (in_hand, mut large) = (nats.memory.in_hand(), None);
    while from <= last && some.len() < MAX_ACK_PENDING && bytes < in_hand {
        let next = Stored::first(nats, stream, from, &filters, &memory).await?;
        let Some(next) = next.filter(|next| next.sequence <= last) else { break };
        from = next.sequence + 1;
        if since.is_none_or(|since| next.published >= since) {
            let given = info.delivered.consumer_sequence;
            let mut next = next.delivery(nats, stream, &info.name, given, AGAIN)?;
            next.is_acknowledged = next.sequence <= info.ack_floor.stream_sequence;
            next.is_unacknowledged = next.sequence > info.ack_floor.stream_sequence && has_no_gap;
            if next.weight > BATCH_BYTES {
                large = Some(next);
                break;
            }
            bytes += next.weight;
            some.push(next);
        }
    }
    // After others a large one is read once more, when it is its turn.
    if let Some(mut large) = large.filter(|_| some.is_empty()) {
        memory.shrink(Need::Message(large.weight));
        large.reservation = Some(memory);
        some.push(large);
    }
    let mut waiting = info.num_pending + some.len().max(info.num_ack_pending) as u64;
    for delivery in &mut some {
        waiting = waiting.saturating_sub(1);
        delivery.pending = waiting;
    }
    Ok(some)
}

/// The number of the delivery of a message that is delivered at least for the second time.
const AGAIN: u64 = 2;

/// Returns the first message that is not acknowledged, delivered or not, read into reserved memory.
pub(super) async fn first(
    nats: &Nats,
    info: &ConsumerInfo,
    memory: &Reservation,
) -> Result<Option<Stored>, ReadError> {
    let ((from, since), filters) = (begin(info), consumer::filters(&info.config));
    let first = Stored::first(nats, &info.stream_name, from, &filters, memory).await?;
    Ok(first.filter(|first| since.is_none_or(|since| first.published >= since)))
}

/// Returns the sequence number, or the time, before which no message is left to be acknowledged.
pub(super) fn begin(info: &ConsumerInfo) -> (u64, Option<Timestamp>) {
    let policy = &info.config.deliver_policy;
    // For a consumer that has acknowledged nothing the server may report that it began with the stream.
    let begin = match policy {
        DeliverPolicy::ByStartSequence { start_sequence } => *start_sequence,
        _ => 1,
    };
    // Once something is acknowledged the number is more exact, and the clocks of servers may differ.
    let since = match policy {
        _ if info.ack_floor.stream_sequence > 0 => None,
        DeliverPolicy::New => Some(timestamp(info.created)),
        DeliverPolicy::ByStartTime { start_time } => Some(timestamp(*start_time)),
        _ => None,
    };
    (begin.max(info.ack_floor.stream_sequence + 1), since)
}
