//! The subcommands and their options, from the definition of the command line.

use clap::{Arg, Command};

use crate::{
    markdown::{code, sentence, table},
    page::Blocks,
};

/// Returns a part for each subcommand, and a list of all.
pub(crate) fn blocks(command: Command) -> Blocks {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut blocks = Blocks::new();
    let mut list = Vec::new();
    for subcommand in command.get_subcommands() {
        let name = subcommand.get_name();
        let about = subcommand.get_about().map(ToString::to_string).unwrap_or_default();
        list.push([format!("[{}](#{name})", code(name)), sentence(&about)]);
        add(&mut blocks, name, subcommand);
    }
    blocks.insert("subcommands".to_owned(), table(["subcommand", "what it does"], &list));
    blocks
}

fn add(blocks: &mut Blocks, name: &str, command: &Command) {
    let about = command.get_long_about().or_else(|| command.get_about());
    let about = about.map(ToString::to_string).unwrap_or_default();
    let rows: Vec<_> = command
        .get_arguments()
        .filter(|argument| !matches!(argument.get_id().as_str(), "help" | "version"))
        .map(row)
        .collect();
    let mut text = sentence(&about);
    if !rows.is_empty() {
        text = format!("{text}\n\n{}", table(["option", "default", "meaning"], &rows));
    }
    blocks.insert(name.to_owned(), text);
    for inner in command.get_subcommands() {
        add(blocks, &format!("{name} {}", inner.get_name()), inner);
    }
}

fn row(argument: &Arg) -> [String; 3] {
    let takes_value = argument.get_action().takes_values();
    let values = argument.get_value_names().filter(|_| takes_value).unwrap_or_default();
    let value = values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let long = argument.get_long().map(|long| format!("--{long} {value}").trim_end().to_owned());
    let short = argument.get_short().map(|short| format!("-{short}"));
    let mut names: Vec<String> = short.into_iter().chain(long).collect();
    if names.is_empty() {
        names.push(value);
    }
    let names: Vec<String> = names.iter().map(|name| code(name)).collect();
    let mut defaults: Vec<String> = Vec::new();
    if takes_value {
        defaults
            .extend(argument.get_env().map(|name| code(&format!("${}", name.to_string_lossy()))));
        let given = argument.get_default_values().iter();
        defaults.extend(given.map(|value| code(&value.to_string_lossy())));
    }
    let default = match &defaults[..] {
        [] if argument.is_required_set() => "required".to_owned(),
        _ => defaults.join(", else "),
    };
    [names.join(", "), default, meaning(argument, takes_value)]
}

fn meaning(argument: &Arg, takes_value: bool) -> String {
    let help = argument.get_long_help().or_else(|| argument.get_help());
    let mut text = sentence(&help.map(ToString::to_string).unwrap_or_default());
    if !takes_value {
        return text;
    }
    let values = argument.get_possible_values();
    let values = values.iter().filter(|value| !value.is_hide_set());
    let values: Vec<String> = values
        .map(|value| match value.get_help() {
            Some(help) => {
                let help = help.to_string();
                format!("{} ({})", code(value.get_name()), help.trim_end_matches('.'))
            }
            None => code(value.get_name()),
        })
        .collect();
    if !values.is_empty() {
        text = format!("{text} One of {}.", values.join(", "));
    }
    text
}
