//! Builds the events that show a message in the thread of its alert.

use std::borrow::Cow;

use matrix_sdk::ruma::{EventId, OwnedEventId};
use serde_json::Value;

use crate::{
    alerts::{AlertThread, ThreadState, Transition},
    config::Route,
    message::{Attachment, Origin, StreamId, Urgency},
    render::{
        Rendered,
        content::{in_place_of, in_thread, marked, with_people},
        conversation::relapses,
    },
    source::Delivery,
};

/// A message to be posted, and the events that show it.
pub(crate) struct Message<'a> {
    pub(crate) delivery: &'a Delivery,
    pub(crate) stream: &'a StreamId,
    pub(crate) route: &'a Route,
    pub(crate) parts: Vec<Part>,
    /// The number of the first event: a message with several objects numbers those of each from another one.
    pub(crate) first_part: u32,
}

/// An event that shows a message, or a part of it.
#[derive(Debug, Clone)]
pub(crate) enum Part {
    /// The content of an event.
    Text(Value),
    /// A file, perhaps in the thread of an event.
    File {
        file: Attachment,
        thread: Option<OwnedEventId>,
        /// The content of the event that says why the file is missing, posted if the homeserver does not take the file.
        instead: Value,
    },
}

impl Part {
    /// Returns the parts that show a rendered message outside of any alert thread.
    pub(crate) fn of(rendered: &Rendered, file: Option<Self>, route: &Route) -> Vec<Self> {
        let text = Self::Text(rendered.content(&route.mention));
        std::iter::once(text).chain(file).collect()
    }
}

impl Message<'_> {
    /// Returns the origin of the event that shows the given part of the message.
    pub(crate) fn origin(&self, part: u32) -> Origin {
        self.delivery.origin(self.stream, &self.route.name, part)
    }

    pub(crate) fn file_name(&self, file: &Attachment) -> String {
        format!("{}-{}.{}", self.stream.stream, self.delivery.sequence, file.extension)
    }

    /// Returns the number of the last part, but never of the first, which may be the very one that was refused.
    pub(crate) fn note_part(&self) -> u32 {
        let last = u32::try_from(self.parts.len().saturating_sub(1)).unwrap_or(u32::MAX).max(1);
        self.first_part.saturating_add(last)
    }
}

impl AlertThread {
    /// Returns the events in the order in which they are posted: the one that makes phones buzz comes first. `people` are
    /// the lines that say who has the alert.
    pub(crate) fn parts(
        &self,
        rendered: &Rendered,
        people: &[String],
        notice: impl FnOnce() -> Rendered,
        file: impl FnOnce(Option<&EventId>) -> Option<Part>,
        route: &Route,
    ) -> Vec<Part> {
        let reply = || {
            let loudest = if self.pushes() { rendered.urgency } else { Urgency::Routine };
            rendered.clone().at_most(loudest)
        };
        let (before, reply, edited) = match (self.turn, &self.before) {
            (Transition::Opened | Transition::Orphaned, _) | (_, None) => {
                let text = Part::Text(self.content(rendered, route));
                return std::iter::once(text).chain(file(None)).collect();
            }
            (Transition::Updated { .. }, Some(before)) => {
                (before, reply(), Cow::Borrowed(rendered))
            }
            (Transition::Resolved, Some(before)) => (before, notice(), Cow::Borrowed(rendered)),
            (Transition::Reopened { .. }, Some(before)) => {
                (before, reply(), Cow::Owned(flapping(rendered, before, route)))
            }
        };
        let root = &before.root;
        let reply = Part::Text(in_thread(self.content(&reply, route), root));
        let edit = || Part::Text(self.edit(root, &edited, people, route));
        let edit = self.outdates_root().then(edit);
        let file = file(Some(root));
        let texts = match self.turn {
            Transition::Resolved => [edit, Some(reply)],
            _ => [Some(reply), edit],
        };
        texts.into_iter().chain([file]).flatten().collect()
    }

    /// The number of the part that edits the first message, among those that [`Self::parts`] returns.
    pub(crate) fn edit_part(&self) -> Option<u32> {
        self.outdates_root().then_some(u32::from(self.turn != Transition::Resolved))
    }

    /// Builds the edit of the first message.
    pub(crate) fn edit(
        &self,
        root: &EventId,
        rendered: &Rendered,
        people: &[String],
        route: &Route,
    ) -> Value {
        in_place_of(root, &with_people(self.content(rendered, route), people))
    }

    /// Builds the content of an event that shows the alert. Where people may answer, it says which alert it is.
    fn content(&self, rendered: &Rendered, route: &Route) -> Value {
        let content = rendered.content(&route.mention);
        if route.answers.is_some() { marked(content, &self.mark(route)) } else { content }
    }
}

fn flapping(rendered: &Rendered, before: &ThreadState, route: &Route) -> Rendered {
    rendered.clone().with_line(&relapses(
        before.times.saturating_add(1),
        before.begun,
        &route.display,
    ))
}
