//! A search for the fields of an object by their names.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::message::gist::{flat, names, values::join};

/// The plain name of a field, its name and its value.
pub(super) type Field<'a> = (String, &'a str, &'a Value);

/// The path of an object, and its fields.
pub(super) type Level<'a> = (String, Vec<Field<'a>>);

/// A search for fields. Each value that is found is used, so that it is not shown again.
pub(super) struct Search<'a> {
    pub(super) object: &'a Map<String, Value>,
    /// The objects that are searched one after another, each with its path and the plain names of its keys.
    pub(super) levels: Vec<Level<'a>>,
    /// The other objects within, which are not about persons or what was before.
    pub(super) beyond: Vec<Level<'a>>,
    pub(super) used: HashSet<String>,
    /// The paths of the severity and the status.
    pub(super) ruled: Vec<(&'static str, String)>,
    /// The name that the title was made of.
    pub(super) named: Option<String>,
    /// The word for what happened that the title was made of.
    pub(super) deed: Option<String>,
}

impl<'a> Search<'a> {
    /// The number of levels of wrappers that are searched.
    const DEPTH: usize = 5;
    /// The number of objects that are searched.
    const OBJECTS: usize = 16;

    pub(super) fn new(object: &'a Map<String, Value>) -> Self {
        let mut search = Self {
            object,
            levels: Vec::new(),
            beyond: Vec::new(),
            used: HashSet::new(),
            ruled: Vec::new(),
            named: None,
            deed: None,
        };
        let event = ["event", "type", "event_type"];
        let event = event.iter().find_map(|it| object.get(*it)?.as_str()).unwrap_or_default();
        let mut next = vec![(String::new(), object, true)];
        for _ in 0..Self::DEPTH {
            for (path, object, is_own) in std::mem::take(&mut next) {
                let levels = if is_own { &search.levels } else { &search.beyond };
                if levels.len() >= Self::OBJECTS {
                    continue;
                }
                let entries: Vec<_> = object
                    .iter()
                    .map(|(name, value)| (names::plain(name), name.as_str(), value))
                    .collect();
                next.extend(entries.iter().filter_map(|(plain, name, value)| {
                    let inner = flat::inner(value)?;
                    let is_flat = || inner.values().all(|it| !it.is_object() && !it.is_array());
                    let is_wrapper = names::is_wrapper(plain) || names::is_about(event, plain);
                    let is_own = is_own && (is_wrapper || plain == "fields" && is_flat());
                    let is_aside = !is_own && names::is_aside(plain);
                    (!is_aside).then(|| (join(&path, name), inner, is_own))
                }));
                // The person who did something is not what happened.
                let own = path.rsplit('.').next().map(names::plain);
                if own.as_deref() != Some("actor") {
                    let levels = if is_own { &mut search.levels } else { &mut search.beyond };
                    levels.push((path, entries));
                }
            }
        }
        search
    }

    /// Returns the first value of one of these names that `read` accepts, and its path.
    pub(super) fn find<T>(
        &self,
        wanted: &[&str],
        read: impl Fn(&str, &'a Value) -> Option<T>,
    ) -> Option<(T, String)> {
        self.find_in(&self.levels, wanted, read)
    }

    /// Returns the same from some of the objects.
    pub(super) fn find_in<T>(
        &self,
        levels: &[Level<'a>],
        wanted: &[&str],
        read: impl Fn(&str, &'a Value) -> Option<T>,
    ) -> Option<(T, String)> {
        levels.iter().find_map(|(path, entries)| {
            wanted.iter().find_map(|wanted| {
                entries.iter().filter(|(plain, ..)| plain == wanted).find_map(|(_, name, value)| {
                    let path = join(path, name);
                    (!self.used.contains(&path))
                        .then(|| read(name, value))
                        .flatten()
                        .map(|it| (it, path))
                })
            })
        })
    }

    /// Returns the same, and uses the value.
    pub(super) fn first<T>(
        &mut self,
        wanted: &[&str],
        read: impl Fn(&str, &'a Value) -> Option<T>,
    ) -> Option<T> {
        let (found, path) = self.find(wanted, read)?;
        self.used.insert(path);
        Some(found)
    }

    /// Returns the objects that tell what went wrong.
    pub(super) fn faults(&self) -> Vec<Level<'a>> {
        let is_fault = |path: &str| {
            path.rsplit('.').next().is_some_and(|it| names::FAULTS.contains(&&*names::plain(it)))
        };
        self.beyond.iter().filter(|(path, _)| is_fault(path)).cloned().collect()
    }
}
