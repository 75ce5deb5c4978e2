//! The metrics, from the registry of a bridge that has just started.

use crate::{
    markdown::{code, sentence, table},
    page::Blocks,
};

/// Returns a table of the metrics in an exposition in the `OpenMetrics` format.
pub(crate) fn blocks(exposition: &str) -> Blocks {
    let mut rows: Vec<[String; 4]> = Vec::new();
    for line in exposition.lines() {
        match line.splitn(4, ' ').collect::<Vec<_>>()[..] {
            ["#", "HELP", name, help] => {
                rows.push([name.to_owned(), String::new(), String::new(), sentence(help)]);
            }
            ["#", "TYPE", name, kind] => {
                if let Some(row) = rows.iter_mut().find(|row| row[0] == name) {
                    kind.clone_into(&mut row[1]);
                }
            }
            ["#", ..] => {}
            _ => label(&mut rows, line),
        }
    }
    for [name, kind, ..] in &mut rows {
        // The counter's series has this ending, and its description has not.
        let ending = if kind == "counter" { "_total" } else { "" };
        *name = code(&format!("{name}{ending}"));
    }
    let table = table(["metric", "type", "label", "meaning"], &rows);
    Blocks::from([("metrics".to_owned(), table)])
}

/// Notes the labels of a series. The bounds of a histogram are no label to choose by.
fn label(rows: &mut [[String; 4]], line: &str) {
    let Some((name, labels)) = line.split_once('{') else { return };
    let labels = labels.split(',').filter_map(|label| Some(label.split_once('=')?.0));
    let labels: Vec<String> = labels.filter(|label| *label != "le").map(code).collect();
    let of = |row: &&mut [String; 4]| {
        name.strip_prefix(row[0].as_str())
            .is_some_and(|ending| matches!(ending, "" | "_total" | "_bucket" | "_sum" | "_count"))
    };
    if let Some(row) = rows.iter_mut().find(of) {
        row[2] = labels.join(", ");
    }
}
