//! Everything that speaks to the homeserver.

pub(crate) mod account;
pub(crate) mod elements;
pub(crate) mod error;
pub(crate) mod join;
mod neighbour;
mod new_rooms;
mod ownership;
pub(crate) mod room;
pub(crate) mod session;

pub(crate) use self::{
    account::{Account, LoginError},
    error::MatrixError,
    join::{Closed, Failures, Guard, Opened, RoomRole},
    new_rooms::NewRooms,
    ownership::{Objection, Ownership},
    room::{Entry, LastPosted, Membership, Room},
    session::Session,
};
