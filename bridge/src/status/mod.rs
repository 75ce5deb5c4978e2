//! What is known of how the bridge is. Passive: whoever finds out that something does not work notes it here, and takes
//! it back when it works again; `health` and the log read it.

mod board;
mod health;
pub(crate) mod metrics;
mod moment;
mod outage;
mod reconnections;
mod waiting;

pub(crate) use self::{
    board::{ClosedRoom, Recent, RouteSnapshot, Shown, Snapshot, State},
    health::{Condition, Health, RouteHealth},
    moment::Moment,
    outage::Outage,
    waiting::{First, Waiting},
};
