use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, StatusCode, body::Bytes, header::ACCEPT};
use jiff::Timestamp;

use crate::{
    health::{http, page},
    status::{First, Health, RouteHealth, Shown, State, Waiting},
};

fn route(health: &Health, name: &str) -> RouteHealth {
    health.board().add_route(name);
    RouteHealth { health: health.clone(), name: name.into(), metrics: health.0.metrics.route(name) }
}

/// Creates a health with a route that has a message in progress.
pub(crate) fn with_a_message(name: &str) -> (Health, RouteHealth) {
    let health = Health::default();
    let route = route(&health, name);
    health.board().route(&route.name).take(message(7));
    (health, route)
}

fn message(sequence: u64) -> First {
    First { sequence, published: Timestamp::now() }
}

async fn text(answer: Response<Full<Bytes>>) -> String {
    let body = answer.into_body().collect().await.unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

fn state(health: &Health) -> State {
    health.snapshot().state
}

#[test]
fn it_is_connected_when_all_routes_are() {
    let health = Health::default();
    let (a, b) = (route(&health, "a"), route(&health, "b"));
    health.serving();
    a.begun();
    assert_eq!(state(&health), State::Starting);
    b.begun();
    assert_eq!(
        (state(&health), health.words().as_str()),
        (State::Connected, "connected: relaying 2 routes")
    );
    health.draining();
    assert_eq!(state(&health), State::Draining);
}

#[test]
fn the_worst_that_ails_a_route_is_its_state_until_it_is_well() {
    let health = Health::default();
    let (a, b) = (route(&health, "a"), route(&health, "b"));
    health.serving();
    a.begun();
    b.begun();
    let (room, server) = (a.condition(), a.condition());
    room.set(State::NotInRoom, &"not invited", Duration::ZERO);
    server.set(State::HomeserverUnreachable, &"no answer", Duration::ZERO);
    let snapshot = health.snapshot();
    let states: Vec<State> = snapshot.routes.iter().map(|route| route.state).collect();
    assert_eq!(states, [State::HomeserverUnreachable, State::Connected]);
    assert_eq!(health.words(), "homeserver-unreachable: route a: no answer");
    server.clear();
    assert_eq!(state(&health), State::NotInRoom);
    drop(room);
    assert_eq!(state(&health), State::Connected);
}

#[test]
fn condition_of_all_is_said_once_and_of_every_route() {
    let health = Health::default();
    route(&health, "a").begun();
    health.serving();
    let (one, other) = (health.condition(None), health.condition(None));
    for condition in [&one, &other] {
        condition.set(State::NatsUnreachable, &"connection lost", Duration::ZERO);
    }
    let snapshot = health.snapshot();
    assert_eq!(snapshot.reasons, ["connection lost"]);
    assert_eq!(snapshot.routes[0].state, State::NatsUnreachable);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_nothing_is_done_about_hangs() {
    let health = Health::default();
    let a = route(&health, "a");
    let take = || health.board().route(&a.name).take(message(7));
    let minutes = |minutes| tokio::time::advance(Duration::from_mins(minutes));
    take();
    minutes(4).await;
    a.beat();
    minutes(4).await;
    assert_eq!(health.stuck(), None, "there was progress in between");
    minutes(2).await;
    assert_eq!(health.stuck().unwrap(), "route a is stuck on message 7");
    take();
    a.condition().set(State::HomeserverUnreachable, &"slow down", Duration::from_mins(30));
    minutes(34).await;
    assert_eq!(health.stuck(), None, "the homeserver asked to wait");
    minutes(2).await;
    assert!(health.stuck().is_some());
    a.end();
    assert_eq!(health.stuck(), None, "an idle route does nothing");
}

#[tokio::test(start_paused = true)]
async fn who_asks_over_http_is_told_that_it_hangs() {
    let (health, route) = with_a_message("a");
    let ask = async || {
        let request = Request::get("/livez").body(()).unwrap();
        let answer = http::answer(&request, &health);
        (answer.status(), text(answer).await)
    };
    assert_eq!(ask().await, (StatusCode::OK, "alive\n".to_owned()));
    tokio::time::advance(Duration::from_mins(6)).await;
    let hangs = "route a is stuck on message 7\n".to_owned();
    assert_eq!(ask().await, (StatusCode::SERVICE_UNAVAILABLE, hangs));
    route.end();
    assert_eq!(ask().await.0, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn without_nats_nothing_hangs_nor_at_once_when_it_is_back() {
    let health = Health::default();
    let a = route(&health, "a");
    let nats = health.condition(None);
    health.board().route(&a.name).take(message(7));
    nats.set(State::NatsUnreachable, &"connection lost", Duration::ZERO);
    tokio::time::advance(Duration::from_hours(1)).await;
    assert_eq!(health.stuck(), None);
    nats.clear();
    tokio::time::advance(Duration::from_mins(4)).await;
    assert_eq!(health.stuck(), None);
    tokio::time::advance(Duration::from_mins(2)).await;
    assert!(health.stuck().is_some());
}

#[tokio::test(start_paused = true)]
async fn what_one_route_misses_in_nats_does_not_hide_that_another_hangs() {
    let health = Health::default();
    let (a, b) = (route(&health, "a"), route(&health, "b"));
    for route in [&a, &b] {
        health.board().route(&route.name).take(message(7));
    }
    let stream = a.condition();
    stream.set(State::NatsUnreachable, &"no such stream", Duration::ZERO);
    tokio::time::advance(Duration::from_mins(6)).await;
    assert_eq!(health.stuck().unwrap(), "route b is stuck on message 7");
}

#[tokio::test(start_paused = true)]
async fn a_route_that_waits_for_memory_does_not_hang_but_the_one_that_has_it_may() {
    let health = Health::default();
    let (a, b) = (route(&health, "a"), route(&health, "b"));
    for route in [&a, &b] {
        health.board().route(&route.name).take(message(7));
    }
    let waits = a.condition();
    waits.set(State::MemoryTaken, &"large messages wait", Duration::ZERO);
    tokio::time::advance(Duration::from_mins(6)).await;
    assert_eq!(health.stuck().unwrap(), "route b is stuck on message 7");
}

#[test]
fn a_route_that_is_set_aside_is_not_waited_for_and_has_no_numbers() {
    let health = Health::default();
    let (a, held) = (route(&health, "a"), route(&health, "a:held"));
    health.serving();
    a.begun();
    let ready = "nats_matrix_route_ready{route=\"a:held\"}";
    let has_number = || health.0.metrics.text(&health.snapshot()).contains(ready);
    assert!(state(&health) == State::Starting && has_number());
    held.set_aside();
    held.waits(Waiting { count: Some(3), first: None });
    assert!(held.room().is_none());
    assert!(state(&health) == State::Connected && !has_number());
    route(&health, "a:held");
    assert!(state(&health) == State::Starting && has_number());
}

#[test]
fn how_long_the_first_message_has_waited_is_known_before_it_is_worked_on() {
    let health = Health::default();
    let a = route(&health, "a");
    let old = |sequence: u64| {
        let published = Timestamp::now() - Duration::from_mins(sequence);
        First { sequence, published }
    };
    let waits = |first: First| a.waits(Waiting { count: Some(9), first: Some(first) });
    let minutes = || health.snapshot().routes[0].oldest_seconds / 60;
    assert_eq!(minutes(), 0);
    waits(old(8));
    assert_eq!(minutes(), 8);
    health.board().route(&a.name).take(old(7));
    assert_eq!(minutes(), 7);
    a.end();
    assert_eq!(minutes(), 8, "the next message counts");
    health.board().route(&a.name).take(old(8));
    a.end();
    assert_eq!(minutes(), 0);
    waits(old(8));
    assert_eq!(minutes(), 0, "NATS did not have the acknowledgement yet");
    waits(old(9));
    assert_eq!(minutes(), 9);
}

#[test]
fn numbers_of_a_route_are_there_from_the_start_and_tell_what_was() {
    let health = Health::default();
    let a = route(&health, "a");
    a.metrics.note(Shown::Posted);
    a.metrics.note(Shown::Digested(41));
    a.waits(Waiting { count: Some(3), first: None });
    let text = health.0.metrics.text(&health.snapshot());
    for line in [
        "nats_matrix_posted_total{route=\"a\"} 42",
        "nats_matrix_digested_total{route=\"a\"} 41",
        "nats_matrix_dead_lettered_total{route=\"a\"} 0",
        "nats_matrix_pending{route=\"a\"} 3",
        "nats_matrix_state{state=\"starting\"} 1",
        "nats_matrix_state{state=\"connected\"} 0",
    ] {
        assert!(text.lines().any(|said| said == line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn a_counter_is_described_by_the_name_that_each_format_has_for_it() {
    let health = Health::default();
    route(&health, "a");
    for (accept, name) in [
        ("*/*", "nats_matrix_posted_total"),
        ("application/openmetrics-text", "nats_matrix_posted"),
    ] {
        let request = Request::get("/metrics").header(ACCEPT, accept).body(()).unwrap();
        let text = text(http::answer(&request, &health)).await;
        for line in [
            &format!("# HELP {name} Messages that are in the room, by themselves or in digests."),
            &format!("# TYPE {name} counter"),
            "# TYPE nats_matrix_state gauge",
            "nats_matrix_posted_total{route=\"a\"} 0",
        ] {
            assert!(text.lines().any(|said| said == line), "{line} is not in\n{text}");
        }
    }
}

#[test]
fn what_others_write_is_no_html_of_the_page() {
    let health = Health::default();
    let a = route(&health, "<b>");
    let hostile = "<script>alert(1)</script>";
    health.board().note(&a.name, hostile, Timestamp::now(), Shown::Posted);
    let condition = a.condition();
    condition.set(State::NotInRoom, &hostile, Duration::ZERO);
    let html = page::html(&health.snapshot());
    assert!(!html.contains("<script") && !html.contains("<b>"), "{html}");
    assert!(html.contains("&lt;script&gt;"), "{html}");
}

#[test]
fn rules_and_dashboard_ask_for_numbers_that_there_are() {
    let health = Health::default();
    let a = route(&health, "a");
    a.waits(Waiting { count: Some(0), first: None });
    a.metrics.sent(Duration::from_millis(3));
    health.board().note(&a.name, "ops", Timestamp::now(), Shown::Posted);
    let text = health.0.metrics.text(&health.snapshot());
    for file in [
        include_str!("../../monitoring/prometheus-rules.yml"),
        include_str!("../../monitoring/prometheus-rules-test.yml"),
        include_str!("../../monitoring/grafana-dashboard.json"),
    ] {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let names = file.match_indices("nats_matrix_").map(|(at, _)| {
            let name = &file[at..];
            &name[..name.find(|c| !is_name(c)).unwrap_or(name.len())]
        });
        let mut count = 0;
        for name in names {
            count += 1;
            assert!(text.contains(&format!("\n{name}{{")), "there is no {name} in\n{text}");
        }
        assert!(count > 5, "{count}");
    }
}

#[tokio::test]
async fn what_others_write_is_cleaned_on_the_page_and_for_machines() {
    let (health, route) = with_a_message("a");
    let evil = "ops.\u{202e}\u{1b}[2Jx\u{200b}";
    health.board().note(&route.name, evil, Timestamp::now(), Shown::Posted);
    let condition = route.condition();
    condition.set(State::NatsUnreachable, &evil, Duration::ZERO);
    let snapshot = health.snapshot();
    for shown in [page::html(&snapshot), page::readiness(&snapshot).to_string(), health.words()] {
        assert!(shown.contains("ops.\u{fffd}x\u{fffd}") || !shown.contains("ops."), "{shown}");
        assert!(!shown.contains(['\u{202e}', '\u{1b}', '\u{200b}']), "{shown}");
    }
    assert!(page::html(&snapshot).matches("ops.\u{fffd}x").count() >= 2);
}
