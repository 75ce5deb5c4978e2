//! What is known of how the bridge is.
//!
//! It is passive: whoever finds out that something does not work sets a [`Condition`] and clears it when it works again.
//! `health` shows it to people and machines. It uses `message` and `failure`; everything below may write to it.

mod board;
mod health;
pub(crate) mod metrics;
mod moment;
mod outage;
mod reconnections;
mod waiting;

pub(crate) use self::{
    board::{Recent, RouteSnapshot, Shown, Snapshot, State},
    health::{Condition, Health, RouteHealth},
    moment::Moment,
    outage::Outage,
    waiting::{First, Waiting},
};
