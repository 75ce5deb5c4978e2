//! Turns a message into what a room shows: plain text for notifications and simple clients, HTML for all others, and a
//! file for a message that is too long to read on a phone.
//!
//! [`renderer`] is the entry. The texts are in [`words`], with a file per language. The built-in templates are in files
//! beside this one, and `own` reads those of users. This layer uses `message` and `alerts`; `pipeline::compose` calls
//! it.

pub(crate) mod alert;
mod budget;
mod builtin;
mod columns;
pub(crate) mod content;
pub(crate) mod conversation;
pub(crate) mod digest;
pub(crate) mod digest_entries;
mod filters;
#[cfg(test)]
mod hostile;
mod incoming;
pub(crate) mod link;
pub(crate) mod markup;
pub(crate) mod moment;
mod note;
mod own;
pub(crate) mod renderer;
mod rows;
mod speaker;
mod veil;
mod voice;
pub(crate) mod words;

pub(crate) use self::{
    content::Rendered,
    digest_entries::{Entry, News, OtherKeys, Piece, ThreadUpdate},
    incoming::Incoming,
    renderer::{Parsed, Renderer},
    speaker::{Speaker, Speakers},
};

#[cfg(test)]
mod shapes_tests;
#[cfg(test)]
mod tests;
