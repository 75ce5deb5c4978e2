//! The users' own shapes of all routes, each directory read once.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    config::Route,
    decode::shape::{Fault, Shapes},
    failure::Failure,
};

/// The users' own shapes by the directory or file that has them.
#[derive(Debug, Default)]
pub(crate) struct Library(BTreeMap<PathBuf, Arc<Shapes>>);

impl Library {
    /// Reads the shapes of all routes. A route decides by the shapes of others, too, which messages are its own, so one
    /// wrong file keeps all of them from being used.
    ///
    /// # Errors
    ///
    /// Returns [`Failure::Config`] with a line for each fault.
    pub(crate) fn load<'a>(routes: impl IntoIterator<Item = &'a Route>) -> Result<Self, Failure> {
        let mut library = Self::default();
        let mut faults = Vec::new();
        for path in routes.into_iter().filter_map(|route| route.shapes.as_ref()) {
            if library.0.contains_key(path) {
                continue;
            }
            match Shapes::load(path) {
                Ok(shapes) => drop(library.0.insert(path.clone(), Arc::new(shapes))),
                Err(more) => faults.extend(more.iter().map(Fault::to_string)),
            }
        }
        if faults.is_empty() { Ok(library) } else { Err(Failure::Config(faults.join("\n"))) }
    }

    /// Returns the shapes of a route, if it has any of its own.
    pub(crate) fn of(&self, route: &Route) -> Option<Arc<Shapes>> {
        self.0.get(route.shapes.as_ref()?).cloned()
    }

    /// Returns each directory or file with the number of its shapes.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&Path, usize)> {
        self.0.iter().map(|(path, shapes)| (path.as_path(), shapes.len()))
    }
}
