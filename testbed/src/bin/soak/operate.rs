//! Faults that operators of NATS make: they edit consumers, purge and restore streams, and take rights away.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_nats::jetstream::{
    self, ErrorCode,
    consumer::{self, Config as ConsumerConfig},
    context::{ConsumerInfoErrorKind, GetStreamErrorKind},
    stream::Stream,
};
use nats_matrix_testbed::{StreamBackup, route_consumer};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    rights::Revoked,
    routes::{self, PURGED, Route, SHARED, Site},
    scene::Scene,
    schedule::{Fault, Kind},
};

/// The time in which what is to be struck may not be there, or NATS not answer, because of other faults. They strike NATS
/// every few seconds, and a busy machine needs as long until three servers have elected a leader for each consumer.
const PATIENCE: Duration = Duration::from_mins(10);
/// The time that one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(20);
/// The time after its creation until which a consumer is paused, if nobody resumes it.
const PAUSED: Duration = Duration::from_hours(24);

/// The changes of a consumer, by turn; between them, it is paused.
const EDITS: [fn(&mut ConsumerConfig); 6] = [
    |config| config.ack_wait = Duration::from_secs(1),
    |config| config.max_ack_pending = 1,
    |config| config.description = Some("edited".to_owned()),
    |config| config.max_deliver = 1,
    |config| config.headers_only = true,
    |config| config.inactive_threshold = Duration::from_secs(2),
];

impl Scene {
    /// Has such a fault strike, and returns when it is over and repaired.
    ///
    /// # Errors
    ///
    /// If it did not strike as it should have.
    pub(crate) async fn operate(&self, fault: &Fault) -> Result<()> {
        match fault.kind {
            Kind::ConsumerEdited => self.edit_consumer(fault).await,
            Kind::ConsumerDeleted => {
                persistently(async || {
                    let (stream, info) = self.consumer(struck_route(fault)).await?;
                    Ok(stream.delete_consumer(&info.name).await.map(drop)?)
                })
                .await
            }
            Kind::StreamPurged => self.purge_stream(fault).await,
            Kind::StreamRestored => self.restore_stream(fault.lasts).await,
            _ => {
                self.revoke(Revoked::by_turn(fault.turn)).await?;
                sleep(fault.lasts).await;
                self.revoke(Revoked::Nothing).await
            }
        }
    }

    /// Gives the bridge all rights but these. Operators do that while all servers run.
    pub(crate) async fn revoke(&self, revoked: Revoked) -> Result<()> {
        let _running = self.servers.lock().await;
        self.cluster.reload(&self.rights.without(revoked)).await
    }

    async fn edit_consumer(&self, fault: &Fault) -> Result<()> {
        let route = struck_route(fault);
        let Some(edit) = EDITS.get(fault.turn % (EDITS.len() + 1)) else {
            let (stream, name) = persistently(|| self.pause(route)).await?;
            sleep(fault.lasts).await;
            return resume(&stream, &name).await;
        };
        let (stream, before) = persistently(async || {
            let (stream, before) = self.consumer(route).await?;
            let mut edited = before.config.clone();
            edit(&mut edited);
            stream.update_consumer(edited).await?;
            Ok((stream, before))
        })
        .await?;
        sleep(fault.lasts).await;
        persistently(async || {
            // It was deleted, as that of a route that is removed, or for want of a reader.
            if !has_consumer(&stream, &before.name).await? {
                return Ok(());
            }
            Ok(stream.update_consumer(before.config.clone()).await.map(drop)?)
        })
        .await
    }

    async fn pause(&self, route: &Route) -> Result<(Stream, String)> {
        let (stream, info) = self.consumer(route).await?;
        stream.pause_consumer(&info.name, info.created + PAUSED).await?;
        Ok((stream, info.name))
    }

    async fn consumer(&self, route: &Route) -> Result<(Stream, consumer::Info)> {
        let jetstream = self.operator().await?;
        let info = route_consumer(&jetstream, route.stream.name, route.configured).await?;
        Ok((jetstream.get_stream(route.stream.name).await?, info))
    }

    /// Purges a stream: with its consumer paused until messages wait, or while they are delivered, by turn. What it had
    /// is noted before, while nobody publishes.
    async fn purge_stream(&self, fault: &Fault) -> Result<()> {
        let routes = routes::at(Site::Hub);
        let route = routes.into_iter().find(|route| *route.stream == PURGED);
        let route = route.context("no route of the stream that is purged")?;
        let paused = if fault.turn.is_multiple_of(2) {
            let paused = persistently(|| self.pause(route)).await?;
            sleep(fault.lasts).await;
            persistently(async || {
                let waiting = self.consumer(route).await?.1.num_pending;
                ensure!(waiting > 0, "no message waits");
                Ok(())
            })
            .await?;
            Some(paused)
        } else {
            None
        };
        {
            let _held = self.phase.write().await;
            // The server that reads it may not have the last messages yet.
            let stored = persistently(async || {
                let stored = self.stored(route).await?;
                let stream = self.operator().await?.get_stream(route.stream.name).await?;
                let messages = stream.cached_info().state.messages;
                ensure!(messages == stored.len() as u64, "{} of {messages} are read", stored.len());
                Ok(stored)
            })
            .await?;
            self.note_purge(stored);
            persistently(async || {
                let stream = self.operator().await?.get_stream(route.stream.name).await?;
                Ok(stream.purge().await.map(drop)?)
            })
            .await?;
        }
        match paused {
            Some((stream, name)) => resume(&stream, &name).await,
            None => Ok(()),
        }
    }

    /// Backs a stream up with its consumers, deletes it, and restores it after a while. Nobody publishes meanwhile, and
    /// all servers run, as they would for an operator who does that.
    async fn restore_stream(&self, lasts: Duration) -> Result<()> {
        let _running = self.servers.lock().await;
        let _held = self.phase.write().await;
        let jetstream = self.operator().await?;
        let client = jetstream.client();
        let messages = persistently(async || {
            Ok(jetstream.get_stream(SHARED.name).await?.cached_info().state.messages)
        })
        .await?;
        let backup = persistently(|| StreamBackup::with_consumers(&client, SHARED.name)).await?;
        persistently(|| remove(&jetstream)).await?;
        sleep(lasts).await;
        persistently(async || {
            // An attempt before this one may have come to its end, or to half of it.
            if let Ok(stream) = jetstream.get_stream(SHARED.name).await {
                if stream.cached_info().state.messages == messages {
                    return Ok(());
                }
                remove(&jetstream).await?;
            }
            backup.restore(&client).await?;
            let restored = jetstream.get_stream(SHARED.name).await?.cached_info().state.messages;
            ensure!(restored == messages, "{restored} of {messages} messages were restored");
            Ok(())
        })
        .await
    }
}

/// The route whose consumer a fault strikes.
fn struck_route(fault: &Fault) -> &'static Route {
    let routes = routes::at(Site::Hub);
    routes[fault.turn % routes.len()]
}

async fn has_consumer(stream: &Stream, name: &str) -> Result<bool> {
    match stream.consumer_info(name).await {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), ConsumerInfoErrorKind::NotFound) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Undoes [`Scene::pause`], unless the consumer is gone.
async fn resume(stream: &Stream, name: &str) -> Result<()> {
    persistently(async || {
        if !has_consumer(stream, name).await? {
            return Ok(());
        }
        Ok(stream.resume_consumer(name).await.map(drop)?)
    })
    .await
}

/// Deletes the shared stream, if it is there.
async fn remove(jetstream: &jetstream::Context) -> Result<()> {
    match jetstream.get_stream(SHARED.name).await {
        Ok(_) => Ok(jetstream.delete_stream(SHARED.name).await.map(drop)?),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(error)
                if error.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                Ok(())
            }
            _ => Err(error.into()),
        },
    }
}

/// Tries something again until it succeeds.
///
/// # Errors
///
/// The last one, if it does not for so long that other faults are no excuse.
pub(crate) async fn persistently<T>(attempt: impl AsyncFn() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let error = match timeout(ATTEMPT, attempt()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(_) => anyhow::anyhow!("no answer"),
        };
        if Instant::now() > deadline {
            return Err(error);
        }
        sleep(Duration::from_millis(500)).await;
    }
}
