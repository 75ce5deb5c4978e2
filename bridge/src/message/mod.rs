//! The types of messages: reports, alerts, notes and events, with the urgency and the origin of each.
//!
//! These types do no I/O and contain no text in a human language. They use only `text` and `json`; `decode` creates
//! them, and `render` shows them.

pub(crate) mod alert;
pub(crate) mod alert_mark;
mod event_number;
mod file;
pub(crate) mod forge;
mod gist;
mod kind;
pub(crate) mod note;
mod object;
pub(crate) mod origin;
pub(crate) mod payload;
pub(crate) mod removal;
pub(crate) mod report;
pub(crate) mod rfc3339;
mod route_name;
pub(crate) mod summary_mark;
mod texts;
pub(crate) mod urgency;

pub(crate) use self::{
    alert::{
        Alert, Counts, Group, Monitor, MonitorState, Severity, State, Status, Summary, Workflow,
    },
    alert_mark::AlertMark,
    file::{Attachment, Withheld, picture_type},
    forge::{Commit, Deed, ForgeEvent, ForgeEventKind, Outcome, Push, Reference, Thing},
    gist::Gist,
    kind::Kind,
    note::{Note, Remark, Test},
    object::Object,
    origin::{Origin, Position, Span, StreamId, is_same_creation},
    payload::{Binary, Decoded, Event, Item, Payload, PayloadKind},
    removal::Removal,
    report::Report,
    route_name::{ConsumerName, RouteName},
    summary_mark::Mark,
    urgency::Urgency,
};
