//! Turns the bytes of a message into what a room shows of it.

use std::{collections::HashSet, rc::Rc, sync::Arc};

use bytes::Bytes;
use jiff::Timestamp;
use matrix_sdk::ruma::EventId;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    config::Route,
    failure::Interrupted,
    matrix::Account,
    message::{Attachment, Decoded, Withheld},
    pipeline::{
        attachments::{Budget, Candidate},
        parts::Part,
        poison::{self, Handling},
        routing::Routing,
    },
    render::{Incoming, Rendered, Renderer},
    source::{Delivery, Feed},
    status::RouteHealth,
};

/// Decodes and renders the messages of one feed.
pub(crate) struct Composer {
    route: Arc<Route>,
    /// The name of the stream that holds the messages.
    stream: String,
    pub(crate) renderer: Arc<Renderer>,
    routing: Routing,
    poison: Rc<poison::Guard>,
    /// The templates whose failure was logged.
    told: HashSet<String>,
    budget: Arc<Mutex<Budget>>,
    account: Arc<Account>,
    health: RouteHealth,
    stop: CancellationToken,
}

impl Composer {
    pub(crate) fn new(
        feed: &Feed,
        renderer: Arc<Renderer>,
        routing: Routing,
        budget: Arc<Mutex<Budget>>,
        account: Arc<Account>,
        health: RouteHealth,
        stop: CancellationToken,
    ) -> Self {
        let name = feed.label().replace(':', "-");
        let poison = Rc::new(poison::Guard::open(account.state_dir(), &name));
        let (route, stream) = (Arc::clone(&feed.route), feed.stream().to_owned());
        Self {
            route,
            stream,
            renderer,
            routing,
            poison,
            told: HashSet::new(),
            budget,
            account,
            health,
            stop,
        }
    }

    /// Returns the guard that notes which message or digest is being worked on, in case it ends the process.
    pub(crate) fn poison(&self) -> &Rc<poison::Guard> {
        &self.poison
    }

    /// Whether a message has ended the process in every way it was handled, so that it is only kept as a dead letter.
    pub(crate) fn is_hopeless(&self, delivery: &Delivery) -> bool {
        self.handling(delivery) == Handling::Never
    }

    /// Whether a message has ended the process even while it was being kept as a dead letter.
    pub(crate) fn is_to_be_left(&self, delivery: &Delivery) -> bool {
        self.handling(delivery) == Handling::Leave
    }

    /// Whether a message must not be looked into, because that has ended the process.
    pub(crate) fn is_opaque(&self, delivery: &Delivery) -> bool {
        self.handling(delivery) != Handling::Usual
    }

    fn handling(&self, delivery: &Delivery) -> Handling {
        self.poison.handling(delivery.published.as_nanosecond(), delivery.sequence)
    }

    /// Does work on a message that may end the process, with a note of the message.
    pub(crate) fn guard<T>(&self, delivery: &Delivery, work: impl FnOnce() -> T) -> T {
        self.poison.work(delivery.published.as_nanosecond(), delivery.sequence, work)
    }

    /// Decodes a message, unless decoding it has ended the process before.
    pub(crate) fn decode(&self, delivery: &Delivery) -> Decoded {
        self.guard(delivery, || {
            if self.is_opaque(delivery) {
                Decoded::as_bytes(
                    delivery.payload(),
                    "the bridge ended twice while it worked on this, so it is not looked into",
                )
            } else {
                self.routing.decode(delivery.subject(), delivery.headers(), delivery.payload())
            }
        })
    }

    /// Renders a message, or the one of its objects that was published as `original`. If its file must not be uploaded,
    /// the file is left out and the text says so. `current` is the first message that is not done with.
    pub(crate) async fn render(
        &mut self,
        delivery: &Delivery,
        (decoded, original): (&Decoded, &Bytes),
        current: &Delivery,
    ) -> Result<Rendered, Interrupted> {
        let rendered = self.render_whole(delivery, (decoded, original));
        let Some(file) = &rendered.attachment else { return Ok(rendered) };
        let size = file.bytes.len();
        let withheld = self.withheld(delivery, current.sequence, size).await?;
        let Some(why) = withheld else { return Ok(rendered) };
        self.health.metrics.withheld.inc();
        Ok(self.renderer.without_file(rendered, why, &self.stream, delivery.sequence))
    }

    /// Renders a message with its file, whatever the file's size.
    pub(crate) fn render_whole(
        &mut self,
        delivery: &Delivery,
        (decoded, original): (&Decoded, &Bytes),
    ) -> Rendered {
        let rendered = self.guard(delivery, || {
            self.renderer.render(&Incoming {
                subject: &delivery.speaking_subject(),
                headers: delivery.headers(),
                stream: &self.stream,
                sequence: delivery.sequence,
                published: delivery.said,
                route: self.route.name.as_str(),
                decoded,
                original,
            })
        });
        self.note_fault(delivery, &rendered);
        self.health.metrics.masked.inc_by(rendered.hidden);
        rendered
    }

    /// Returns the file of a message as a part, in the thread of an event if it belongs to one.
    pub(crate) fn file(&self, file: &Attachment, sequence: u64, thread: Option<&EventId>) -> Part {
        let instead = self.renderer.not_taken(file.bytes.len(), &self.stream, sequence);
        Part::File {
            file: file.clone(),
            thread: thread.map(ToOwned::to_owned),
            instead: instead.content(&[]),
        }
    }

    /// Returns the reason why a file is not uploaded, if there is one.
    async fn withheld(
        &self,
        delivery: &Delivery,
        current: u64,
        size: usize,
    ) -> Result<Option<Withheld>, Interrupted> {
        // If the homeserver does not state its limit, or not now, the upload will show it.
        let limit = self.stop.run_until_cancelled(self.account.upload_limit()).await;
        let limit = limit.ok_or(Interrupted::Stopping)?;
        if let Some(limit) = limit.filter(|limit| size as u64 > *limit) {
            return Ok(Some(Withheld::TooLarge(limit)));
        }
        let candidate = Candidate::of(delivery, current, &self.stream, size);
        Ok(self.budget.lock().await.take(candidate, Timestamp::now()).err())
    }

    /// Counts and logs what is wrong with a message, which is shown all the same.
    pub(crate) fn note_flaw(&self, delivery: &Delivery, decoded: &Decoded) {
        let Some(flaw) = decoded.any_flaw() else { return };
        self.health.metrics.flawed.inc();
        let (sequence, subject) = (delivery.sequence, delivery.subject_for_log());
        if flaw.is_shown_raw {
            warn!("message {sequence} on {subject} is posted as it is: {flaw}");
        } else {
            warn!(
                "message {sequence} on {subject} is posted, although something in it is wrong: {flaw}"
            );
        }
    }

    /// Counts every failure of a template, but logs only the first of each template: the room shows it below every
    /// message.
    fn note_fault(&mut self, delivery: &Delivery, rendered: &Rendered) {
        let Some(fault) = &rendered.fault else { return };
        self.health.metrics.fallbacks.inc();
        if self.told.insert(fault.file().to_owned()) {
            warn!(
                "message {} on {} is posted with the built-in template, as will others be: {fault}",
                delivery.sequence,
                delivery.subject_for_log()
            );
        }
    }
}
