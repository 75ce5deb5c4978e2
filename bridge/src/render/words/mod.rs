//! What we say ourselves, in each language. A language is an implementation of [`Words`]; the compiler refuses one that is
//! not complete.

mod chinese;
mod english;
mod figures;
mod language;
mod vocabulary;

pub(crate) use self::vocabulary::{NOTICE_MARK, Words};

#[cfg(test)]
mod tests;
