//! Builds the events that show a message in the thread of its alert.

use std::borrow::Cow;

use matrix_sdk::ruma::EventId;

use crate::{
    alerts::{AlertThread, ThreadState, Transition},
    config::Route,
    message::Urgency,
    pipeline::sender::Part,
    render::{
        Rendered,
        content::{in_place_of, in_thread},
        conversation::relapses,
    },
};

impl AlertThread {
    /// Returns the events in the order in which they are posted: the one that makes phones buzz comes first.
    pub(crate) fn parts(
        &self,
        rendered: &Rendered,
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
                return Part::of(rendered, file(None), route);
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
        let reply = Part::Text(in_thread(reply.content(&route.mention), root));
        let edit = || Part::Text(in_place_of(root, &edited.content(&route.mention)));
        let edit = self.outdates_root().then(edit);
        let file = file(Some(root));
        let texts = match self.turn {
            Transition::Resolved => [edit, Some(reply)],
            _ => [Some(reply), edit],
        };
        texts.into_iter().chain([file]).flatten().collect()
    }
}

fn flapping(rendered: &Rendered, before: &ThreadState, route: &Route) -> Rendered {
    rendered.clone().with_line(&relapses(
        before.times.saturating_add(1),
        before.begun,
        &route.display,
    ))
}
