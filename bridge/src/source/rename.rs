//! Gives the consumer of a feed another name, as NATS cannot rename one.

use async_nats::jetstream::{
    consumer::{DeliverPolicy, Info as ConsumerInfo},
    stream::{RetentionPolicy, Stream},
};

use crate::{
    nats::{Nats, offset_date_time},
    source::{
        consumer,
        feed::Feed,
        identity::{self, Names, Owner},
        outstanding,
        problem::{Problem, ReadError},
    },
};

/// The outcome of [`rename`].
#[derive(Debug)]
pub(crate) enum Renamed {
    /// There is no consumer yet.
    NoConsumer,
    /// The consumer has this name already.
    Already(String),
    /// The consumer has been replaced by another one.
    Done {
        /// The name before.
        from: String,
        /// The name now.
        to: String,
        /// The number of messages that wait.
        waiting: u64,
    },
}

/// Replaces the consumer of a feed, if it has an earlier name, by one with the name that a new one gets. It begins with
/// the first message that is not acknowledged, so none is lost. Messages behind that one may have been shown; the
/// bridge recognises them.
pub(crate) async fn rename(nats: &Nats, feed: &Feed) -> Result<Renamed, Problem> {
    let stream = consumer::stream(nats, feed.stream()).await?;
    let Some(info) = consumer::find(nats, &stream, feed).await? else {
        return Ok(Renamed::NoConsumer);
    };
    let names = Names::of(feed, &identity::domain(nats, feed).await?);
    if info.name == names.own {
        finish(&stream, feed, &names).await?;
        return Ok(Renamed::Already(info.name));
    }
    // If this is interrupted between the next steps, the note tells that the consumer is to be deleted.
    consumer::note_owner(&stream, feed, &info).await?;
    let is_work_queue = stream.cached_info().config.retention == RetentionPolicy::WorkQueue;
    let new = if is_work_queue {
        // A work queue has no other consumer for the same subjects, and keeps what is not acknowledged.
        consumer::delete(&stream, &info.name).await?;
        consumer::make(&stream, feed, &names.own, DeliverPolicy::All).await?
    } else {
        let new = consumer::make(&stream, feed, &names.own, rest_of(&info)).await?;
        consumer::delete(&stream, &info.name).await?;
        new
    };
    let waiting = new.cached_info().num_pending;
    Ok(Renamed::Done { from: info.name, to: names.own, waiting })
}

/// Deletes consumers that an interrupted [`rename`] has left.
async fn finish(stream: &Stream, feed: &Feed, names: &Names) -> Result<(), ReadError> {
    for name in &names.earlier {
        let owner = stream.consumer_info(name).await.ok().as_ref().and_then(Owner::of);
        if owner.is_some_and(|owner| owner.is(feed)) {
            consumer::delete(stream, name).await?;
        }
    }
    Ok(())
}

/// Returns where a consumer begins that delivers what another one has not had acknowledged.
fn rest_of(info: &ConsumerInfo) -> DeliverPolicy {
    match outstanding::begin(info) {
        (_, Some(start_time)) => {
            DeliverPolicy::ByStartTime { start_time: offset_date_time(start_time) }
        }
        (start_sequence, None) => DeliverPolicy::ByStartSequence { start_sequence },
    }
}
