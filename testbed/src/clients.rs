//! Clients that others wrote, for a second opinion of what a room shows.

mod browser;
mod cinny;
mod element;
mod nio;
mod phone;

pub use cinny::{Cinny, Scene};
pub use element::{ElementEngine, ElementMessage, ElementView};
pub use nio::{MatrixNio, NioMessage};
pub use phone::{PHONE_WIDTH, Phone, PhoneView};
