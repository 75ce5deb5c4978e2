//! The words by which senders name severities and states.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::message::{Severity, Status};

/// The reason why a word in a shape does not say what it should.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum Wrong {
    #[error("\"{0}\" is not a severity; write \"critical\", \"warning\" or \"info\"")]
    Severity(String),
    #[error("\"{0}\" is not a state; write \"firing\" or \"resolved\"")]
    State(String),
}

/// The severities of a shape by the sender's words, in lower case. `*` stands for all other words.
#[derive(Debug, Default)]
pub(super) struct Severities(BTreeMap<String, Severity>);

/// The states of a shape by the sender's words, in lower case. `*` stands for all other words.
#[derive(Debug, Default)]
pub(super) struct States(BTreeMap<String, Status>);

pub(super) fn severities(words: BTreeMap<String, String>) -> Result<Severities, (String, Wrong)> {
    let known = |(word, severity): (String, String)| match severity.as_str() {
        "critical" => Ok((word.to_lowercase(), Severity::Critical)),
        "warning" => Ok((word.to_lowercase(), Severity::Warning)),
        "info" => Ok((word.to_lowercase(), Severity::Info)),
        _ => Err((word, Wrong::Severity(severity))),
    };
    words.into_iter().map(known).collect::<Result<_, _>>().map(Severities)
}

pub(super) fn states(words: BTreeMap<String, String>) -> Result<States, (String, Wrong)> {
    let known = |(word, state): (String, String)| match state.as_str() {
        "firing" => Ok((word.to_lowercase(), Status::Firing)),
        "resolved" => Ok((word.to_lowercase(), Status::Resolved)),
        _ => Err((word, Wrong::State(state))),
    };
    words.into_iter().map(known).collect::<Result<_, _>>().map(States)
}

impl Severities {
    /// Returns the severity that the sender calls so: as the shape says, or else as most people mean it.
    pub(super) fn of(&self, word: &str) -> Severity {
        let known = self.0.get(&word.trim().to_lowercase()).or_else(|| self.0.get("*"));
        known.cloned().unwrap_or_else(|| Severity::from(word.to_owned()))
    }
}

/// The words by which most senders say that a problem is over.
const OVER: [&str; 18] = [
    "resolved",
    "ok",
    "okay",
    "up",
    "recovered",
    "recovery",
    "normal",
    "inactive",
    "closed",
    "success",
    "succeeded",
    "healthy",
    "ended",
    "end",
    "clear",
    "cleared",
    "fixed",
    "passed",
];

impl States {
    /// Returns the state that the sender calls so, and whether that is in doubt. A word that is not known never ends an
    /// alert. It is in doubt if the shape names words for alerts that fire, and this is none of them.
    pub(super) fn of(&self, word: &str) -> (Status, bool) {
        let word = word.trim().to_lowercase();
        let known = self.0.get(&word).or_else(|| self.0.get("*")).copied();
        match known {
            Some(status) => (status, false),
            None if OVER.contains(&word.as_str()) => (Status::Resolved, false),
            // An expression may say so itself.
            None if word == "firing" => (Status::Firing, false),
            None => (Status::Firing, self.0.values().any(|status| *status == Status::Firing)),
        }
    }
}
