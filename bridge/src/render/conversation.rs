//! Messages about an alert after the first one.

use std::borrow::Cow;

use jiff::SignedDuration;

use crate::{
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
}

/// Returns the line about an alert that fires again and again.
pub(crate) fn relapses(times: u32, begun: i64, display: &Display) -> String {
    let voice = Voice::of(display);
    let since = rfc3339::written(begun).map(|begun| voice.moment(&begun)).unwrap_or_default();
    voice.words.relapses(times, &since)
}
