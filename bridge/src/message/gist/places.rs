//! The machine or service that a message is about.

use serde_json::{Map, Value};

use crate::message::gist::{
    names,
    search::Search,
    values::{join, named, place},
};

impl<'a> Search<'a> {
    pub(super) fn source(&mut self, title: Option<&str>) -> Option<String> {
        self.place(names::HOSTS, title)
            .or_else(|| self.within_places(names::HOSTS))
            .or_else(|| self.place(names::SOURCES, title))
            .or_else(|| self.within_places(names::SOURCES))
            .or_else(|| self.host_beyond())
            .or_else(|| self.place(names::WEAK_SOURCES, title))
            .or_else(|| self.within_places(names::WEAK_SOURCES))
    }

    /// Returns the machine that an object within names.
    pub(super) fn host_beyond(&mut self) -> Option<String> {
        let text = |_: &str, value: &Value| value.as_str().and_then(|_| named(value));
        let (found, path) = self.find_in(&self.beyond, names::HOSTS, text)?;
        self.used.insert(path);
        Some(found)
    }

    /// Returns the first machine or service of these names that is not the title.
    pub(super) fn place(&mut self, wanted: &[&str], title: Option<&str>) -> Option<String> {
        let said = self.named.as_deref().or(title);
        let is_new = |_: &str, value: &'a Value| {
            place(value).filter(|(place, _)| said != Some(place.as_str()))
        };
        let ((place, name), path) = self.find(wanted, is_new)?;
        self.used.insert(name.map_or_else(|| path.clone(), |name| join(&path, name)));
        Some(place)
    }

    /// Returns the first value of these names in the objects that say where something happens.
    pub(super) fn within_places(&mut self, wanted: &[&str]) -> Option<String> {
        let places = self.levels.iter().flat_map(|(above, entries)| {
            entries.iter().filter_map(move |(plain, name, value)| {
                let inner = value.as_object()?;
                names::PLACES.contains(&plain.as_str()).then(|| (join(above, name), inner))
            })
        });
        let places: Vec<(String, &Map<String, Value>)> = places.collect();
        let (found, path) = wanted.iter().find_map(|wanted| {
            places.iter().find_map(|(above, inner)| {
                let (name, value) = inner.iter().find(|(name, _)| names::plain(name) == *wanted)?;
                Some((named(value)?, join(above, name)))
            })
        })?;
        self.used.insert(path);
        Some(found)
    }
}
