//! The bridge against real servers: each test starts what it needs, publishes as a node does, and looks
//! at the room as a person does.
//!
//! The tests may run in parallel; those that do not harm the homeserver share one.

#![allow(clippy::unwrap_used, clippy::allow_attributes, reason = "a test fails by panicking")]

mod answers;
mod bounds;
mod check;
mod clients;
mod closed_rooms;
mod config;
mod connections;
mod consumers;
mod conversations;
mod delivery;
mod denied;
mod digests;
mod disk;
mod drain;
mod faults;
mod front;
mod health;
mod hostile;
mod identity;
mod ill_routes;
mod kinds;
mod large;
mod leaf;
mod markers;
mod named_rooms;
mod noise;
mod on_call;
mod outstanding;
mod payloads;
mod permissions;
mod planted;
mod provision;
mod publish;
mod quiet;
mod refresh;
mod reload;
mod removed;
mod replaced_rooms;
mod restored;
mod rights;
mod rooms;
mod routing;
mod scene;
mod secrets;
mod service;
mod shutdown;
mod standby;
mod strangers;
mod summary;
mod taken;
mod templates;
mod transforms;
mod unknown;
