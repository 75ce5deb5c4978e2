//! `room` of a route: one room, or one for each value of some tokens of the subject.

use std::fmt;

use data_encoding::HEXLOWER;
use matrix_sdk::ruma::{IdParseError, OwnedRoomOrAliasId, RoomOrAliasId};
use thiserror::Error;

use crate::{hash, subject::Subject};

/// A room, by id or by alias.
pub(crate) type RoomTarget = OwnedRoomOrAliasId;

/// The number of characters of a token that an alias may have.
const TOKEN_CHARS: usize = 60;

/// The highest number that a token of a subject may have.
const MOST_TOKENS: usize = 64;

/// The longest alias that Matrix allows.
const MOST_BYTES: usize = 255;

/// The text in place of a token that a subject does not have.
const NO_TOKEN: &str = "none";

/// The room or rooms of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rooms {
    /// One room for all messages.
    One(RoomTarget),
    /// One room per alias, which tokens of the subject make, as in `#ops-{subject.3}:chat.example.com`.
    BySubject(Pattern),
}

/// An alias with tokens of a subject in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    written: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// The number of the token, counted from 1.
    Token(usize),
}

/// The reason why a text is no room of a route.
#[derive(Debug, Error)]
pub(super) enum InvalidRoom {
    #[error("\"{written}\" is neither #alias:server nor !id: {error}")]
    Id { written: String, error: IdParseError },
    #[error("\"{0}\" has to be one room, without tokens of the subject")]
    Several(String),
    #[error("\"{written}\": no subject of the route has {number} tokens")]
    NoToken { written: String, number: usize },
    #[error("\"{0}\" makes aliases of more than {MOST_BYTES} bytes")]
    TooLong(String),
    #[error("\"{0}\": tokens can only be in an alias, before its server")]
    NotInAlias(String),
    #[error("\"{0}\": write a token of the subject as {{subject.3}}, counted from 1")]
    NotAToken(String),
    #[error("\"{0}\": a }} without its {{")]
    Unopened(String),
}

impl Rooms {
    /// Parses the room of a route with these subjects.
    pub(super) fn parse(written: &str, subjects: &[Subject]) -> Result<Self, InvalidRoom> {
        if !written.contains(['{', '}']) {
            return target(written).map(Self::One);
        }
        let pattern = Pattern { written: written.to_owned(), parts: parts(written)? };
        for part in &pattern.parts {
            let Part::Token(number) = part else { continue };
            if !subjects.iter().any(|subject| subject.may_have_token(*number, |_| true)) {
                let (written, number) = (written.to_owned(), *number);
                return Err(InvalidRoom::NoToken { written, number });
            }
        }
        // Longer tokens are cut, so no alias is longer than this one.
        let longest = vec!["x".repeat(TOKEN_CHARS); MOST_TOKENS].join(".");
        let example = pattern.alias(&longest);
        let example =
            RoomOrAliasId::parse(&*example).map_err(|error| not_a_room(written, error))?;
        if example.as_str().len() > MOST_BYTES {
            return Err(InvalidRoom::TooLong(written.to_owned()));
        }
        if !example.is_room_alias_id()
            || written.rsplit_once(':').is_some_and(|it| it.1.contains('{'))
        {
            return Err(InvalidRoom::NotInAlias(written.to_owned()));
        }
        Ok(Self::BySubject(pattern))
    }

    /// The room of a message on `subject`.
    ///
    /// # Panics
    ///
    /// Never: parsing has checked that the longest tokens make a valid alias.
    #[must_use]
    pub(crate) fn of(&self, subject: &str) -> RoomTarget {
        match self {
            Self::One(room) => room.clone(),
            Self::BySubject(pattern) => RoomOrAliasId::parse(pattern.alias(subject))
                .expect("the longest tokens make an alias, and so do others"),
        }
    }

    /// The room, if the route has only one.
    #[must_use]
    pub(crate) fn one(&self) -> Option<&RoomTarget> {
        match self {
            Self::One(room) => Some(room),
            Self::BySubject(_) => None,
        }
    }
}

/// Parses a single room.
pub(super) fn target(written: &str) -> Result<RoomTarget, InvalidRoom> {
    if written.contains(['{', '}']) {
        return Err(InvalidRoom::Several(written.to_owned()));
    }
    RoomOrAliasId::parse(written).map_err(|error| not_a_room(written, error))
}

fn not_a_room(written: &str, error: IdParseError) -> InvalidRoom {
    InvalidRoom::Id { written: written.to_owned(), error }
}

impl fmt::Display for Rooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(room) => room.fmt(f),
            Self::BySubject(pattern) => f.write_str(&pattern.written),
        }
    }
}

impl Pattern {
    fn alias(&self, subject: &str) -> String {
        let tokens: Vec<&str> = subject.split('.').collect();
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Token(number) => {
                let token = tokens.get(number.saturating_sub(1)).filter(|token| !token.is_empty());
                localpart(token.unwrap_or(&NO_TOKEN))
            }
        };
        self.parts.iter().map(part).collect()
    }
}

/// Reduces a token to characters that everybody can type and no server refuses. A token that loses characters gets a
/// hash at its end, so that only tokens share a room
/// that differ in nothing but capital letters.
fn localpart(token: &str) -> String {
    let plain = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9' | '-' | '_') => c,
        _ => '-',
    };
    let lower = token.to_ascii_lowercase();
    let part = |chars| lower.chars().take(chars).map(plain).collect::<String>();
    if part(TOKEN_CHARS) == lower {
        return lower;
    }
    let hash = HEXLOWER.encode(&hash::of_texts([lower.as_str()])[..4]);
    format!("{}-{hash}", part(TOKEN_CHARS - 1 - hash.len()))
}

fn parts(written: &str) -> Result<Vec<Part>, InvalidRoom> {
    let mut parts = Vec::new();
    let mut rest = written;
    while let Some((text, after)) = rest.split_once('{') {
        let token = after.split_once('}').and_then(|(name, after)| {
            let number = name
                .strip_prefix("subject.")?
                .parse()
                .ok()
                .filter(|number| (1..=MOST_TOKENS).contains(number))?;
            Some((number, after))
        });
        let Some((number, after)) = token else {
            return Err(InvalidRoom::NotAToken(written.to_owned()));
        };
        parts.push(Part::Text(text.to_owned()));
        parts.push(Part::Token(number));
        rest = after;
    }
    if rest.contains('}') {
        return Err(InvalidRoom::Unopened(written.to_owned()));
    }
    parts.push(Part::Text(rest.to_owned()));
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rooms(written: &str) -> Result<Rooms, InvalidRoom> {
        Rooms::parse(written, &[Subject::filter("ops.report.*").unwrap()])
    }

    #[test]
    fn a_token_of_the_subject_is_part_of_an_alias() {
        let by_host = rooms("#ops-{subject.3}:chat.example.com").unwrap();
        assert_eq!(by_host.of("ops.report.db-01").as_str(), "#ops-db-01:chat.example.com");
        assert_eq!(by_host.of("ops.report.DB-01"), by_host.of("ops.report.db-01"));
        let other = by_host.of("ops.report.DB/01:x ü").to_string();
        assert!(other.starts_with("#ops-db-01-x---") && other.ends_with(":chat.example.com"));
        let all = [
            "a:b",
            "a/b",
            "a-b",
            "\u{4e00}\u{4e8c}",
            "\u{4e09}\u{56db}",
            &"x".repeat(80),
            &"x".repeat(90),
        ];
        let different: std::collections::BTreeSet<_> =
            all.iter().map(|token| by_host.of(&format!("ops.report.{token}"))).collect();
        assert_eq!(different.len(), all.len(), "no two of them share a room");
        assert_eq!(by_host.of("ops.report").as_str(), "#ops-none:chat.example.com");
        let long = by_host.of(&format!("ops.report.{}", "x".repeat(1000)));
        assert!(long.as_str().len() < 255);
        assert_eq!(by_host.one(), None);
        let one = rooms("#ops:chat.example.com").unwrap();
        assert_eq!(one.of("ops.report.db-01").as_str(), "#ops:chat.example.com");
    }

    #[test]
    fn what_makes_no_alias_is_refused() {
        for (written, said) in [
            ("#ops-{subject.4}:x", "no subject of the route has 4 tokens"),
            ("#ops-{subject.0}:x", "counted from 1"),
            ("#ops-{host}:x", "write a token of the subject as {subject.3}"),
            ("#ops-{subject.3:x", "write a token"),
            ("#ops-subject.3}:x", "a } without its {"),
            ("!{subject.3}:x", "only be in an alias"),
            ("#ops:{subject.3}", "only be in an alias"),
            ("ops-{subject.3}", "neither #alias:server"),
            ("#{subject.1}{subject.2}{subject.3}{subject.1}{subject.2}:x", "more than 255 bytes"),
        ] {
            let wrong = rooms(written).unwrap_err().to_string();
            assert!(wrong.contains(said), "{written}: {wrong}");
        }
    }
}
