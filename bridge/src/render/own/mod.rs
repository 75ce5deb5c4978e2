//! TODO

pub(crate) mod fault;
mod files;
mod names;
pub(crate) mod templates;

#[cfg(test)]
mod tests;
