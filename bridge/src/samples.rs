//! Sample messages: to look at, and to try templates on before they are relied upon.

/// A message as it could come in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it is published on.
    pub subject: &'static str,
    /// The bytes.
    pub payload: &'static [u8],
}

macro_rules! samples {
    ($($name:literal, $subject:literal, $file:literal;)*) => {
        &[$(Sample { name: $name, subject: $subject, payload: include_bytes!($file) }),*]
    };
}

/// One or more of each kind, with all that it can have and with as little as it can.
pub(crate) const SAMPLES: &[Sample] = samples! {
    "report", "ops.report.server-01", "samples/report.json";
    "report-short", "ops.report.server-02", "samples/report-short.json";
    "alert", "ops.alert.db-01", "samples/alert.json";
    "alert-resolved", "ops.alert.db-01", "samples/alert-resolved.json";
    "alert-short", "ops.alert.db-02", "samples/alert-short.json";
    "alertmanager", "ops.alertmanager", "../tests/payloads/alertmanager-one.json";
    "alertmanager-group", "ops.alertmanager", "../tests/payloads/alertmanager-group.json";
    "alertmanager-short", "ops.alertmanager", "samples/alertmanager-short.json";
    "grafana", "ops.grafana", "../tests/payloads/grafana.json";
    "uptime-kuma-down", "ops.uptime", "../tests/payloads/uptime-kuma-down.json";
    "uptime-kuma-up", "ops.uptime", "../tests/payloads/uptime-kuma-up.json";
    "forgejo-push", "ops.forge", "../tests/payloads/forgejo-push.json";
    "forgejo-pull-request", "ops.forge", "../tests/payloads/forgejo-pull-request.json";
    "forgejo-comment", "ops.forge", "../tests/payloads/forgejo-comment.json";
    "forgejo-run-failure", "ops.forge", "../tests/payloads/forgejo-run-failure.json";
    "forgejo-run-recover", "ops.forge", "../tests/payloads/forgejo-run-recover.json";
    "forgejo-short", "ops.forge", "samples/forgejo-short.json";
    "cloudevent", "ops.event", "../tests/payloads/cloudevent.json";
    "cloudevent-short", "ops.event", "samples/cloudevent-short.json";
    "object", "ops.sensor.rack-3", "samples/object.json";
    "text", "ops.text", "samples/text.txt";
    "broken", "ops.report.server-01", "samples/broken.txt";
};

impl Sample {
    /// The one of a name.
    #[must_use]
    pub(crate) fn named(name: &str) -> Option<Self> {
        SAMPLES.iter().find(|sample| sample.name == name).copied()
    }
}
