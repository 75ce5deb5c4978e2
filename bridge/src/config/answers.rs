//! `[routes.answers]`: whether people in the room may answer alerts, and how.

use std::time::Duration;

use matrix_sdk::ruma::{OwnedUserId, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{duration, error::ConfigError};

/// The default of `ack`.
const ACK: [&str; 2] = ["👍", "✅"];

/// The longest reaction, in bytes: a family with skin tones takes 41.
const LONGEST_REACTION: usize = 64;

/// The answers that people may give to the alerts of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answers {
    /// The reactions that acknowledge an alert, at least one, in the form that [`reaction`] returns.
    pub ack: Vec<String>,
    /// Whether the bridge puts the first of them on each alert itself, so that it takes one tap to answer.
    pub offer: bool,
    /// The power level in the room from which a member may answer; `None` if only `people` may.
    pub power: Option<i64>,
    /// The users who may answer whatever power they have.
    pub people: Vec<OwnedUserId>,
    /// The time after which an alert that was acknowledged and still goes on notifies again.
    pub remind_after: Duration,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAnswers {
    /// The reactions that acknowledge an alert.
    #[schemars(
        example = ["👀"],
        extend("x-type" = "list of reactions", "x-default" = "`[\"👍\", \"✅\"]`")
    )]
    ack: Option<Vec<String>>,
    /// The bridge puts the first of these reactions on each alert itself, so that it takes one tap to answer.
    #[serde(default)]
    #[schemars(example = true)]
    offer: bool,
    /// The power level that somebody needs in the room to answer. If `people` are given and this is not, only they may.
    #[schemars(
        example = 50,
        extend("x-type" = "number", "x-default" = "`0`; with `people`, only they may")
    )]
    power: Option<i64>,
    /// The people who may answer whatever power they have.
    #[serde(default)]
    #[schemars(example = ["@alice:chat.example.com"], extend("x-type" = "list of ids"))]
    people: Vec<String>,
    /// An alert that somebody has acknowledged pushes again, when it is said again this long after that, or after its last
    /// push if that was later.
    #[schemars(example = &"8h", extend("x-type" = "duration", "default" = "4h"))]
    remind_after: Option<String>,
}

/// The default of `remind_after`.
const REMIND_AFTER: Duration = Duration::from_hours(4);

impl RawAnswers {
    /// Checks the section; `section` begins the names of keys in errors.
    pub(super) fn check(self, section: &str) -> Result<Answers, ConfigError> {
        let key = |key: &str| format!("{section}.{key}");
        let ack = self.ack.unwrap_or_else(|| ACK.map(str::to_owned).to_vec());
        if ack.is_empty() {
            let what = "name at least one reaction, like \"👍\", or leave it out for 👍 and ✅";
            return Err(ConfigError::new(key("ack"), what));
        }
        let ack = ack.iter().map(|text| {
            let reaction = reaction(text);
            let is_reaction = !reaction.is_empty()
                && reaction.len() <= LONGEST_REACTION
                && !reaction.chars().any(|c| c.is_whitespace() || c.is_control());
            is_reaction.then_some(reaction).ok_or_else(|| {
                ConfigError::new(key("ack"), format!("\"{text}\" is not a reaction like \"👍\""))
            })
        });
        let people = self.people.iter().map(|user| {
            UserId::parse(user).map_err(|error| {
                ConfigError::new(key("people"), format!("\"{user}\" is not @user:server: {error}"))
            })
        });
        let people = people.collect::<Result<Vec<_>, _>>()?;
        let remind_after = self.remind_after.as_deref().map(duration::parse).transpose();
        Ok(Answers {
            ack: ack.collect::<Result<_, _>>()?,
            offer: self.offer,
            power: self.power.or_else(|| people.is_empty().then_some(0)),
            people,
            remind_after: remind_after
                .map_err(|what| ConfigError::new(key("remind_after"), what))?
                .unwrap_or(REMIND_AFTER),
        })
    }
}

/// Returns a reaction without what differs between clients and people: the variation selector that asks for a coloured
/// picture, and skin tones.
pub(crate) fn reaction(text: &str) -> String {
    let is_look = |c: char| matches!(c, '\u{fe0e}' | '\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}');
    text.trim().chars().filter(|c| !is_look(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Route;

    #[test]
    fn nobody_may_answer_unless_that_is_declared() {
        assert_eq!(Route::with("").answers, None);
    }

    #[test]
    fn everybody_in_the_room_may_answer_unless_people_are_named() {
        let of = |lines: &str| Route::with(&format!("[routes.answers]\n{lines}")).answers.unwrap();
        let answers = of("");
        assert_eq!((answers.power, answers.offer), (Some(0), false));
        assert_eq!(answers.ack, ["👍", "✅"]);
        assert_eq!(answers.remind_after, Duration::from_hours(4));
        assert_eq!(of("people = [\"@a:x\"]").power, None);
        assert_eq!(of("people = [\"@a:x\"]\npower = 50").power, Some(50));
    }

    #[test]
    fn a_reaction_is_the_same_from_every_client_and_in_every_skin_tone() {
        for text in ["👍", "👍\u{fe0f}", "👍🏽", " 👍🏿\u{fe0f} "] {
            assert_eq!(reaction(text), "👍");
        }
        assert_ne!(reaction("👎"), "👍");
    }

    #[test]
    fn what_is_no_reaction_is_said() {
        let wrong = |lines: &str| {
            let raw: RawAnswers = toml::from_str(lines).unwrap();
            raw.check("routes[0].answers").unwrap_err().to_string()
        };
        assert!(wrong("ack = []").contains("routes[0].answers.ack: name at least one"));
        assert!(wrong("ack = [\"a b\"]").contains("\"a b\" is not a reaction"));
        assert!(wrong("ack = [\"\u{fe0f}\"]").contains("is not a reaction"));
        assert!(wrong("people = [\"alice\"]").contains("is not @user:server"));
        assert!(wrong("remind_after = \"soon\"").contains("routes[0].answers.remind_after"));
    }
}
