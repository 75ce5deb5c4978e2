//! The summary of a route: a picture of the usage of disks and memory, every day or week, with a caption.
//!
//! [`poster`] posts it when it is due. `gather` reads the stream back, `totals` adds up the messages, and `picture`
//! draws the result. This layer uses `source`, `render` and `matrix`.

mod canvas;
mod gather;
mod lines;
mod picture;
pub(crate) mod poster;
mod schedule;
mod totals;
mod words;

pub(crate) use self::poster::{Composed, Poster, Summaries};

#[cfg(test)]
mod tests;
