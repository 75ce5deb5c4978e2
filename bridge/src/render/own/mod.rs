//! Templates that users write to replace the built-in ones.

pub(crate) mod fault;
mod files;
mod names;
pub(crate) mod templates;

#[cfg(test)]
mod tests;
