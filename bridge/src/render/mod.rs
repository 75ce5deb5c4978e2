//! From a message to what a room shows.

pub(crate) mod alert;
mod builtin;
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
mod own;
pub(crate) mod renderer;
mod rows;
mod speaker;
mod voice;
pub(crate) mod words;

pub(crate) use self::{
    content::Rendered,
    digest_entries::{Entry, News, Piece},
    incoming::Incoming,
    renderer::Renderer,
    speaker::{Speaker, Speakers},
    words::Words,
};

#[cfg(test)]
mod tests;
