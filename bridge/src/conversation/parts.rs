//! The events that show a message in its conversation.

use super::{Conversation, Talk, Turn};
use crate::{
    config::Route,
    post::Part,
    render::{Rendered, Urgency, conversation::relapses, in_place_of, in_thread},
};

impl Talk {
    /// The events, in the order in which they are posted: what pushes comes first.
    pub(crate) fn parts(&self, rendered: &Rendered, notice: &Rendered, route: &Route) -> Vec<Part> {
        let Some(before) = self.before.as_ref().filter(|_| self.turn != Turn::Opening) else {
            return Part::of(rendered, route);
        };
        let say = |rendered: &Rendered| {
            Part::Text(in_thread(rendered.content(&route.mention), &before.root))
        };
        let edit = |rendered: &Rendered| {
            Part::Text(in_place_of(&before.root, &rendered.content(&route.mention)))
        };
        let may_edit = !before.is_shared;
        let quiet = |pushes| {
            if pushes { rendered.clone() } else { rendered.clone().at_most(Urgency::Routine) }
        };
        let mut parts = Vec::new();
        match self.turn {
            Turn::Opening | Turn::Alone => return Part::of(rendered, route),
            Turn::Update { pushes, is_worse } => {
                parts.push(say(&quiet(pushes)));
                parts.extend((is_worse && may_edit).then(|| edit(rendered)));
            }
            Turn::Resolution => {
                parts.extend(may_edit.then(|| edit(rendered)));
                parts.push(say(notice));
            }
            Turn::Relapse { pushes } => {
                parts.push(say(&quiet(pushes)));
                parts.extend(may_edit.then(|| edit(&flapping(rendered, before, route))));
            }
        }
        let file = rendered.attachment.clone();
        parts.extend(file.map(|file| Part::File(file, Some(before.root.clone()))));
        parts
    }
}

fn flapping(rendered: &Rendered, before: &Conversation, route: &Route) -> Rendered {
    rendered.clone().with_line(&relapses(
        before.times.saturating_add(1),
        before.begun,
        &route.display,
    ))
}
