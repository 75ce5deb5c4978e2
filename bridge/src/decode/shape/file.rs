//! The file of a shape: TOML, checked as far as is possible without a message.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use toml::Value as Toml;

use crate::{
    config::Source,
    decode::shape::{
        expression::Expression,
        recognise::Recognise,
        rule::{Kind, NoteKind, Rule},
        words::{self, Severities, States},
    },
    suggest,
};

/// A fault that keeps a file from being used, with its place and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    place: String,
    what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

impl Fault {
    pub(super) fn of_file(file: &Path, what: impl Into<String>) -> Self {
        Self { place: file.display().to_string(), what: what.into() }
    }
}

/// A sender's messages: how they are recognised, and what each field of them becomes.
#[derive(Debug)]
pub(crate) struct Shape {
    /// The name of the sender, as in "Uptime Kuma".
    pub(crate) name: String,
    /// The name of the file, which distinguishes the alerts of one shape from those of others.
    pub(super) id: String,
    pub(super) priority: i64,
    pub(super) recognise: Recognise,
    pub(super) severities: Severities,
    pub(super) states: States,
    /// The tables for expressions.
    pub(super) maps: minijinja::Value,
    pub(super) rules: Vec<Rule>,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawShape {
    name: String,
    /// Where the form of the messages is documented, for readers of the file.
    #[serde(default, rename = "source")]
    _source: Vec<String>,
    /// Shapes with a higher number are tried first.
    #[serde(default)]
    priority: i64,
    #[serde(default)]
    recognise: Recognise,
    #[serde(default)]
    severities: BTreeMap<String, String>,
    #[serde(default)]
    states: BTreeMap<String, String>,
    #[serde(default)]
    maps: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(default)]
    rule: Vec<RawRule>,
    /// A description of each sample beside the file, for readers and for the book.
    #[serde(default, rename = "samples")]
    _samples: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct RawRule {
    #[serde(rename = "as")]
    kind: String,
    name: Option<String>,
    #[serde(default)]
    recognise: Recognise,
    /// All others: the fields, each an expression or a table of expressions.
    #[serde(flatten)]
    fields: BTreeMap<String, Toml>,
}

impl Shape {
    /// Parses a file. Its expressions are only compiled when they are used if a test has checked them.
    ///
    /// # Errors
    ///
    /// Returns every fault that can be found without a message.
    pub(super) fn parse(text: &str, file: &Path, is_trusted: bool) -> Result<Self, Vec<Fault>> {
        let source = Source { file, text };
        let raw: RawShape = toml::from_str(text).map_err(|error| {
            let what = error.message().lines().collect::<Vec<_>>().join(", ");
            vec![Fault { place: line_of(source, error.span()), what }]
        })?;
        let mut reader = Reader { source, is_trusted, faults: Vec::new() };
        let shape = reader.shape(raw);
        if reader.faults.is_empty() { Ok(shape) } else { Err(reader.faults) }
    }
}

fn line_of(source: Source<'_>, span: Option<std::ops::Range<usize>>) -> String {
    let before = source.text.get(..span.map_or(0, |span| span.start)).unwrap_or_default();
    format!("{}:{}", source.file.display(), before.matches('\n').count() + 1)
}

/// Reads the parts of a file, and collects the faults.
struct Reader<'a> {
    source: Source<'a>,
    is_trusted: bool,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn fault(&mut self, key: &str, what: impl Into<String>) {
        self.faults.push(Fault { place: self.source.place(key), what: what.into() });
    }

    fn shape(&mut self, raw: RawShape) -> Shape {
        if raw.name.trim().is_empty() {
            self.fault("name", "`name` is empty; write the name of the sender, as in \"Falco\"");
        }
        if raw.rule.is_empty() {
            self.fault("rule", "there is no [[rule]]; write at least one, with `as = \"alert\"`");
        }
        let severities = words::severities(raw.severities);
        let severities = severities.unwrap_or_else(|(key, wrong)| {
            self.fault(&format!("severities.\"{key}\""), wrong.to_string());
            Severities::default()
        });
        let states = words::states(raw.states).unwrap_or_else(|(key, wrong)| {
            self.fault(&format!("states.\"{key}\""), wrong.to_string());
            States::default()
        });
        let is_any = raw.recognise.is_empty();
        let rules = raw.rule.into_iter().enumerate();
        let rules = rules.map(|(index, rule)| self.rule(index, rule, is_any)).collect();
        let id = self.source.file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        Shape {
            id: id.to_owned(),
            name: raw.name,
            priority: raw.priority,
            recognise: raw.recognise,
            severities,
            states,
            maps: minijinja::Value::from(minijinja::value::Serde(raw.maps)),
            rules,
        }
    }

    fn rule(&mut self, index: usize, raw: RawRule, is_any: bool) -> Rule {
        let at = |key: &str| format!("rule[{index}].{key}");
        let mut fields = raw.fields;
        let when = fields.remove("when");
        if is_any && raw.recognise.is_empty() && when.is_none() {
            let what = "this rule takes every message; say which it is for, as in recognise.has = [\"severity\"]";
            self.fault(&at("as"), what);
        }
        let event = match fields.remove("event") {
            Some(Toml::String(event)) => Some(event),
            Some(_) => {
                self.fault(&at("event"), "`event` is one of the words in quotes");
                None
            }
            None => None,
        };
        let kind = Kind::parse(&raw.kind, event.as_deref()).unwrap_or_else(|what| {
            let key = if Kind::WORDS.contains(&raw.kind.as_str()) { "event" } else { "as" };
            self.fault(&at(key), what.to_string());
            Kind::Note(NoteKind::Said)
        });
        let mut rule = Rule {
            name: raw.name.unwrap_or_else(|| format!("rule {}", index + 1)),
            kind,
            recognise: raw.recognise,
            when: when.and_then(|when| self.expression(&at("when"), "when", when)),
            each: None,
            fields: Vec::new(),
            tables: Vec::new(),
        };
        rule.each =
            fields.remove("each").and_then(|each| self.expression(&at("each"), "each", each));
        for (name, value) in fields {
            self.field(&mut rule, &at(&name), &name, value);
        }
        for required in rule.kind.required() {
            if !required.iter().any(|name| rule.has(name)) {
                let what = format!("a rule with as = \"{}\" needs `{}`", raw.kind, required[0]);
                self.fault(&at("as"), what);
            }
        }
        rule
    }

    fn field(&mut self, rule: &mut Rule, key: &str, name: &str, value: Toml) {
        let known = rule.kind.fields();
        let Some(known_name) = known.iter().find(|known| **known == name) else {
            let what = match suggest::nearest(name, known.iter().copied()) {
                Some(nearest) => format!("there is no field `{name}`; did you mean `{nearest}`?"),
                None => format!("there is no field `{name}`; there are {}", known.join(", ")),
            };
            return self.fault(key, what);
        };
        match value {
            Toml::Table(entries) if Kind::is_table(known_name) => {
                let mut table = Vec::new();
                for (entry, value) in entries {
                    let key = format!("{key}.\"{entry}\"");
                    table.extend(self.expression(&key, &entry, value).map(|it| (entry, it)));
                }
                rule.tables.push((known_name, table));
            }
            Toml::Table(_) => {
                self.fault(key, format!("`{name}` is one expression in quotes, not a table"));
            }
            value => {
                rule.fields.extend(self.expression(key, name, value).map(|it| (*known_name, it)));
            }
        }
    }

    fn expression(&mut self, key: &str, name: &str, value: Toml) -> Option<Expression> {
        let Toml::String(text) = value else {
            let what = format!(
                "`{name}` is an expression in quotes, as in \"payload.{name}\"; a fixed text is \"'text'\""
            );
            self.fault(key, what);
            return None;
        };
        if self.is_trusted {
            return Some(Expression::trusted(text));
        }
        match Expression::parse(&text) {
            Ok(expression) => Some(expression),
            Err(wrong) => {
                self.fault(key, format!("`{name}` {wrong}"));
                None
            }
        }
    }
}

/// Reads all files of a directory, or the one file.
///
/// # Errors
///
/// Returns every fault of every file.
pub(super) fn read(path: &Path) -> Result<Vec<Shape>, Vec<Fault>> {
    let files = files(path).map_err(|fault| vec![fault])?;
    let (mut shapes, mut faults) = (Vec::new(), Vec::new());
    for file in files {
        match std::fs::read_to_string(&file) {
            Ok(text) => match Shape::parse(&text, &file, false) {
                Ok(shape) => shapes.push(shape),
                Err(more) => faults.extend(more),
            },
            Err(error) => faults.push(Fault::of_file(&file, format!("cannot be read: {error}"))),
        }
    }
    if faults.is_empty() { Ok(shapes) } else { Err(faults) }
}

fn files(path: &Path) -> Result<Vec<PathBuf>, Fault> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let cannot = |error: std::io::Error| Fault::of_file(path, format!("cannot be read: {error}"));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(cannot)? {
        let file = entry.map_err(cannot)?.path();
        let is_hidden =
            file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !is_hidden && file.extension().is_some_and(|extension| extension == "toml") {
            files.push(file);
        }
    }
    if files.is_empty() {
        let what = "holds no shape; shapes are files like falco.toml";
        return Err(Fault::of_file(path, what));
    }
    files.sort();
    Ok(files)
}
