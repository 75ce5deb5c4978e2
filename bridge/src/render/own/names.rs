//! Unknown names in templates: every filter, test, variable and file that does not exist is found before a message
//! needs it, even where no sample leads to it.

use minijinja::{
    Environment, ErrorKind, Template,
    machinery::{Instruction, Instructions, get_compiled_template},
};

use crate::{
    render::own::{fault::Fault, files::kind_of},
    suggest,
};

/// The page that describes templates.
const TEMPLATES: &str =
    "https://github.com/nats-matrix/nats-matrix/blob/main/docs/src/guide/templates.md";

/// The filters, tests and functions that docs/src/guide/templates.md describes, for suggestions.
const FILTERS: &[&str] = &[
    "abs",
    "capitalize",
    "default",
    "dictsort",
    "duration",
    "escape",
    "first",
    "float",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "leading_to",
    "length",
    "lines",
    "link",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "number",
    "percent",
    "quote",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "size",
    "slice",
    "sort",
    "split",
    "sum",
    "time",
    "title",
    "trim",
    "unique",
    "upper",
    "value",
];

const TESTS: &[&str] = &[
    "defined",
    "undefined",
    "none",
    "true",
    "false",
    "number",
    "string",
    "mapping",
    "sequence",
    "in",
    "startingwith",
    "endingwith",
    "odd",
    "even",
];

/// The variables that every template has, whatever the kind of its message.
const COMMON: [&str; 12] = [
    "subject",
    "tokens",
    "headers",
    "stream",
    "sequence",
    "published",
    "route",
    "kind",
    "payload",
    "flaw",
    "via",
    "words",
];

/// Finds filters, tests, functions, variables and files that do not exist, even where no sample leads to them.
pub(super) fn unknown(templates: &Environment<'_>, template: &Template<'_, '_>) -> Vec<Fault> {
    let compiled = get_compiled_template(template);
    let all = std::iter::once(&compiled.instructions).chain(compiled.blocks.values());
    let undeclared = template.undeclared_variables(false);
    let mut faults: Vec<Fault> = Vec::new();
    for instructions in all {
        for index in 0.. {
            let Some(instruction) = instructions.get(index) else { break };
            let what = match instruction {
                Instruction::ApplyFilter(name, ..) if !is_filter(templates, name) => {
                    advise("filter", name, FILTERS.iter().copied())
                }
                Instruction::PerformTest(name, ..) if !is_test(templates, name) => {
                    advise("test", name, TESTS.iter().copied())
                }
                Instruction::Lookup(name) | Instruction::CallFunction(name, _)
                    if undeclared.contains(*name)
                        && !is_known(templates, template.name(), name) =>
                {
                    advise("name", name, known_names(template.name()))
                }
                Instruction::PushAutoEscape => {
                    "autoescape cannot be changed: what a payload holds is never markup".to_owned()
                }
                Instruction::Include(false) | Instruction::LoadBlocks => {
                    match included(instructions, index) {
                        Some(name) if templates.get_template(&name).is_err() => {
                            format!(
                                "there is no template \"{name}\"; use one of the files beside it, or a built-in one like \"builtin/alert.txt\""
                            )
                        }
                        _ => continue,
                    }
                }
                _ => continue,
            };
            faults.push(Fault::at(template.name(), instructions.get_line(index), what));
        }
    }
    faults.dedup();
    faults
}

fn advise<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let advice = match suggest::nearest(name, known) {
        Some(nearest) => format!("; did you mean \"{nearest}\"?"),
        None => format!("; {TEMPLATES} has those that exist"),
    };
    format!("unknown {what} \"{name}\"{advice}")
}

/// Returns the name of the template that an instruction loads, if it is a literal.
fn included(instructions: &Instructions<'_>, index: u32) -> Option<String> {
    match instructions.get(index.checked_sub(1)?)? {
        Instruction::LoadConst(name) => name.as_str().map(str::to_owned),
        _ => None,
    }
}

/// Whether a filter exists. The environment has no list of filters, so it is called to see whether it is unknown.
fn is_filter(templates: &Environment<'_>, name: &str) -> bool {
    let applied = templates.empty_state().apply_filter(name, &[]);
    applied.err().is_none_or(|error| error.kind() != ErrorKind::UnknownFilter)
}

fn is_test(templates: &Environment<'_>, name: &str) -> bool {
    let performed = templates.empty_state().perform_test(name, &[]);
    performed.err().is_none_or(|error| error.kind() != ErrorKind::UnknownTest)
}

fn is_known(templates: &Environment<'_>, file: &str, name: &str) -> bool {
    // The variables of a part depend on the templates that include it.
    kind_of(file).is_none()
        || ["loop", "self", "super", "caller"].contains(&name)
        || known_names(file).any(|known| known == name)
        || templates.globals().any(|(global, _)| global == name)
}

fn known_names(file: &str) -> impl Iterator<Item = &'static str> {
    let fields: &[&str] = match kind_of(file).unwrap_or_default() {
        "report" => &[
            "host",
            "completed",
            "in_progress",
            "disk_percent",
            "memory_percent",
            "satisfaction",
            "usage",
            "rows",
        ],
        "alert" => &[
            "mark",
            "word",
            "severity",
            "status",
            "summary",
            "source",
            "description",
            "labels",
            "tags",
            "time",
            "ended",
            "when",
            "rows",
            "url",
            "short_url",
            "fingerprint",
        ],
        "alerts" => &[
            "mark",
            "heading",
            "tally",
            "count",
            "title",
            "labels",
            "tags",
            "alerts",
            "rest",
            "hidden",
            "truncated",
            "url",
        ],
        "note" => &["mark", "headline", "lines", "source", "when"],
        "event" => &["type", "source", "time", "when", "text", "rows"],
        "object" => &["title", "place", "description", "when", "lines", "url", "rows"],
        "text" => &["text"],
        _ => &[],
    };
    COMMON.into_iter().chain(fields.iter().copied())
}
