//! Reads a stream beside its durable consumer, with a temporary consumer that acknowledges nothing and that the server
//! soon forgets.

use std::time::Duration;

use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, DeliverPolicy, PullConsumer, ReplayPolicy, pull::Config as PullConfig},
    stream::Stream,
};
use tokio::time::timeout;

use crate::{
    nats::{Allowance, Nats, Reservation},
    source::{
        consumer,
        delivery::Delivery,
        problem::ReadError,
        pull::{Pull, PullError},
    },
};

/// The time after which the server forgets the temporary consumer of a bridge that was killed while it read.
const FORGET: Duration = Duration::from_secs(30);

/// The time without a message after which the server is asked whether any are left.
const SLOW: Duration = Duration::from_secs(10);

/// The messages to read.
pub(crate) struct Selection<'a> {
    pub(crate) stream: &'a str,
    pub(crate) begin: DeliverPolicy,
    pub(crate) filters: Vec<String>,
    /// The name of the consumer, if it has to be one that permissions can name. Only one reader at a time can use it.
    pub(crate) consumer: Option<String>,
}

/// An open flow of messages. A message that the client cannot read breaks the connection, so the reader needs one of
/// its own.
pub(crate) struct Reader<'a> {
    nats: Nats,
    stream: Stream<()>,
    consumer: PullConsumer,
    pull: Pull<'a>,
    /// The number of messages that have been read.
    read: u64,
    /// The number of messages that are left.
    pending: u64,
    has_fixed_name: bool,
}

impl<'a> Reader<'a> {
    /// Opens a flow. Large messages are taken into the memory that `allowance` names.
    ///
    /// # Errors
    ///
    /// The consumer is not created, or the connection has ended.
    pub(crate) async fn open(
        nats: &Nats,
        wanted: Selection<'_>,
        allowance: Allowance<'a>,
    ) -> Result<Self, ReadError> {
        let has_fixed_name = wanted.consumer.is_some();
        let (stream, consumer) = make(nats, wanted).await?;
        Ok(Self {
            nats: nats.clone(),
            stream,
            pending: consumer.cached_info().num_pending,
            pull: Pull::begin(nats, consumer.clone(), allowance).await?,
            consumer,
            read: 0,
            has_fixed_name,
        })
    }

    /// Returns the sequence number after which the flow begins.
    pub(crate) fn before(&self) -> u64 {
        self.consumer.cached_info().delivered.stream_sequence
    }

    /// Sets the number of bytes that the next message may have, if the reader has a reservation.
    pub(crate) fn allow(&mut self, bytes: usize) {
        self.pull.allow(bytes);
    }

    /// Returns the next message; `None` after the last one.
    ///
    /// # Errors
    ///
    /// The messages cannot be read to the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Delivery>, ReadError> {
        let message = self.next_raw().await?;
        Ok(message.and_then(Delivery::new).map(|(delivery, _)| delivery))
    }

    async fn next_raw(&mut self) -> Result<Option<jetstream::Message>, ReadError> {
        if self.pending == 0 {
            return Ok(None);
        }
        let next = tokio::select! {
            biased;
            next = timeout(SLOW, self.pull.next()) => next,
            () = self.nats.drained() => return Err(ReadError::ConnectionLost),
        };
        let Ok(message) = next else {
            return if self.is_at_end().await? { Ok(None) } else { Err(ReadError::Silence(SLOW)) };
        };
        let message = message?;
        let (number, pending) = {
            let info = message.info().map_err(|_| ReadError::from(PullError::NoMessage))?;
            (info.consumer_sequence, info.pending)
        };
        self.read += 1;
        // The client does not pass on every message, and this consumer delivers none twice.
        if number != self.read {
            return Err(ReadError::Gap);
        }
        self.pending = pending;
        Ok(Some(message))
    }

    /// Asks whether all messages have been read: the others may have been deleted in the meantime.
    async fn is_at_end(&self) -> Result<bool, ReadError> {
        let info = self.consumer.get_info().await;
        let info = info.map_err(ReadError::request)?;
        Ok(info.num_pending == 0 && info.delivered.consumer_sequence <= self.read)
    }

    /// Ends the flow. A consumer without a fixed name is left to the server, as there may be no permission to delete
    /// it.
    pub(crate) async fn close(self) {
        if self.has_fixed_name {
            // If this fails, the server removes the consumer.
            let _ = self.stream.delete_consumer(&self.consumer.cached_info().name).await;
        }
    }
}

/// Counts the messages from a sequence number on that the filters match.
///
/// # Errors
///
/// The reason why they cannot be counted.
pub(super) async fn count(
    nats: &Nats,
    stream: &str,
    from: u64,
    filters: Vec<String>,
) -> Result<u64, ReadError> {
    let begin = DeliverPolicy::ByStartSequence { start_sequence: from };
    let (_, consumer) = make(nats, Selection { stream, begin, filters, consumer: None }).await?;
    Ok(consumer.cached_info().num_pending)
}

/// Creates the temporary consumer of a flow.
async fn make(nats: &Nats, wanted: Selection<'_>) -> Result<(Stream<()>, PullConsumer), ReadError> {
    let name = wanted.consumer.as_deref();
    let stream = nats.jetstream.get_stream_no_info(wanted.stream).await;
    let stream = stream.map_err(ReadError::request)?;
    if let Some(name) = name {
        // The consumer may still exist if the process was killed while reading.
        let _ = stream.delete_consumer(name).await;
    }
    let (filter_subject, filter_subjects) = consumer::filter_fields(wanted.filters);
    let config = PullConfig {
        name: wanted.consumer.clone(),
        description: Some("nats-matrix reads beside the consumer of a route".to_owned()),
        deliver_policy: wanted.begin,
        ack_policy: AckPolicy::None,
        replay_policy: ReplayPolicy::Instant,
        filter_subject,
        filter_subjects,
        inactive_threshold: FORGET,
        memory_storage: true,
        num_replicas: 1,
        ..PullConfig::default()
    };
    let consumer = Box::pin(stream.create_consumer_strict(config)).await;
    let consumer = consumer.map_err(|error| ReadError::ConsumerRefused {
        consumer: name.unwrap_or("(unnamed)").to_owned(),
        stream: wanted.stream.to_owned(),
        done: "made",
        error: error.into(),
    })?;
    Ok((stream, consumer))
}

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
) -> Result<Option<jetstream::Message>, ReadError> {
    let nats = nats.another().await.map_err(ReadError::Unconnected)?;
    let begin = DeliverPolicy::ByStartSequence { start_sequence: from };
    let wanted = Selection { stream, begin, filters: vec![filter.to_owned()], consumer: None };
    let memory = Allowance::reserved(memory, usize::MAX);
    Box::pin(async { Reader::open(&nats, wanted, memory).await?.next_raw().await }).await
}
