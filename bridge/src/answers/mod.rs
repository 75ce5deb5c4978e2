//! Answers of people to alerts: what an event of a room means ([`meaning`]), to which alert it is an answer
//! ([`mod@target`]), and who may give one ([`confirm`]).
//!
//! `listen` carries answers out. `pipeline` uses this layer to check against the room whether a stored answer was
//! given. It uses `matrix` and `config`.

mod confirm;
mod meaning;
mod target;

pub(crate) use self::{
    confirm::{is_acknowledgement, may_answer},
    meaning::{Act, Answer},
    target::{Target, target},
};
