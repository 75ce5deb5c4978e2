//! Decodes the notification of Uptime Kuma's webhook, `{"heartbeat": …, "monitor": …, "msg": …}`:
//! <https://github.com/louislam/uptime-kuma/blob/master/server/notification-providers/webhook.js>.
//!
//! Only the fields of the monitor that are meant to be seen are used: others can hold headers and bodies of requests.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    decode::lenient::{filled, or_default},
    message::{self, Alert, MonitorState, Payload, Severity, Status, Summary},
};

pub(crate) fn is(object: &Map<String, Value>) -> bool {
    let has = |key: &str| object.get(key).is_some_and(|value| value.is_object() || value.is_null());
    has("heartbeat") && has("monitor") && object.contains_key("msg")
}

pub(crate) fn decode(object: &Map<String, Value>) -> serde_json::Result<Payload> {
    let Notification { heartbeat, monitor, msg } = Notification::deserialize(object)?;
    let Some(heartbeat) = heartbeat else {
        // A message without a monitor is a test, or is about a certificate that expires. It has no more than the text.
        return match filled(msg) {
            Some(text) => Ok(Payload::Text(text)),
            None => Err(serde::de::Error::custom("it has neither a heartbeat nor a text")),
        };
    };
    alert(heartbeat, monitor.unwrap_or_default(), msg).map(Payload::Alert)
}

#[derive(Deserialize)]
struct Notification {
    heartbeat: Option<Heartbeat>,
    monitor: Option<Monitor>,
    msg: Option<String>,
}

#[derive(Deserialize)]
struct Heartbeat {
    #[serde(rename = "monitorID")]
    monitor: Option<i64>,
    status: u8,
    time: Option<String>,
    msg: Option<String>,
}

#[derive(Default, Deserialize)]
struct Monitor {
    id: Option<i64>,
    name: Option<String>,
    #[serde(rename = "pathName")]
    path_name: Option<String>,
    url: Option<String>,
    hostname: Option<String>,
    port: Option<u16>,
    #[serde(default, deserialize_with = "or_default")]
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
struct Tag {
    name: String,
    value: Option<String>,
}

fn alert(heartbeat: Heartbeat, monitor: Monitor, msg: Option<String>) -> serde_json::Result<Alert> {
    let id = monitor.id.or(heartbeat.monitor);
    let name = filled(monitor.path_name).or_else(|| filled(monitor.name));
    let (severity, status, state) = match heartbeat.status {
        0 => (Severity::Critical, Status::Firing, MonitorState::Down),
        1 => (Severity::Critical, Status::Resolved, MonitorState::Up),
        2 => (Severity::Warning, Status::Firing, MonitorState::Pending),
        3 => (Severity::Info, Status::Firing, MonitorState::Maintenance),
        other => {
            return Err(serde::de::Error::custom(format_args!("there is no status {other}")));
        }
    };
    // Monitors are numbered from 1 in every Uptime Kuma, so the number alone does not identify one.
    let fingerprint =
        id.map(|id| format!("uptime-kuma:{id}:{}", name.as_deref().unwrap_or_default()));
    let time = filled(heartbeat.time).map(utc);
    let mut alert =
        Alert::new(severity, Summary::Monitor(Box::new(message::Monitor { id, name }), state));
    match status {
        Status::Firing => alert.time = time,
        Status::Resolved => alert.ended = time,
    }
    alert.status = status;
    alert.source = filled(monitor.hostname).map(|host| match monitor.port {
        Some(port) => format!("{host}:{port}"),
        None => host,
    });
    alert.description = filled(heartbeat.msg).or(msg);
    // A monitor without an address has only the beginning of one. An address with an @ has a password in it.
    alert.url = filled(monitor.url).filter(|url| !url.ends_with("://") && !url.contains('@'));
    alert.fingerprint = fingerprint;
    alert.labels = monitor
        .tags
        .into_iter()
        .map(|Tag { name, value }| (name, value.unwrap_or_default()))
        .collect();
    Ok(alert)
}

/// Converts "2026-11-23 06:35:51.123" to RFC 3339. The time is in UTC, although the text does not say so.
fn utc(time: String) -> String {
    match time.split_once(' ') {
        Some((date, clock)) if !clock.contains([' ', '+', '-', 'Z']) => format!("{date}T{clock}Z"),
        _ => time,
    }
}
