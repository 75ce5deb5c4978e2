//! The files of a directory of templates.

use std::{collections::BTreeMap, io, path::Path};

use crate::{message::PayloadKind, render::own::fault::Fault, suggest};

/// The kinds of messages that have templates.
fn kinds() -> impl Iterator<Item = &'static str> {
    PayloadKind::ALL.into_iter().filter(|kind| kind.has_templates()).map(PayloadKind::name)
}

/// The maximum size of a template file, in bytes.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// Returns the kind of a template file: "report" for "report.html.jinja".
pub(super) fn kind_of(file: &str) -> Option<&str> {
    let name = file.strip_suffix(".jinja")?;
    let kind = name.strip_suffix(".txt").or_else(|| name.strip_suffix(".html"))?;
    kinds().any(|known| known == kind).then_some(kind)
}

/// Reads the files of a directory by their names, or one of them with the parts that it can include. Hidden files are
/// ignored.
pub(super) fn read(
    directory: &Path,
    only: Option<&str>,
) -> Result<BTreeMap<String, String>, Vec<Fault>> {
    let unreadable =
        |error: io::Error| vec![Fault::of_file("", format!("cannot be read: {error}"))];
    let (mut sources, mut faults) = (BTreeMap::new(), Vec::new());
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_other = only.is_some_and(|only| name != only && !name.starts_with('_'));
        if name.starts_with('.') || is_other {
            continue;
        }
        match source(&name, &entry.path()) {
            Ok(source) => drop(sources.insert(name, source)),
            Err(fault) => faults.push(fault),
        }
    }
    if !faults.is_empty() {
        faults.sort_by(|a, b| a.place().cmp(b.place()));
        return Err(faults);
    }
    if !sources.keys().any(|name| kind_of(name).is_some()) {
        let what = format!(
            "holds no template; templates have names like {}.txt.jinja and {0}.html.jinja",
            PayloadKind::Report.name()
        );
        return Err(vec![Fault::of_file("", what)]);
    }
    Ok(sources)
}

fn source(name: &str, path: &Path) -> Result<String, Fault> {
    let is_part = name.starts_with('_') && name.strip_suffix(".jinja").is_some();
    if kind_of(name).is_none() && !is_part {
        let known: Vec<String> = kinds()
            .flat_map(|kind| [format!("{kind}.txt.jinja"), format!("{kind}.html.jinja")])
            .collect();
        let what = match suggest::nearest(name, known.iter().map(String::as_str)) {
            Some(nearest) => format!("is not the name of a template; did you mean \"{nearest}\"?"),
            None => format!(
                "is not the name of a template: those are KIND.txt.jinja and KIND.html.jinja, where KIND is {}; the names of included files begin with _",
                kinds().collect::<Vec<_>>().join(", ")
            ),
        };
        return Err(Fault::of_file(name, what));
    }
    let cannot = |error: io::Error| Fault::of_file(name, format!("cannot be read: {error}"));
    let metadata = std::fs::metadata(path).map_err(cannot)?;
    if !metadata.is_file() || metadata.len() > MAX_FILE_BYTES {
        let what = format!("is not a file of at most {} KiB", MAX_FILE_BYTES / 1024);
        return Err(Fault::of_file(name, what));
    }
    std::fs::read_to_string(path).map_err(cannot)
}
