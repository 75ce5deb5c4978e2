//! JSON objects of no known shape.

use std::sync::OnceLock;

use serde_json::{Map, Value};

use crate::message::gist::Gist;

/// A JSON object of no known shape, with its gist, which is found only once.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    fields: Map<String, Value>,
    gist: OnceLock<Box<Gist>>,
}

impl Object {
    pub(crate) fn new(fields: Map<String, Value>) -> Self {
        Self { fields, gist: OnceLock::new() }
    }

    /// Wraps an object whose gist is known.
    pub(crate) fn with_gist(fields: Map<String, Value>, gist: Box<Gist>) -> Self {
        Self { fields, gist: OnceLock::from(gist) }
    }

    pub(crate) fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    pub(crate) fn gist(&self) -> &Gist {
        self.gist.get_or_init(|| Box::new(Gist::of(&self.fields)))
    }

    /// Changes the fields by `change`, which returns whether it did. The gist of other fields is another one.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Map<String, Value>) -> bool) {
        if change(&mut self.fields) {
            self.gist = OnceLock::new();
        }
    }
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.fields == other.fields
    }
}
