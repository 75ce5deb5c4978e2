//! The messages that somebody publishes who wants the bridge to run out of memory.

use data_encoding::BASE64;

/// A message, and what its text holds.
pub(crate) struct Message {
    pub(crate) subject: String,
    /// The headers with the line of the version and the empty line at the end; empty for none.
    pub(crate) headers: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Message {
    /// The bytes that it costs whoever holds it.
    pub(crate) fn bytes(&self) -> usize {
        self.subject.len() + self.headers.len() + self.payload.len()
    }
}

/// The marks by which messages are known in the room.
pub(crate) const GOOD: &str = "good report ";
pub(crate) const BAD: &str = "ops.bad.";

/// A report that has to arrive.
pub(crate) fn good(number: usize) -> Message {
    let payload = format!(r#"{{"host":"good","completed":["{GOOD}{number}"]}}"#);
    Message { subject: "ops.good".to_owned(), headers: Vec::new(), payload: payload.into_bytes() }
}

/// A kind of message, of any size.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    filled: Part,
    /// `{n}` is the number of the message, so that no two are about the same.
    begin: &'static str,
    /// Repeated as often as fits. `{i}` is another name each time, `{nest}` is as deep as JSON is read.
    unit: &'static str,
    end: &'static str,
}

/// The part of a message that is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Payload,
    /// The same, with what is filled as the `data_base64` of a `CloudEvent`.
    Base64,
    /// The same, of bytes that are no text.
    Binary,
    Headers,
    Subject,
}

/// JetStream stores no more than that of headers.
const MOST_HEADERS: usize = 65_500;
/// The longest subject: with the rest of its line it may have 4 KiB.
const MOST_SUBJECT: usize = 3_900;
/// The depth to which JSON may be nested, where what is around it is nested, too.
const DEPTH: usize = 120;

const fn payload(
    name: &'static str,
    begin: &'static str,
    unit: &'static str,
    end: &'static str,
) -> Shape {
    Shape { name, filled: Part::Payload, begin, unit, end }
}

const fn of(part: Part, name: &'static str, begin: &'static str, unit: &'static str) -> Shape {
    Shape { name, filled: part, begin, unit, end: "" }
}

/// All of them: of each kind that the bridge knows what takes the most memory for its bytes.
pub(crate) const SHAPES: [Shape; 56] = [
    payload("report: long text", r#"{"host":"h{n}","completed":[""#, "x", r#""]}"#),
    payload("report: many items", r#"{"host":"h{n}","completed":[""#, r#"",""#, r#""]}"#),
    payload("report: many keys", r#"{"host":"h{n}","disk_percent":1"#, r#","{i}":0"#, "}"),
    payload("report: zeros", r#"{"host":"h{n}","completed":["a"],"x":[0"#, ",0", "]}"),
    payload("report: nested", r#"{"host":"h{n}","completed":["a"],"x":[0"#, ",{nest}", "]}"),
    payload("report: not of its type", r#"{"host":"h{n}","completed":[0"#, ",0", "]}"),
    payload("alert: long text", r#"{"severity":"critical","summary":"s{n} "#, "<&", r#""}"#),
    payload(
        "alert: escapes",
        r#"{"severity":"critical","summary":"s{n} "#,
        r"\u0000\u202e",
        r#""}"#,
    ),
    payload(
        "alert: many labels",
        r#"{"severity":"critical","summary":"s","source":"h{n}","labels":{"a":"""#,
        r#","{i}":"""#,
        "}}",
    ),
    payload(
        "alert: nested labels",
        r#"{"severity":"critical","summary":"s","source":"h{n}","labels":{"a":[0"#,
        ",{nest}",
        "]}}",
    ),
    payload(
        "alert: zeros",
        r#"{"severity":"warning","summary":"s","source":"h{n}","x":[0"#,
        ",0",
        "]}",
    ),
    payload(
        "alert: long url",
        r#"{"severity":"info","summary":"s","source":"h{n}","url":"https://a.example/"#,
        "%22",
        r#""}"#,
    ),
    payload("group: many members", r#"{"groupKey":"g{n}","alerts":[{}"#, ",{}", "]}"),
    payload(
        "group: many alerts",
        r#"{"groupKey":"g{n}","alerts":[{}"#,
        r#",{"labels":{"a":"{i}"}}"#,
        "]}",
    ),
    payload(
        "group: many labels",
        r#"{"groupKey":"g{n}","alerts":[{},{"labels":{"a":"""#,
        r#","{i}":"""#,
        "}}]}",
    ),
    payload(
        "group: many common labels",
        r#"{"groupKey":"g{n}","alerts":[{},{}],"commonLabels":{"a":"""#,
        r#","{i}":"""#,
        "}}",
    ),
    payload("group: members no objects", r#"{"groupKey":"g{n}","alerts":[0"#, ",0", "]}"),
    payload("group: nested", r#"{"groupKey":"g{n}","alerts":[{}],"x":[0"#, ",{nest}", "]}"),
    payload(
        "Grafana: many values",
        r#"{"groupKey":"g{n}","state":"alerting","title":"t","alerts":[{},{"values":{"a":0"#,
        r#","{i}":0"#,
        "}}]}",
    ),
    payload(
        "Grafana: many texts",
        r#"{"groupKey":"g{n}","state":"alerting","title":"t","alerts":[{}"#,
        r#",{"values":{"B":1},"valueString":"v","annotations":{"summary":"{i}"},"silenceURL":"https://a/"}"#,
        "]}",
    ),
    payload(
        "Uptime Kuma: many tags",
        r#"{"heartbeat":{"status":0,"msg":"m"},"monitor":{"name":"m{n}","tags":[{"name":"a"}"#,
        r#",{"name":"{i}"}"#,
        r#"]},"msg":"m"}"#,
    ),
    payload(
        "Uptime Kuma: many keys",
        r#"{"msg":"m","heartbeat":{"status":0,"msg":"m"},"monitor":{"name":"m{n}""#,
        r#","{i}":0"#,
        "}}",
    ),
    payload(
        "Uptime Kuma: long text",
        r#"{"heartbeat":null,"monitor":null,"msg":"{n} "#,
        r"\u0001",
        r#""}"#,
    ),
    payload(
        "Forgejo: many commits",
        r#"{"ref":"refs/heads/b{n}","repository":{"full_name":"a/b"},"pusher":{"login":"p"},"commits":[{"id":"0"}"#,
        r#",{"id":""}"#,
        "]}",
    ),
    payload(
        "Forgejo: zeros",
        r#"{"ref":"refs/heads/b{n}","repository":{"full_name":"a/b"},"pusher":{"login":"p"},"commits":[],"x":[0"#,
        ",0",
        "]}",
    ),
    payload(
        "Forgejo: long title",
        r#"{"action":"opened","repository":{"full_name":"a/b"},"sender":{"login":"p"},"issue":{"number":{n},"title":""#,
        r"\n<",
        r#""}}"#,
    ),
    payload(
        "CloudEvent: zeros",
        r#"{"specversion":"1.0","type":"t","source":"s{n}","id":"1","data":[0"#,
        ",0",
        "]}",
    ),
    payload(
        "CloudEvent: a report of zeros",
        r#"{"specversion":"1.0","type":"t","source":"s{n}","id":"1","data":{"host":"h","completed":["a"],"x":[0"#,
        ",0",
        "]}}",
    ),
    payload(
        "CloudEvent: a group",
        r#"{"specversion":"1.0","type":"t","source":"s{n}","id":"1","data":{"groupKey":"g{n}","alerts":[{}"#,
        ",{}",
        "]}}",
    ),
    payload(
        "CloudEvent: many keys",
        r#"{"specversion":"1.0","type":"t","source":"s{n}","id":"1","data":{"a":0"#,
        r#","{i}":0"#,
        "}}",
    ),
    payload(
        "CloudEvent: many attributes",
        r#"{"specversion":"1.0","type":"t","source":"s{n}","id":"1""#,
        r#","{i}":0"#,
        "}",
    ),
    payload(
        "CloudEvent: text",
        r#"{"specversion":"1.0","type":"t","source":"s{n}","id":"1","data":""#,
        r#"\""#,
        r#""}"#,
    ),
    of(Part::Base64, "CloudEvent: data_base64, zeros", r#"{"x{n}":[0"#, ",0"),
    of(Part::Base64, "CloudEvent: data_base64, text", "{n} ", "&"),
    payload("object: zeros", r#"{"n":{n},"a":[0"#, ",0", "]}"),
    payload("object: nested arrays", r#"{"n":{n},"a":[0"#, ",{nest}", "]}"),
    payload("object: nested objects", r#"{"n":{n},"a":[0"#, r#",{"":{"":{"":{"":0}}}}"#, "]}"),
    payload("object: small arrays", r#"{"n":{n},"a":[0"#, ",[0]", "]}"),
    payload("object: small objects", r#"{"n":{n},"a":[0"#, r#",{"":0}"#, "]}"),
    payload("object: many keys", r#"{"n":{n}"#, r#","{i}":0"#, "}"),
    payload("object: one key", r#"{"n":{n}"#, r#","a":{"b":[0,0]}"#, "}"),
    payload("object: escapes", r#"{"n":{n},"a":[""#, r"\u0000", r#""]}"#),
    payload("object: quotes", r#"{"n":{n},"a":[""#, r#"\""#, r#""]}"#),
    payload("object: digits", r#"{"n":{n},"a":1"#, "1", "}"),
    payload("object: without an end", r#"{"n":{n},"a":[0"#, ",{nest}", ""),
    payload("array: zeros", "[{n}", ",0", "]"),
    payload("a number", "1{n}", "1", ""),
    payload("text: letters", "{n} ", "x", ""),
    payload("text: lines of HTML", "{n} ", "<&\n", ""),
    payload("text: what nobody sees", "{n} ", "\u{200b}", ""),
    payload("text: links", "{n} ", "https://a.example/ ", ""),
    of(Part::Binary, "binary", "", ""),
    of(Part::Headers, "headers: one large", "X-Y: {n}", "x"),
    of(Part::Headers, "headers: many", "X: {n}", "\r\n{i}:"),
    of(Part::Headers, "headers: many of a name", "X: {n}", "\r\na:"),
    of(Part::Subject, "subject: long", "{n}", ".x"),
];

impl Shape {
    /// Whether its size is bounded by the server, far below that of a payload.
    pub(crate) fn is_bounded(&self) -> bool {
        matches!(self.filled, Part::Headers | Part::Subject)
    }

    /// Makes one message of at most `size` bytes, or of as many as the server takes.
    pub(crate) fn message(&self, size: usize, number: usize) -> Message {
        let subject = format!("{BAD}{number}");
        let fill = |room: usize| self.fill(room, number);
        let mut message = Message { subject, headers: Vec::new(), payload: Vec::new() };
        match self.filled {
            Part::Binary => message.payload = vec![0xff; size],
            Part::Payload => message.payload = fill(size),
            Part::Base64 => message.payload = enveloped(&fill(size * 3 / 4 - 100), size),
            Part::Headers => {
                let lines = fill(size.min(MOST_HEADERS));
                message.headers = [b"NATS/1.0\r\n", &lines[..], b"\r\n\r\n"].concat();
                message.payload = b"x".to_vec();
            }
            Part::Subject => {
                let tokens = fill(size.min(MOST_SUBJECT));
                // The number is there already, and has to be whole.
                message.subject = format!("{BAD}{}", String::from_utf8_lossy(&tokens));
                message.payload = b"x".to_vec();
            }
        }
        message
    }

    fn fill(&self, size: usize, number: usize) -> Vec<u8> {
        let begin = self.begin.replace("{n}", &number.to_string());
        let unit = self.unit.replace("{nest}", &nest());
        let room = size.saturating_sub(begin.len() + self.end.len());
        let mut filled = begin.into_bytes();
        if unit.contains("{i}") {
            let until = filled.len() + room;
            for count in 0.. {
                let next = unit.replace("{i}", &name(count));
                if filled.len() + next.len() > until {
                    break;
                }
                filled.extend(next.into_bytes());
            }
        } else {
            filled.extend(unit.repeat(room / unit.len()).into_bytes());
        }
        filled.extend(self.end.bytes());
        filled
    }
}

fn enveloped(data: &[u8], size: usize) -> Vec<u8> {
    // The end of an array in JSON; it has no meaning in a text.
    let data = [data, b"]}"].concat();
    let begin = r#"{"specversion":"1.0","type":"t","source":"s","id":"1","data_base64":""#;
    let event = format!("{begin}{}\"}}", BASE64.encode(&data));
    debug_assert!(event.len() <= size.max(300), "{} bytes", event.len());
    event.into_bytes()
}

fn nest() -> String {
    format!("{}0{}", "[".repeat(DEPTH), "]".repeat(DEPTH))
}

/// The shortest names there are, one after the other.
fn name(mut count: usize) -> String {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    let mut name = String::new();
    loop {
        name.push(char::from(LETTERS[count % LETTERS.len()]));
        count /= LETTERS.len();
        if count == 0 {
            return name;
        }
        count -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn each_shape_is_as_large_as_it_may_be_and_json_if_it_is_meant_to_be() {
        for shape in &SHAPES {
            for size in [1_000, 4_000, 30_000] {
                let message = shape.message(size, 7);
                let most = if shape.is_bounded() { size.min(MOST_HEADERS) } else { size };
                let (bytes, name) = (message.bytes(), shape.name);
                assert!(bytes <= most.max(300) + 100, "{name}: {bytes} of {size} bytes");
                let least =
                    if shape.filled == Part::Subject { size.min(MOST_SUBJECT) } else { most };
                assert!(bytes * 10 >= least * 6, "{name}: only {bytes} of {size} bytes");
                let is_json = message.payload.first().is_some_and(|byte| b"{[".contains(byte));
                // One has no end, and one a number that is too large.
                if is_json && !["object: without an end", "object: digits"].contains(&name) {
                    assert!(serde_json::from_slice::<Value>(&message.payload).is_ok(), "{name}");
                }
            }
        }
    }

    #[test]
    fn names_are_not_used_twice() {
        let names: BTreeSet<String> = (0..10_000).map(name).collect();
        assert_eq!(names.len(), 10_000);
        let shapes: BTreeSet<&str> = SHAPES.iter().map(|shape| shape.name).collect();
        assert_eq!(shapes.len(), SHAPES.len());
    }
}
