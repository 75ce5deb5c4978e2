//! Messages about an alert after the first one.

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};
use matrix_sdk::ruma::UserId;

use crate::{
    alerts::Holder,
    config::Display,
    message::{Decoded, Payload, Status, Urgency, rfc3339},
    render::{alert, content::Rendered, renderer::Renderer, voice::Voice},
    text::shown,
};

/// Returns a resolved alert with its beginning and end, even if the publisher did not send them.
pub(crate) fn with_times(decoded: &Decoded, begun: i64, ended: i64) -> Cow<'_, Decoded> {
    match &decoded.payload {
        Payload::Alert(alert) if alert.status == Status::Resolved => {
            let mut alert = alert.clone();
            alert.time = alert.time.or_else(|| rfc3339::written(begun));
            alert.ended = alert.ended.or_else(|| rfc3339::written(ended));
            Cow::Owned(Decoded {
                payload: Payload::Alert(alert),
                is_cut: decoded.is_cut,
                hidden: decoded.hidden,
                flaw: decoded.flaw.clone(),
            })
        }
        _ => Cow::Borrowed(decoded),
    }
}

impl Renderer {
    /// Builds the notice in the thread of an alert that is resolved.
    pub(crate) fn resolution(&self, decoded: &Decoded, begun: i64, ended: i64) -> Rendered {
        let words = self.voice.words;
        let took = words.duration(SignedDuration::from_secs(ended.saturating_sub(begun).max(0)));
        let summary = match &decoded.payload {
            Payload::Alert(alert) => shown::line(&alert::worded(&alert.summary, words)),
            Payload::Alerts(group) => shown::line(&group.title),
            _ => String::new(),
        };
        let summary = self.veil().line(&summary).into_owned();
        Rendered::words(&words.resolved_after(&took, &summary)).at_most(Urgency::Routine)
    }

    /// Returns the lines that say who has an alert, one for each person. `us` is the user of the bridge.
    pub(crate) fn has_it(&self, holders: &[Holder], us: &UserId) -> Vec<String> {
        let is_first = |index: usize| {
            !holders[..index].iter().any(|before| before.user == holders[index].user)
        };
        let of_people = holders.iter().enumerate().filter(|(index, _)| is_first(*index));
        of_people
            .map(|(_, holder)| {
                self.voice.words.has_it(&name(&holder.user, us), &self.clock(holder.at))
            })
            .collect()
    }

    /// Builds the notice that somebody has acknowledged an alert.
    pub(crate) fn takes_it(&self, holder: &Holder, us: &UserId) -> Rendered {
        let lines = self.has_it(std::slice::from_ref(holder), us);
        Rendered::words(&lines.join("")).at_most(Urgency::Routine)
    }

    /// Builds the notice that somebody no longer has an alert.
    pub(crate) fn gives_it_back(&self, user: &UserId, us: &UserId) -> Rendered {
        let line = self.voice.words.has_it_no_more(&name(user, us));
        Rendered::words(&line).at_most(Urgency::Routine)
    }

    /// Formats a time of the last day, like "02:14"; an older one has its date.
    fn clock(&self, at: i64) -> String {
        let Ok(at) = Timestamp::from_second(at) else { return String::new() };
        let is_old = Timestamp::now().duration_since(at) > SignedDuration::from_hours(20);
        let at = at.to_zoned(self.voice.zone.clone());
        at.strftime(if is_old { "%F %H:%M" } else { "%H:%M" }).to_string()
    }
}

/// Returns the name of a user, with the server if it is another one than ours.
fn name(user: &UserId, us: &UserId) -> String {
    let is_here = user.server_name() == us.server_name();
    shown::name(if is_here { user.localpart() } else { user.as_str() })
}

/// Returns the line about an alert that fires again and again.
pub(crate) fn relapses(times: u32, begun: i64, display: &Display) -> String {
    let voice = Voice::of(display);
    let since = rfc3339::written(begun).map(|begun| voice.moment(&begun)).unwrap_or_default();
    voice.words.relapses(times, &since)
}
