//! The gist of an object of no known shape: what a person wants to read first, found by the names that people use.
//!
//! Names are tried in the order of how much they tell, first in the object itself and then in the objects that only
//! wrap its fields. What is left becomes lines `a.b: value`, the most telling ones first; what says nothing to a person
//! (identifiers, hashes, empty values) is left out.

mod fields;
mod flat;
mod headline;
mod markup;
mod moment;
mod names;
mod places;
mod search;
mod states;
mod tidy;
mod titles;
mod values;

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value};

use crate::{
    message::{
        alert::{Alert, Severity, State, Status, Summary},
        gist::{
            fields::Fingerprint,
            flat::{Line, Lines},
            names::Word,
            search::Search,
            values::is_word,
        },
    },
    text,
};

/// The number of lines that a message of no known shape takes at most.
const MOST_LINES: usize = 12;

/// The number of lines that are kept for the fields beside a long text.
const LEAST_ROWS: usize = 4;

/// The longest description, in characters.
const DESCRIPTION_CHARS: usize = 1_000;

/// The number of fields of an object that has little more than a name and a state: a place, a service and a time.
const BRIEF: usize = 4;

/// The name that a title was made of.
#[derive(Debug, Clone)]
enum Named {
    /// The name of the object.
    Object(String),
    /// The name of the machine or service that it is about. One that says much is up, and need not have been down.
    Source(String),
    /// The same in an object that has little more than a name and a state, as monitors send it.
    Monitored(String),
}

impl Named {
    fn name(&self) -> &str {
        let (Self::Object(name) | Self::Source(name) | Self::Monitored(name)) = self;
        name
    }
}

/// The meaning of an object of no known shape.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gist {
    pub(crate) title: Option<String>,
    pub(crate) description: Option<String>,
    severity: Option<Severity>,
    /// Whether the severity is named as such, and not the level of a log line.
    is_named_severity: bool,
    word: Option<Word>,
    pub(crate) source: Option<String>,
    pub(crate) time: Option<String>,
    ended: Option<String>,
    pub(crate) url: Option<String>,
    fingerprint: Option<Fingerprint>,
    /// The name that the title was made of, with the word for what happened.
    named: Option<Named>,
    labels: BTreeMap<String, String>,
    /// The other fields that are worth a line.
    pub(crate) rows: Vec<(String, String)>,
    /// Whether the object calls itself a report.
    is_report: bool,
    /// Whether the object says more than this.
    pub(crate) is_cut: bool,
}

impl Gist {
    pub(crate) fn of(object: &Map<String, Value>) -> Self {
        let (object, is_cut) = tidy::tidied(object);
        let object = &object;
        let mut search = Search::new(object);
        let severity = search.severity().or_else(|| search.severity_of_state());
        let word = search.word();
        let (title, description) = search.texts();
        let of_title = title.as_deref().and_then(headline::state).map(|(word, _)| word);
        // A title that says that it is over knows more than a word that something answers.
        let word = match (word, of_title) {
            (None | Some(Word::Up | Word::Good | Word::Open | Word::Begun), Some(word)) => {
                Some(word)
            }
            (word, _) => word,
        };
        let title = title.map(|title| search.with_result(title));
        let source = search.source(title.as_deref());
        let named_so_far = search.named.take().map(Named::Object);
        let title = title
            .or_else(|| search.with_deed_at(source.as_deref()?))
            .or_else(|| search.name_beyond().filter(|_| source.is_none()))
            .or_else(|| search.any_state());
        let of_source = if object.len() <= BRIEF { Named::Monitored } else { Named::Source };
        let named = named_so_far.or_else(|| search.named.take().map(of_source));
        let ended = search.time(names::ENDS, None);
        // Something that is over began at another time.
        let is_over = matches!(word, Some(Word::Ends | Word::Good | Word::Done | Word::Up));
        let other = ended.as_deref().filter(|_| is_over);
        let time =
            search.time(names::BEGINNINGS, other).or_else(|| search.time(names::BEGINNINGS, None));
        let url = search.link();
        let fingerprint = search.fingerprint(source.as_deref());
        let mut gist = Self {
            title,
            description,
            is_named_severity: severity.as_ref().is_some_and(|(_, is_named)| *is_named),
            severity: severity.map(|(severity, _)| severity),
            word,
            source,
            time,
            ended,
            url,
            fingerprint,
            named,
            is_report: object.get("kind").is_some_and(|kind| kind == "report"),
            is_cut,
            ..Self::default()
        };
        let is_alert = gist.is_alert();
        if gist.source.is_none() && gist.title.as_deref().is_some_and(is_code) {
            // The name of an event tells nothing of what it is about, but its link may.
            gist.source = gist.url.as_deref().and_then(host_of).map(str::to_owned);
        }
        if is_alert {
            gist.labels = search.labels();
        } else if let Some(Named::Source(_) | Named::Monitored(_)) = gist.named {
            // The title says where it happened.
            gist.source = None;
        }
        // The mark and the word of an alert show what only decides how it is shown.
        let shown = if is_alert { &["severity", "status", "fingerprint"][..] } else { &[] };
        gist.add_rows(object, search.lines(shown));
        gist
    }

    /// Returns the status that a word gives to an alert.
    pub(crate) fn status_of(word: &str) -> Option<Status> {
        names::state(word).and_then(|word| word.status(true))
    }

    /// Reads a time: a text, or a number since 1970.
    pub(crate) fn time_of(value: &Value) -> Option<String> {
        moment::read(value)
    }

    /// Returns the entries of an object that are worth a line, and whether anything is left out.
    pub(crate) fn rows_of(object: &Map<String, Value>) -> (Vec<(String, String)>, bool) {
        Lines::of(object, &HashSet::new()).best(object, MOST_LINES, &[])
    }

    /// Whether a text says nothing to a person: it is blank, or a word for nothing.
    pub(crate) fn says_nothing(text: &str) -> bool {
        flat::says_nothing(text)
    }

    /// Whether a text identifies something for machines only, like a UUID or a hash.
    pub(crate) fn is_for_machines(text: &str) -> bool {
        flat::is_machine_word(text)
    }

    fn add_rows(&mut self, object: &Map<String, Value>, mut lines: Lines) {
        let count = lines.lines.len();
        let (has_time, has_link) =
            (self.time.is_some() || self.ended.is_some(), self.url.is_some());
        lines.lines.retain(|line| !(line.is_past && has_time || line.is_other_link && has_link));
        self.is_cut |= lines.lines.len() < count;
        if self.word.is_some_and(|word| word != Word::Done) {
            lines.lines.retain(|line| !names::is_mere_end(&line.value));
        }
        if self.word == Some(Word::Bad) {
            let is_well = |line: &Line| matches!(names::state(&line.value), Some(Word::Done));
            let is_own = |line: &Line| names::STATES.contains(&names::plain(&line.path).as_str());
            lines.lines.retain(|line| !(is_own(line) && is_well(line)));
        }
        if self.is_alert() {
            // The state of something within, like the message that opened the problem, contradicts the end of it.
            let is_state = |line: &Line| {
                let name = line.path.rsplit('.').next().map(names::plain);
                name.is_some_and(|name| names::STATES.contains(&name.as_str()))
                    && matches!(names::state(&line.value), Some(Word::Fires | Word::Ends))
            };
            lines.lines.retain(|line| !is_state(line));
        }
        let fixed = [
            true,
            self.source.is_some(),
            self.time.is_some(),
            self.url.is_some(),
            !self.labels.is_empty(),
        ];
        let fixed = fixed.into_iter().filter(|it| *it).count();
        let left = MOST_LINES.saturating_sub(fixed);
        if let Some(description) = &mut self.description {
            let most = left.saturating_sub(lines.lines.len().min(LEAST_ROWS)).max(1);
            let kept = text::head(text::first_lines(description, most), DESCRIPTION_CHARS);
            if kept.len() < description.trim_end().len() {
                *description = format!("{kept} …");
                self.is_cut = true;
            }
        }
        let described = self.description.as_ref().map_or(0, |text| text.lines().count());
        let said = [&self.title, &self.description, &self.source, &self.time, &self.url];
        let said: Vec<&str> = said.into_iter().flatten().map(String::as_str).collect();
        let (rows, is_cut) = lines.best(object, left.saturating_sub(described), &said);
        self.rows = rows;
        self.is_cut |= is_cut;
    }

    /// The status that the words of the object give to an alert, if they give any.
    fn status(&self) -> Option<Status> {
        // Each job has an id, and need not have failed before.
        let is_identified = match self.fingerprint {
            Some(Fingerprint::Named(_)) => true,
            Some(Fingerprint::Plain(_)) => {
                !matches!(self.word, Some(Word::Done | Word::Open | Word::Begun))
            }
            None => false,
        };
        let is_alert = self.severity.is_some() || is_identified;
        let is_monitor = self.word == Some(Word::Up)
            && matches!(self.named, Some(Named::Object(_) | Named::Monitored(_)));
        self.word.and_then(|word| word.status(is_alert || is_monitor))
    }

    /// Whether the object is an alert by its fields: it has a title, and a severity that needs a person's attention or a
    /// status that only alerts have.
    fn is_alert(&self) -> bool {
        let is_severe = match &self.severity {
            Some(Severity::Critical | Severity::Warning | Severity::Other(_)) => true,
            Some(Severity::Info) => self.is_named_severity,
            None => false,
        };
        self.title.is_some() && (is_severe || self.status().is_some())
    }

    /// Returns the object as an alert and whether it says more than that, or the gist again if it is no alert by its
    /// fields.
    pub(crate) fn into_alert(self) -> Result<(Alert, bool), Box<Self>> {
        let (true, Some(title)) = (self.is_alert(), self.title.clone()) else {
            return Err(Box::new(self));
        };
        let status = self.status().unwrap_or_default();
        let mut alert =
            Alert::new(self.severity.unwrap_or(Severity::Warning), Summary::Said(title));
        // With its state in it, the title of a problem is another one when it ends.
        let named = self.named.filter(|_| self.labels.is_empty());
        let source = self.source.as_deref();
        let alert_name = alert_name(&alert.summary, source);
        // The messages about a problem that has its state in the title may each have an id of its own.
        let found = match self.fingerprint {
            Some(Fingerprint::Plain(_)) if alert_name.is_some() => None,
            Some(Fingerprint::Named(it) | Fingerprint::Plain(it)) => Some(it),
            None => None,
        };
        alert.fingerprint =
            found.or_else(|| named.map(|named| identified(source, named.name()))).or(alert_name);
        alert.status = status;
        if let Summary::Said(title) = &mut alert.summary
            && let Some(name) = headline::without_state(title)
        {
            *title = name;
        }
        alert.source = self.source;
        alert.description = self.description;
        match status {
            Status::Firing => alert.time = self.time.or(self.ended),
            Status::Resolved => {
                let is_end = |time: &String| {
                    self.ended.as_ref().is_some_and(|ended| moment::is_same(time, ended))
                };
                alert.time = self.time.filter(|time| !is_end(time));
                alert.ended = self.ended;
            }
        }
        alert.url = self.url;
        alert.labels = self.labels;
        alert.extra =
            self.rows.into_iter().map(|(name, value)| (name, Value::String(value))).collect();
        Ok((alert, self.is_cut))
    }

    /// The state that the object itself names, if it does. No word makes it critical: that takes an alert.
    pub(crate) fn state(&self) -> Option<State> {
        match (&self.severity, self.word) {
            (_, Some(Word::Good | Word::Done | Word::Up | Word::Ends)) => Some(State::Resolved),
            (Some(Severity::Info), _) | (None, Some(Word::Begun)) => Some(State::Info),
            (Some(_), _) | (_, Some(Word::Fires | Word::Bad)) => Some(State::Warning),
            (None, None | Some(Word::Open)) => self.is_report.then_some(State::Info),
        }
    }
}

/// Returns an identity for an alert whose title tells its state, as in `[FIRING] Disk full`: the same problem has another
/// title when it ends.
fn alert_name(summary: &Summary, source: Option<&str>) -> Option<String> {
    let Summary::Said(title) = summary else { return None };
    if let Some((_, name)) = headline::state(title) {
        return Some(identified(source, &name));
    }
    if let Some(name) = names::state_of_event(title).and_then(|_| names::before_state(title)) {
        return Some(identified(source, &name));
    }
    let (state, more, name) = before_title(headline::without_signs(title))?;
    let is_state = names::state(state).is_some() || names::severity(state).is_some();
    is_state.then(|| identified(source, &headline::with_more(more, name)))
}

/// Returns the word before a title, what else stands beside it, and the title: `[Critical on a] Disk full`.
fn before_title(title: &str) -> Option<(&str, &str, &str)> {
    let (before, name) = match title.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => title.split_once(": ")?,
    };
    let (word, more) = before.split_once([':', ' ']).unwrap_or((before, ""));
    Some((word, more.trim(), name))
}

/// Returns the identity of a problem of this name.
fn identified(source: Option<&str>, name: &str) -> String {
    format!("{} {}", source.unwrap_or_default(), name.trim()).trim().to_owned()
}

/// Whether a text is the name of an event, like `check.down`.
fn is_code(text: &str) -> bool {
    is_word(text)
        && (text.contains(['.', '_', ':']) || names::state_of_event(text).is_some())
        && !text.contains('/')
}

/// Returns the host in a link.
fn host_of(link: &str) -> Option<&str> {
    let (_, rest) = link.split_once("://")?;
    rest.split(['/', '?', '#']).next()?.rsplit('@').next().filter(|host| !host.is_empty())
}

#[cfg(test)]
mod tests;
