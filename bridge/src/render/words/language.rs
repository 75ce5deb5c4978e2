//! Selects the texts of a language.

use crate::{
    config::Language,
    render::words::{chinese::Chinese, english::English, vocabulary::Words},
};

impl Language {
    pub(crate) fn words(self) -> &'static dyn Words {
        match self {
            Self::English => &English,
            Self::Chinese => &Chinese,
        }
    }
}
