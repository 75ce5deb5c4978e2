//! What can be said: reports, alerts, notes and events, and where they come from. Leaf types: nothing here reads, writes
//! or words anything.

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
    alert::{Alert, Counts, Group, Severity, State, Status},
    file::{Attachment, Withheld, picture_type},
    forge::{Deed, Outcome, Thing},
    kind::Kind,
    note::{Line, Note},
    origin::{Origin, Position, Span, StreamId},
    payload::{Binary, Decoded, Event, Flaw, Payload},
    report::Report,
    route_name::RouteName,
    summary_mark::Mark,
    urgency::Urgency,
};
