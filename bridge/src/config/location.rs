//! The location of a key in the configuration file.

use std::{fmt, path::Path};

use toml::de::{DeTable, DeValue};

/// A configuration file and its text.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) file: &'a Path,
    pub(crate) text: &'a str,
}

impl Source<'_> {
    /// Returns the file and the line of a key such as `routes[0].match."severity"`, or of the table in which it should
    /// be, as in `config.toml:12`.
    pub(crate) fn place(&self, key: &str) -> String {
        let file = self.file.display();
        match self.line(key) {
            Some(line) => format!("{file}:{line}"),
            None => file.to_string(),
        }
    }

    /// Describes why and where the file is not valid TOML, if it is not. The line itself is not quoted because it may
    /// have a password in it.
    pub(crate) fn fault(&self) -> Option<String> {
        let error = DeTable::parse(self.text).err()?;
        let before = self.text.get(..error.span().map_or(0, |span| span.start)).unwrap_or_default();
        let (file, line) = (self.file.display(), before.matches('\n').count() + 1);
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        // The message may have several lines; the later ones say what was expected.
        let what = error.message().lines().collect::<Vec<_>>().join(", ");
        Some(format!("{file}:{line}: not valid TOML at column {column}: {what}"))
    }

    fn line(&self, key: &str) -> Option<usize> {
        let root = DeTable::parse(self.text).ok()?;
        let mut at = None;
        let root = DeValue::Table(root.into_inner());
        let mut value = &root;
        for step in steps(key) {
            let found = match (value, &step) {
                (DeValue::Table(table), Step::Key(name)) => {
                    table.get_key_value(name.as_str()).map(|(name, item)| (name.span(), item))
                }
                (DeValue::Array(items), Step::Index(index)) => {
                    items.get(*index).map(|item| (item.span(), item))
                }
                _ => None,
            };
            let Some((span, item)) = found else { break };
            at = Some(span.start);
            value = item.get_ref();
        }
        Some(self.text.get(..at?)?.matches('\n').count() + 1)
    }
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.display().fmt(f)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// Splits a key like `a[0]."b.c".d` into its steps. Only the last step is ever in quotes.
fn steps(key: &str) -> Vec<Step> {
    let (plain, quoted) = match key.split_once(".\"") {
        Some((plain, quoted)) => (plain, Some(quoted.trim_end_matches('"'))),
        None => (key, None),
    };
    let mut steps = Vec::new();
    for part in plain.split('.') {
        let (name, index) = match part.strip_suffix(']').and_then(|part| part.split_once('[')) {
            Some((name, index)) => (name, index.parse().ok()),
            None => (part, None),
        };
        steps.push(Step::Key(name.to_owned()));
        steps.extend(index.map(Step::Index));
    }
    steps.extend(quoted.map(|name| Step::Key(name.to_owned())));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_on_its_line_and_a_missing_one_where_it_should_be() {
        let text = "[nats]\nservers = [\n  \"a\",\n]\n\n[[routes]]\nname = \"a\"\n\n[[routes]]\nname = \"b\"\n\
                    match = { \"payload.a.b\" = \"x\" }\n[routes.quiet]\nfrom = \"1\"\n";
        let source = Source { file: Path::new("c.toml"), text };
        for (key, place) in [
            ("nats.servers", "c.toml:2"),
            ("nats.token", "c.toml:1"),
            ("routes[0].name", "c.toml:7"),
            ("routes[1].name", "c.toml:10"),
            ("routes[1].match.\"payload.a.b\"", "c.toml:11"),
            ("routes[1].quiet.from", "c.toml:13"),
            ("matrix.user", "c.toml"),
            ("routes", "c.toml:6"),
        ] {
            assert_eq!(source.place(key), place, "{key}");
        }
        assert_eq!(source.fault(), None);
        let broken = Source { text: "[", ..source };
        assert_eq!(broken.place("nats"), "c.toml");
    }

    #[test]
    fn what_is_no_toml_is_said_with_its_place_and_not_quoted() {
        let fault = |text| Source { file: Path::new("c.toml"), text }.fault().unwrap();
        for (text, place) in [
            ("[nats]\npassword = \"hunter2\n", "c.toml:2: not valid TOML at column 20: "),
            ("[nats]\npassword = hunter2\n", "c.toml:2: not valid TOML at column 12: "),
            ("[nats]\n\npassword = 'x' hunter2", "c.toml:3: not valid TOML at column 16: "),
            ("password hunter2", "c.toml:1: not valid TOML at column "),
            ("a = 1\na = 'hunter2'", "c.toml:2: not valid TOML at column 1: duplicate key"),
        ] {
            let fault = fault(text);
            assert!(fault.starts_with(place), "{fault}");
            assert!(!fault.contains("hunter") && !fault.contains('\n'), "{fault}");
        }
    }
}
