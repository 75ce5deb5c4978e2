//! The configurations in `examples/`, in the README and in the book, which `nats-matrix check --offline` has to accept.

use std::{fs, io, path::Path, process::Command};

use nats_matrix_testbed::repository::{files_with, root};

/// The sections that a part of a configuration needs besides, each with the line by which it is recognised.
const REST: [(&str, &str); 3] = [
    ("[nats]", "[nats]\nservers = [\"nats://127.0.0.1:4222\"]\n"),
    (
        "[matrix]",
        "[matrix]\nhomeserver = \"http://127.0.0.1:6167\"\nuser = \"bridge\"\npassword_file = \"p\"\n",
    ),
    (
        "[[routes]]",
        "[[routes]]\nname = \"rest\"\nstream = \"REST\"\nsubjects = [\"rest.>\"]\nroom = \"#rest:x\"\n",
    ),
];

/// Checks a file, and returns what is said if it is refused.
fn refusal(config: &Path) -> io::Result<Option<String>> {
    let mut check = Command::new(env!("CARGO_BIN_EXE_nats-matrix"));
    let output = check.args(["check", "--offline", "--config"]).arg(config).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok((!output.status.success()).then_some(said))
}

#[test]
fn every_example_is_accepted() -> io::Result<()> {
    let examples = files_with(&root().join("examples"), "toml")?;
    assert!(examples.len() >= 6, "{examples:?}");
    for example in examples {
        assert_eq!(refusal(&example)?, None);
    }
    Ok(())
}

/// The parts of configurations in a document.
fn blocks(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n```toml\n").skip(1).filter_map(|rest| Some(rest.split_once("\n```")?.0))
}

#[test]
fn every_configuration_in_the_documents_is_accepted() -> io::Result<()> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("documents");
    let templates = directory.join("templates");
    fs::create_dir_all(&templates)?;
    fs::write(templates.join("report.txt.jinja"), "{{ host }}")?;
    for shapes in ["shapes", "shapes-of-power"] {
        let shapes = directory.join(shapes);
        fs::create_dir_all(&shapes)?;
        let shape = "name = \"UPS\"\nrecognise.has = [\"ups\"]\n[[rule]]\nas = \"text\"\ntext = \"payload.ups\"\n";
        fs::write(shapes.join("ups.toml"), shape)?;
    }
    let config = directory.join("config.toml");
    let mut documents = files_with(&root().join("docs/src"), "md")?;
    documents.push(root().join("README.md"));
    let mut count = 0;
    let mut refusals = Vec::new();
    for document in documents {
        for block in blocks(&fs::read_to_string(&document)?) {
            count += 1;
            let lacks = |section: &str| !block.lines().any(|line| line == section);
            let rest = REST.iter().filter(|(section, _)| lacks(section)).map(|(_, text)| *text);
            let text = format!("{block}\n{}", rest.collect::<String>());
            fs::write(&config, &text)?;
            let place = document.display();
            refusals.extend(refusal(&config)?.map(|said| format!("{place}: {said}{text}")));
        }
    }
    assert!(count > 15, "{count} blocks");
    assert!(refusals.is_empty(), "{}", refusals.join("\n"));
    Ok(())
}
