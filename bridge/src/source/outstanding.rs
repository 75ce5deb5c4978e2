//! What was delivered and is not acknowledged, read from the stream itself.
//!
//! To have it delivered again would take until `ack_wait` is over, and a message whose headers the client cannot read
//! would break the connection again each time.

use async_nats::jetstream::consumer::{DeliverPolicy, Info as ConsumerInfo};

use super::{
    Delivery,
    consumer::{self, Problem},
    stored::Stored,
};
use crate::nats::Nats;

/// Reads it, in the stream's order. What the stream no longer has is left out; what was acknowledged
/// may be among it, if the server has not noted all of that.
pub(super) async fn read(nats: &Nats, info: &ConsumerInfo) -> Result<Vec<Delivery>, Problem> {
    let config = &info.config;
    let begin = match config.deliver_policy {
        DeliverPolicy::ByStartSequence { start_sequence } => start_sequence,
        _ => 1,
    };
    let since = match config.deliver_policy {
        DeliverPolicy::New => Some(info.created),
        DeliverPolicy::ByStartTime { start_time } => Some(start_time),
        _ => None,
    };
    let (stream, filters) = (&info.stream_name, consumer::filters(config));
    let (mut all, last) = (Vec::new(), info.delivered.stream_sequence);
    // Of a consumer that has acknowledged nothing the server may say that it began with the stream.
    let mut from = begin.max(info.ack_floor.stream_sequence + 1);
    while from <= last {
        let next = Stored::first(nats, stream, from, &filters).await?;
        let Some(next) = next.filter(|next| next.sequence <= last) else { break };
        from = next.sequence + 1;
        if since.is_none_or(|since| next.published >= since) {
            all.push(next);
        }
    }
    let mut after = info.num_pending + all.len() as u64;
    let deliveries = all.into_iter().map(|stored| {
        after -= 1;
        delivery(nats, info, stored, after)
    });
    deliveries.collect()
}

/// As it would be delivered, with so many after it.
fn delivery(
    nats: &Nats,
    info: &ConsumerInfo,
    stored: Stored,
    after: u64,
) -> Result<Delivery, Problem> {
    let (stream, consumer, sequence) = (&info.stream_name, &info.name, stored.sequence);
    let published = stored.published.unix_timestamp_nanos();
    // The form of nats-server's ADR-15. The server finds what is acknowledged by the sequence in the stream alone, and
    // wants one of the consumer that it has given.
    let given = info.delivered.consumer_sequence;
    let reply = format!("$JS.ACK.{stream}.{consumer}.1.{sequence}.{given}.{published}.{after}");
    let delivery = Delivery::new(stored.delivered(nats, Some(reply)));
    delivery.map(|(delivery, _)| delivery).ok_or_else(|| {
        Problem::Passing(format!("stream {stream}: message {sequence} has no place in it"))
    })
}
