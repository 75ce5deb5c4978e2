//! The title of a message, and what more there is to say.

use serde_json::Value;

use crate::{
    message::gist::{
        flat, headline,
        names::{self, Word},
        search::{Level, Search},
        values::{is_word, join, named, text_with_blanks, words_of},
    },
    text,
};

/// The longest title, in characters. The rest becomes the description.
const TITLE_CHARS: usize = 200;

impl<'a> Search<'a> {
    /// Returns the title and the description.
    pub(super) fn texts(&mut self) -> (Option<String>, Option<String>) {
        let text = |name: &str, value: &Value| words_of(name, value);
        let sentence = |_: &str, value: &Value| text_with_blanks(value);
        // The number of an error is no title.
        let letters = |name: &str, value: &Value| {
            words_of(name, value)
                .filter(|text| text.contains(char::is_alphabetic) && !flat::is_link(text))
        };
        // Nor is the word that all is well.
        let told = |name: &str, value: &Value| {
            let is_well = |text: &str| matches!(names::state(text), Some(Word::Good | Word::Up));
            letters(name, value).filter(|text| !is_well(text))
        };
        let title = self
            .first(names::TITLES, text)
            .or_else(|| self.first(&["signature", "eventname"], sentence))
            .or_else(|| self.any_title())
            .or_else(|| self.first(&["name"], sentence).map(|name| self.of_name(name)))
            .or_else(|| self.name_beside_description())
            .or_else(|| self.title_beyond())
            .or_else(|| self.first(names::TEXTS, told).map(|text| self.of_code(text)))
            .or_else(|| self.text_of_fault())
            .or_else(|| self.first(&["metric", "condition"], sentence))
            .or_else(|| self.name_of_changed())
            .or_else(|| self.event())
            .or_else(|| self.name().map(|name| self.of_name(name)))
            .or_else(|| self.first(names::EVENTS, text));
        let Some(title) = title else { return (None, None) };
        let title = self.told_by_rule(title);
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
            search
                .first(names::TEXTS, is_new)
                .or_else(|| search.first(names::DETAILS, is_new))
                .or_else(|| search.reason_beyond())
        };
        let rest = more(self).map(|it| without_frame(it.trim_end()).to_owned());
        let without_title = |text: String| match text.split_once('\n') {
            Some((first, below)) if first.trim() == head => below.to_owned(),
            _ => text,
        };
        let rest = rest.map(without_title);
        (Some(head), rest)
    }

    /// Returns the name of a rule instead of a title that only names what the rule found.
    pub(super) fn told_by_rule(&mut self, title: String) -> String {
        if !is_word(&title) || self.named.is_some() {
            return title;
        }
        let is_rule = |path: &str| {
            path.rsplit('.').next().is_some_and(|it| names::RULES.contains(&&*names::plain(it)))
        };
        let rules = self.levels.iter().filter(|(path, _)| is_rule(path)).cloned();
        let rules: Vec<Level<'a>> = rules.collect();
        match self.find_in(&rules, &["name"], |_, value| text_with_blanks(value)) {
            Some((name, path)) => {
                self.used.insert(path);
                format!("{name}: {title}")
            }
            None => title,
        }
    }

    /// Returns a text whose name ends like that of a title.
    pub(super) fn any_title(&mut self) -> Option<String> {
        let (text, path) = self.levels.iter().find_map(|(path, entries)| {
            let mut titles = entries.iter().filter(|(plain, ..)| plain.ends_with("title"));
            titles.find_map(|(_, name, value)| Some((text_with_blanks(value)?, join(path, name))))
        })?;
        self.used.insert(path);
        Some(text)
    }

    /// Returns the name of what changed with its state, if the event says only that something changed.
    pub(super) fn name_of_changed(&mut self) -> Option<String> {
        let event = |_: &str, value: &Value| {
            value.as_str().filter(|event| names::is_mere_change(event)).map(str::to_owned)
        };
        let of_object = |_: &str, value: &Value| {
            let event = value.as_str()?;
            let is_own = |path: &str| {
                path.rsplit('.').next().is_some_and(|it| names::is_about(event, &names::plain(it)))
            };
            self.levels.iter().any(|(path, _)| is_own(path)).then(|| event.to_owned())
        };
        let events = &["event", "eventtype", "eventname", "type"];
        self.find(events, event).or_else(|| self.find(events, of_object))?;
        let used = self.used.clone();
        let name = self.name().or_else(|| self.name_beyond())?;
        let title = self.with_deed(&name);
        if title.is_none() {
            self.used = used;
        }
        title
    }

    /// Returns the name of what happened, and of which kind it is if there are two names.
    pub(super) fn event(&mut self) -> Option<String> {
        let text = |name: &str, value: &Value| words_of(name, value);
        let event = self.first(&["event", "eventname", "eventtypename"], text);
        let kind = self.first(&["eventtype"], text);
        match (event, kind) {
            (Some(event), Some(kind)) if event != kind => Some(format!("{event}: {kind}")),
            (event, kind) => event.or(kind),
        }
    }

    /// Returns the name of a problem that has a description beside it.
    pub(super) fn name_beside_description(&mut self) -> Option<String> {
        if self.state().is_none() && !self.is_problem() {
            return None;
        }
        let levels = self.levels.iter();
        let (name, path) = levels.into_iter().find_map(|(path, entries)| {
            let at =
                |wanted: &[&str]| entries.iter().find(|(it, ..)| wanted.contains(&it.as_str()));
            let (_, name, value) = at(&["name"])?;
            at(&["description"])?;
            at(&["message", "msg", "text", "body"]).is_none().then_some(())?;
            Some((words_of(name, value)?, join(path, name)))
        })?;
        self.used.insert(path);
        Some(self.of_name(name))
    }

    /// Returns the title in an object within, like that of an item or an issue.
    pub(super) fn title_beyond(&mut self) -> Option<String> {
        let has_text = self.find(names::TEXTS, words_of).is_some();
        let found = self.find_in(&self.beyond, &["title", "summary"], words_of);
        let (text, path) = found.filter(|_| !has_text)?;
        self.used.insert(path);
        Some(text)
    }

    /// Returns the text in an object that tells what went wrong.
    pub(super) fn text_of_fault(&mut self) -> Option<String> {
        let (text, path) = self.find_in(&self.faults(), names::TEXTS, words_of)?;
        self.used.insert(path);
        Some(text)
    }

    /// Returns the reason that an object within gives in a sentence.
    pub(super) fn reason_beyond(&mut self) -> Option<String> {
        let sentence = |_: &str, value: &Value| {
            text_with_blanks(value).filter(|text| text.split(' ').count() > 2)
        };
        let (text, path) = self.find_in(&self.beyond, &["reason", "message"], sentence)?;
        self.used.insert(path);
        Some(text)
    }

    /// Returns a title with how it went, if that is known and the title does not say so.
    pub(super) fn with_result(&mut self, title: String) -> String {
        let result = self.state().filter(|(word, _)| {
            let is_result = matches!(names::state(word), Some(Word::Bad | Word::Done));
            is_result && !names::is_mere_end(word) && names::plain(word) != "unknown"
        });
        let Some((word, path)) = result else { return title };
        let is_said =
            title.to_lowercase().contains(word.get(..4).unwrap_or(&word).to_lowercase().as_str());
        let lower = title.to_lowercase();
        let is_fault = ["fail", "error", "unsuccess", "timed out", "cannot", "could not"];
        let is_said = is_said
            || names::state(&word) == Some(Word::Bad)
                && is_fault.iter().any(|it| lower.contains(it));
        let has_severity = self.find(names::SEVERITIES, |_, value| named(value)).is_some();
        if is_said || has_severity || self.deed.is_some() {
            return title;
        }
        self.used.insert(path);
        format!("{title}: {word}")
    }

    /// Returns a text that is one word, like `invalid_credentials`, with the name of what happened.
    pub(super) fn of_code(&mut self, text: String) -> String {
        let is_code = is_word(&text) && text.contains('_');
        let deed = |_: &str, value: &Value| {
            value.as_str().filter(|it| is_word(it) && !it.is_empty()).map(str::to_owned)
        };
        match is_code.then(|| self.first(names::DEEDS, deed)).flatten() {
            Some(deed) => format!("{deed}: {}", text.trim()),
            None => text,
        }
    }

    /// Returns the kind and the name of an object of Kubernetes.
    pub(super) fn name_of_kubernetes(&mut self) -> Option<String> {
        let levels = self.levels.iter();
        let (kind, name, paths) = levels.into_iter().find_map(|(path, entries)| {
            let at = |wanted: &str| entries.iter().find(|(plain, ..)| plain == wanted);
            let (kind, metadata) = (at("kind")?, at("metadata")?);
            let name = metadata.2.get("name")?.as_str()?;
            let paths = [join(path, kind.1), format!("{}.name", join(path, metadata.1))];
            Some((kind.2.as_str()?, name, paths))
        })?;
        self.used.extend(paths);
        Some(format!("{kind} {name}"))
    }

    /// Returns the name of what has the state, or else the first one.
    pub(super) fn name(&mut self) -> Option<String> {
        if let Some(name) = self.name_of_kubernetes() {
            return Some(name);
        }
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
    pub(super) fn of_name(&mut self, name: String) -> String {
        self.with_deed(&name).unwrap_or_else(|| {
            self.named = Some(name.clone());
            name
        })
    }

    /// Returns a title for what happened to a part of a machine, like a service on it, or to the machine itself.
    pub(super) fn with_deed_at(&mut self, source: &str) -> Option<String> {
        let other = |_: &str, value: &Value| named(value).filter(|part| part != source);
        let Some((part, path)) = self.find(names::PARTS, other) else {
            return self.with_deed(source);
        };
        let title = self.with_deed(&part)?;
        self.used.insert(path);
        Some(title)
    }

    /// Returns a name with the word for what happened to it: a state, or an action.
    pub(super) fn with_deed(&mut self, name: &str) -> Option<String> {
        /// The longest such word, in characters.
        const MOST: usize = 40;
        if headline::state(name).is_some() {
            return None;
        }
        let word = |_: &str, value: &Value| named(value);
        // The object's own word about its state counts, however little it says.
        let any = |_: &str, value: &Value| {
            named(value).filter(|word| word.chars().all(|c| c.is_alphabetic() || c == '_'))
        };
        let fault = |_: &str, value: &Value| {
            let event = named(value)?;
            (names::state_of_event(&event) == Some(Word::Bad)).then_some(event)
        };
        let found = self
            .state()
            .or_else(|| self.find(names::DEEDS, fault))
            .or_else(|| self.find(&["action"], word))
            .or_else(|| self.find(&["state", "status"], any))?;
        let (deed, path) =
            Some(found).filter(|(it, _)| names::is_telling(it) && it.chars().count() <= MOST)?;
        self.used.insert(path);
        self.named = Some(name.to_owned());
        let title = format!("{name}: {deed}");
        self.deed = Some(deed);
        Some(title)
    }

    /// Returns the field that tells a state, for a message that has no other title: `ups.status: OB DISCHRG`.
    pub(super) fn any_state(&mut self) -> Option<String> {
        let (said, path) =
            self.levels.iter().chain(&self.beyond).find_map(|(above, entries)| {
                entries.iter().find_map(|(plain, name, value)| {
                    let is_state =
                        ["status", "state", "statestr"].iter().any(|end| plain.ends_with(end));
                    let said = match value {
                        Value::String(text) if is_state && flat::words(name, value).is_some() => {
                            text.clone()
                        }
                        Value::Bool(is_set) => {
                            let word = names::state_of_flag(name, *is_set)?;
                            matches!(word, Word::Bad | Word::Fires).then(|| is_set.to_string())?
                        }
                        _ => return None,
                    };
                    let path = join(above, name);
                    (said.chars().count() <= TITLE_CHARS).then(|| (format!("{path}: {said}"), path))
                })
            })?;
        // The field is the same when it says something else.
        self.named = Some(path.clone());
        self.used.insert(path);
        Some(said)
    }

    /// Returns the name of an object within, for a message that has no other title.
    pub(super) fn name_beyond(&mut self) -> Option<String> {
        let (name, path) = self.find_in(&self.beyond, &["title", "name"], words_of)?;
        self.used.insert(path);
        Some(name)
    }
}

/// Returns a text without the marks around it that say in which format it is.
fn without_frame(text: &str) -> &str {
    text.strip_prefix("%%%")
        .and_then(|rest| rest.strip_suffix("%%%"))
        .unwrap_or(text)
        .trim_matches('\n')
}
