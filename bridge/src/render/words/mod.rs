//! The bridge's own texts in each language. A language is an implementation of [`Words`], so the compiler refuses one
//! that is incomplete.

mod chinese;
mod english;
mod figures;
mod language;
mod vocabulary;

pub(crate) use self::vocabulary::{NOTICE_MARK, Words};

#[cfg(test)]
mod tests;
