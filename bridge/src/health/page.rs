//! The status page, for people and for machines.

use std::sync::LazyLock;

use jiff::{SignedDuration, Timestamp};
use minijinja::{Environment, value::Serde};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    config::Language,
    status::{
        ClosedRoom, DeadLetters, Recent, RemovedUnread, RouteSnapshot, Snapshot, State, age, passed,
    },
};

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut templates = Environment::new();
    // The file extension makes minijinja escape all values.
    let added = templates.add_template("page.html", include_str!("page.html.jinja"));
    added.expect("the template is our own");
    templates
});

/// A state as the page shows it.
#[derive(Serialize)]
struct Lamp {
    name: &'static str,
    /// The CSS class: "good", "waiting" or "bad".
    class: &'static str,
}

impl Lamp {
    fn of(state: State) -> Self {
        let class = match state {
            State::Connected => "good",
            State::Starting | State::Draining => "waiting",
            _ => "bad",
        };
        Self { name: state.name(), class }
    }
}

#[derive(Serialize)]
struct Page<'a> {
    lamp: Lamp,
    what_to_do: &'static str,
    reasons: &'a [String],
    routes: Vec<RouteView<'a>>,
    version: &'static str,
    now: String,
}

#[derive(Serialize)]
struct RouteView<'a> {
    name: &'a str,
    lamp: Lamp,
    reason: Option<&'a str>,
    since: Option<String>,
    pending: Option<u64>,
    oldest: Option<String>,
    last_posted: Option<String>,
    dead_letters: Option<DeadLettersView>,
    removed_unread: Option<RemovedView>,
    closed_rooms: &'a [ClosedRoom],
    recent: Vec<RecentView<'a>>,
}

#[derive(Serialize)]
struct DeadLettersView {
    count: u64,
    without_room: u64,
    pushed_out: u64,
    last: String,
}

#[derive(Serialize)]
struct RemovedView {
    count: u64,
    last: String,
}

#[derive(Serialize)]
struct RecentView<'a> {
    at: String,
    ago: String,
    late: Option<String>,
    subject: &'a str,
    outcome: &'a str,
}

/// Returns the page for people. It loads nothing from elsewhere and refreshes itself every ten seconds.
pub(super) fn html(snapshot: &Snapshot) -> String {
    let view = Page {
        lamp: Lamp::of(snapshot.state),
        what_to_do: snapshot.what_to_do,
        reasons: &snapshot.reasons,
        routes: snapshot.routes.iter().map(view).collect(),
        version: env!("CARGO_PKG_VERSION"),
        now: to_the_second(Timestamp::now()),
    };
    let page = TEMPLATES.get_template("page.html").and_then(|page| page.render(Serde(view)));
    page.unwrap_or_else(|error| format!("the status page cannot be shown: {error:#}"))
}

/// Returns the JSON for machines: the body of `/readyz`.
pub(super) fn readiness(snapshot: &Snapshot) -> Value {
    let routes = snapshot.routes.iter().map(|route| {
        let what_to_do = route.state.advice();
        let mut said = json!({ "state": route.state, "what_to_do": what_to_do });
        if let Some((reason, since)) = route.reason.as_ref().zip(route.since) {
            said["reason"] = json!(reason);
            said["since"] = json!(since);
        }
        if let Some(dead_letters) = route.dead_letters {
            said["dead_letters"] = json!(dead_letters);
        }
        if let Some(removed) = route.removed_unread {
            said["removed_unread"] = json!(removed);
        }
        if !route.closed_rooms.is_empty() {
            said["closed_rooms"] = json!(route.closed_rooms);
        }
        (route.name.to_string(), said)
    });
    json!({
        "state": snapshot.state,
        "what_to_do": snapshot.what_to_do,
        "reasons": snapshot.reasons,
        "routes": routes.collect::<serde_json::Map<_, _>>(),
    })
}

fn view(route: &RouteSnapshot) -> RouteView<'_> {
    let oldest = SignedDuration::from_secs(route.oldest_seconds);
    RouteView {
        name: &route.name,
        lamp: Lamp::of(route.state),
        reason: route.reason.as_deref(),
        since: route.since.map(ago),
        pending: route.pending,
        oldest: (oldest.is_positive()).then(|| words(oldest)),
        last_posted: route.last_posted.map(ago),
        dead_letters: route.dead_letters.map(dead_letters),
        removed_unread: route.removed_unread.map(removed_unread),
        closed_rooms: &route.closed_rooms,
        recent: route.recent.iter().map(recent).collect(),
    }
}

fn dead_letters(all: DeadLetters) -> DeadLettersView {
    let DeadLetters { count, without_room, pushed_out, last } = all;
    DeadLettersView { count, without_room, pushed_out, last: ago(last) }
}

fn removed_unread(removed: RemovedUnread) -> RemovedView {
    RemovedView { count: removed.count, last: ago(removed.last) }
}

fn recent(recent: &Recent) -> RecentView<'_> {
    let late = passed(recent.published, recent.at);
    RecentView {
        at: to_the_second(recent.published),
        ago: ago(recent.published),
        late: (late >= SignedDuration::from_mins(1)).then(|| words(late)),
        subject: &recent.subject,
        outcome: &recent.outcome,
    }
}

fn ago(then: Timestamp) -> String {
    format!("{} ago", words(age(then)))
}

fn words(duration: SignedDuration) -> String {
    Language::English.words().duration(duration)
}

fn to_the_second(time: Timestamp) -> String {
    format!("{time:.0}")
}
