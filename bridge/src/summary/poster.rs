//! The summary of a route: every day or week a picture of the disk and memory usage, with a caption.
//!
//! Nothing is stored between summaries. The messages are read back from the stream, and the room shows whether the
//! summary of a period was posted. It is therefore posted once, however often the bridge is restarted or killed, and
//! late if the bridge was not running when it was due; of several missed summaries only the last is posted.

use std::{ops::Range, path::Path, sync::Arc, time::Duration};

use async_nats::jetstream::stream::Stream;
use jiff::{Timestamp, Zoned, fmt::friendly::SpanPrinter, tz::TimeZone};
use serde_json::{Value, json};
use tokio::time::sleep;
use tracing::{error, info, warn};

use crate::{
    config::{Every, Route, Summary},
    directory,
    failure::{Failure, chain},
    matrix::{MatrixError, Room},
    message::{Attachment, Mark, summary_mark::SUMMARY_KEY},
    nats::Nats,
    pipeline::Routing,
    render::Rendered,
    source::{Problem, ReadError, Tenure},
    status::{Outage, RouteHealth, State},
    summary::{
        gather, lines,
        picture::{self, Picture},
        schedule,
        totals::Digest,
        words,
    },
};

/// The longest time between two looks at the clock, which may be set, or jump because the machine slept.
const LOOK_AT_CLOCK: Duration = Duration::from_mins(1);

/// The scale of the thumbnail that clients show in the timeline.
const THUMBNAIL: f32 = 0.5;

/// A summary that is ready to be posted.
#[derive(Debug)]
pub(crate) struct Composed {
    words: Rendered,
    /// The picture and its thumbnail; `None` if there is nothing to draw.
    pictures: Option<(Picture, Picture)>,
}

impl Composed {
    /// The text for readers who do not see the picture.
    pub(crate) fn plain(&self) -> &str {
        &self.words.plain
    }

    /// Writes the picture into a file. Returns false if there is no picture.
    pub(crate) fn write(&self, file: &Path) -> Result<bool, Failure> {
        let Some((picture, _)) = &self.pictures else { return Ok(false) };
        directory::write(file, &picture.png).map_err(|error| {
            Failure::Config(format!("cannot write {}: {error}", file.display()))
        })?;
        Ok(true)
    }
}

/// The time at which the next summary of a route is due, in the route's time zone.
pub(crate) fn next_due(summary: Summary, zone: &TimeZone) -> Zoned {
    schedule::next_due(summary, zone, Timestamp::now()).to_zoned(zone.clone())
}

/// Checks that a stream can be summed up. Returns a warning if it keeps messages for less than a whole period.
///
/// # Errors
///
/// [`Failure::Config`] if the stream does not keep messages that were posted.
pub(crate) fn check_stream(stream: &Stream, summary: Summary) -> Result<Option<String>, Failure> {
    gather::check_retention(stream)?;
    let (days, span) = match summary.every {
        Every::Day => (1, "a day"),
        Every::Week(_) => (7, "a week"),
    };
    let kept = stream.cached_info().config.max_age;
    let is_short = !kept.is_zero() && kept < Duration::from_hours(24 * days);
    Ok(is_short.then(|| {
        let kept = SpanPrinter::new().unsigned_duration_to_string(&kept);
        format!("its stream keeps messages for only {kept}, which is less than {span}")
    }))
}

/// Composes and posts the summaries of one route.
#[derive(Clone)]
pub(crate) struct Summaries {
    route: Arc<Route>,
    routing: Routing,
    nats: Nats,
}

impl Summaries {
    /// Creates the summaries of a route.
    pub(crate) fn of(route: Arc<Route>, routing: Routing, nats: Nats) -> Self {
        Self { route, routing, nats }
    }

    /// The day or week that ends now.
    pub(crate) fn period_up_to_now(&self, summary: Summary) -> Range<Timestamp> {
        schedule::period_up_to(summary, &self.route.display.time_zone, Timestamp::now())
    }

    /// Makes the summary of a period, in one attempt. Returns `None` if the stream did not exist in it.
    pub(crate) async fn compose(
        &self,
        period: &Range<Timestamp>,
    ) -> Result<Option<Composed>, Problem> {
        let digest = gather::gather(&self.nats, &self.route, &self.routing, period).await?;
        let Some(digest) = digest else { return Ok(None) };
        let (name, display) = (self.route.name.as_str(), &self.route.display);
        let words =
            words::words(name, &digest, &lines::numbered(&digest), display, &self.route.mask);
        let pictures = self.draw(digest).await?;
        Ok(Some(Composed { words, pictures }))
    }

    /// Draws the pictures on a thread of their own, so that no message waits for them.
    async fn draw(&self, digest: Digest) -> Result<Option<(Picture, Picture)>, Failure> {
        let route = Arc::clone(&self.route);
        let draw = move || {
            let draw = |scale| picture::draw(route.name.as_str(), &digest, &route.display, scale);
            // One after the other, because both at once would take more memory.
            Ok(draw(1.0)?.zip(draw(THUMBNAIL)?))
        };
        let drawn = tokio::task::spawn_blocking(draw).await;
        drawn.unwrap_or_else(|error| Err(Failure::Bug(format!("no picture: {error}"))))
    }

    fn mark(&self, period: &Range<Timestamp>) -> Mark {
        let (stream, route) = (self.route.stream.clone(), self.route.name.to_string());
        Mark { stream, route, until: period.end }
    }

    /// Posts a composed summary, in one attempt.
    pub(crate) async fn post(
        &self,
        room: &Room,
        period: &Range<Timestamp>,
        composed: &Composed,
    ) -> Result<(), MatrixError> {
        let content = self.content(room, period, composed).await?;
        self.send(room, period, content).await
    }

    async fn send(
        &self,
        room: &Room,
        period: &Range<Timestamp>,
        mut content: Value,
    ) -> Result<(), MatrixError> {
        let mark = self.mark(period);
        content[SUMMARY_KEY] = json!(mark);
        room.send_as(mark.transaction_id(room.id()), &content).await.map(drop)
    }

    /// Uploads the pictures and returns the content of the event. Without pictures it is a notice.
    async fn content(
        &self,
        room: &Room,
        period: &Range<Timestamp>,
        composed: &Composed,
    ) -> Result<Value, MatrixError> {
        let mut content = composed.words.content(&[]);
        let Some((picture, thumbnail)) = &composed.pictures else { return Ok(content) };
        let day = period.end.to_zoned(self.route.display.time_zone.clone()).date();
        let name = format!("{}-{day}.png", self.route.name);
        content["info"] = info(picture);
        content["info"]["thumbnail_url"] = json!(room.upload(&file(thumbnail), &name).await?);
        content["info"]["thumbnail_info"] = info(thumbnail);
        content["url"] = json!(room.upload(&file(picture), &name).await?);
        // A body that differs from the file name is the caption (Matrix 1.10); clients also use it as the alternative
        // text.
        content["filename"] = json!(name);
        content["msgtype"] = json!("m.image");
        Ok(content)
    }
}

fn file(picture: &Picture) -> Attachment {
    Attachment { bytes: picture.png.clone().into(), extension: "png", media_type: "image/png" }
}

fn info(picture: &Picture) -> Value {
    json!({ "mimetype": "image/png", "size": picture.png.len(), "w": picture.width, "h": picture.height })
}

/// A task that posts the summaries of a route when they are due.
pub(crate) struct Poster {
    summaries: Summaries,
    summary: Summary,
    room: Room,
    tenure: Tenure,
    outage: Outage,
    /// Whether the room is replaced by another one.
    is_replaced: bool,
}

impl Poster {
    /// Creates the task for the route's `room`.
    pub(crate) fn new(
        summaries: Summaries,
        summary: Summary,
        room: Room,
        tenure: Tenure,
        health: &RouteHealth,
    ) -> Self {
        let what = "summary";
        let outage = Outage::of(what, health.condition());
        Self { summaries, summary, room, tenure, outage, is_replaced: false }
    }

    /// Posts every summary that becomes due, until the room is replaced by another one, or another bridge may have taken
    /// over the route. The future may be dropped at any moment.
    pub(crate) async fn run(self) {
        let tenure = self.tenure.clone();
        tokio::select! {
            biased;
            () = tenure.ended() => {}
            () = self.post_all() => {}
        }
    }

    async fn post_all(mut self) {
        let mut newest = Timestamp::MIN;
        loop {
            let period = self.last_period();
            // After the clock was set back, older periods come again.
            if period.end > newest {
                newest = period.end;
                let posted = self.insist(&period).await;
                if self.is_replaced {
                    return;
                }
                if let Err(failure) = posted {
                    // The relay continues, and the next summary may succeed.
                    error!(
                        "cannot post the summary up to {newest}: {failure}; the next one is tried when it is due"
                    );
                    self.outage.abandon();
                }
            }
            let zone = &self.summaries.route.display.time_zone;
            let now = Timestamp::now();
            let wait = now.duration_until(schedule::next_due(self.summary, zone, now));
            sleep(wait.unsigned_abs().min(LOOK_AT_CLOCK)).await;
        }
    }

    fn last_period(&self) -> Range<Timestamp> {
        let zone = &self.summaries.route.display.time_zone;
        schedule::last_period(self.summary, zone, Timestamp::now())
    }

    /// Retries until the summary is in the room or the next one is due.
    async fn insist(&mut self, period: &Range<Timestamp>) -> Result<(), Failure> {
        let mut content = None;
        while self.last_period() == *period {
            let trouble = match self.attempt(period, &mut content).await {
                Ok(()) => {
                    self.outage.over();
                    return Ok(());
                }
                Err(trouble) => trouble,
            };
            let (state, (reason, asked)) = match trouble {
                Trouble::Permanent(failure) => return Err(failure),
                Trouble::Source(error) => (State::NatsUnreachable, (chain(&error), None)),
                Trouble::Matrix(error) => (State::of(&error), self.mend(error).await?),
            };
            sleep(self.outage.failed(state, &reason, asked)).await;
        }
        self.outage.abandon();
        warn!("gave up the summary up to {}, because the next one is due", period.end);
        Ok(())
    }

    /// Makes one attempt. `content` keeps what an earlier attempt has read and uploaded.
    async fn attempt(
        &self,
        period: &Range<Timestamp>,
        content: &mut Option<Value>,
    ) -> Result<(), Trouble> {
        let mark = self.summaries.mark(period);
        // Checked in each attempt, because the one before may have succeeded without an answer.
        if self.room.has_summary(&mark).await? {
            return Ok(());
        }
        if content.is_none() {
            let Some(composed) = self.summaries.compose(period).await? else { return Ok(()) };
            *content = Some(self.content(period, &composed).await?);
        }
        let Some(content) = content else { return Ok(()) };
        self.tenure.certain().await;
        self.summaries.send(&self.room, period, content.clone()).await?;
        info!("posted the summary up to {}", mark.until);
        Ok(())
    }

    /// Returns the content of the event, with the caption alone if the homeserver rejects the picture.
    async fn content(
        &self,
        period: &Range<Timestamp>,
        composed: &Composed,
    ) -> Result<Value, MatrixError> {
        match self.summaries.content(&self.room, period, composed).await {
            Err(error @ MatrixError::Rejected(_)) => {
                warn!("the summary is posted without its picture, because the homeserver {error}");
                Ok(composed.words.content(&[]))
            }
            content => content,
        }
    }

    /// Reacts to an error of the homeserver. Returns its reason and the pause that the homeserver asked for.
    async fn mend(&mut self, error: MatrixError) -> Result<(String, Option<Duration>), Failure> {
        let reason = error.of_homeserver();
        match error {
            MatrixError::Limited { wait, .. } => return Ok((reason, wait)),
            MatrixError::TokenRefused(_) => {
                return Ok((self.room.account().recover(&error).await?, None));
            }
            MatrixError::Forbidden(_) => {
                // The bridge may have been removed from the room. If it cannot join again, the next attempt fails for
                // that reason.
                let _ = Room::enter(self.room.account(), self.room.id().into()).await;
            }
            MatrixError::Rejected(_) => return Err(Failure::Config(reason)),
            MatrixError::Replaced(_) => {
                self.is_replaced = true;
                return Err(Failure::Config(reason));
            }
            // The relay logs what to do about it.
            MatrixError::Encrypted(_) => return Err(Failure::Encrypted(reason)),
            MatrixError::Unreachable(_)
            | MatrixError::Untrusted(_)
            | MatrixError::TooLong { .. }
            | MatrixError::NotFound(_) => {}
        }
        Ok((reason, None))
    }
}

/// The reason why an attempt failed.
enum Trouble {
    /// The messages were not read, which may pass.
    Source(ReadError),
    /// The homeserver did not take the summary.
    Matrix(MatrixError),
    /// Another attempt does not help.
    Permanent(Failure),
}

impl From<MatrixError> for Trouble {
    fn from(error: MatrixError) -> Self {
        Self::Matrix(error)
    }
}

impl From<Problem> for Trouble {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::Transient(error) => Self::Source(error),
            Problem::Permanent(failure) => Self::Permanent(failure),
        }
    }
}
