//! Evaluates the fields of a rule over a message. A field that is absent, has another type or fails is nothing.

use std::{cell::RefCell, collections::BTreeMap};

use minijinja::{Value, value::ValueKind};
use serde_json::Map;

use crate::{
    decode::shape::{
        expression::{self, Expression},
        rule::Rule,
    },
    json,
    message::alert::MOST_LABELS,
};

/// A field of a rule with a message: its expression, and its value or the error.
#[derive(Debug, Clone)]
pub(crate) struct TracedField {
    pub(crate) name: String,
    pub(crate) expression: String,
    pub(crate) value: Outcome,
}

/// The result of an expression.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    Text(String),
    Nothing,
    /// The expression fails, for this reason.
    Fails(String),
}

/// The fields of a rule, evaluated one by one over one message or one item of it.
pub(super) struct Fields<'a> {
    pub(super) rule: &'a Rule,
    pub(super) context: Value,
    trace: Option<&'a RefCell<Vec<TracedField>>>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(
        rule: &'a Rule,
        context: Value,
        trace: Option<&'a RefCell<Vec<TracedField>>>,
    ) -> Self {
        Self { rule, context, trace }
    }

    /// Returns the same fields for one item of the message.
    pub(super) fn of_item(&self, item: Value) -> Self {
        let context = minijinja::context! { item, ..self.context.clone() };
        Self { context, ..*self }
    }

    /// Evaluates an expression of the rule that is not a field.
    pub(super) fn evaluate(&self, name: &str, expression: &Expression) -> Value {
        let value = expression.value(&self.context);
        if let Some(trace) = self.trace {
            let value = match &value {
                Ok(value) if value.is_undefined() || value.is_none() => Outcome::Nothing,
                Ok(value) => {
                    let mut text = expression::text(value).unwrap_or_else(|| value.to_string());
                    json::shorten(&mut text);
                    Outcome::Text(text)
                }
                Err(error) => Outcome::Fails(expression::detail(error)),
            };
            let expression = expression.text().to_owned();
            trace.borrow_mut().push(TracedField { name: name.to_owned(), expression, value });
        }
        value.unwrap_or_default()
    }

    pub(super) fn value(&self, name: &str) -> Value {
        self.rule.field(name).map_or(Value::UNDEFINED, |field| self.evaluate(name, field))
    }

    /// Returns a field as text of bounded length.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        expression::text(&self.value(name)).map(|mut text| {
            json::shorten(&mut text);
            text
        })
    }

    /// Returns a field as a list of texts. A single text is a list of one.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        let value = self.value(name);
        match value.kind() {
            ValueKind::Seq | ValueKind::Iterable => {
                let items = value.try_iter().into_iter().flatten().take(json::MOST_ENTRIES);
                items.filter_map(|item| expression::text(&item)).collect()
            }
            _ => expression::text(&value).into_iter().collect(),
        }
    }

    /// Returns a field that identifies something. An item of a list that is absent keeps its place, and none can be taken
    /// for two, so that different lists never give the same text.
    pub(super) fn identity(&self, name: &str) -> Option<String> {
        let value = self.value(name);
        let identity = match value.kind() {
            ValueKind::Seq | ValueKind::Iterable => {
                let items = value.try_iter().into_iter().flatten().take(json::MOST_ENTRIES);
                let part = |item| expression::text(&item).unwrap_or_default().replace('\n', " ");
                items.map(part).collect::<Vec<_>>().join("\n")
            }
            _ => expression::text(&value)?,
        };
        let identity = identity.trim_end_matches('\n');
        (!identity.is_empty()).then(|| identity.to_owned())
    }

    pub(super) fn number(&self, name: &str) -> Option<f64> {
        let value = self.value(name);
        let number = match value.kind() {
            ValueKind::Number => f64::try_from(value).ok(),
            ValueKind::String => value.as_str()?.trim().trim_end_matches('%').trim().parse().ok(),
            _ => None,
        };
        number.filter(|number| number.is_finite())
    }

    pub(super) fn moment(&self, name: &str) -> Option<String> {
        expression::moment(&self.value(name)).map(|mut text| {
            json::shorten(&mut text);
            text
        })
    }

    pub(super) fn is_true(&self, name: &str) -> bool {
        self.value(name).is_true()
    }

    /// Returns the entries of a table: those that are written one by one, or those of the object that its expression
    /// gives. Entries without a text are left out.
    pub(super) fn entries(&self, name: &str) -> BTreeMap<String, String> {
        let given = self.value(name);
        let mut entries = BTreeMap::new();
        if given.kind() == ValueKind::Map
            && let Some(object) = given.as_object()
            && let Some(pairs) = object.try_iter_pairs()
        {
            for (key, value) in pairs.take(MOST_LABELS) {
                // A label without a value is a tag.
                let blank = || (name == "labels" && value.as_str().is_some()).then(String::new);
                let text = expression::text(&value).or_else(blank);
                entries.extend(key.as_str().map(str::to_owned).zip(text));
            }
        } else if matches!(given.kind(), ValueKind::Seq | ValueKind::Iterable) {
            // Words without a value, such as tags.
            for tag in given.try_iter().into_iter().flatten().take(MOST_LABELS) {
                entries.extend(expression::text(&tag).map(|tag| (tag, String::new())));
            }
        }
        for (key, expression) in self.rule.table(name) {
            let value = self.evaluate(&format!("{name}.{key}"), expression);
            entries.extend(expression::text(&value).map(|value| (key.clone(), value)));
        }
        for value in entries.values_mut() {
            json::shorten(value);
        }
        entries
    }

    /// Returns the rows: named lines in the order of their names.
    pub(super) fn rows(&self) -> Map<String, serde_json::Value> {
        self.entries("rows").into_iter().map(|(name, value)| (name, value.into())).collect()
    }
}
