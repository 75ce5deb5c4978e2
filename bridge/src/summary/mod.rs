//! The summary of a route: every day or week one picture of how full disks and memory were, and words with it.
//!
//! [`poster`] posts it when it is due; it is made by reading the stream back (`gather`), adding up (`totals`), and drawing
//! (`picture`). It uses `source`, `render` and `matrix`.

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
