//! Sample messages, for previews and for trying out templates before they are used.

/// A message as a publisher might send it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// The name of the sample on the command line.
    pub name: &'static str,
    /// The subject that the sample is published on.
    pub subject: &'static str,
    /// The payload.
    pub payload: &'static [u8],
}

macro_rules! samples {
    ($($name:literal, $subject:literal, $file:literal;)*) => {
        &[$(Sample { name: $name, subject: $subject, payload: include_bytes!($file) }),*]
    };
}

/// One or more samples of each kind, both with every field and with as few as possible.
pub(crate) const SAMPLES: &[Sample] = samples! {
    "report", "ops.report.server-01", "samples/report.json";
    "report-short", "ops.report.server-02", "samples/report-short.json";
    "alert", "ops.alert.db-01", "samples/alert.json";
    "alert-resolved", "ops.alert.db-01", "samples/alert-resolved.json";
    "alert-short", "ops.alert.db-02", "samples/alert-short.json";
    "alertmanager", "ops.alertmanager", "samples/webhooks/alertmanager-one.json";
    "alertmanager-group", "ops.alertmanager", "samples/webhooks/alertmanager-group.json";
    "alertmanager-short", "ops.alertmanager", "samples/alertmanager-short.json";
    "grafana", "ops.grafana", "samples/webhooks/grafana.json";
    "uptime-kuma-down", "ops.uptime", "samples/webhooks/uptime-kuma-down.json";
    "uptime-kuma-up", "ops.uptime", "samples/webhooks/uptime-kuma-up.json";
    "forgejo-push", "ops.forge", "samples/webhooks/forgejo-push.json";
    "forgejo-pull-request", "ops.forge", "samples/webhooks/forgejo-pull-request.json";
    "forgejo-comment", "ops.forge", "samples/webhooks/forgejo-comment.json";
    "forgejo-run-failure", "ops.forge", "samples/webhooks/forgejo-run-failure.json";
    "forgejo-run-recover", "ops.forge", "samples/webhooks/forgejo-run-recover.json";
    "forgejo-short", "ops.forge", "samples/forgejo-short.json";
    "cloudevent", "ops.event", "samples/webhooks/cloudevent.json";
    "cloudevent-short", "ops.event", "samples/cloudevent-short.json";
    "object", "ops.sensor.rack-3", "samples/object.json";
    "text", "ops.text", "samples/text.txt";
    "broken", "ops.report.server-01", "samples/broken.txt";
};

impl Sample {
    /// Returns the sample of this name.
    #[must_use]
    pub(crate) fn named(name: &str) -> Option<Self> {
        SAMPLES.iter().find(|sample| sample.name == name).copied()
    }
}
