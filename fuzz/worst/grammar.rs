//! The search space for messages: the kinds that the bridge knows, each with a hole, and the texts that may fill the
//! hole over and over again.

use fastrand::Rng;
use nats_matrix_fuzz::memory::{LARGEST, Recipe};

/// The smallest generated message, in bytes. A smaller one takes less than is allowed for any message.
const SMALLEST: usize = 256 * 1024;
/// The maximum depth of nesting; the bridge does not read deeper JSON.
const DEEPEST: usize = 124;

/// The position of the hole in a kind of message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hole {
    /// After an element of an array.
    Element,
    /// After a member of an object.
    Member,
    /// In a string or a text.
    Text,
}

/// A kind of message with a hole.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    hole: Hole,
    begin: &'static str,
    end: &'static str,
}

const fn kind(name: &'static str, hole: Hole, begin: &'static str, end: &'static str) -> Kind {
    Kind { name, hole, begin, end }
}

pub(crate) const KINDS: [Kind; 28] = [
    kind("report-items", Hole::Element, r#"{"host":"h","completed":["a""#, "]}"),
    kind("report-text", Hole::Text, r#"{"host":"h","completed":[""#, r#""]}"#),
    kind("report-keys", Hole::Member, r#"{"host":"h","disk_percent":1"#, "}"),
    kind("report-extra", Hole::Element, r#"{"host":"h","disk_percent":1,"x":[0"#, "]}"),
    kind("alert-text", Hole::Text, r#"{"severity":"critical","summary":""#, r#""}"#),
    kind("alert-url", Hole::Text, r#"{"severity":"info","summary":"s","url":"https://a/"#, r#""}"#),
    kind("alert-labels", Hole::Member, r#"{"severity":"info","summary":"s","labels":{"a":0"#, "}}"),
    kind("alert-extra", Hole::Element, r#"{"severity":"info","summary":"s","x":[0"#, "]}"),
    kind("group-members", Hole::Element, r#"{"groupKey":"g","alerts":[{}"#, "]}"),
    kind("group-labels", Hole::Member, r#"{"groupKey":"g","alerts":[{},{"labels":{"a":"""#, "}}]}"),
    kind(
        "group-common",
        Hole::Member,
        r#"{"groupKey":"g","alerts":[{},{}],"commonLabels":{"a":"""#,
        "}}",
    ),
    kind("group-values", Hole::Member, r#"{"groupKey":"g","alerts":[{},{"values":{"a":0"#, "}}]}"),
    kind("group-extra", Hole::Element, r#"{"groupKey":"g","alerts":[{}],"x":[0"#, "]}"),
    kind(
        "kuma-tags",
        Hole::Element,
        r#"{"msg":"m","heartbeat":{"status":0},"monitor":{"tags":[{"name":"a"}"#,
        "]}}",
    ),
    kind("kuma-text", Hole::Text, r#"{"heartbeat":null,"monitor":null,"msg":""#, r#""}"#),
    kind(
        "forgejo-commits",
        Hole::Element,
        r#"{"ref":"r","repository":{"full_name":"a/b"},"pusher":{},"commits":[{"id":"0"}"#,
        "]}",
    ),
    kind(
        "forgejo-issue",
        Hole::Member,
        r#"{"action":"opened","repository":{"full_name":"a/b"},"sender":{},"issue":{"number":1"#,
        "}}",
    ),
    kind(
        "forgejo-run",
        Hole::Member,
        r#"{"action":"failure","run":{"workflow_id":"w","repository":{"full_name":"a/b"}"#,
        "}}",
    ),
    kind(
        "event-array",
        Hole::Element,
        r#"{"specversion":"1.0","type":"t","source":"s","data":[0"#,
        "]}",
    ),
    kind(
        "event-object",
        Hole::Member,
        r#"{"specversion":"1.0","type":"t","source":"s","data":{"a":0"#,
        "}}",
    ),
    kind(
        "event-report",
        Hole::Element,
        r#"{"specversion":"1.0","type":"t","source":"s","data":{"host":"h","completed":["a"],"x":[0"#,
        "]}}",
    ),
    kind(
        "event-group",
        Hole::Element,
        r#"{"specversion":"1.0","type":"t","source":"s","data":{"groupKey":"g","alerts":[{}"#,
        "]}}",
    ),
    kind(
        "event-text",
        Hole::Text,
        r#"{"specversion":"1.0","type":"t","source":"s","data":""#,
        r#""}"#,
    ),
    kind("object-array", Hole::Element, r#"{"a":[0"#, "]}"),
    kind("object-keys", Hole::Member, r#"{"a":0"#, "}"),
    kind("object-looked-into", Hole::Member, r#"{"a":{"b":{"c":0"#, "}}}"),
    kind("array", Hole::Element, "[0", "]"),
    kind("text", Hole::Text, "", ""),
];

/// The genes of a recipe.
#[derive(Debug, Clone)]
pub(crate) struct Genes {
    /// The text that fills the hole each time.
    value: String,
    /// The name of a member, which is either different each time or the same.
    name: &'static str,
    size: usize,
}

const NAMES: [&str; 4] = ["{i}", "{i}", "a{i}", ""];
const LEAVES: [&str; 9] =
    ["0", r#""""#, r#""x""#, "null", "[]", "{}", "1.5", r#""{i}""#, r#"{"name":"a"}"#];
const TEXTS: [&str; 12] = [
    "x",
    r"\u0000",
    r#"\""#,
    "<",
    "&",
    r"\n",
    r"\u202e",
    "\u{200b}",
    "é",
    "%22",
    "https://a.example/ ",
    "\u{1f600}",
];

impl Genes {
    pub(crate) fn random(kind: &Kind, rng: &mut Rng) -> Self {
        let name = NAMES[rng.usize(..NAMES.len())];
        Self { value: random_value(kind, rng), name, size: random_size(rng) }
    }

    /// Returns these genes with one random change.
    pub(crate) fn mutated(&self, kind: &Kind, rng: &mut Rng) -> Self {
        let mut genes = self.clone();
        match rng.u8(..8) {
            0 => genes.size = random_size(rng),
            1 => genes.size = (genes.size * rng.usize(90..112) / 100).clamp(SMALLEST, LARGEST),
            2 => genes.name = NAMES[rng.usize(..NAMES.len())],
            3 => genes.value = random_value(kind, rng),
            _ if kind.hole == Hole::Text => genes.value += TEXTS[rng.usize(..TEXTS.len())],
            4 => genes.value = format!("[{},{}]", genes.value, random_value(kind, rng)),
            5 => {
                // An alert of a group has its labels and annotations under one of these names.
                let names = ["", "a", "{i}", "labels", "annotations", "values", "id", "author"];
                let name = names[rng.usize(..names.len())];
                genes.value = format!(r#"{{"{name}":{}}}"#, genes.value);
            }
            _ => {
                let depth = if rng.bool() { 1 } else { rng.usize(1..DEEPEST) };
                genes.value = format!("{}{}{}", "[".repeat(depth), genes.value, "]".repeat(depth));
            }
        }
        if genes.value.len() > 1_000 { self.clone() } else { genes }
    }

    pub(crate) fn recipe(&self, kind: &Kind) -> Recipe {
        let unit = match kind.hole {
            Hole::Element => format!(",{}", self.value),
            Hole::Member => format!(r#","{}":{}"#, self.name, self.value),
            Hole::Text => self.value.clone(),
        };
        let (begin, end) = (kind.begin.to_owned(), kind.end.to_owned());
        Recipe { size: self.size, begin, unit, end }
    }
}

fn random_size(rng: &mut Rng) -> usize {
    // Each order of magnitude is equally likely.
    let doubled = rng.u32(..=(LARGEST / SMALLEST).ilog2());
    (SMALLEST << doubled).min(LARGEST)
}

fn random_value(kind: &Kind, rng: &mut Rng) -> String {
    if kind.hole == Hole::Text {
        return (0..rng.u8(1..4)).map(|_| TEXTS[rng.usize(..TEXTS.len())]).collect();
    }
    LEAVES[rng.usize(..LEAVES.len())].to_owned()
}
