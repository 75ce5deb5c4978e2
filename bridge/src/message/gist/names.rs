//! The names that people give to the fields of a message, and the words that they use in them.

use crate::message::alert::{Severity, Status};

/// The names of titles, the most telling first. They are compared without case and punctuation.
pub(super) const TITLES: &[&str] = &[
    "title",
    "summary",
    "headline",
    "alertname",
    "alerttitle",
    "rulename",
    "problemname",
    "problemtitle",
    "incidentname",
    "eventtitle",
    "messagetitle",
    "alertrule",
    "conditionname",
    "searchname",
    "subject",
    "entitydisplayname",
];

/// The names of an object's name, which is a title only with the word for what happened to it.
pub(super) const NAMES: &[&str] =
    &["name", "friendlyname", "monitorfriendlyname", "displayname", "fullname", "label"];

/// The names of texts, the first of which is the title of a message that has no other.
pub(super) const TEXTS: &[&str] = &[
    "message",
    "msg",
    "text",
    "body",
    "shortmessage",
    "description",
    "details",
    "detail",
    "longdescription",
    "fullmessage",
    "content",
    "output",
    "note",
    "comment",
    "errormessage",
    "error",
    "statusmessage",
    "statusdescription",
    "messagebody",
    "alertmessage",
    "eventmsg",
    "formatted",
    "problemdetailstext",
    "statemessage",
];

/// The names of texts that say more about a title, and are none themselves.
pub(super) const DETAILS: &[&str] = &["alertdetails", "raw"];

/// The names of titles of the last resort: what happened, rather than a text about it.
pub(super) const EVENTS: &[&str] = &[
    "event",
    "eventtype",
    "reason",
    "check",
    "rule",
    "alert",
    "type",
    "action",
    "notificationtype",
    "messagetype",
    "eventtypename",
];

/// The names of what happened, which make a title of a mere code.
pub(super) const DEEDS: &[&str] = &[
    "event",
    "eventtype",
    "eventname",
    "alerttype",
    "type",
    "action",
    "trigger",
    "notificationtype",
    "messagetype",
    "eventtypename",
];

pub(super) const SEVERITIES: &[&str] = &[
    "severity",
    "sev",
    "alertseverity",
    "severitytext",
    "priority",
    "alertpriority",
    "urgency",
    "criticality",
    "importance",
    "level",
    "loglevel",
    "severitylevel",
    "alertlevel",
    "threatlevel",
    "eventseverity",
    "severityname",
    "severitylabel",
    "priorityname",
    "risklevel",
    "levelname",
    "messagetype",
];

pub(super) const STATES: &[&str] = &[
    "status",
    "state",
    "alertstatus",
    "alertstate",
    "incidentstatus",
    "incidentstate",
    "currentstate",
    "currentstatus",
    "newstate",
    "newstatus",
    "newstatevalue",
    "alerttransition",
    "alertaction",
    "alerttypefriendlyname",
    "monitorcondition",
    "notificationtype",
    "eventaction",
    "conclusion",
    "result",
    "outcome",
    "phase",
    "transition",
    "messagetype",
];

/// The names of machines, the most specific first.
pub(super) const HOSTS: &[&str] = &[
    "host",
    "hostname",
    "hostdisplayname",
    "node",
    "nodename",
    "server",
    "servername",
    "machine",
    "machinename",
    "device",
    "devicename",
    "computer",
    "computername",
    "fqdn",
    "vm",
    "pod",
    "podname",
    "instance",
    "hostnameandport",
];

/// The names of what is not a machine, but to which something can happen.
pub(super) const SOURCES: &[&str] = &[
    "involvedobject",
    "regarding",
    "monitorname",
    "checkname",
    "canaryname",
    "agent",
    "service",
    "servicename",
    "application",
    "applicationname",
    "app",
    "appname",
    "resourcedisplayname",
    "resource",
    "resourcename",
    "component",
    "entity",
    "entityname",
    "entityid",
    "target",
    "targetname",
    "monitor",
    "job",
    "jobname",
    "container",
    "containername",
    "camera",
    "connection",
    "project",
    "projectname",
    "repository",
    "repo",
    "pipeline",
    "pipelinename",
    "workspace",
    "workspacename",
    "unit",
    "site",
    "sitename",
    "impactedentities",
];

/// The names of what contains many such things, or only sent the message.
pub(super) const WEAK_SOURCES: &[&str] =
    &["cluster", "namespace", "source", "origin", "sender", "integration"];

/// The names of parts of a machine, which can be in different states.
pub(super) const PARTS: &[&str] = &[
    "service",
    "servicename",
    "check",
    "checkname",
    "unit",
    "container",
    "containername",
    "process",
    "app",
    "application",
    "component",
    "job",
    "jobname",
    "device",
    "disk",
    "mount",
    "volume",
    "pool",
    "interface",
    "port",
];

/// The names of objects that only wrap the fields of a message.
pub(super) const WRAPPERS: &[&str] = &[
    "alert",
    "alerts",
    "alarm",
    "incident",
    "event",
    "events",
    "data",
    "payload",
    "message",
    "body",
    "attributes",
    "objectattributes",
    "issue",
    "problem",
    "monitor",
    "check",
    "notification",
    "detail",
    "details",
    "record",
    "records",
    "object",
    "params",
    "result",
    "results",
    "items",
    "attachments",
    "content",
    "job",
    "backup",
    "build",
    "execution",
    "essentials",
    "eventdata",
    "alertgroup",
    "alertpayload",
    "commitstatus",
    "deployment",
    "downtime",
    "notifications",
    "pipeline",
    "run",
    "workflow",
    "resource",
    "actor",
    "rule",
    "period",
    "monitorperiod",
    "checkresult",
    "links",
    "messages",
    "annotations",
    "commonannotations",
    "labels",
    "commonlabels",
    "after",
    "newstate",
    "postchange",
];

/// Whether an object of this name only wraps the fields of a message.
pub(super) fn is_wrapper(plain: &str) -> bool {
    let is_content = plain.ends_with("eventdata") || plain.ends_with("payload");
    WRAPPERS.contains(&plain) || is_content
}

/// The wrappers whose fields describe a message without being its own: what identifies them does not identify it.
pub(super) const DESCRIBING: &[&str] =
    &["annotations", "commonannotations", "labels", "commonlabels"];

/// The names of objects that say where something happens, besides [`WRAPPERS`] and [`HOSTS`].
pub(super) const PLACES: &[&str] =
    &["labels", "commonlabels", "tags", "metadata", "agent", "context", "custom"];

/// The names of an object's own name, the most specific first.
pub(super) const OWN_NAMES: &[&str] = &[
    "hostname",
    "fullname",
    "repofullname",
    "pathwithnamespace",
    "slug",
    "displayname",
    "name",
    "label",
    "value",
    "summary",
    "text",
    "login",
];

pub(super) const BEGINNINGS: &[&str] = &[
    "startedat",
    "started",
    "startsat",
    "starttime",
    "firedat",
    "downat",
    "downsince",
    "datestartzoned",
    "datestart",
    "startdate",
    "starteddatetime",
    "firstoccurredon",
    "firstreceived",
    "occurredon",
    "start",
    "begin",
    "beganat",
    "fireddatetime",
    "triggeredat",
    "activeat",
    "openedat",
    "occurredat",
    "occurat",
    "eventtime",
    "since",
    "timestamp",
    "time",
    "datetime",
    "ts",
    "eventdate",
    "shortdatetime",
    "date",
    "when",
    "clock",
    "realtimetimestamp",
    "createdat",
    "created",
    "firstseen",
    "firstoccurrence",
    "lastreceived",
    "updatedat",
    "eventtimestamp",
    "sentat",
];

/// The first of [`BEGINNINGS`] and [`ENDS`] that may be the time of something else.
pub(super) const FIRST_WEAK_TIME: &str = "timestamp";

pub(super) const ENDS: &[&str] = &[
    "resolvedat",
    "upat",
    "dateendzoned",
    "dateend",
    "enddate",
    "end",
    "resolveddatetime",
    "endedat",
    "endsat",
    "closedat",
    "recoveredat",
    "endtime",
    "finishedat",
    "finished",
    "finishtime",
    "completedat",
    "stoppedat",
    "timestamp",
    "time",
    "ts",
    "datetime",
    "eventtime",
    "updatedat",
    "shortdatetime",
    "date",
    "lastreceived",
    "clock",
];

/// The names of links to a problem, which are the best in the objects within a message.
pub(super) const LINKS_OF_PROBLEMS: &[&str] =
    &["detailsurl", "detailurl", "incidenturl", "alerturl", "problemurl", "issueurl", "permalink"];

pub(super) const LINKS: &[&str] = &[
    "url",
    "link",
    "href",
    "htmlurl",
    "weburl",
    "permalink",
    "alerturl",
    "incidenturl",
    "problemurl",
    "issueurl",
    "eventurl",
    "ruleurl",
    "detailsurl",
    "detailurl",
    "targeturl",
    "dashboardurl",
    "panelurl",
    "monitorurl",
    "runurl",
    "buildurl",
    "fullurl",
    "joburl",
    "titlelink",
    "shortlink",
    "resultslink",
    "externalurl",
    "generatorurl",
    "selfurl",
    "consoleurl",
    "viewurl",
    "actionurl",
    "click",
];

/// The names of objects of links, and the names of the links in them that are for people, the best first.
pub(super) const LINK_OBJECTS: &[&str] = &["links", "permalinks", "urls"];
pub(super) const LINKS_OF_PEOPLE: &[&str] = &["html", "web", "ui", "self"];

/// Parts of the names of links that are worth a line beside the first link.
pub(super) const USEFUL_LINKS: &[&str] =
    &["runbook", "playbook", "dashboard", "doc", "log", "wiki", "help"];

/// Parts of the names of links that are not for people, or that do something when they are opened.
pub(super) const OTHER_LINKS: &[&str] = &[
    "avatar",
    "icon",
    "image",
    "logo",
    "thumbnail",
    "picture",
    "gravatar",
    "api",
    "hook",
    "callback",
    "silence",
    "ack",
    "unsubscribe",
    "optout",
    "mute",
    "clone",
    "git",
    "ssh",
    "runbook",
    "redirect",
    "footer",
    "favicon",
    "edit",
];

/// The names in [`FINGERPRINTS`] that identify what is watched, perhaps on several machines.
pub(super) const OF_RULES: &[&str] = &["ruleid", "checkid", "eventkey", "sensorid"];

/// The names of what identifies a problem in all messages about it, besides a mere `id`.
pub(super) const FINGERPRINTS: &[&str] = &[
    "fingerprint",
    "dedupkey",
    "deduplicationkey",
    "dedup",
    "incidentkey",
    "problemid",
    "incidentid",
    "alertid",
    "alias",
    "alertuid",
    "alertcyclekey",
    "groupkey",
    "issueid",
    "correlationkey",
    "eventkey",
    "ruleid",
    "monitorid",
    "checkid",
    "sensorid",
    "entityid",
];

/// The names of persons and of those who act for them.
const PERSONS: &[&str] = &[
    "actor",
    "author",
    "user",
    "sender",
    "owner",
    "creator",
    "createdby",
    "requestedfor",
    "committer",
    "pusher",
    "assignee",
    "organization",
    "organisation",
    "org",
    "team",
    "webhook",
    "integration",
];

/// The names of other parties.
const PARTIES: &[&str] = &["repository", "repo", "project", "definition"];

/// Whether something with this name is a person or party, of whom the name is enough.
pub(super) fn is_party(plain: &str) -> bool {
    PERSONS.contains(&plain) || PARTIES.contains(&plain)
}

/// The names of the name of a person or party.
pub(super) const NAMES_OF_PARTIES: &[&str] =
    &["fullname", "displayname", "name", "username", "login", "nickname", "email"];

/// The names of fields that are more interesting than others.
pub(super) const TELLING: &[&str] = &[
    "reason",
    "error",
    "cause",
    "exitcode",
    "value",
    "currentvalue",
    "threshold",
    "limit",
    "expected",
    "actual",
    "environment",
    "env",
    "region",
    "user",
    "username",
    "actor",
    "author",
    "branch",
    "duration",
    "count",
    "metric",
    "name",
    "rule",
    "tags",
    "hosts",
    "affected",
    "impact",
    "namespace",
    "pod",
    "container",
    "command",
    "path",
    "operation",
    "action",
    "status",
    "state",
    "severity",
    "priority",
    "level",
    "conclusion",
    "result",
];

/// The ends of the names of such fields.
pub(super) const TELLING_ENDS: &[&str] =
    &["error", "errormessage", "reason", "cause", "threshold", "observedvalue", "currentvalue"];

/// The names of other objects in which nothing about the problem is looked for: of what was before, and of requests.
const ASIDE: &[&str] =
    &["users", "before", "prechange", "headers", "request", "response", "customer"];

/// The names of objects with a state before a change, and with the one after it.
pub(super) const CHANGES: &[(&str, &str)] = &[
    ("before", "after"),
    ("old", "new"),
    ("old_state", "new_state"),
    ("from_state", "to_state"),
    ("previous", "current"),
    ("prechange", "postchange"),
];

/// The names of values that say by being true, or by being false, in which state something is.
const FLAGS: &[(&str, Word, Option<Word>)] = &[
    ("resolved", Word::Ends, None),
    ("isresolved", Word::Ends, None),
    ("recovered", Word::Ends, None),
    ("cleared", Word::Ends, None),
    ("firing", Word::Fires, Some(Word::Ends)),
    ("isfiring", Word::Fires, Some(Word::Ends)),
    ("down", Word::Fires, Some(Word::Up)),
    ("isdown", Word::Fires, Some(Word::Up)),
    ("offline", Word::Fires, Some(Word::Up)),
    ("up", Word::Up, Some(Word::Fires)),
    ("isup", Word::Up, Some(Word::Fires)),
    ("online", Word::Up, Some(Word::Fires)),
    ("reachable", Word::Up, Some(Word::Fires)),
    ("healthy", Word::Up, Some(Word::Fires)),
    ("success", Word::Done, Some(Word::Bad)),
    ("succeeded", Word::Done, Some(Word::Bad)),
    ("successful", Word::Done, Some(Word::Bad)),
    ("passed", Word::Done, Some(Word::Bad)),
    ("failed", Word::Bad, None),
];

/// The names of all such values.
pub(super) fn flags() -> Vec<&'static str> {
    FLAGS.iter().map(|(name, ..)| *name).collect()
}

/// Returns the state that a value of such a name tells by being true or false.
pub(super) fn state_of_flag(name: &str, is_set: bool) -> Option<Word> {
    let plain = plain(name);
    let (_, set, unset) = FLAGS.iter().find(|(name, ..)| *name == plain)?;
    if is_set { Some(*set) } else { *unset }
}

/// The names of objects about the rule that found something.
pub(super) const RULES: &[&str] = &["rule", "alertrule", "monitor", "policy"];

/// The names of objects that tell what went wrong.
pub(super) const FAULTS: &[&str] = &[
    "error",
    "exception",
    "err",
    "fault",
    "failure",
    "cause",
    "lasterror",
    "vulnerability",
    "finding",
    "violation",
];

/// Brings a name into the form of the lists: `started_at`, `startedAt` and `Started-At` are one name.
pub(super) fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The state that a word names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// An alert goes on.
    Fires,
    /// An alert is over.
    Ends,
    /// Something went wrong, which need not be an alert.
    Bad,
    /// All is well.
    Good,
    /// Something went well or came to its end, as jobs do.
    Done,
    /// Something answers, which a monitor may say when it did not before.
    Up,
    /// Something is open, which only a problem says when it goes on.
    Open,
    /// Something has begun, which a problem says as well as a job.
    Begun,
}

/// Returns the state that a word names.
pub(super) fn state(word: &str) -> Option<Word> {
    Some(match plain(word).as_str() {
        "firing" | "alerting" | "alert" | "alarm" | "inalarm" | "triggered" | "trigger"
        | "retriggered" | "fired" | "activated" | "problem" | "investigating" | "identified"
        | "down" | "unreachable" | "offline" | "unhealthy" | "outage" | "majoroutage"
        | "partialoutage" | "nodata" | "critical" | "warning" => Word::Fires,
        "resolved" | "resolve" | "recovered" | "recovery" | "closed" | "cleared" | "fixed"
        | "normal" | "backtonormal" | "restored" | "clear" => Word::Ends,
        "failed"
        | "failure"
        | "fail"
        | "error"
        | "errored"
        | "timedout"
        | "timeout"
        | "broken"
        | "degraded"
        | "degradedperformance"
        | "unstable"
        | "aborted"
        | "crashed"
        | "canceled"
        | "cancelled"
        | "stopped"
        | "notresponding"
        | "unavailable"
        | "failing"
        | "impaired"
        | "partiallyfailed"
        | "backofflimitexceeded"
        | "crashloopbackoff"
        | "imagepullbackoff"
        | "oomkilled"
        | "evicted"
        | "rejected"
        | "killed"
        | "die"
        | "died"
        | "oom"
        | "unknown" => Word::Bad,
        "up" | "online" | "healthy" | "reachable" => Word::Up,
        "ok" | "operational" | "running" | "ready" | "good" | "passing" => Word::Good,
        "open" | "opened" | "reopened" | "ongoing" | "active" | "new" | "unresolved"
        | "unacknowledged" | "acknowledged" | "acked" | "confirmed" | "created" => Word::Open,
        "started" => Word::Begun,
        "success" | "successful" | "succeeded" | "passed" | "completed" | "complete" | "done"
        | "finished" => Word::Done,
        _ => return None,
    })
}

/// Whether a word says that something came to its end, and not how.
pub(super) fn is_mere_end(word: &str) -> bool {
    ["completed", "complete", "done", "finished"].contains(&plain(word).as_str())
}

/// Whether the name of an event names an object: `snitch.errored` is about `snitch`.
pub(super) fn is_about(event: &str, object: &str) -> bool {
    let words = words_of_event(event);
    words.len() > 1 && words.iter().any(|word| word == object)
}

/// Returns the words of the name of an event: `incident.resolved`, `HealthRestored`, `ALERT_FAILURE`.
fn words_of_event(event: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_small = false;
    for c in event.chars() {
        if !c.is_alphanumeric() || c.is_uppercase() && is_small {
            words.push(String::new());
        }
        is_small = c.is_lowercase();
        if let Some(word) = words.last_mut().filter(|_| c.is_alphanumeric()) {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Returns the name of an event without the state at its end: `check.down` is about `check`.
pub(super) fn before_state(event: &str) -> Option<String> {
    let words = words_of_event(event);
    if words.first().is_some_and(|word| word == "resolved") {
        return None;
    }
    let (_, before) = words.split_last().filter(|_| !event.trim().contains(' '))?;
    Some(before.join(" "))
}

/// Whether the name of an event says only that something changed, and not what: `state_changed`, `AllocationUpdated`.
pub(super) fn is_mere_change(event: &str) -> bool {
    const CHANGES: &[&str] =
        &["changed", "change", "updated", "update", "transition", "new", "modified", "added"];
    let words = words_of_event(event);
    let is_change = |word: &String| CHANGES.contains(&word.as_str());
    !event.trim().contains(' ') && words.last().is_some_and(is_change)
}

/// Whether an object of this name tells nothing of what is wrong now.
pub(super) fn is_aside(plain: &str) -> bool {
    const BEFORE: &[&str] = &["last", "prev", "old", "former", "expected"];
    PERSONS.contains(&plain)
        || ASIDE.contains(&plain)
        || BEFORE.iter().any(|start| plain.starts_with(start))
}

/// Whether the name of an event is about a problem: `incident.opened`.
pub(super) fn is_of_problem(event: &str) -> bool {
    const PROBLEMS: &[&str] =
        &["alert", "incident", "problem", "alarm", "outage", "downtime", "alertgroup"];
    words_of_event(event).iter().any(|word| PROBLEMS.contains(&word.as_str()))
}

/// Returns the state in the last word of the name of an event: `incident.resolved`, `HealthRestored`. Other words at
/// this place tell of things that are no problems: a pull request can be closed.
pub(super) fn state_of_event(event: &str) -> Option<Word> {
    const KNOWN: &[&str] = &[
        "triggered",
        "firing",
        "resolved",
        "recovered",
        "restored",
        "up",
        "down",
        "failed",
        "failure",
        "error",
        "succeeded",
        "success",
    ];
    /// The words that need no other beside them.
    const ALONE: &[&str] = &["triggered", "firing", "resolved", "recovered", "up", "down"];
    let mut words = words_of_event(event);
    // `uptimeCheckFailedNotification`, `pipelinerun.failed.v1`
    let is_form = |word: &String| {
        matches!(
            word.as_str(),
            "notification" | "event" | "webhook" | "v1" | "v2" | "v3" | "v1beta1"
        )
    };
    while words.len() > 1 && words.last().is_some_and(is_form) {
        words.pop();
    }
    let (last, before) = words.split_last()?;
    if words.len() > 1 && words.first().is_some_and(|word| word == "resolved") {
        return Some(Word::Ends);
    }
    let word = state(last)?;
    if before.is_empty() {
        return ALONE.contains(&last.as_str()).then_some(word);
    }
    let is_of_monitor = before.iter().any(|word| word == "monitor" || word == "check");
    if is_of_problem(event) || is_of_monitor && KNOWN.contains(&last.as_str()) {
        return Some(match word {
            Word::Fires | Word::Bad | Word::Open | Word::Begun => Word::Fires,
            Word::Ends | Word::Good | Word::Up | Word::Done => Word::Ends,
        });
    }
    KNOWN.contains(&last.as_str()).then_some(word)
}

/// Whether a word says more of what happened than that an alert begins or ends.
pub(super) fn is_telling(word: &str) -> bool {
    const OF_ALERTS: &[&str] = &[
        "firing",
        "alerting",
        "alert",
        "alarm",
        "inalarm",
        "triggered",
        "trigger",
        "retriggered",
        "fired",
        "activated",
        "problem",
        "investigating",
        "identified",
        "critical",
        "warning",
        "resolved",
        "resolve",
        "closed",
        "cleared",
        "normal",
        "open",
        "opened",
        "ongoing",
        "active",
        "new",
    ];
    !OF_ALERTS.contains(&plain(word).as_str())
}

impl Word {
    /// The status of an alert of this state. "ok" ends only what is known to be an alert.
    pub(super) fn status(self, is_alert: bool) -> Option<Status> {
        match self {
            Self::Fires => Some(Status::Firing),
            Self::Open | Self::Begun if is_alert => Some(Status::Firing),
            Self::Ends => Some(Status::Resolved),
            Self::Good | Self::Up | Self::Done if is_alert => Some(Status::Resolved),
            _ => None,
        }
    }
}

/// Returns the severity that a word names, if it is one that many publishers use.
pub(super) fn severity(word: &str) -> Option<Severity> {
    let plain = plain(word);
    Some(match plain.as_str() {
        "p0" | "p1" | "sev0" | "sev1" | "s1" | "1critical" | "highest" | "urgent" | "blocker"
        | "severe" | "alert" | "panic" => Severity::Critical,
        "p2" | "p3" | "sev2" | "sev3" | "s2" | "s3" | "2high" | "3medium" | "medium"
        | "moderate" | "failure" | "failed" | "danger" => Severity::Warning,
        "p4" | "p5" | "sev4" | "sev5" | "s4" | "lowest" | "trace" | "success" | "good"
        | "resolved" | "default" => Severity::Info,
        _ => match Severity::from(word.to_owned()) {
            Severity::Other(_) => return None,
            known => known,
        },
    })
}
