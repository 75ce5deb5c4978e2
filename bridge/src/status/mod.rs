//! The health of the bridge: conditions, counters and recent messages.
//!
//! This layer is passive: the code that finds a failure sets a [`Condition`] and clears it when the thing works again.
//! `health` shows the result to people and machines. It uses `message` and `failure`; every layer below may write to
//! it.

mod board;
mod health;
pub(crate) mod metrics;
mod moment;
mod outage;
mod repetitions;
mod waiting;

pub(crate) use self::{
    board::{
        ClosedRoom, DeadFor, DeadLetters, Recent, RemovedUnread, RouteSnapshot, Shown, Snapshot,
        State,
    },
    health::{Condition, Health, RouteHealth},
    metrics::Answered,
    moment::{age, passed},
    outage::Outage,
    repetitions::Repetitions,
    waiting::{First, Waiting},
};
