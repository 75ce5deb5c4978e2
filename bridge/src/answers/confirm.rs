//! Whether somebody may answer alerts, and whether a stored answer was given.

use matrix_sdk::ruma::{EventId, UserId};

use crate::{
    answers::{meaning::Act, target::target},
    config::Answers,
    matrix::{MatrixError, Room},
};

/// Whether a user may answer the alerts in a room.
pub(crate) async fn may_answer(
    room: &Room,
    answers: &Answers,
    user: &UserId,
) -> Result<bool, MatrixError> {
    if *user == *room.account().user {
        return Ok(false);
    }
    if answers.people.iter().any(|person| person == user) {
        return Ok(true);
    }
    match answers.power {
        Some(need) => room.has_power(user, need).await,
        None => Ok(false),
    }
}

/// Whether the room shows that a user has acknowledged the alert that begins with `first` by an event, and may.
pub(crate) async fn is_acknowledgement(
    room: &Room,
    answers: &Answers,
    (event, user): (&EventId, &UserId),
    first: &EventId,
) -> Result<bool, MatrixError> {
    let Some(found) = room.event(event).await?.filter(|found| found.sender == user) else {
        return Ok(false);
    };
    let act = Act::of(&found.kind, &found.content).filter(|act| act.acknowledges(answers));
    let Some(act) = act else { return Ok(false) };
    let is_about = *act.about() == first
        || target(room, act.about()).await?.is_some_and(|target| target.root == first);
    Ok(is_about && may_answer(room, answers, user).await?)
}
