//! Makes an alert, a report, a note or a text of the fields of a rule.

use crate::{
    decode::{
        members::Members,
        shape::{
            evaluate::Fields,
            file::Shape,
            forge,
            rule::{Kind, Lacks, NoteKind},
        },
    },
    message::{
        Alert, Counts, Decoded, Group, Monitor, MonitorState, Note, Payload, Remark, Report,
        Severity, Status, Summary, Test, Workflow, report::Unknowns,
    },
};

/// Makes what a rule says of a message, or returns the name of the field that it lacks for that.
pub(super) fn build(shape: &Shape, fields: &Fields<'_>) -> Result<Decoded, Lacks> {
    match fields.rule.kind {
        Kind::Alert => alerts(shape, fields),
        Kind::Report => report(fields).map(Payload::Report).map(Decoded::sound),
        Kind::Text => {
            let text = fields.text("text").ok_or("text")?;
            Ok(Decoded::text(&text))
        }
        Kind::Note(NoteKind::Said) => {
            remark(fields).map(|remark| note(Note::Said(Box::new(remark))))
        }
        Kind::Note(NoteKind::Test) => Ok(note(test(shape, fields))),
        Kind::Note(kind) => forge::event(kind, fields).map(|event| note(Note::Forge(event))),
    }
}

fn note(note: Note) -> Decoded {
    Decoded::sound(Payload::Note(note))
}

fn test(shape: &Shape, fields: &Fields<'_>) -> Note {
    Note::Test(Box::new(Test {
        sender: shape.name.clone(),
        source: fields.text("source"),
        text: fields.text("text"),
        url: fields.text("url"),
    }))
}

fn remark(fields: &Fields<'_>) -> Result<Remark, Lacks> {
    Ok(Remark {
        headline: fields.text("headline").ok_or("headline")?,
        source: fields.text("source"),
        time: fields.moment("time"),
        lines: fields.texts("lines"),
        rows: fields.entries("rows"),
        url: fields.text("url"),
        is_urgent: fields.is_true("urgent"),
    })
}

fn report(fields: &Fields<'_>) -> Result<Report, Lacks> {
    Ok(Report {
        kind: None,
        host: fields.text("host").ok_or("host")?,
        completed: fields.texts("completed"),
        in_progress: fields.texts("in_progress"),
        disk_percent: fields.number("disk_percent"),
        memory_percent: fields.number("memory_percent"),
        satisfaction: fields.number("satisfaction"),
        unknown: Unknowns::default(),
        extra: fields.rows(),
    })
}

/// Makes one alert, or with `each` as many as there are items.
fn alerts(shape: &Shape, fields: &Fields<'_>) -> Result<Decoded, Lacks> {
    let Some(each) = &fields.rule.each else {
        if fields.is_true("test") {
            let said =
                summary(fields, Status::Firing).map(|summary| summary.in_no_language().to_owned());
            let test = Test {
                sender: shape.name.clone(),
                source: fields.text("source"),
                text: said,
                url: fields.text("url"),
            };
            return Ok(note(Note::Test(Box::new(test))));
        }
        return alert(shape, fields).map(Payload::Alert).map(Decoded::sound);
    };
    let items = fields.evaluate("each", each);
    let mut members = Members::default();
    for item in items.try_iter().map_err(|_| "each")? {
        members.add(alert(shape, &fields.of_item(item))?);
    }
    let is_any_cut = members.is_cut;
    let (mut alerts, left_out) = members.finish();
    let is_cut = left_out.total() > 0;
    let payload = match alerts.len() {
        0 => return Err(Lacks("each")),
        1 if !is_cut => Payload::Alert(alerts.remove(0)),
        _ => Payload::Alerts(group(shape, fields, alerts, left_out)),
    };
    Ok(Decoded { is_cut: is_cut || is_any_cut, ..Decoded::sound(payload) })
}

fn group(shape: &Shape, fields: &Fields<'_>, alerts: Vec<Alert>, left_out: Counts) -> Group {
    let first = &alerts[0];
    let labels = first
        .labels
        .iter()
        .filter(|(name, value)| alerts.iter().all(|alert| alert.labels.get(*name) == Some(*value)));
    let labels = labels.map(|(name, value)| (name.clone(), value.clone())).collect();
    let is_same = alerts.iter().all(|alert| alert.summary == first.summary);
    let title = fields.text("group_title").or_else(|| match &first.summary {
        Summary::Said(text) if is_same => Some(text.clone()),
        _ => None,
    });
    let fingerprint = fields.identity("group_fingerprint");
    let fingerprint = fingerprint.map(|fingerprint| format!("{}:{fingerprint}", shape.id));
    Group {
        title: title.unwrap_or_else(|| shape.name.clone()),
        labels,
        fingerprint,
        url: fields.text("group_url"),
        truncated: 0,
        alerts,
        left_out,
    }
}

fn alert(shape: &Shape, fields: &Fields<'_>) -> Result<Alert, Lacks> {
    let (status, is_doubtful) = match (fields.rule.has("status"), fields.text("status")) {
        (false, _) => (Status::Firing, false),
        (true, Some(word)) => shape.states.of(&word),
        (true, None) => (Status::Firing, true),
    };
    let summary = summary(fields, status).ok_or("summary")?;
    let mut severity =
        fields.text("severity").map_or(Severity::Warning, |word| shape.severities.of(&word));
    if is_doubtful && severity == Severity::Critical {
        // A message that does not say whether the problem persists does not wake anybody.
        severity = Severity::Warning;
    }
    let mut alert = Alert::new(severity, summary);
    alert.status = status;
    alert.source = fields.text("source");
    let said = alert.summary.in_no_language().to_owned();
    alert.description = fields.text("description").filter(|text| *text != said);
    let begun = fields.moment("begun");
    alert.is_beginning_known = begun.is_some();
    alert.time = begun.or_else(|| fields.moment("time"));
    alert.ended = fields.moment("ended").filter(|_| status == Status::Resolved);
    if status == Status::Resolved && alert.time == alert.ended {
        // The sender tells only one time, which is that of the message.
        alert.time = None;
    }
    alert.last_ok = fields.moment("last_ok");
    alert.url = fields.text("url");
    let fingerprint = fields.identity("fingerprint");
    alert.fingerprint = fingerprint.map(|fingerprint| format!("{}:{fingerprint}", shape.id));
    alert.sender = fields.text("sender");
    alert.labels = fields.entries("labels");
    alert.extra = fields.rows();
    Ok(alert)
}

fn summary(fields: &Fields<'_>, status: Status) -> Option<Summary> {
    if fields.rule.has("monitor") || fields.rule.has("monitor_id") {
        #[expect(clippy::cast_possible_truncation, reason = "the number of a monitor is small")]
        let id = fields.number("monitor_id").map(|id| id as i64);
        let name = fields.text("monitor");
        let state = match fields.text("monitor_state")?.as_str() {
            "down" => MonitorState::Down,
            "up" => MonitorState::Up,
            "pending" => MonitorState::Pending,
            "maintenance" => MonitorState::Maintenance,
            _ => return None,
        };
        return Some(Summary::Monitor(Box::new(Monitor { id, name }), state));
    }
    if fields.rule.has("workflow") {
        let name = fields.text("workflow")?;
        let started_by = fields.text("started_by");
        let succeeds = status == Status::Resolved;
        return Some(Summary::Workflow(Box::new(Workflow { name, succeeds, started_by })));
    }
    fields.text("summary").map(Summary::Said)
}
