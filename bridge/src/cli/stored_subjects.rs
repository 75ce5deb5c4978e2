//! Reads the subjects of the messages in a stream, for `check`.
//!
//! Publishers choose subjects as many and as long as the server allows, and the server lists up to 100,000 of them in
//! one answer. Their number is therefore asked for first, and if it is too large, only the last few are read.

use std::{collections::BTreeMap, fmt};

use async_nats::jetstream::{self, context::RequestError};
use serde::Deserialize;
use serde_json::json;
use thiserror::Error;

use crate::{config::Route, nats::Nats, subject::Subject, text};

/// The number of subjects that are read at most. Each has less than 4 KiB, the default limit of a server for a line.
const MOST: u64 = 2_000;

/// The number of subjects that are shown.
const EXAMPLES: usize = 3;

/// An offset beyond the last subject.
const BEYOND: u64 = u32::MAX as u64;

/// The messages of a stream on some subjects.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// The number of subjects.
    pub(super) subjects: u64,
    /// The number of messages; `None` if there are too many subjects to count them.
    messages: Option<u64>,
    /// Some subjects with their numbers of messages, the largest number first.
    examples: Vec<(String, u64)>,
}

/// The answer to a request for the subjects of a stream from an offset on.
#[derive(Deserialize)]
struct Page {
    /// The number of all subjects.
    #[serde(default)]
    total: u64,
    #[serde(default)]
    state: State,
    error: Option<jetstream::Error>,
}

#[derive(Default, Deserialize)]
struct State {
    #[serde(default)]
    subjects: BTreeMap<String, u64>,
}

/// The reason why there is no answer about the subjects of a stream.
#[derive(Debug, Error)]
pub(super) enum SubjectsError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Refused(#[from] jetstream::Error),
}

/// Looks up the messages of a stream on the subjects that a filter matches.
pub(super) async fn held(nats: &Nats, stream: &str, filter: &str) -> Result<Held, SubjectsError> {
    let total = page(nats, stream, filter, BEYOND).await?.total;
    match total {
        0 => Ok(Held { messages: Some(0), ..Held::default() }),
        1..=MOST => Ok(Held::of(page(nats, stream, filter, 0).await?.state.subjects)),
        _ => {
            let last = page(nats, stream, filter, total - EXAMPLES as u64).await?;
            Ok(Held { subjects: total, messages: None, ..Held::of(last.state.subjects) })
        }
    }
}

/// Looks up the messages of a stream on subjects that none of these routes matches. If there are too many subjects to
/// read, only their number is found out, by subtraction.
pub(super) async fn unrouted(
    nats: &Nats,
    stream: &str,
    routes: &[&Route],
) -> Result<Held, SubjectsError> {
    let filters: Vec<&Subject> = routes.iter().flat_map(|route| &route.subjects).collect();
    let total = page(nats, stream, ">", BEYOND).await?.total;
    if total <= MOST {
        let mut subjects = page(nats, stream, ">", 0).await?.state.subjects;
        subjects.retain(|subject, _| !filters.iter().any(|filter| filter.matches(subject)));
        return Ok(Held::of(subjects));
    }
    let mut taken = 0;
    for filter in without_covered(&filters) {
        taken += page(nats, stream, filter.as_str(), BEYOND).await?.total;
    }
    Ok(Held { subjects: total.saturating_sub(taken), ..Held::default() })
}

/// Returns the filters without those that another one covers.
fn without_covered<'a>(filters: &[&'a Subject]) -> Vec<&'a Subject> {
    let mut kept: Vec<&Subject> = Vec::new();
    for filter in filters {
        if !kept.iter().any(|other| other.covers(filter)) {
            kept.retain(|other| !filter.covers(other));
            kept.push(filter);
        }
    }
    kept
}

async fn page(nats: &Nats, stream: &str, filter: &str, offset: u64) -> Result<Page, SubjectsError> {
    let subject = format!("STREAM.INFO.{stream}");
    let asked = json!({ "subjects_filter": filter, "offset": offset });
    let answer: Result<Page, RequestError> = nats.jetstream.request(subject, &asked).await;
    let page = answer?;
    match page.error {
        Some(error) => Err(error.into()),
        None => Ok(page),
    }
}

impl Held {
    fn of(subjects: BTreeMap<String, u64>) -> Self {
        let mut examples: Vec<(String, u64)> = Vec::new();
        let (count, messages) = (subjects.len() as u64, subjects.values().sum());
        for (subject, count) in subjects {
            // The subjects come in order, so subjects with equally many messages stay in order.
            let place = examples.partition_point(|(_, other)| *other >= count);
            examples.insert(place, (subject, count));
            examples.truncate(EXAMPLES);
        }
        Self { subjects: count, messages: Some(messages), examples }
    }
}

impl fmt::Display for Held {
    /// Writes "7 messages on 3 subjects: a (4), b (2), c (1)".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.messages {
            Some(messages) => write!(f, "{messages} messages on ")?,
            None => f.write_str("messages on ")?,
        }
        write!(f, "{} subject{}", self.subjects, if self.subjects == 1 { "" } else { "s" })?;
        let examples: Vec<String> = self
            .examples
            .iter()
            .map(|(subject, count)| format!("{} ({count})", text::line(subject)))
            .collect();
        if examples.is_empty() {
            return Ok(());
        }
        let more = if self.subjects > examples.len() as u64 { ", ..." } else { "" };
        write!(f, ": {}{more}", examples.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_with_most_messages_are_shown() {
        let of = |subjects: &[(&str, u64)]| {
            let subjects = subjects.iter().map(|(subject, count)| ((*subject).to_owned(), *count));
            Held::of(subjects.collect()).to_string()
        };
        assert_eq!(of(&[("a", 1)]), "1 messages on 1 subject: a (1)");
        let many = [("a", 1), ("b", 3), ("c", 2), ("d", 3), ("e", 1)];
        assert_eq!(of(&many), "10 messages on 5 subjects: b (3), d (3), c (2), ...");
    }

    #[test]
    fn what_another_filter_matches_is_counted_once() {
        let filter = |text: &str| Subject::filter(text).unwrap();
        let (all, one, other) = (filter("ops.>"), filter("ops.a.*"), filter("lab.*"));
        let kept = |filters: &[&Subject]| {
            without_covered(filters).into_iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(kept(&[&one, &all, &other, &one]), ["ops.>", "lab.*"]);
        assert_eq!(kept(&[&all, &all, &one]), ["ops.>"]);
    }
}
