//! The state that a title tells, and the name of what it is about: `Triggered: Disk full`, `[OK] Disk full`, `Shop is
//! back up after 5 minutes`.

use crate::message::gist::names::{self, Word};

/// The words before a title that tell its state. Other words have other meanings there.
const BEFORE: &[&str] = &[
    "triggered",
    "retriggered",
    "firing",
    "fired",
    "alarm",
    "problem",
    "down",
    "outage",
    "resolved",
    "recovered",
    "recovery",
    "cleared",
    "restored",
    "normal",
    "ok",
    "up",
];

/// The phrases that say that something is over, the longest of those that begin alike first.
const OVER: &[&str] = &[
    " has been resolved",
    " was resolved",
    " is resolved",
    " has recovered",
    " have recovered",
    " recovered from ",
    " recovered",
    " has cleared",
    " cleared at ",
    " is back up",
    " is back online",
    " is back to normal",
    " back to normal",
    " returned to normal",
    " is up again",
    " is online again",
    " is healthy again",
    " is reachable again",
    " is now up",
    " is up",
];

/// The phrases that say that something is wrong.
const WRONG: &[&str] = &[
    " is down",
    " went down",
    " has gone down",
    " is unreachable",
    " is not reachable",
    " is offline",
    " went offline",
    " is not responding",
    " stopped responding",
];

/// Returns the state that a title tells, and the title without it, which is the same when the problem ends.
pub(super) fn state(title: &str) -> Option<(Word, String)> {
    let title = without_signs(title);
    in_brackets(title)
        .or_else(|| before(title).map(|(word, name)| (word, without_measures(&name))))
        .or_else(|| change(title))
        .or_else(|| phrase(title))
}

/// Returns a title without the state before it, if nothing else stands beside the state.
pub(super) fn without_state(title: &str) -> Option<String> {
    let title = without_signs(title);
    let is_alone = |title: &str| {
        let (word, _) = title.split_once(']').unwrap_or_default();
        !word.contains(' ')
    };
    let in_brackets = || in_brackets(title).filter(|_| is_alone(title));
    let (_, name) = in_brackets().or_else(|| before(title))?;
    (!name.is_empty()).then_some(name)
}

/// Returns a name without what changes while the problem stays the same: since when, why and how much.
fn without_measures(name: &str) -> String {
    let ends = [" since ", " after ", ", reason", " (", " for "];
    let end = ends.iter().filter_map(|end| name.find(end)).filter(|at| *at > 0).min();
    let name = end.and_then(|end| name.get(..end)).unwrap_or(name);
    let is_number =
        |word: &str| word.strip_suffix('%').is_some_and(|number| number.parse::<f64>().is_ok());
    let words = name.split(' ').map(|word| if is_number(word) { "%" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// Reads the change of a state at the end of a title: `db-01 - UP -> DOWN`.
fn change(title: &str) -> Option<(Word, String)> {
    let (old, new) = [" -> ", " → ", " => "].iter().find_map(|mark| title.rsplit_once(mark))?;
    let (name, old) = old.rsplit_once(' ')?;
    names::state(old.trim_matches(|c: char| !c.is_alphanumeric()))?;
    let word = names::state(new)?;
    let word = match word {
        Word::Up | Word::Good | Word::Done => Word::Ends,
        Word::Bad => Word::Fires,
        word => word,
    };
    let is_sign = |c: char| c.is_whitespace() || matches!(c, '-' | ':' | '(' | '–');
    Some((word, name.trim_end_matches(is_sign).to_owned()))
}

/// Returns a title without the signs before it, like an emoji.
pub(super) fn without_signs(title: &str) -> &str {
    let trimmed =
        title.trim_start_matches(|c: char| !c.is_alphanumeric() && !"[(<\"'/$#@".contains(c));
    if trimmed.is_empty() { title } else { trimmed }
}

/// Reads the state in brackets before a title: `[Triggered on a] Disk full`.
fn in_brackets(title: &str) -> Option<(Word, String)> {
    let (before, name) = title.strip_prefix('[')?.split_once(']')?;
    let (word, more) = before.split_once([':', ' ']).unwrap_or((before, ""));
    let word = names::state(word).filter(|word| matches!(word, Word::Fires | Word::Ends))?;
    Some((word, with_more(more, name)))
}

/// Returns a name with what else stands beside its state. A number there counts the alerts: `[FIRING:2]`.
pub(super) fn with_more(more: &str, name: &str) -> String {
    let more = Some(more.trim()).filter(|more| more.parse::<u64>().is_err()).unwrap_or_default();
    format!("{more} {}", name.trim()).trim().to_owned()
}

/// Reads the state before a title: `Triggered: Disk full`, `RECOVERY - Disk full`.
fn before(title: &str) -> Option<(Word, String)> {
    let (word, name) =
        [": ", " - ", " – ", " | "].iter().find_map(|mark| title.split_once(mark))?;
    let is_known = BEFORE.contains(&names::plain(word).as_str()) && !name.trim().is_empty();
    Some((names::state(word).filter(|_| is_known)?, name.trim().to_owned()))
}

/// Reads the state that a sentence tells: `Shop is down.`
fn phrase(title: &str) -> Option<(Word, String)> {
    let lower = title.to_ascii_lowercase();
    if [" not ", "n't ", " never ", " if ", " when ", "?"].iter().any(|it| lower.contains(it))
        && !lower.contains(" is not re")
    {
        return None;
    }
    let at = |phrases: &[&str]| {
        phrases.iter().find_map(|phrase| {
            let at = lower.find(phrase)?;
            let rest = lower.get(at + phrase.len()..)?;
            let is_whole = phrase.ends_with(' ') || !rest.starts_with(char::is_alphanumeric);
            is_whole.then_some(at)
        })
    };
    let over = at(OVER).map(|at| (Word::Ends, at));
    let (word, at) = over.or_else(|| at(WRONG).map(|at| (Word::Fires, at)))?;
    let name = title.get(..at)?.trim();
    (!name.is_empty()).then(|| (word, name.to_owned()))
}
