//! How bad something is, and whether it goes on.

use serde_json::Value;

use crate::message::{
    alert::Severity,
    gist::{
        names::{self, Word},
        search::{Level, Search},
        values::{join, named},
    },
};

impl<'a> Search<'a> {
    /// Returns the severity, and whether it is named as such.
    pub(super) fn severity(&mut self) -> Option<(Severity, bool)> {
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
        let ((found, is_number), path) = self
            .find(names::SEVERITIES, read)
            .or_else(|| self.find_in(&self.faults(), names::SEVERITIES, read))?;
        if !is_number {
            self.ruled.push(("severity", path));
        }
        Some(found)
    }

    /// Returns the severity that the state is named by: `"status": "critical"`.
    pub(super) fn severity_of_state(&self) -> Option<(Severity, bool)> {
        let critical = |_: &str, value: &Value| {
            (names::plain(&named(value)?) == "critical").then_some((Severity::Critical, true))
        };
        self.find(&["status", "state"], critical).map(|(severity, _)| severity)
    }

    pub(super) fn word(&mut self) -> Option<Word> {
        let found = self.state();
        let found = found.and_then(|(word, path)| Some((names::state(&word)?, path)));
        let event = |_: &str, value: &Value| names::state_of_event(value.as_str()?);
        let of_event = self.find(names::DEEDS, event).map(|(word, path)| {
            self.ruled.push(("status", path));
            word
        });
        let Some((word, path)) = found else {
            return of_event.or_else(|| self.flag()).or_else(|| self.alert_without_state());
        };
        // An alert that says "failing" goes on.
        let kind = |_: &str, value: &Value| {
            let kind = names::plain(value.as_str()?);
            matches!(kind.as_str(), "alert" | "incident" | "problem" | "alarm").then_some(())
        };
        let is_alert = || self.find(&["type", "kind", "eventtype"], kind).is_some();
        if word == Word::Bad && (of_event == Some(Word::Fires) || is_alert()) {
            self.ruled.push(("status", path));
            return Some(Word::Fires);
        }
        let is_open = matches!(word, Word::Open | Word::Begun);
        if !is_open {
            self.ruled.push(("status", path));
            return Some(word);
        }
        if of_event.is_some() {
            return of_event;
        }
        let is_problem = self.is_problem();
        if is_problem || word == Word::Open {
            self.ruled.push(("status", path));
        }
        Some(if is_problem { Word::Fires } else { word })
    }

    /// Returns the state that a value tells by being true or false: `"success": false`.
    pub(super) fn flag(&self) -> Option<Word> {
        let read = |name: &str, value: &Value| names::state_of_flag(name, value.as_bool()?);
        let found = self.find(&names::flags(), read);
        let fault = |name: &str, value: &Value| read(name, value).filter(|it| *it == Word::Bad);
        let found = found.or_else(|| self.find_in(&self.beyond, &names::flags(), fault));
        found.map(|(word, _)| word)
    }

    /// Returns the state of an alert that is sent when it fires, and says nothing of it.
    pub(super) fn alert_without_state(&self) -> Option<Word> {
        let is_alert =
            |path: &String| matches!(&*names::plain(path), "alert" | "incident" | "alarm");
        let (_, entries) = self.levels.iter().find(|(path, _)| is_alert(path))?;
        let has = |wanted: &str| entries.iter().any(|(plain, ..)| plain == wanted);
        let is_named = has("id") && (has("name") || has("title"));
        let is_event = self.find(names::DEEDS, |_, value| value.as_str()).is_some();
        (is_named && !is_event).then_some(Word::Fires)
    }

    /// Whether the object says that it is about a problem: an incident, an alert.
    pub(super) fn is_problem(&self) -> bool {
        const KINDS: &[&str] = &["type", "kind", "event", "eventtype", "objecttype", "topic"];
        let is_of_problem =
            |_: &str, value: &Value| names::is_of_problem(value.as_str()?).then_some(());
        let is_within = |path: &String| path.split('.').any(names::is_of_problem);
        let is_id = |plain: &str| {
            plain.ends_with("id")
                && ["alert", "incident", "problem"].iter().any(|it| plain.starts_with(it))
        };
        let own = self.levels.first().map_or(&[][..], |(_, own)| own.as_slice());
        self.find(KINDS, is_of_problem).is_some()
            || own.iter().any(|(plain, ..)| is_id(plain))
            || self.levels.iter().any(|(path, _)| is_within(path))
    }

    /// Returns the word for the state, and its path. One that says how something ended comes before one that says only
    /// that it did.
    pub(super) fn state(&self) -> Option<(String, String)> {
        let state =
            |_: &str, value: &Value| named(value).filter(|word| names::state(word).is_some());
        let telling = |name: &str, value: &'a Value| {
            state(name, value).filter(|word| !names::is_mere_end(word))
        };
        // Names like `run_status`, and a severity like "ok", which belongs to what is over.
        let of_any = |levels: &[Level<'a>]| {
            levels.iter().find_map(|(path, entries)| {
                let ends = ["status", "state", "statename", "statusname", "result"];
                let is_state = |plain: &str| {
                    ends.iter().any(|end| plain.ends_with(end)) && !names::is_aside(plain)
                };
                let mut entries = entries.iter().filter(|(plain, ..)| is_state(plain));
                entries.find_map(|(_, name, value)| Some((telling(name, value)?, join(path, name))))
            })
        };
        let over = |name: &str, value: &'a Value| {
            let word = state(name, value)?;
            matches!(names::state(&word)?, Word::Good | Word::Ends).then_some(word)
        };
        let found = self
            .find(names::STATES, telling)
            .or_else(|| self.find(names::STATES, state))
            .or_else(|| of_any(&self.levels))
            .or_else(|| self.find(names::SEVERITIES, over))
            .or_else(|| self.clear_end())
            .or_else(|| {
                self.find_in(&self.beyond, &["result", "state", "status", "phase"], telling)
            })
            .or_else(|| of_any(&self.beyond));
        match &found {
            // A task that was done well can have found that something is wrong.
            Some((word, _)) if matches!(names::state(word), Some(Word::Good | Word::Done)) => {
                self.fault_beyond().or(found)
            }
            _ => found,
        }
    }

    /// Returns the word for the end of an alert: `"clear": "normal"`.
    pub(super) fn clear_end(&self) -> Option<(String, String)> {
        let is_end = |word: &String| names::state(word) == Some(Word::Ends);
        self.find(&["clear", "resolution"], |_, value| named(value).filter(is_end))
    }

    /// Returns the word for a failure in an object that is none of the message itself, like the gate of a check.
    pub(super) fn fault_beyond(&self) -> Option<(String, String)> {
        const NAMES: &[&str] = &["status", "state", "result", "conclusion", "outcome"];
        let is_fault = |word: &String| matches!(names::state(word), Some(Word::Bad | Word::Fires));
        self.find_in(&self.beyond, NAMES, |_, value| {
            value.as_str().map(str::to_owned).filter(is_fault)
        })
    }
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
