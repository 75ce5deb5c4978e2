//! The running bridge: its start, the supervision of its routes, reloads, and its end.
//!
//! [`lifecycle`] is the entry, `route` what one route does all the time. It uses everything but `cli`.

mod answers;
mod drain;
pub(crate) mod history;
pub(crate) mod lifecycle;
mod patience;
mod refusal;
mod refusal_alert;
mod reload;
mod route;
mod service_manager;
mod settle;
mod state_lock;
mod supervise;

pub(crate) use self::reload::Setup;
