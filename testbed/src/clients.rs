//! Clients that others wrote, for a second opinion of what a room shows.

mod element;
mod nio;

pub use element::{ElementEngine, ElementMessage, ElementView};
pub use nio::{MatrixNio, NioMessage};
