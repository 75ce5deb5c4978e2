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
    "incidentname",
    "eventtitle",
    "messagetitle",
    "alertrule",
    "conditionname",
    "searchname",
    "subject",
    "eventname",
];

/// The names of an object's name, which is a title only with the word for what happened to it.
pub(super) const NAMES: &[&str] =
    &["name", "friendlyname", "monitorfriendlyname", "displayname", "fullname"];

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
];

/// The names of texts that say more about a title, and are none themselves.
pub(super) const DETAILS: &[&str] = &["alertdetails", "raw"];

/// The names of titles of the last resort: what happened, rather than a text about it.
pub(super) const EVENTS: &[&str] =
    &["event", "eventtype", "reason", "check", "rule", "alert", "type", "action"];

/// The names of what happened, which make a title of a mere code.
pub(super) const DEEDS: &[&str] = &["event", "eventtype", "eventname", "type", "action"];

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
    "alerttypefriendlyname",
    "monitorcondition",
    "notificationtype",
    "eventaction",
    "conclusion",
    "result",
    "outcome",
    "transition",
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
];

/// The names of what is not a machine, but to which something can happen.
pub(super) const SOURCES: &[&str] = &[
    "involvedobject",
    "regarding",
    "monitorname",
    "checkname",
    "agent",
    "service",
    "servicename",
    "application",
    "applicationname",
    "app",
    "appname",
    "resource",
    "resourcename",
    "component",
    "entity",
    "entityname",
    "target",
    "targetname",
    "monitor",
    "job",
    "jobname",
    "container",
    "project",
    "projectname",
    "repository",
    "cluster",
    "namespace",
    "unit",
    "pipeline",
    "pipelinename",
    "workspace",
    "workspacename",
    "site",
    "sitename",
    "impactedentities",
    "source",
    "origin",
    "sender",
    "integration",
];

/// The names of objects that only wrap the fields of a message.
pub(super) const WRAPPERS: &[&str] = &[
    "alert",
    "alerts",
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
    "displayname",
    "name",
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

pub(super) const ENDS: &[&str] = &[
    "resolvedat",
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
];

/// The names of what identifies a problem in all messages about it.
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
    "id",
];

/// The names of persons and parties, of whom the name is enough.
pub(super) const PARTIES: &[&str] = &[
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
    "webhook",
    "repository",
    "repo",
    "project",
    "definition",
    "team",
    "integration",
];

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
}

/// Returns the state that a word names.
pub(super) fn state(word: &str) -> Option<Word> {
    Some(match plain(word).as_str() {
        "firing" | "alerting" | "alert" | "alarm" | "inalarm" | "triggered" | "trigger"
        | "retriggered" | "fired" | "activated" | "problem" | "investigating" | "identified"
        | "down" | "unreachable" | "offline" | "unhealthy" | "outage" | "majoroutage"
        | "partialoutage" | "nodata" | "critical" | "warning" => Word::Fires,
        "resolved" | "resolve" | "recovered" | "recovery" | "closed" | "cleared" | "fixed"
        | "normal" | "backtonormal" | "restored" => Word::Ends,
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
        | "killed"
        | "die"
        | "died"
        | "oom"
        | "unknown" => Word::Bad,
        "up" | "online" | "healthy" | "reachable" => Word::Up,
        "ok" | "operational" | "running" | "ready" | "good" | "started" => Word::Good,
        "success" | "successful" | "succeeded" | "passed" | "completed" | "complete" | "done"
        | "finished" => Word::Done,
        _ => return None,
    })
}

/// Whether a word says that something came to its end, and not how.
pub(super) fn is_mere_end(word: &str) -> bool {
    ["completed", "complete", "done", "finished"].contains(&plain(word).as_str())
}

/// Returns the state in the last part of the name of an event: `incident.resolved`, `HealthRestored`. Other words at
/// this place tell of things that are no problems: a pull request can be closed.
pub(super) fn state_of_event(event: &str) -> Option<Word> {
    let capital = event.rfind(char::is_uppercase).filter(|_| event.contains(char::is_lowercase));
    let mark = event.rfind(['.', ':', '_', '-', ' ', '/']).map(|at| at + 1);
    let last = event.get(capital.max(mark)?..)?;
    let known = [
        "triggered",
        "firing",
        "resolved",
        "recovered",
        "restored",
        "up",
        "failed",
        "failure",
        "succeeded",
        "success",
    ];
    known.contains(&plain(last).as_str()).then(|| state(last)).flatten()
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
    ];
    !OF_ALERTS.contains(&plain(word).as_str())
}

impl Word {
    /// The status of an alert of this state. "ok" ends only what is known to be an alert.
    pub(super) fn status(self, is_alert: bool) -> Option<Status> {
        match self {
            Self::Fires => Some(Status::Firing),
            Self::Ends => Some(Status::Resolved),
            Self::Good | Self::Up | Self::Done if is_alert => Some(Status::Resolved),
            Self::Good | Self::Up | Self::Done | Self::Bad => None,
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
