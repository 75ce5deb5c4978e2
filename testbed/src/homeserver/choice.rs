//! The choice of a homeserver by what the environment asks for, what a test needs, and what this machine has.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};

use super::{kind::HomeserverKind, synapse};
use crate::{
    cache,
    containers::{self, ImageOf},
    process::Program,
    server::Software,
};

/// The homeserver to start, and its version.
pub(super) struct Chosen {
    pub(super) kind: HomeserverKind,
    pub(super) software: Software,
    pub(super) version: String,
}

impl Chosen {
    /// Finds the homeserver that `$NATS_MATRIX_HOMESERVER_KIND` asks for; left open, it is Conduit where there is
    /// Conduit.
    pub(super) fn find(rate_limited: bool, as_process: bool) -> Result<Self> {
        let mut wanted = HomeserverKind::from_env()?;
        if containers::wanted()? {
            // The kind is that of the image, which may not be here as a program.
            wanted = wanted.filter(|_| !as_process);
        }
        if containers::wanted()? && !as_process {
            let kind = wanted.unwrap_or(HomeserverKind::Conduit);
            // There is one image, so a test that needs the other implementation runs a process.
            if kind == HomeserverKind::Synapse || !rate_limited {
                return Self::image(kind);
            }
        }
        if rate_limited {
            return Self::synapse();
        }
        match (wanted, cache::conduit()?) {
            (Some(kind), _) => Self::program(kind),
            (None, Some(conduit)) => Self::executable(HomeserverKind::Conduit, conduit),
            (None, None) => Self::synapse(),
        }
    }

    fn image(kind: HomeserverKind) -> Result<Self> {
        let server = match kind {
            HomeserverKind::Conduit => ImageOf::Conduit,
            HomeserverKind::Synapse => ImageOf::Synapse,
            HomeserverKind::Tuwunel | HomeserverKind::Dendrite => bail!(
                "{} does not run in a container here: leave NATS_MATRIX_TESTBED out",
                kind.name()
            ),
        };
        let image = server.image()?;
        let version = format!("in the container image {}:{}", image.name, image.tag);
        Ok(Self { kind, software: Software::Image(image), version })
    }

    /// The program of a homeserver that was asked for.
    fn program(kind: HomeserverKind) -> Result<Self> {
        let (program, variable, source) = match kind {
            HomeserverKind::Synapse => return Self::synapse(),
            HomeserverKind::Conduit => (
                cache::conduit()?,
                "CONDUIT_BIN",
                "it is at https://docs.conduit.rs/deploying/generic.html",
            ),
            HomeserverKind::Tuwunel => (
                cache::tuwunel()?,
                "TUWUNEL_BIN",
                "it is at https://github.com/matrix-construct/tuwunel/releases",
            ),
            HomeserverKind::Dendrite => (
                cache::dendrite()?,
                "DENDRITE_BIN",
                "go install github.com/element-hq/dendrite/cmd/dendrite@latest",
            ),
        };
        let path = program.with_context(|| {
            let name = kind.name();
            let program = name.to_lowercase();
            format!(
                "NATS_MATRIX_HOMESERVER_KIND asks for {name}, but there is no {program} on PATH ({source}); \
                 name it in {variable}"
            )
        })?;
        Self::executable(kind, path)
    }

    fn executable(kind: HomeserverKind, path: PathBuf) -> Result<Self> {
        let version = printed_by(Command::new(&path).arg("--version"))?;
        let name = kind.name().to_lowercase() + " ";
        let version = version.strip_prefix(&name).unwrap_or(&version).to_owned();
        let software = Software::Program(Program { path, arguments: &[] });
        Ok(Self { kind, software, version })
    }

    fn synapse() -> Result<Self> {
        let path = cache::synapse_python()?;
        let ask = "import importlib.metadata as m; print(m.version('matrix-synapse'))";
        let version = printed_by(Command::new(&path).args(["-I", "-c", ask]))?;
        let software = Software::Program(Program { path, arguments: synapse::ARGUMENTS });
        Ok(Self { kind: HomeserverKind::Synapse, software, version })
    }
}

/// The one line that a program prints.
fn printed_by(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_owned();
    let output = command.output().with_context(|| format!("cannot run {}", program.display()))?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        bail!("cannot ask {} for its version: {}", program.display(), error.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
