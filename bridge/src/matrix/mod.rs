//! The homeserver: the account and its session, the meaning of its answers, entering and creating rooms, posting into
//! them and reading what is there.
//!
//! Each request here is one attempt, except in [`join`]; `pipeline::sender` tries again. This layer uses `config` and
//! `status`.

pub(crate) mod account;
pub(crate) mod elements;
pub(crate) mod error;
pub(crate) mod join;
pub(crate) mod listened;
mod neighbour;
mod new_rooms;
mod ownership;
pub(crate) mod remembered;
mod resolver;
pub(crate) mod room;
pub(crate) mod session;
pub(crate) mod sync;
mod values;

pub(crate) use self::{
    account::{Account, LoginError},
    error::MatrixError,
    join::{Closed, Failures, Guard, Opened, RoomRole},
    listened::Listened,
    new_rooms::NewRooms,
    ownership::{Objection, Ownership},
    room::{Entry, LastPosted, Membership, Room},
    session::Session,
};
