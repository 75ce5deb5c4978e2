//! Carries answers out, one after the other in each room.

use std::{collections::BTreeMap, rc::Rc, sync::Arc, time::Duration};

use matrix_sdk::ruma::OwnedRoomId;
use tokio::{
    sync::Mutex,
    time::{sleep, timeout},
};
use tracing::{debug, info, warn};

use crate::{
    alerts::{Holder, Store, ThreadState},
    answers::{Act, Answer, Target, may_answer, target},
    config::{Answers, Route},
    failure::chain,
    listen::{
        event::{Action, AnswerEvent, Message, Unpublished, publish},
        kept::{Accepted, Given, Kept},
        refresh,
    },
    matrix::{Account, MatrixError, Room},
    message::{Status, rfc3339},
    nats::Nats,
    render::Renderer,
    status::{Health, Outage, State},
};

/// The longest time to wait for NATS to take an answer before it is published again.
const PUBLISHING: Duration = Duration::from_secs(10);

/// A route whose alerts people may answer.
#[derive(Clone)]
pub(crate) struct AnsweredRoute {
    pub(crate) route: Arc<Route>,
    pub(crate) answers: Answers,
    pub(crate) renderer: Arc<Renderer>,
    /// The threads of the route's alerts, shared with its feeds.
    pub(crate) alerts: Arc<Mutex<Store>>,
    /// Held while the first message of an alert is edited.
    pub(crate) editing: Arc<Mutex<()>>,
}

/// Carries out the answers of all rooms.
pub(super) struct Desk {
    pub(super) account: Arc<Account>,
    pub(super) nats: Nats,
    pub(super) health: Health,
    pub(super) kept: Rc<Kept>,
    pub(super) routes: BTreeMap<String, AnsweredRoute>,
}

impl Desk {
    /// Whether an event can be an answer to an alert of any route.
    pub(super) fn may_concern(&self, answer: &Answer) -> bool {
        let is_wanted = |route: &AnsweredRoute| answer.act.acknowledges(&route.answers);
        let takes_away = matches!(answer.act, Act::TakeAway { .. });
        answer.who != self.account.user && (takes_away || self.routes.values().any(is_wanted))
    }

    /// Carries out the answers in a room until there is none left. The future may be dropped at any moment: an answer
    /// that is not done with is carried out again.
    pub(super) async fn work_in(self: Rc<Self>, id: OwnedRoomId) {
        let room = Room::new(Arc::clone(&self.account), id.clone());
        let what = format!("answers in room {id}");
        let mut outage = Outage::of(what, self.health.condition(None));
        while let Some(answer) = self.kept.first_in(&id) {
            let accepted = self.show_until_done(&room, &answer, &mut outage).await;
            if let Some(Accepted { event, .. }) = &accepted {
                self.publish_until_done(event, &mut outage).await;
                self.health.0.metrics.answered(&event.route, event.action.into());
            }
            self.kept.done(&answer.event, accepted);
        }
    }

    async fn show_until_done(
        &self,
        room: &Room,
        answer: &Answer,
        outage: &mut Outage,
    ) -> Option<Accepted> {
        loop {
            let error = match self.show(room, answer).await {
                Ok(accepted) => {
                    outage.over();
                    return accepted;
                }
                Err(error) => error,
            };
            let asked = match &error {
                error if error.is_final() => {
                    warn!(
                        "an answer of {} in room {}, {}, is not carried out: the homeserver {error}",
                        answer.who,
                        room.id(),
                        answer.event
                    );
                    outage.abandon();
                    return None;
                }
                MatrixError::Limited { wait, .. } => *wait,
                MatrixError::TokenRefused(_) => {
                    // Another task reports a login that is refused, too.
                    let _ = self.account.recover(&error).await;
                    None
                }
                _ => None,
            };
            sleep(outage.failed(State::of(&error), &error, asked)).await;
        }
    }

    /// Shows in the room what somebody has answered, in one attempt. Returns `None` if it does not count.
    async fn show(&self, room: &Room, answer: &Answer) -> Result<Option<Accepted>, MatrixError> {
        // An answer that counted before a restart still does, although the alert may be over by now.
        let accepted = match self.kept.accepted(&answer.event) {
            Some(accepted) => Some(accepted),
            None => self.decide(room, answer).await?,
        };
        let Some(accepted) = accepted else { return Ok(None) };
        self.kept.accept(&answer.event, &accepted);
        let Given { mark, root, .. } = &accepted.given;
        let target = Target { root: root.clone(), mark: mark.clone() };
        let Some(route) = self.routes.get(&target.mark.route) else { return Ok(Some(accepted)) };
        let _editing = route.editing.lock().await;
        let Some(mut state) = route.state(&target).await else { return Ok(Some(accepted)) };
        match accepted.event.action {
            Action::Ack => self.acknowledge(room, route, &mut state, answer).await?,
            Action::Unack => self.take_back(room, route, &mut state, answer, &accepted).await?,
        }
        route.put(&target, state).await;
        Ok(Some(accepted))
    }

    /// Finds out whether an answer counts.
    async fn decide(&self, room: &Room, answer: &Answer) -> Result<Option<Accepted>, MatrixError> {
        if let Act::TakeAway { of } = &answer.act {
            let Some(given) = self.kept.given(of) else { return Ok(None) };
            // Whether somebody may take an event away is for the homeserver to decide.
            let is_there = room
                .event(of)
                .await?
                .is_some_and(|event| Act::of(&event.kind, &event.content).is_some());
            if is_there {
                return Ok(None);
            }
            let target = Target { root: given.root.clone(), mark: given.mark.clone() };
            let Some(route) = self.routes.get(&target.mark.route) else { return Ok(None) };
            let Some(state) = route.state(&target).await else { return Ok(None) };
            let event = event(Action::Unack, &target, &state, answer);
            return Ok(Some(Accepted { event, given }));
        }
        let Some(target) = target(room, answer.act.about()).await? else { return Ok(None) };
        let Some(route) = self.routes.get(&target.mark.route) else { return Ok(None) };
        if !answer.act.acknowledges(&route.answers) {
            return Ok(None);
        }
        if !may_answer(room, &route.answers, &answer.who).await? {
            info!("{} may not answer alerts of route {}", answer.who, route.route.name);
            return Ok(None);
        }
        let Some(state) = route.state(&target).await else { return Ok(None) };
        let event = event(Action::Ack, &target, &state, answer);
        Ok(Some(Accepted { event, given: Given::new(answer, target) }))
    }

    async fn acknowledge(
        &self,
        room: &Room,
        route: &AnsweredRoute,
        state: &mut ThreadState,
        answer: &Answer,
    ) -> Result<(), MatrixError> {
        let (user, at, event) = (answer.who.clone(), answer.at, answer.event.clone());
        let holder = Holder { user, at, event };
        if state.hold(holder.clone()) {
            refresh::edit_root(room, &route.renderer, state, answer).await?;
        }
        let notice = route.renderer.takes_it(&holder, &self.account.user);
        refresh::note(room, state, answer, &notice).await?;
        info!("{} has acknowledged the alert that begins with {}", answer.who, state.root);
        Ok(())
    }

    async fn take_back(
        &self,
        room: &Room,
        route: &AnsweredRoute,
        state: &mut ThreadState,
        answer: &Answer,
        Accepted { given, .. }: &Accepted,
    ) -> Result<(), MatrixError> {
        state.holders.retain(|holder| holder.event != given.event);
        refresh::edit_root(room, &route.renderer, state, answer).await?;
        if !state.holders.iter().any(|holder| holder.user == given.who) {
            let notice = route.renderer.gives_it_back(&given.who, &self.account.user);
            refresh::note(room, state, answer, &notice).await?;
        }
        info!("{} no longer has the alert that begins with {}", given.who, state.root);
        Ok(())
    }

    async fn publish_until_done(&self, event: &AnswerEvent, outage: &mut Outage) {
        loop {
            let reason = match timeout(PUBLISHING, publish(event, &self.nats)).await {
                Ok(Ok(())) => {
                    outage.over();
                    return;
                }
                Ok(Err(Unpublished::Denied(denied))) => {
                    warn!("an answer, {}, is not on NATS: {denied}", event.event);
                    outage.abandon();
                    return;
                }
                Ok(Err(error)) => chain(&error),
                Err(_) => "NATS does not take the answer in time".to_owned(),
            };
            sleep(outage.failed(State::NatsUnreachable, &reason, None)).await;
        }
    }
}

impl AnsweredRoute {
    /// Returns the state of an alert that still fires and that the message in the room begins.
    async fn state(&self, target: &Target) -> Option<ThreadState> {
        let key = &target.mark.key;
        let state = self.alerts.lock().await.get_all([key.clone()]).await.remove(key);
        let is_it = |state: &ThreadState| {
            state.root == target.root && !state.is_shared && state.status == Status::Firing
        };
        let state = state.filter(is_it);
        if state.is_none() {
            debug!("an answer is too late: the alert that begins with {} is over", target.root);
        }
        state
    }

    async fn put(&self, target: &Target, state: ThreadState) {
        self.alerts.lock().await.put_all(vec![(target.mark.key.clone(), state)]).await;
    }
}

fn event(action: Action, target: &Target, state: &ThreadState, answer: &Answer) -> AnswerEvent {
    AnswerEvent {
        action,
        route: target.mark.route.clone(),
        alert: target.mark.key.clone(),
        message: Message {
            stream: state.last.stream.stream.clone(),
            sequence: state.last.position.sequence,
        },
        who: answer.who.clone(),
        time: rfc3339::written(answer.at).unwrap_or_default(),
        text: answer.act.text().to_owned(),
        room: answer.room.clone(),
        event: answer.event.clone(),
        root: target.root.clone(),
    }
}
