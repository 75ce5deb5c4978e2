//! Summaries.

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
