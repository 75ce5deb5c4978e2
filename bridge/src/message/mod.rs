//! What can be said: reports, alerts, notes and events, how loud each may be, and where it comes from.
//!
//! These are types without behaviour on anything outside of them: nothing here reads, writes, or words anything in a
//! language. They use `text` and `json` alone; `decode` makes them, and `render` shows them.

pub(crate) mod alert;
mod file;
pub(crate) mod forge;
mod kind;
pub(crate) mod note;
pub(crate) mod origin;
pub(crate) mod payload;
pub(crate) mod report;
pub(crate) mod rfc3339;
mod route_name;
pub(crate) mod summary_mark;
pub(crate) mod urgency;

pub(crate) use self::{
    alert::{
        Alert, Counts, Group, Monitor, MonitorState, Severity, State, Status, Summary, Workflow,
    },
    file::{Attachment, Withheld, picture_type},
    forge::{Commit, Deed, ForgeEvent, ForgeEventKind, Outcome, Push, Reference, Thing},
    kind::Kind,
    note::Note,
    origin::{Origin, Position, Span, StreamId},
    payload::{Binary, Decoded, Event, Payload, PayloadKind},
    report::Report,
    route_name::RouteName,
    summary_mark::Mark,
    urgency::Urgency,
};
