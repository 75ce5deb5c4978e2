//! Carries answers out, one after the other in each room.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use matrix_sdk::ruma::{EventId, OwnedEventId, OwnedRoomId, RoomId};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout},
};
use tracing::{info, warn};

use crate::{
    alerts::{Holder, Store, ThreadState},
    answers::{Act, Answer, Target, may_answer, target},
    config::{Answers, Route},
    failure::chain,
    listen::{
        event::{Action, AnswerEvent, Message, ONCE_WITHIN, Unpublished, publish},
        kept::{Accepted, Given, Kept},
        refresh,
    },
    matrix::{Account, MatrixError, Room},
    message::{AlertMark, Status, rfc3339},
    nats::Nats,
    render::Renderer,
    source::{Hold, Tenure},
    status::{Health, Outage, State},
};

/// The longest time to wait for NATS to take an answer before it is published again.
const PUBLISHING: Duration = Duration::from_secs(10);

/// The time within which an alert comes again that was posted just before a kill.
const KNOWN_BY: Duration = Duration::from_mins(2);

/// The number of answers that a bridge remembers while it stands by, in case the other one has stopped before it has
/// carried them out.
const MOST_SET_ASIDE: usize = 500;

/// The interval at which such an alert is looked for, and at which it is asked whether this bridge has the route by now.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

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
    /// The right to carry the answers out, which another bridge with the same route may have.
    pub(crate) hold: Hold,
}

/// Carries out the answers of all rooms.
pub(super) struct Desk {
    pub(super) account: Arc<Account>,
    pub(super) nats: Nats,
    pub(super) health: Health,
    pub(super) kept: Kept,
    /// The routes by stream and name.
    pub(super) routes: BTreeMap<RouteId, AnsweredRoute>,
    /// The answer in each room that is being carried out.
    pub(super) in_hand: RefCell<HashMap<OwnedRoomId, OwnedEventId>>,
}

/// The stream and the name of a route.
pub(super) type RouteId = (String, String);

/// Whether an answer counts.
enum Decision {
    Counts(Box<Accepted>),
    /// Another bridge has carried it out before it stopped.
    IsKnown(Box<Accepted>),
    DoesNotCount,
    /// It is for another bridge to decide, as this one stands by for the route.
    StandsBy(RouteId),
    /// Nothing is known of the alert yet: the bridge was killed after it had posted the alert, which comes again.
    NotYet,
}

/// The knowledge of an alert.
enum Known {
    Firing(Box<ThreadState>),
    Over,
    Nothing,
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
        let mut waiting: HashMap<OwnedEventId, Instant> = HashMap::new();
        // The answers about routes for which this bridge stands by.
        let mut set_aside: BTreeMap<OwnedEventId, RouteId> = BTreeMap::new();
        loop {
            set_aside.retain(|_, route| !self.is_held(route));
            let next = self.kept.next_in(&id, |event| set_aside.contains_key(event));
            let Some(answer) = next else {
                if set_aside.is_empty() {
                    return;
                }
                self.forget_old(&id, &mut set_aside);
                sleep(LOOK_AGAIN).await;
                continue;
            };
            self.in_hand.borrow_mut().insert(id.clone(), answer.event.clone());
            let (accepted, is_known) = match self.show_until_done(&room, &answer, &mut outage).await
            {
                Decision::Counts(accepted) => (Some(*accepted), false),
                Decision::IsKnown(accepted) => (Some(*accepted), true),
                Decision::DoesNotCount => (None, false),
                Decision::StandsBy(route) => {
                    set_aside.insert(answer.event, route);
                    continue;
                }
                Decision::NotYet => {
                    let since = *waiting.entry(answer.event.clone()).or_insert_with(Instant::now);
                    if since.elapsed() < KNOWN_BY {
                        self.kept.put_last(&answer.event);
                        sleep(LOOK_AGAIN).await;
                        continue;
                    }
                    warn!(
                        "an answer of {} in room {id} does not count: nothing is known of the alert any more",
                        answer.who
                    );
                    (None, false)
                }
            };
            waiting.remove(&answer.event);
            let is_news = |accepted: &&Accepted| !is_known && !accepted.is_repeated;
            if let Some(Accepted { event, .. }) = accepted.as_ref().filter(is_news) {
                self.publish_until_done(event, &mut outage).await;
                self.health.0.metrics.answered(&event.route, event.action.into());
            }
            self.kept.done(&answer.event, accepted);
        }
    }

    /// Forgets the oldest of very many answers in a room that another bridge has carried out by now.
    fn forget_old(&self, room: &RoomId, set_aside: &mut BTreeMap<OwnedEventId, RouteId>) {
        while self.kept.pending() > MOST_SET_ASIDE {
            let oldest = self.kept.first_in(room, |event| set_aside.contains_key(event));
            let Some(oldest) = oldest else { return };
            self.kept.done(&oldest, None);
            set_aside.remove(&oldest);
        }
    }

    /// Whether this bridge has a route, or knows nothing of it.
    fn is_held(&self, route: &RouteId) -> bool {
        self.routes.get(route).is_none_or(|route| route.hold.present().is_some())
    }

    async fn show_until_done(&self, room: &Room, answer: &Answer, outage: &mut Outage) -> Decision {
        loop {
            let error = match self.show(room, answer).await {
                Ok(shown) => {
                    outage.over();
                    return shown;
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
                    return Decision::DoesNotCount;
                }
                MatrixError::Limited { wait, .. } => *wait,
                MatrixError::TokenRefused(_) => {
                    // Another task reports a login that is refused, too.
                    let _ = self.account.recover(&error).await;
                    None
                }
                _ => None,
            };
            sleep(outage.failed(State::of(&error), &error.of_homeserver(), asked)).await;
        }
    }

    /// Shows in the room what somebody has answered, in one attempt.
    async fn show(&self, room: &Room, answer: &Answer) -> Result<Decision, MatrixError> {
        // An answer that counted before a restart still does, although the alert may be over by now.
        let accepted = match self.kept.accepted(&answer.event) {
            Some(accepted) => Box::new(accepted),
            None => match self.decide(room, answer).await? {
                Decision::Counts(accepted) => accepted,
                other => return Ok(other),
            },
        };
        let target = accepted.given.target();
        let Some(route) = self.route_of(&target) else { return Ok(Decision::Counts(accepted)) };
        let Some(tenure) = route.hold.present() else {
            return Ok(Decision::StandsBy(route_id(&target)));
        };
        self.kept.accept(&answer.event, &accepted);
        let carry_out = self.carry_out((room, &tenure), route, answer, &accepted);
        tokio::select! {
            biased;
            () = tenure.ended() => Ok(Decision::StandsBy(route_id(&target))),
            done = carry_out => done.map(|()| Decision::Counts(accepted.clone())),
        }
    }

    /// Shows an answer that counts, and notes it in the state of the alert.
    async fn carry_out(
        &self,
        (room, tenure): (&Room, &Tenure),
        route: &AnsweredRoute,
        answer: &Answer,
        accepted: &Accepted,
    ) -> Result<(), MatrixError> {
        let target = accepted.given.target();
        let _editing = route.editing.lock().await;
        let Known::Firing(mut state) = route.state(&target).await else { return Ok(()) };
        let place = (room, tenure);
        match accepted.event.action {
            // The room says already who has the alert, or still does.
            Action::Ack if accepted.is_repeated => {
                state.hold(holder(answer));
            }
            Action::Unack if accepted.is_repeated => {
                state.holders.retain(|holder| holder.event != accepted.given.event);
            }
            Action::Ack => self.acknowledge(place, route, &mut state, answer).await?,
            Action::Unack => self.take_back(place, route, &mut state, answer, accepted).await?,
        }
        tenure.certain().await;
        route.put(&target, *state).await;
        Ok(())
    }

    /// Finds out whether an answer counts.
    async fn decide(&self, room: &Room, answer: &Answer) -> Result<Decision, MatrixError> {
        let (target, given) = match &answer.act {
            Act::TakeAway { of } => {
                // Whether somebody may take an event away is for the homeserver to decide.
                let Some(given) = self.kept.given(of) else { return Ok(Decision::DoesNotCount) };
                if is_there(room, of).await? {
                    return Ok(Decision::DoesNotCount);
                }
                (given.target(), Some(given))
            }
            act => match target(room, act.about()).await? {
                Some(target) => (target, None),
                None => return Ok(Decision::DoesNotCount),
            },
        };
        let Some(route) = self.route_of(&target) else { return Ok(Decision::DoesNotCount) };
        if route.hold.present().is_none() {
            return Ok(Decision::StandsBy(route_id(&target)));
        }
        if given.is_none() && !self.may_acknowledge(room, route, answer).await? {
            return Ok(Decision::DoesNotCount);
        }
        // The bridge may be posting the alert right now.
        let _editing = route.editing.lock().await;
        Ok(match route.state(&target).await {
            Known::Firing(state) => {
                let action = if given.is_some() { Action::Unack } else { Action::Ack };
                let event = event(action, &target, &state, answer);
                // NATS recognises an answer that comes again soon.
                let is_known =
                    state.is_held_by(&answer.event) && is_older_than(answer, ONCE_WITHIN / 2);
                let given = given.unwrap_or_else(|| Given::new(answer, target));
                let is_other = |it: &Holder| it.user == given.who && it.event != given.event;
                let is_repeated = state.holders.iter().any(is_other);
                let accepted = Box::new(Accepted { event, given, is_repeated });
                if is_known { Decision::IsKnown(accepted) } else { Decision::Counts(accepted) }
            }
            Known::Over => Decision::DoesNotCount,
            Known::Nothing => Decision::NotYet,
        })
    }

    /// Whether somebody may acknowledge alerts of a route, and has not taken that back meanwhile.
    async fn may_acknowledge(
        &self,
        room: &Room,
        route: &AnsweredRoute,
        answer: &Answer,
    ) -> Result<bool, MatrixError> {
        if !answer.act.acknowledges(&route.answers) || !is_there(room, &answer.event).await? {
            return Ok(false);
        }
        let may = may_answer(room, &route.answers, &answer.who).await?;
        if !may {
            info!("{} may not answer alerts of route {}", answer.who, route.route.name);
        }
        Ok(may)
    }

    fn route_of(&self, target: &Target) -> Option<&AnsweredRoute> {
        self.routes.get(&route_id(target))
    }

    async fn acknowledge(
        &self,
        place: (&Room, &Tenure),
        route: &AnsweredRoute,
        state: &mut ThreadState,
        answer: &Answer,
    ) -> Result<(), MatrixError> {
        if state.is_held_by(&answer.event) {
            // The room shows it: another bridge has carried it out before it stopped, or this one before a kill.
            return Ok(());
        }
        let holder = holder(answer);
        if state.hold(holder.clone()) {
            refresh::edit_root(place, &route.renderer, state, answer).await?;
        }
        let notice = route.renderer.takes_it(&holder, &self.account.user);
        refresh::note(place, state, answer, &notice).await?;
        info!("{} has acknowledged the alert that begins with {}", answer.who, state.root);
        Ok(())
    }

    async fn take_back(
        &self,
        place: (&Room, &Tenure),
        route: &AnsweredRoute,
        state: &mut ThreadState,
        answer: &Answer,
        Accepted { given, .. }: &Accepted,
    ) -> Result<(), MatrixError> {
        state.holders.retain(|holder| holder.event != given.event);
        refresh::edit_root(place, &route.renderer, state, answer).await?;
        let notice = route.renderer.gives_it_back(&given.who, &self.account.user);
        refresh::note(place, state, answer, &notice).await?;
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
    /// Returns what is known of the alert that a message in the room begins.
    async fn state(&self, target: &Target) -> Known {
        let AlertMark { key, shared_key, .. } = &target.mark;
        let mut alerts = self.alerts.lock().await;
        let keys = shared_key.iter().chain([key]).cloned();
        let mut known: Vec<ThreadState> = alerts.get_all(keys).await.into_values().collect();
        if known.is_empty() {
            return Known::Nothing;
        }
        // The alert may have begun again in its thread, and then other servers find it under another key.
        let present = known.iter().filter_map(|state| state.shared_key.clone());
        let others: BTreeSet<String> = present.collect();
        known.extend(alerts.get_all(others).await.into_values());
        // The alert may have begun anew, or others write into the bucket.
        known.retain(|state| state.root == target.root && !state.is_shared);
        // The last word of one server is not known under the key of another.
        match known.into_iter().max_by_key(|state| state.said) {
            Some(state) if state.status == Status::Firing => Known::Firing(Box::new(state)),
            _ => Known::Over,
        }
    }

    /// Notes the state of an alert under all keys under which its next message looks for it.
    async fn put(&self, target: &Target, state: ThreadState) {
        let AlertMark { key, shared_key, .. } = &target.mark;
        let shared = state.shared_key.as_ref().or(shared_key.as_ref());
        let states = shared.into_iter().chain([key]).map(|key| (key.clone(), state.clone()));
        self.alerts.lock().await.put_all(states.collect()).await;
    }
}

fn route_id(target: &Target) -> RouteId {
    (target.mark.stream.clone(), target.mark.route.clone())
}

fn holder(answer: &Answer) -> Holder {
    Holder { user: answer.who.clone(), at: answer.at, event: answer.event.clone() }
}

fn is_older_than(answer: &Answer, age: Duration) -> bool {
    let before = Timestamp::now().checked_sub(age);
    before.is_ok_and(|before| answer.at < before.as_second())
}

/// Whether an event is in the room and was not taken away.
async fn is_there(room: &Room, event: &EventId) -> Result<bool, MatrixError> {
    let found = room.event(event).await?;
    Ok(found.is_some_and(|event| Act::of(&event.kind, &event.content).is_some()))
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
