//! `nats-matrix permissions`: prints the permissions in NATS that a configuration needs.

use std::{collections::HashMap, fmt::Write as _, path::Path};

use clap::ValueEnum;

use crate::{
    cli::{
        common::{ConfigFile, print},
        rights,
    },
    config::Config,
    failure::Failure,
    subject::Subject,
};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    config: ConfigFile,
    /// The output.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// A table with the reason of each permission.
    Table,
    /// A command line of nsc, for a NATS with an operator.
    Nsc,
    /// The permissions of a user in the configuration of nats-server.
    Server,
}

pub(super) fn main(options: &Options) -> Result<(), Failure> {
    print(text(&Config::load(&options.config.config)?, options.format).trim_end());
    Ok(())
}

/// The configuration whose permissions the book shows: a route that uses every feature.
const EXAMPLE: &str = r##"
nats.servers = ["nats://127.0.0.1:4222"]
matrix = { homeserver = "http://127.0.0.1:6167", user = "bridge", password_file = "matrix-password" }

[[routes]]
name = "reports"
consumer = "reports"
stream = "OPS"
subjects = ["ops.>"]
room = "#ops:chat.example.com"
summary = { every = "day" }
quiet = { from = "22:00", to = "07:00" }
answers = {}
"##;

/// Returns the permissions for the example of the book: the feature, the subject and the purpose of each.
pub(super) fn example() -> Vec<[String; 3]> {
    let config = Config::parse(EXAMPLE, Path::new("config.toml"), &HashMap::new());
    let all = permissions(&config.expect("the example is valid"));
    all.into_iter()
        .map(|one| [one.feature.to_owned(), one.subject, one.purpose.to_owned()])
        .collect()
}

/// A permission to publish.
struct Permission {
    subject: String,
    /// The feature that needs it.
    feature: &'static str,
    /// The routes with this feature; none if it is for all of them.
    routes: Vec<String>,
    /// The purpose, in words that follow "to".
    purpose: &'static str,
}

/// Returns the permissions, each once for a feature.
fn permissions(config: &Config) -> Vec<Permission> {
    let alerts = [(None, rights::alerts(&config.nats))];
    let of_routes = config.routes.iter().flat_map(|route| {
        let features = rights::features(config, route).into_iter();
        features.map(|feature| (Some(route.name.to_string()), feature))
    });
    let mut all = Vec::<Permission>::new();
    for (route, feature) in of_routes.chain(alerts) {
        for right in &feature.rights {
            let is_known = |known: &&mut Permission| {
                known.subject == right.permit() && known.feature == feature.name
            };
            match all.iter_mut().find(is_known) {
                Some(known) if route.as_ref().is_some_and(|name| known.routes.contains(name)) => {}
                Some(known) => known.routes.extend(route.clone()),
                None => all.push(Permission {
                    subject: right.permit().to_owned(),
                    feature: feature.name,
                    routes: route.iter().cloned().collect(),
                    purpose: right.purpose(),
                }),
            }
        }
    }
    all
}

/// Returns the permissions that no other one includes.
fn distinct(all: &[Permission]) -> Vec<&Permission> {
    let filters: Vec<_> =
        all.iter().filter_map(|one| Some((one, Subject::filter(&one.subject).ok()?))).collect();
    let is_included = |index: usize| {
        let subject = &filters[index].1;
        filters.iter().enumerate().any(|(other, (_, wider))| {
            other != index && wider.covers(subject) && (!subject.covers(wider) || other < index)
        })
    };
    (0..filters.len()).filter(|index| !is_included(*index)).map(|index| filters[index].0).collect()
}

fn text(config: &Config, format: Format) -> String {
    let (all, inbox) = (permissions(config), format!("{}.>", config.nats.inbox_prefix));
    match format {
        Format::Table => table(config, &all, &inbox),
        Format::Nsc => nsc(config, &distinct(&all), &inbox),
        Format::Server => server(config, &distinct(&all), &inbox),
    }
}

/// Says which names of consumers stand in for others.
fn advice(config: &Config) -> Option<String> {
    let unnamed = config.routes.iter().filter(|route| route.consumer.is_none());
    let unnamed: Vec<&str> = unnamed.map(|route| route.name.as_str()).collect();
    (!unnamed.is_empty()).then(|| {
        format!(
            "The last * stands for the consumer of a route ({}). Where others have consumers on the stream, write the name \
             that nats-matrix consumers prints into the configuration, as consumer = \"...\".",
            unnamed.join(", ")
        )
    })
}

fn table(config: &Config, all: &[Permission], inbox: &str) -> String {
    let heading = ["", "subject", "for", "route", "to"].map(str::to_owned);
    let hear = ["subscribe", inbox, "everything", "all", "hear what NATS answers and delivers"];
    let publish = all.iter().map(|one| {
        let routes = if one.routes.is_empty() { "all".to_owned() } else { one.routes.join(", ") };
        [
            "publish".to_owned(),
            one.subject.clone(),
            one.feature.to_owned(),
            routes,
            one.purpose.to_owned(),
        ]
    });
    let rows: Vec<[String; 5]> =
        [heading, hear.map(str::to_owned)].into_iter().chain(publish).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; 5] = std::array::from_fn(|column| width(column).unwrap_or_default());
    let mut table = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}  "));
        table.push_str(cells.collect::<String>().trim_end());
        table.push('\n');
    }
    table.extend(advice(config).map(|advice| format!("\n{advice}\n")));
    table
}

fn nsc(config: &Config, all: &[&Permission], inbox: &str) -> String {
    let mut command = advice(config).map(|advice| format!("# {advice}\n")).unwrap_or_default();
    command.push_str("nsc add user --name nats-matrix \\\n  --allow-sub ");
    command.push_str(&for_shell(inbox));
    for one in all {
        command.push_str(" \\\n  --allow-pub ");
        command.push_str(&for_shell(&one.subject));
    }
    command
}

/// Quotes a word for a shell, which would take the dollars for its own.
fn for_shell(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn server(config: &Config, all: &[&Permission], inbox: &str) -> String {
    let mut text = advice(config).map(|advice| format!("# {advice}\n")).unwrap_or_default();
    let quoted = |subject: &str| serde_json::Value::from(subject).to_string();
    let _ =
        write!(text, "permissions {{\n  subscribe: [\n    {}\n  ]\n  publish: [\n", quoted(inbox));
    let mut last = "";
    for one in all {
        if one.feature != last {
            last = one.feature;
            let _ = writeln!(text, "    # {last}");
        }
        let _ = writeln!(text, "    {}", quoted(&one.subject));
    }
    text.push_str("  ]\n}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(lines: &str) -> Config {
        let text = format!(
            "[nats]\nservers = [\"nats://h\"]\n[matrix]\nhomeserver = \"http://h\"\nuser = \"u\"\npassword = \"p\"\n\
             [[routes]]\nname = \"r\"\nstream = \"S\"\nsubjects = [\"ops.>\"]\nroom = \"!r:x\"\n{lines}\n"
        );
        Config::parse(&text, Path::new("c.toml"), &HashMap::new()).unwrap()
    }

    const OTHER: &str =
        "[[routes]]\nname = \"o\"\nstream = \"S\"\nsubjects = [\"it's.>\"]\nroom = \"!o:x\"";

    #[test]
    fn a_permission_of_several_routes_is_there_once() {
        let all = permissions(&config(OTHER));
        let find = all.iter().filter(|one| one.subject == "$JS.API.STREAM.INFO.S");
        assert_eq!(find.map(|one| one.routes.join(", ")).collect::<Vec<_>>(), ["r, o"]);
    }

    #[test]
    fn what_a_wider_permission_includes_is_left_out() {
        let all = permissions(&config("consumer = \"mine\""));
        let distinct: Vec<_> = distinct(&all).iter().map(|one| one.subject.as_str()).collect();
        let narrow = "$JS.API.CONSUMER.MSG.NEXT.S.mine";
        assert!(all.iter().any(|one| one.subject == narrow));
        assert!(!distinct.contains(&narrow), "{distinct:?}");
        assert!(distinct.contains(&"$JS.API.CONSUMER.MSG.NEXT.S.*"), "{distinct:?}");
        let without = permissions(&config("consumer = \"mine\"\ndigest_above = 0"));
        assert!(!without.iter().any(|one| one.subject.ends_with(".*")));
    }

    #[test]
    fn a_consumer_without_a_name_has_advice() {
        for format in [Format::Table, Format::Nsc, Format::Server] {
            let advice = "The last * stands for the consumer of a route (r)";
            assert!(text(&config(""), format).contains(advice));
            assert!(!text(&config("consumer = \"mine\""), format).contains(advice));
        }
    }

    #[test]
    fn a_subject_cannot_end_its_quotes() {
        assert_eq!(for_shell("$JS.it's"), r"'$JS.it'\''s'");
    }
}
