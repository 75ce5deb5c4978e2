//! Shapes: files that say how the messages of a sender are recognised, and what each field of them becomes.
//!
//! The built-in shapes are in `bridge/shapes`, each beside samples of its messages. Users add their own in a directory;
//! those are tried first. docs/src/guide/shapes.md describes the files.

mod build;
mod builtin;
mod draft;
mod evaluate;
mod expression;
mod file;
mod forge;
mod recognise;
mod rule;
mod template;
mod words;

use std::{cell::RefCell, path::Path, sync::LazyLock};

use async_nats::HeaderMap;
use minijinja::{Value, context, value::Serde};
use serde_json::Map;

use crate::{
    decode::shape::{evaluate::Fields, file::Shape, rule::Lacks},
    mask::{self, Mask},
    message::Decoded,
};

pub(crate) use self::{
    draft::draft,
    evaluate::{Outcome, TracedField},
    file::Fault,
};

/// A message's surroundings: what a publisher sent besides the payload.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Surroundings<'a> {
    pub(crate) subject: &'a str,
    pub(crate) headers: Option<&'a HeaderMap>,
}

/// An object as it was published, and with hidden secrets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Covered<'a> {
    pub(crate) published: &'a Map<String, serde_json::Value>,
    /// The object that the expressions of a shape read.
    pub(crate) object: &'a Map<String, serde_json::Value>,
    pub(crate) mask: &'a Mask,
}

/// A set of shapes, in the order in which they are tried.
#[derive(Debug, Default)]
pub(crate) struct Shapes(Vec<Shape>);

/// The shapes that are part of the program.
static BUILTIN: LazyLock<Shapes> = LazyLock::new(|| Shapes::of(builtin::read()));

/// The way in which a message was understood.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// The names of the shape, of its rule and of its file.
    pub(crate) rule: Option<(String, String, String)>,
    pub(crate) fields: Vec<TracedField>,
}

/// A message that a shape is for.
pub(crate) enum Matched {
    Decoded(Box<Decoded>),
    /// The message has no value for a field that is needed.
    Lacking {
        shape: String,
        field: &'static str,
    },
}

impl Shapes {
    pub(crate) fn builtin() -> &'static Self {
        &BUILTIN
    }

    /// Reads the shapes of a directory, or of one file.
    ///
    /// # Errors
    ///
    /// Returns every fault of every file, each with the line and what to do.
    pub(crate) fn load(path: &Path) -> Result<Self, Vec<Fault>> {
        file::read(path).map(Self::of)
    }

    /// Parses the text of one file.
    ///
    /// # Errors
    ///
    /// The errors of [`Shapes::load`].
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn parse(text: &str, file: &Path) -> Result<Self, Vec<Fault>> {
        Shape::parse(text, file, false).map(|shape| Self::of(vec![shape]))
    }

    fn of(mut shapes: Vec<Shape>) -> Self {
        shapes.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.id.cmp(&b.id)));
        Self(shapes)
    }

    /// The number of shapes.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Decodes an object by the first rule that is for it. Returns `None` if there is none.
    pub(crate) fn decode(
        &self,
        covered: Covered<'_>,
        around: Surroundings<'_>,
        trace: Option<&RefCell<Trace>>,
    ) -> Option<Matched> {
        let object = covered.published;
        let mut context = None;
        let mut lacking = None;
        for shape in self.0.iter().filter(|shape| shape.recognise.holds(object, around.headers)) {
            for rule in
                shape.rules.iter().filter(|rule| rule.recognise.holds(object, around.headers))
            {
                let base = context.get_or_insert_with(|| self::context(covered, around)).clone();
                let base = context! { maps => shape.maps.clone(), ..base };
                let traced = trace.map(|_| RefCell::default());
                let fields = Fields::new(rule, base, traced.as_ref());
                if rule.when.as_ref().is_some_and(|when| !fields.evaluate("when", when).is_true()) {
                    continue;
                }
                let built = build::build(shape, &fields);
                if let Some(trace) = trace {
                    let fields = traced.map(RefCell::into_inner).unwrap_or_default();
                    let rule = Some((shape.name.clone(), rule.name.clone(), shape.id.clone()));
                    *trace.borrow_mut() = Trace { rule, fields };
                }
                match built {
                    Ok(decoded) => return Some(Matched::Decoded(Box::new(decoded))),
                    Err(Lacks(field)) => {
                        lacking.get_or_insert((shape.name.clone(), field));
                    }
                }
            }
        }
        lacking.map(|(shape, field)| Matched::Lacking { shape, field })
    }
}

fn context(covered: Covered<'_>, around: Surroundings<'_>) -> Value {
    let Covered { object, mask, .. } = covered;
    let headers = around.headers.into_iter().flat_map(HeaderMap::iter);
    let headers = Value::from_pairs(headers.map(|(name, values)| {
        let values = values.iter().map(async_nats::HeaderValue::as_str).map(|value| {
            match mask.of_name(name.as_ref(), value, &mask::english) {
                Some(secret) => mask::english(secret),
                None => value,
            }
        });
        (name.to_string(), Value::from(values.collect::<Vec<_>>().join(", ")))
    }));
    let tokens: Vec<String> = around.subject.split('.').map(str::to_owned).collect();
    let subject = around.subject.to_owned();
    context! { payload => Value::from(Serde(object)), headers, subject, tokens }
}

#[cfg(test)]
mod identity_tests;
#[cfg(test)]
mod tests;
