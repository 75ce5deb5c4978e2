//! The templates that are part of the program.

use minijinja::{
    AutoEscape, Environment, State, UndefinedBehavior, Value, context, syntax::SyntaxConfig,
};

use crate::render::{filters, link, markup, voice::Voice};

/// The names and sources of the templates.
pub(super) const SOURCES: [(&str, &str); 14] = [
    ("report.txt", include_str!("report.txt.jinja")),
    ("report.html", include_str!("report.html.jinja")),
    ("alert.txt", include_str!("alert.txt.jinja")),
    ("alert.html", include_str!("alert.html.jinja")),
    ("alerts.txt", include_str!("alerts.txt.jinja")),
    ("alerts.html", include_str!("alerts.html.jinja")),
    ("note.txt", include_str!("note.txt.jinja")),
    ("note.html", include_str!("note.html.jinja")),
    ("event.txt", include_str!("event.txt.jinja")),
    ("event.html", include_str!("event.html.jinja")),
    ("object.txt", include_str!("object.txt.jinja")),
    ("object.html", include_str!("object.html.jinja")),
    ("digest.txt", include_str!("digest.txt.jinja")),
    ("digest.html", include_str!("digest.html.jinja")),
];

/// Creates an environment with the built-in templates.
pub(super) fn environment(voice: &Voice) -> Environment<'static> {
    let mut templates = empty(voice);
    for (name, source) in SOURCES {
        templates.add_template(name, source).expect("built-in templates are valid");
    }
    templates
}

/// Creates an environment without templates, but with the syntax, the filters and the words that all templates share.
pub(super) fn empty(voice: &Voice) -> Environment<'static> {
    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    let blocks_leave_no_lines =
        SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    templates.set_syntax(blocks_leave_no_lines.expect("no delimiter is changed"));
    // Values from a payload are escaped in HTML; plain text needs no escaping.
    templates.set_auto_escape_callback(|name| {
        let name = name.strip_suffix(".jinja").unwrap_or(name);
        if name.rsplit_once('.').is_some_and(|(_, kind)| kind == "html") {
            AutoEscape::Html
        } else {
            AutoEscape::None
        }
    });
    // Plain text shows a link as its label.
    templates.add_filter("lines", |state: &State, value: &str| {
        if is_html(state) { markup::html_lines(value) } else { Value::from(value) }
    });
    templates.add_filter("quote", |state: &State, value: &str| {
        if is_html(state) { markup::html_quote(value) } else { Value::from(markup::quoted(value)) }
    });
    templates.add_filter("value", |state: &State, value: &str| {
        if is_html(state) { link::html_value(value) } else { plain_value(value) }
    });
    templates.add_filter("link", |state: &State, address: &str| {
        if is_html(state) { link::html_link(address) } else { Value::from(address) }
    });
    templates.add_filter("leading_to", |state: &State, label: &str, address: Option<&str>| {
        if is_html(state) { link::html_leading_to(label, address) } else { Value::from(label) }
    });
    filters::add(&mut templates, voice);
    templates.add_global("words", words(voice));
    templates
}

/// Implements the filter `value` for plain text: it quotes the further lines of a text.
fn plain_value(value: &str) -> Value {
    match markup::continued(value) {
        (first, Some(rest)) => Value::from(format!("{first}\n{rest}")),
        (first, None) => Value::from(first),
    }
}

fn is_html(state: &State) -> bool {
    matches!(state.auto_escape(), AutoEscape::Html)
}

fn words(voice: &Voice) -> Value {
    let words = voice.words;
    context! {
        colon => words.colon(),
        gap => words.gap(),
        comma => words.comma(),
        report => words.report(),
        completed => words.completed(),
        in_progress => words.in_progress(),
        disk_usage => words.disk_usage(),
        memory_usage => words.memory_usage(),
        satisfaction => words.satisfaction(),
    }
}

/// Renders the plain text and the HTML of a kind of message.
pub(super) fn render(templates: &Environment<'_>, kind: &str, view: &Value) -> (String, String) {
    let render = |name: String| {
        templates.get_template(&name).and_then(|template| template.render(view)).expect(
            "built-in templates render every view; a test renders them with every field absent",
        )
    };
    let plain = render(format!("{kind}.txt"));
    // A line break in a template is for those who read the template; in HTML only `<br>` breaks a line.
    let html = render(format!("{kind}.html")).replace('\n', "");
    (plain.trim_end().to_owned(), markup::tidy(&html))
}
