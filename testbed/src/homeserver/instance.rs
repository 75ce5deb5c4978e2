//! A homeserver of any kind that was started, and how accounts are made on it.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Output,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{
    choice::Chosen,
    conduit, dendrite,
    kind::HomeserverKind,
    settings::{CONDUIT_CONFIG, REGISTRATION_SECRET, Settings},
    synapse, tuwunel,
};
use crate::{
    secrets,
    server::{Probe, Server, Software},
};

/// The file that has the registration secret of Synapse and Dendrite.
const REGISTRATION_SECRET_FILE: &str = "registration-secret";

/// A homeserver that was started, as yet without people.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) server: Server,
    pub(super) kind: HomeserverKind,
    /// Its program, if it is not in a container.
    pub(super) program: Option<PathBuf>,
}

impl Instance {
    /// Starts the homeserver and waits until it is ready.
    pub(super) async fn start(chosen: &Chosen, settings: &Settings) -> Result<Self> {
        let (kind, software) = (chosen.kind, &chosen.software);
        let server = Server::launch(kind.name(), software, Probe::MatrixVersions, |place| {
            match (kind, software) {
                (HomeserverKind::Conduit, _) => conduit::setup(settings, place),
                (HomeserverKind::Tuwunel, _) => tuwunel::setup(settings, place),
                (HomeserverKind::Dendrite, _) => dendrite::setup(settings, place),
                (HomeserverKind::Synapse, Software::Program(_)) => {
                    synapse::program_setup(settings, place)
                }
                (HomeserverKind::Synapse, Software::Image(_)) => {
                    synapse::image_setup(settings, place)
                }
            }
        })
        .await?;
        let program = match software {
            Software::Program(program) => Some(program.path.clone()),
            Software::Image(_) => None,
        };
        Ok(Self { server, kind, program })
    }

    /// The URL that clients connect to.
    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.server.port())
    }

    /// The `[provision]` of a configuration for this homeserver, whose passwords are made in `state_dir`.
    pub(super) fn provisioning(&self, state_dir: &Path) -> Result<String> {
        let quoted = |path: &Path| Value::from(path.to_string_lossy()).to_string();
        let kind = self.kind;
        let means = match (kind.stops_for_provisioning(), self.server.files(), &self.program) {
            (true, Some(files), Some(program)) => format!(
                "conduit = {}\nconduit_program = {}\nimplementation = \"{}\"",
                quoted(&files.join(CONDUIT_CONFIG)),
                quoted(program),
                kind.name().to_lowercase(),
            ),
            (true, _, _) => {
                bail!("{} is in a container, and cannot be provisioned there", kind.name())
            }
            (false, _, _) => {
                let file = state_dir.join(REGISTRATION_SECRET_FILE);
                fs::create_dir_all(state_dir).context("cannot make the directory of passwords")?;
                fs::write(&file, REGISTRATION_SECRET)
                    .with_context(|| format!("cannot write {}", file.display()))?;
                fs::set_permissions(&file, Permissions::from_mode(0o600))?;
                format!("registration_secret_file = {}", quoted(&file))
            }
        };
        Ok(format!("[provision]\n{means}\nstate_dir = {}\n", quoted(state_dir)))
    }

    /// Runs `nats-matrix provision` to its end as it is run for this kind of homeserver.
    pub(super) async fn provision(&self, nats_matrix: &Path, config: &Path) -> Result<Output> {
        let stops = self.kind.stops_for_provisioning();
        if stops {
            self.server.kill().await;
        }
        let mut command = tokio::process::Command::new(nats_matrix);
        command.arg("provision").arg("--config").arg(config).kill_on_drop(true);
        let mut kept = secrets::expect(command.as_std());
        let output = command.output().await.context("cannot run nats-matrix")?;
        secrets::none_in_output(&output, &mut kept);
        if stops {
            self.server.start().await?;
        }
        Ok(output)
    }
}
