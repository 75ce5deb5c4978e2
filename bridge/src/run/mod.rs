//! What runs.

pub(crate) mod lifecycle;
mod patience;
mod reload;
mod route;
mod service_manager;
mod supervise;

pub(crate) use self::reload::Setup;
