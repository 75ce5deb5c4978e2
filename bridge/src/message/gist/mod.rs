//! The gist of an object of no known shape: what a person wants to read first, found by the names that people use.
//!
//! Names are tried in the order of how much they tell, first in the object itself and then in the objects that only
//! wrap its fields. What is left becomes lines `a.b: value`, the most telling ones first; what says nothing to a person
//! (identifiers, hashes, empty values) is left out.

mod flat;
mod moment;
mod names;

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value};

use crate::{
    json,
    message::{
        alert::{Alert, Severity, State, Status, Summary},
        gist::{
            flat::{Line, Lines, is_of_api},
            names::Word,
        },
    },
    text,
};

/// The number of lines that a message of no known shape takes at most.
const MOST_LINES: usize = 12;

/// The number of lines that are kept for the fields beside a long text.
const LEAST_ROWS: usize = 4;

/// The longest title, in characters. The rest becomes the description.
const TITLE_CHARS: usize = 200;

/// The longest description, in characters.
const DESCRIPTION_CHARS: usize = 1_000;

/// The identity of a problem.
#[derive(Debug, Clone)]
enum Fingerprint {
    /// The value of a field that says what it identifies, like `incident_id`.
    Named(String),
    /// The value of a mere `id`, which each message may have of its own.
    Plain(String),
}

/// The name that a title was made of.
#[derive(Debug, Clone)]
enum Named {
    /// The name of the object.
    Object(String),
    /// The name of the machine or service that it is about.
    Source(String),
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
        let mut search = Search::new(object);
        let severity = search.severity();
        let word = search.word();
        let (title, description) = search.texts();
        let word = word.or_else(|| state_of_title(title.as_deref()?));
        let title = title.map(|title| search.with_result(title));
        let source = search.source(title.as_deref());
        let named_so_far = search.named.take().map(Named::Object);
        let title = title.or_else(|| search.with_deed(source.as_deref()?));
        let named = named_so_far.or_else(|| search.named.take().map(Named::Source));
        let ended = search.time(names::ENDS, None);
        // Something that is over began at another time.
        let is_over = matches!(word, Some(Word::Ends | Word::Good | Word::Done | Word::Up));
        let other = ended.as_deref().filter(|_| is_over);
        let time =
            search.time(names::BEGINNINGS, other).or_else(|| search.time(names::BEGINNINGS, None));
        let url = search.link();
        let fingerprint = search.fingerprint();
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
            ..Self::default()
        };
        let is_alert = gist.is_alert();
        if is_alert {
            gist.labels = search.labels();
        } else if let Some(Named::Source(_)) = gist.named {
            // The title says where it happened.
            gist.source = None;
        } else if gist.source.is_none() && gist.title.as_deref().is_some_and(is_word) {
            // The name of an event tells nothing of what it is about, but its link may.
            gist.source = gist.url.as_deref().and_then(host_of).map(str::to_owned);
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
        if self.is_alert() {
            // The state of something within, like the message that opened the problem, contradicts the end of it.
            let is_state = |line: &Line| {
                let name = line.path.rsplit_once('.').map(|(_, name)| names::plain(name));
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
            Some(Fingerprint::Plain(_)) => self.word != Some(Word::Done),
            None => false,
        };
        let is_alert = self.severity.is_some() || is_identified;
        let is_monitor =
            self.word == Some(Word::Up) && matches!(self.named, Some(Named::Object(_)));
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
        alert.fingerprint = found
            .or_else(|| {
                named.map(|(Named::Object(name) | Named::Source(name))| identified(source, &name))
            })
            .or(alert_name);
        alert.status = status;
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
            (Some(Severity::Info), _) => Some(State::Info),
            (Some(_), _) | (_, Some(Word::Fires | Word::Bad)) => Some(State::Warning),
            (None, None) => self.is_report.then_some(State::Info),
        }
    }
}

/// Returns an identity for an alert whose title begins with its state, as in `[FIRING] Disk full`: the same problem has
/// another title when it ends.
fn alert_name(summary: &Summary, source: Option<&str>) -> Option<String> {
    let Summary::Said(title) = summary else { return None };
    let (state, more, name) = before_title(title)?;
    let is_state = names::state(state).is_some() || names::severity(state).is_some();
    // A number beside the state counts the alerts: `[FIRING:2]`.
    let more = if more.parse::<u64>().is_ok() { "" } else { more };
    is_state.then(|| identified(source, format!("{more} {}", name.trim()).trim()))
}

/// Returns the word before a title, what else stands beside it, and the title: `[Triggered on a] Disk full`.
fn before_title(title: &str) -> Option<(&str, &str, &str)> {
    let (before, name) = match title.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => title.split_once(": ")?,
    };
    let (word, more) = before.split_once([':', ' ']).unwrap_or((before, ""));
    Some((word, more.trim(), name))
}

/// Returns the state in brackets before a title.
fn state_of_title(title: &str) -> Option<Word> {
    let (state, ..) = before_title(title).filter(|_| title.starts_with('['))?;
    names::state(state).filter(|word| matches!(word, Word::Fires | Word::Ends))
}

/// Returns the identity of a problem of this name.
fn identified(source: Option<&str>, name: &str) -> String {
    format!("{} {}", source.unwrap_or_default(), name.trim()).trim().to_owned()
}

/// The plain name of a field, its name and its value.
type Field<'a> = (String, &'a str, &'a Value);

/// A search for fields. Each value that is found is used, so that it is not shown again.
struct Search<'a> {
    object: &'a Map<String, Value>,
    /// The objects that are searched one after another, each with its path and the plain names of its keys.
    levels: Vec<(String, Vec<Field<'a>>)>,
    used: HashSet<String>,
    /// The paths of the severity and the status.
    ruled: Vec<(&'static str, String)>,
    /// The name that the title was made of.
    named: Option<String>,
    /// The word for what happened that the title was made of.
    deed: Option<String>,
}

impl<'a> Search<'a> {
    /// The number of levels of wrappers that are searched.
    const DEPTH: usize = 4;
    /// The number of objects that are searched.
    const OBJECTS: usize = 16;

    fn new(object: &'a Map<String, Value>) -> Self {
        let mut search = Self {
            object,
            levels: Vec::new(),
            used: HashSet::new(),
            ruled: Vec::new(),
            named: None,
            deed: None,
        };
        let mut next = vec![(String::new(), object)];
        for _ in 0..Self::DEPTH {
            for (path, object) in std::mem::take(&mut next) {
                if search.levels.len() >= Self::OBJECTS {
                    break;
                }
                let entries: Vec<_> = object
                    .iter()
                    .map(|(name, value)| (names::plain(name), name.as_str(), value))
                    .collect();
                next.extend(entries.iter().filter_map(|(plain, name, value)| {
                    let inner = flat::inner(value)?;
                    names::is_wrapper(plain).then(|| (join(&path, name), inner))
                }));
                // The person who did something is not what happened.
                let own = path.rsplit('.').next().map(names::plain);
                if own.as_deref() != Some("actor") {
                    search.levels.push((path, entries));
                }
            }
        }
        search
    }

    /// Returns the first value of one of these names that `read` accepts, and its path.
    fn find<T>(
        &self,
        wanted: &[&str],
        read: impl Fn(&str, &'a Value) -> Option<T>,
    ) -> Option<(T, String)> {
        self.levels.iter().find_map(|(path, entries)| {
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
    fn first<T>(
        &mut self,
        wanted: &[&str],
        read: impl Fn(&str, &'a Value) -> Option<T>,
    ) -> Option<T> {
        let (found, path) = self.find(wanted, read)?;
        self.used.insert(path);
        Some(found)
    }

    /// Returns the severity, and whether it is named as such.
    fn severity(&mut self) -> Option<(Severity, bool)> {
        let is_log = self.find(&["msg", "pid", "hostname"], |_, _| Some(())).is_some();
        let read = |name: &str, value: &Value| {
            let is_named = names::plain(name).contains("sev");
            let severity = match value {
                Value::Number(number) if names::plain(name) == "level" && is_log => {
                    of_pino(number.as_u64()?)?
                }
                // Some programs count from the worst, and others to it: the number is shown as a line.
                Value::Number(_) if is_named => Severity::Warning,
                value => {
                    let word = named(value)?;
                    match names::severity(&word) {
                        Some(severity) => severity,
                        None if is_named && word.parse::<f64>().is_ok() => Severity::Warning,
                        None if is_named => Severity::Other(word),
                        None => return None,
                    }
                }
            };
            let is_number = named(value).is_none_or(|word| word.parse::<f64>().is_ok());
            Some(((severity, is_named), is_number))
        };
        let ((found, is_number), path) = self.find(names::SEVERITIES, read)?;
        if !is_number {
            self.ruled.push(("severity", path));
        }
        Some(found)
    }

    fn word(&mut self) -> Option<Word> {
        let found = self.state();
        let found = found.and_then(|(word, path)| Some((names::state(&word)?, path)));
        if let Some((word, path)) = found {
            self.ruled.push(("status", path));
            return Some(word);
        }
        let event = |_: &str, value: &Value| names::state_of_event(value.as_str()?);
        self.find(names::DEEDS, event).map(|(word, _)| word)
    }

    /// Returns the word for the state, and its path. One that says how something ended comes before one that says only
    /// that it did.
    fn state(&self) -> Option<(String, String)> {
        let state =
            |_: &str, value: &Value| named(value).filter(|word| names::state(word).is_some());
        let telling = |name: &str, value: &'a Value| {
            state(name, value).filter(|word| !names::is_mere_end(word))
        };
        // Names like `run_status`, and a severity like "ok", which belongs to what is over.
        let of_any = || {
            self.levels.iter().find_map(|(path, entries)| {
                let ends = ["status", "state", "statename", "statusname"];
                let is_state = |plain: &str| ends.iter().any(|end| plain.ends_with(end));
                let mut entries = entries.iter().filter(|(plain, ..)| is_state(plain));
                entries.find_map(|(_, name, value)| Some((telling(name, value)?, join(path, name))))
            })
        };
        let over = |name: &str, value: &'a Value| {
            let word = state(name, value)?;
            matches!(names::state(&word)?, Word::Good | Word::Ends).then_some(word)
        };
        self.find(names::STATES, telling)
            .or_else(|| self.find(names::STATES, state))
            .or_else(of_any)
            .or_else(|| self.find(names::SEVERITIES, over))
    }

    /// Returns the title and the description.
    fn texts(&mut self) -> (Option<String>, Option<String>) {
        let text = |name: &str, value: &Value| words_of(name, value);
        let sentence = |_: &str, value: &Value| text_with_blanks(value);
        // The number of an error is no title.
        let letters = |name: &str, value: &Value| {
            words_of(name, value).filter(|text| text.contains(char::is_alphabetic))
        };
        let title = self
            .first(names::TITLES, text)
            .or_else(|| self.first(&["signature"], sentence))
            .or_else(|| self.first(&["name"], sentence).map(|name| self.of_name(name)))
            .or_else(|| self.first(names::TEXTS, letters).map(|text| self.of_code(text)))
            .or_else(|| self.first(&["event", "eventtype"], text))
            .or_else(|| self.name().map(|name| self.of_name(name)))
            .or_else(|| self.first(names::EVENTS, text));
        let Some(title) = title else { return (None, None) };
        let title = without_frame(title.trim()).to_owned();
        let (first, rest) = title.split_once('\n').unwrap_or((&title, ""));
        let head = text::head(first, TITLE_CHARS);
        if head.len() < first.len() {
            let rest = format!("… {}", title[head.len()..].trim());
            return (Some(format!("{head} …")), Some(rest));
        }
        let head = head.to_owned();
        let rest = rest.trim_start_matches(['\r', '\n']).trim_end();
        if !rest.trim().is_empty() {
            return (Some(head), Some(rest.to_owned()));
        }
        let is_new =
            |name: &str, value: &Value| letters(name, value).filter(|it| it.trim() != title);
        let more = |search: &mut Self| {
            search.first(names::TEXTS, is_new).or_else(|| search.first(names::DETAILS, is_new))
        };
        let rest = more(self).map(|it| without_frame(it.trim_end()).to_owned());
        let without_title = |text: String| match text.split_once('\n') {
            Some((first, below)) if first.trim() == head => below.to_owned(),
            _ => text,
        };
        let rest = rest.map(without_title);
        (Some(head), rest)
    }

    /// Returns a title with how it went, if that is known and the title does not say so.
    fn with_result(&mut self, title: String) -> String {
        let result = self.state().filter(|(word, _)| {
            let is_result = matches!(names::state(word), Some(Word::Bad | Word::Done));
            is_result && !names::is_mere_end(word) && names::plain(word) != "unknown"
        });
        let Some((word, path)) = result else { return title };
        let is_said =
            title.to_lowercase().contains(word.get(..4).unwrap_or(&word).to_lowercase().as_str());
        let has_severity = self.find(names::SEVERITIES, |_, value| named(value)).is_some();
        if is_said || has_severity || self.deed.is_some() {
            return title;
        }
        self.used.insert(path);
        format!("{title}: {word}")
    }

    /// Returns a text that is one word, like `invalid_credentials`, with the name of what happened.
    fn of_code(&mut self, text: String) -> String {
        let is_code = is_word(&text) && text.contains('_');
        let deed = |_: &str, value: &Value| {
            value.as_str().filter(|it| is_word(it) && !it.is_empty()).map(str::to_owned)
        };
        match is_code.then(|| self.first(names::DEEDS, deed)).flatten() {
            Some(deed) => format!("{deed}: {}", text.trim()),
            None => text,
        }
    }

    /// Returns the name of what has the state, or else the first one.
    fn name(&mut self) -> Option<String> {
        let of_state = self.state().and_then(|(_, path)| {
            let above = path.rsplit_once('.').map_or("", |(above, _)| above);
            let (_, entries) = self.levels.iter().find(|(path, _)| path == above)?;
            names::NAMES.iter().find_map(|wanted| {
                let (_, name, value) = entries.iter().find(|(plain, ..)| plain == wanted)?;
                Some((words_of(name, value)?, join(above, name)))
            })
        });
        let Some((name, path)) = of_state else { return self.first(names::NAMES, words_of) };
        self.used.insert(path);
        Some(name)
    }

    /// Returns a name with the word for what happened, if there is one.
    fn of_name(&mut self, name: String) -> String {
        self.with_deed(&name).unwrap_or_else(|| {
            self.named = Some(name.clone());
            name
        })
    }

    /// Returns a name with the word for what happened to it: a state, or an action.
    fn with_deed(&mut self, name: &str) -> Option<String> {
        /// The longest such word, in characters.
        const MOST: usize = 40;
        let word = |_: &str, value: &Value| named(value);
        // The object's own word about its state counts, however little it says.
        let any = |_: &str, value: &Value| {
            named(value).filter(|word| word.chars().all(|c| c.is_alphabetic() || c == '_'))
        };
        let found = self.state().or_else(|| self.find(&["action"], word));
        let found = found.or_else(|| self.find(&["state", "status"], any))?;
        let (deed, path) =
            Some(found).filter(|(it, _)| names::is_telling(it) && it.chars().count() <= MOST)?;
        self.used.insert(path);
        self.named = Some(name.to_owned());
        let title = format!("{name}: {deed}");
        self.deed = Some(deed);
        Some(title)
    }

    fn source(&mut self, title: Option<&str>) -> Option<String> {
        self.place(names::HOSTS, title)
            .or_else(|| self.within_places(names::HOSTS))
            .or_else(|| self.place(names::SOURCES, title))
            .or_else(|| self.within_places(names::SOURCES))
    }

    /// Returns the first machine or service of these names that is not the title.
    fn place(&mut self, wanted: &[&str], title: Option<&str>) -> Option<String> {
        let said = self.named.as_deref().or(title);
        let is_new = |_: &str, value: &'a Value| {
            place(value).filter(|(place, _)| said != Some(place.as_str()))
        };
        let ((place, name), path) = self.find(wanted, is_new)?;
        self.used.insert(name.map_or_else(|| path.clone(), |name| join(&path, name)));
        Some(place)
    }

    /// Returns the first value of these names in the objects that say where something happens.
    fn within_places(&mut self, wanted: &[&str]) -> Option<String> {
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

    /// Returns what identifies the problem, from the object itself or from a wrapper.
    fn fingerprint(&mut self) -> Option<Fingerprint> {
        let is_describing = |path: &str| {
            path.split('.').any(|name| names::DESCRIBING.contains(&names::plain(name).as_str()))
        };
        let described = |(path, _): &(String, _)| !is_describing(path);
        let levels = self.levels.iter().filter(|level| described(level));
        let (found, path) = levels.into_iter().find_map(|(path, entries)| {
            names::FINGERPRINTS.iter().find_map(|wanted| {
                let (_, name, value) = entries.iter().find(|(plain, ..)| plain == wanted)?;
                let kind = if *wanted == "id" { Fingerprint::Plain } else { Fingerprint::Named };
                Some((kind(scalar(value)?), join(path, name)))
            })
        })?;
        self.ruled.push(("fingerprint", path));
        Some(found)
    }

    /// Returns the first time of these names that is not the same as `other`.
    fn time(&mut self, wanted: &[&str], other: Option<&str>) -> Option<String> {
        let is_new = |time: &String| other.is_none_or(|other| !moment::is_same(time, other));
        let (found, path) = self.find(wanted, |_, value| moment::read(value).filter(is_new))?;
        // One time may be both.
        self.ruled.push(("time", path));
        Some(found)
    }

    fn link(&mut self) -> Option<String> {
        let read = |_: &str, value: &Value| {
            let text = value.as_str()?.trim();
            let is_link = text.starts_with("http://") || text.starts_with("https://");
            let is_one =
                is_link && !text.contains(char::is_whitespace) && !flat::says_nothing(text);
            is_one.then(|| text.to_owned())
        };
        let of_people = |name: &str, value: &Value| read(name, value).filter(|it| !is_of_api(it));
        let found = self.first(names::LINKS, of_people).or_else(|| self.link_of_object());
        if let Some(link) = found.or_else(|| self.first(names::LINKS, read)) {
            return Some(link);
        }
        let any = |plain: &str| {
            (plain.ends_with("url") || plain.ends_with("link") || plain.ends_with("uri"))
                && !names::OTHER_LINKS.iter().any(|it| plain.contains(it))
        };
        let (found, path) = self.levels.iter().find_map(|(above, entries)| {
            entries
                .iter()
                .filter(|(plain, ..)| any(plain))
                .find_map(|(_, name, value)| Some((read(name, value)?, join(above, name))))
        })?;
        self.used.insert(path);
        Some(found)
    }

    /// Returns a link for people in an object of links: `{ "html": { "href": "https://…" } }`.
    fn link_of_object(&mut self) -> Option<String> {
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
    fn labels(&mut self) -> BTreeMap<String, String> {
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
    fn lines(mut self, shown: &[&str]) -> Lines {
        let is_shown = |what: &str| what == "time" || shown.contains(&what);
        let ruled = std::mem::take(&mut self.ruled);
        self.used
            .extend(ruled.into_iter().filter(|(what, _)| is_shown(what)).map(|(_, path)| path));
        let mut lines = Lines::of(self.object, &self.used);
        lines.lines.retain(|line| self.deed.as_ref() != Some(&line.value));
        lines
    }
}

fn join(above: &str, name: &str) -> String {
    if above.is_empty() { name.to_owned() } else { format!("{above}.{name}") }
}

/// Whether a text is one word, like the name of an event.
fn is_word(text: &str) -> bool {
    !text.trim().contains(char::is_whitespace)
}

/// Returns the host in a link.
fn host_of(link: &str) -> Option<&str> {
    let (_, rest) = link.split_once("://")?;
    rest.split(['/', '?', '#']).next()?.rsplit('@').next().filter(|host| !host.is_empty())
}

/// Returns a text without the marks around it that say in which format it is.
fn without_frame(text: &str) -> &str {
    text.strip_prefix("%%%")
        .and_then(|rest| rest.strip_suffix("%%%"))
        .unwrap_or(text)
        .trim_matches('\n')
}

/// Returns a text, or the text in an array of bytes.
fn words_of(name: &str, value: &Value) -> Option<String> {
    match value {
        Value::String(text) if flat::nested(text).is_some() => None,
        Value::String(_) | Value::Array(_) => flat::words(name, value),
        _ => None,
    }
}

fn text_with_blanks(value: &Value) -> Option<String> {
    value.as_str().filter(|text| text.trim().contains(' ')).map(str::to_owned)
}

/// Returns a value that is not empty as text.
fn scalar(value: &Value) -> Option<String> {
    json::scalar(value).filter(|text| !text.trim().is_empty())
}

/// Returns a word, or the name of an object.
fn named(value: &Value) -> Option<String> {
    place(value).map(|(name, _)| name)
}

/// Returns the name of a machine or service: a text, the name in an object together with its key, or the texts of a
/// list.
fn place(value: &Value) -> Option<(String, Option<&str>)> {
    /// The number of names of a list that are shown.
    const NAMES: usize = 4;
    let (name, key) = match value {
        Value::String(text) => (text.trim().to_owned(), None),
        Value::Array(items) => {
            let names = items.iter().filter_map(Value::as_str).take(NAMES);
            (names.collect::<Vec<_>>().join(", "), None)
        }
        Value::Object(object) => names::OWN_NAMES.iter().find_map(|wanted| {
            let (key, value) = object.iter().find(|(key, _)| names::plain(key) == *wanted)?;
            Some((value.as_str()?.trim().to_owned(), Some(key.as_str())))
        })?,
        _ => return None,
    };
    (!name.is_empty() && !name.contains('\n')).then_some((name, key))
}

/// Returns the severity of a level in the logs of pino and bunyan.
fn of_pino(level: u64) -> Option<Severity> {
    Some(match level {
        10 | 20 | 30 => Severity::Info,
        40 | 50 => Severity::Warning,
        60 => Severity::Critical,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
