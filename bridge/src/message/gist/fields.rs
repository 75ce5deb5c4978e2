//! Identity, times, link and labels, and the lines of the rest.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::message::gist::{
    flat::{self, Lines, is_of_api},
    moment, names,
    search::{Field, Level, Search},
    values::{join, scalar},
};

/// The identity of a problem.
#[derive(Debug, Clone)]
pub(super) enum Fingerprint {
    /// The value of a field that says what it identifies, like `incident_id`.
    Named(String),
    /// The value of a mere `id`, which each message may have of its own.
    Plain(String),
}

impl<'a> Search<'a> {
    /// Returns what identifies the problem, from the object itself or from a wrapper.
    pub(super) fn fingerprint(&mut self, source: Option<&str>) -> Option<Fingerprint> {
        let is_describing = |path: &str| {
            path.split('.').any(|name| names::DESCRIBING.contains(&names::plain(name).as_str()))
        };
        let described = |(path, _): &(String, _)| !is_describing(path);
        let levels: Vec<&Level<'a>> = self.levels.iter().filter(|it| described(it)).collect();
        let source = source.unwrap_or_default();
        let of_names = |levels: &[&Level<'a>], wanted: &[&str]| {
            levels.iter().find_map(|(path, entries)| {
                wanted.iter().find_map(|wanted| {
                    let (_, name, value) = entries.iter().find(|(plain, ..)| plain == wanted)?;
                    // The alias of a host is its name, and not that of a problem.
                    let is_host = |(plain, _, host): &Field<'_>| {
                        names::HOSTS.contains(&plain.as_str()) && host == value
                    };
                    if *wanted == "alias" && entries.iter().any(is_host) {
                        return None;
                    }
                    let id = scalar(value)?;
                    // One rule can find something on several machines.
                    let is_rule = names::OF_RULES.contains(wanted) && !source.is_empty();
                    let id = if is_rule { format!("{source} {id}") } else { id };
                    Some((id, join(path, name)))
                })
            })
        };
        // The event about a problem has an id of its own, and so has the envelope of its data.
        let is_of_event =
            |path: &str| path.is_empty() || path.rsplit('.').next().is_some_and(|it| it == "event");
        let has_data = levels.iter().any(|(path, _)| path == "data");
        let (events, problems): (Vec<_>, Vec<_>) =
            levels.iter().copied().partition(|(path, _)| has_data && is_of_event(path));
        let (found, path) = of_names(&levels, names::FINGERPRINTS)
            .map(|(id, path)| (Fingerprint::Named(id), path))
            .or_else(|| {
                let id = of_names(&problems, &["id"]).or_else(|| of_names(&events, &["id"]));
                id.map(|(id, path)| (Fingerprint::Plain(id), path))
            })?;
        self.ruled.push(("fingerprint", path));
        Some(found)
    }

    /// Returns the first time of these names that is not the same as `other`.
    pub(super) fn time(&mut self, wanted: &[&str], other: Option<&str>) -> Option<String> {
        let is_new = |time: &String| other.is_none_or(|other| !moment::is_same(time, other));
        let read = |_: &str, value: &Value| {
            moment::read(value).filter(|time| {
                let has_digit = time.contains(|c: char| c.is_ascii_digit());
                has_digit && !moment::is_unknown(time) && is_new(time)
            })
        };
        let clear = |name: &str, value: &Value| read(name, value).filter(|it| moment::is_clear(it));
        let (found, path) = self
            .find(wanted, clear)
            .or_else(|| self.find(wanted, read))
            .or_else(|| {
                let strong = wanted.iter().take_while(|it| **it != names::FIRST_WEAK_TIME);
                strong.copied().find_map(|it| self.find_in(&self.beyond, &[it], clear))
            })
            .or_else(|| {
                let is_beginning = wanted.first() == names::BEGINNINGS.first();
                is_beginning.then(|| self.any_time(clear)).flatten()
            })?;
        // One time may be both.
        self.ruled.push(("time", path));
        Some(found)
    }

    /// Returns a time of a name that is none of the usual ones.
    pub(super) fn any_time(
        &self,
        read: impl Fn(&str, &Value) -> Option<String>,
    ) -> Option<(String, String)> {
        self.levels.iter().find_map(|(path, entries)| {
            let mut times = entries.iter().filter(|(plain, ..)| moment::is_name_of_time(plain));
            times.find_map(|(_, name, value)| Some((read(name, value)?, join(path, name))))
        })
    }

    pub(super) fn link(&mut self) -> Option<String> {
        let read = |_: &str, value: &Value| {
            let text = value.as_str()?.trim();
            let is_link = text.starts_with("http://") || text.starts_with("https://");
            let is_one =
                is_link && !text.contains(char::is_whitespace) && !flat::says_nothing(text);
            is_one.then(|| text.to_owned())
        };
        let of_people = |name: &str, value: &Value| read(name, value).filter(|it| !is_of_api(it));
        let beyond = |search: &mut Self| {
            let (found, path) = search
                .find_in(&search.faults(), names::LINKS, of_people)
                .or_else(|| search.find_in(&search.beyond, names::LINKS_OF_PROBLEMS, of_people))
                .or_else(|| search.find_in(&search.beyond, names::LINKS, of_people))?;
            search.used.insert(path);
            Some(found)
        };
        let found = self
            .first(names::LINKS, of_people)
            .or_else(|| self.link_of_object())
            .or_else(|| beyond(self));
        if let Some(link) = found.or_else(|| self.first(names::LINKS, read)) {
            return Some(link);
        }
        let any = |plain: &str| {
            (plain.ends_with("url") || plain.ends_with("link") || plain.ends_with("uri"))
                && !names::OTHER_LINKS.iter().any(|it| plain.contains(it))
        };
        let (found, path) =
            self.levels.iter().chain(&self.beyond).find_map(|(above, entries)| {
                entries
                    .iter()
                    .filter(|(plain, ..)| any(plain))
                    .find_map(|(_, name, value)| Some((read(name, value)?, join(above, name))))
            })?;
        self.used.insert(path);
        Some(found)
    }

    /// Returns a link for people in an object of links: `{ "html": { "href": "https://…" } }`.
    pub(super) fn link_of_object(&mut self) -> Option<String> {
        let read = |_: &str, value: &'a Value| {
            let links = value.as_object()?;
            names::LINKS_OF_PEOPLE.iter().find_map(|wanted| {
                let (name, value) = links.iter().find(|(name, _)| names::plain(name) == *wanted)?;
                let (below, value) = match value.get("href") {
                    Some(value) => (format!("{name}.href"), value),
                    None => (name.clone(), value),
                };
                let link = value.as_str()?.trim();
                let is_link = link.starts_with("http://") || link.starts_with("https://");
                (is_link && !is_of_api(link)).then(|| (link.to_owned(), below))
            })
        };
        let ((link, below), path) = self.find(names::LINK_OBJECTS, read)?;
        self.used.insert(join(&path, &below));
        Some(link)
    }

    /// Returns the labels of an alert, without those that change while the problem stays the same.
    pub(super) fn labels(&mut self) -> BTreeMap<String, String> {
        let read = |_: &str, value: &'a Value| value.as_object();
        let Some((labels, path)) = self.find(&["labels", "commonlabels", "tags"], read) else {
            return BTreeMap::new();
        };
        let is_label = |name: &str, value: &Value| {
            let plain = names::plain(name);
            let changes = ["severity", "priority", "value", "level"].contains(&plain.as_str())
                || names::STATES.contains(&plain.as_str());
            !changes && !self.used.contains(&join(&path, name)) && scalar(value).is_some()
        };
        let found: Vec<(&String, &Value)> =
            labels.iter().filter(|(name, value)| is_label(name, value)).collect();
        let kept = found
            .iter()
            .filter_map(|(name, value)| Some(((*name).clone(), scalar(value)?)))
            .collect();
        self.used.extend(found.into_iter().map(|(name, _)| join(&path, name)));
        kept
    }

    /// Returns the lines of what was not used. What is `shown` in another form needs no line.
    pub(super) fn lines(mut self, shown: &[&str]) -> Lines {
        let is_shown = |what: &str| what == "time" || shown.contains(&what);
        let ruled = std::mem::take(&mut self.ruled);
        self.used
            .extend(ruled.into_iter().filter(|(what, _)| is_shown(what)).map(|(_, path)| path));
        let mut lines = Lines::of(self.object, &self.used);
        lines.lines.retain(|line| self.deed.as_ref() != Some(&line.value));
        lines
    }
}
