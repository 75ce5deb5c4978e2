//! Reads a stream beside its durable consumer, with a temporary consumer that the server soon forgets.

use std::time::Duration;

use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, DeliverPolicy, ReplayPolicy, pull::Config as PullConfig},
};
use tokio::time::timeout;

use crate::{
    failure::chain,
    nats::{Allowance, Nats, Reservation},
    source::pull::Pull,
};

/// The time after which the server forgets the temporary consumer of a bridge that was killed while it read.
pub(crate) const FORGET: Duration = Duration::from_secs(30);

/// The time that the next message may take to arrive once the server has said that there is one.
pub(crate) const SLOW: Duration = Duration::from_secs(10);

/// Returns the first message from a sequence number on that a filter matches, over a connection of its own, into
/// reserved memory. `None` if there is none.
///
/// # Errors
///
/// The reason why the message cannot be read.
pub(crate) async fn first(
    nats: &Nats,
    stream: &str,
    from: u64,
    filter: &str,
    memory: &Reservation,
) -> Result<Option<jetstream::Message>, String> {
    let nats = nats.another().await?;
    let memory = Allowance::reserved(memory, usize::MAX);
    let (pending, mut pull) = flow(&nats, stream, from, vec![filter.to_owned()], memory).await?;
    if pending == 0 {
        return Ok(None);
    }
    let next = tokio::select! {
        biased;
        next = timeout(SLOW, pull.next()) => next,
        () = nats.drained() => return Err("the connection to NATS broke".to_owned()),
    };
    let message = next.map_err(|_| format!("no message for {} s", SLOW.as_secs()))?;
    message.map(Some)
}

/// Returns the messages from a sequence number on, in order and without consuming them, and how many there are.
pub(crate) async fn flow<'a>(
    nats: &Nats,
    stream: &str,
    first: u64,
    mut filters: Vec<String>,
    memory: Allowance<'a>,
) -> Result<(u64, Pull<'a>), String> {
    let stream = nats.jetstream.get_stream_no_info(stream).await;
    let stream = stream.map_err(|error| chain(&error))?;
    // Servers before 2.10 only know a single filter, in this field.
    let filter_subject = if filters.len() == 1 { filters.remove(0) } else { String::new() };
    let config = PullConfig {
        description: Some("nats-matrix reads what waits".to_owned()),
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: first },
        ack_policy: AckPolicy::None,
        replay_policy: ReplayPolicy::Instant,
        filter_subject,
        filter_subjects: filters,
        inactive_threshold: FORGET,
        memory_storage: true,
        num_replicas: 1,
        ..PullConfig::default()
    };
    let consumer = stream.create_consumer(config).await.map_err(|error| chain(&error))?;
    let pending = consumer.cached_info().num_pending;
    Ok((pending, Pull::begin(nats, consumer, memory).await?))
}
