//! A server in a container of Docker.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher, RandomState},
    process::{self, Command},
};

use anyhow::{Context, Result, bail};
use testcontainers_modules::{
    nats,
    testcontainers::{
        ContainerAsync, ContainerRequest, GenericImage, ImageExt,
        bollard::models::{HostConfig, PortBinding},
        core::{IntoContainerPort, client::docker_client_instance},
        runners::AsyncRunner,
    },
};

use super::{HOST, Image, ImageOf};
use crate::{
    leash::OnExit,
    setup::{Placement, Setup},
};

/// The directory in which a server finds its files.
const FILES: &str = "/testbed";

/// A container, removed when dropped and also when we die.
pub(crate) struct Container {
    name: String,
    inner: Inner,
    /// A test that is killed drops nothing, and a shared server is never dropped.
    _removal: OnExit,
}

enum Inner {
    Nats(ContainerAsync<nats::Nats>),
    Homeserver(ContainerAsync<GenericImage>),
}

/// The same expression for a container of either type.
macro_rules! either {
    ($inner:expr, $container:ident => $expression:expr) => {
        match $inner {
            Inner::Nats($container) => $expression,
            Inner::Homeserver($container) => $expression,
        }
    };
}

/// Creates and starts a container whose server is reached on this port of 127.0.0.1.
pub(crate) async fn create(
    name: &'static str,
    image: &Image,
    port: u16,
    setup: impl Fn(&Placement) -> Setup,
) -> Result<Container> {
    let setup = setup(&Placement {
        files: FILES.to_owned(),
        data: image.data.to_owned(),
        address: "0.0.0.0",
        port: image.port,
    });
    let random = RandomState::new().build_hasher().finish();
    let container = format!("nats-matrix-{name}-{}-{random:016x}", process::id());
    // Before there is anything to remove, so that no moment is without it.
    let removal = remove_on_exit(&container)?;

    let inner = match image.server {
        ImageOf::Nats => {
            let request = nats::Nats::default().with_name(&image.name);
            Inner::Nats(run(request, image, &container, port, setup).await?)
        }
        ImageOf::Conduit | ImageOf::Synapse => {
            let request = GenericImage::new(&image.name, &image.tag).into();
            Inner::Homeserver(run(request, image, &container, port, setup).await?)
        }
    };
    Ok(Container { name: container, inner, _removal: removal })
}

async fn run<I: testcontainers_modules::testcontainers::Image>(
    request: ContainerRequest<I>,
    image: &Image,
    name: &str,
    port: u16,
    setup: Setup,
) -> Result<ContainerAsync<I>> {
    let mut request = request
        .with_tag(&image.tag)
        .with_container_name(name)
        .with_working_dir(FILES)
        .with_cmd(setup.arguments)
        // A chosen port, since a port that Docker chooses is another one after a restart, and on
        // loopback only.
        .with_host_config_modifier({
            let inside = format!("{}/tcp", image.port);
            move |host: &mut HostConfig| {
                let binding = PortBinding {
                    host_ip: Some("127.0.0.1".to_owned()),
                    host_port: Some(port.to_string()),
                };
                let bindings = HashMap::from([(inside.clone(), Some(vec![binding]))]);
                host.port_bindings = Some(bindings);
                host.publish_all_ports = Some(false);
                // A server that the homeserver calls, such as a push gateway, runs on the host.
                host.extra_hosts = Some(vec![format!("{HOST}:host-gateway")]);
            }
        })
        .with_mapped_port(port, image.port.tcp());
    for (name, value) in setup.environment {
        request = request.with_env_var(name, value);
    }
    for (file, contents) in setup.files {
        request = request.with_copy_to(format!("{FILES}/{file}"), contents);
    }
    request.start().await.with_context(|| {
        format!(
            "cannot start the container image {}:{}; where it cannot be pulled, build one with \
             testbed/images/build",
            image.name, image.tag
        )
    })
}

/// Docker's own command does the removal, since it can run when we cannot.
fn remove_on_exit(container: &str) -> Result<OnExit> {
    let docker = Command::new("docker").arg("--version").output();
    if !docker.is_ok_and(|output| output.status.success()) {
        bail!("servers in containers need the `docker` command, to remove them in any case");
    }
    OnExit::run(r#"docker rm --force --volumes "$1""#, &[container])
}

impl Container {
    pub(crate) async fn start(&self) -> Result<()> {
        either!(&self.inner, container => container.start().await)
            .with_context(|| format!("cannot start the container {}", self.name))
    }

    pub(crate) async fn kill(&self) -> Result<()> {
        let running = either!(&self.inner, container => container.is_running().await)?;
        if running {
            let docker = docker_client_instance().await?;
            docker
                .kill_container(&self.name, None)
                .await
                .with_context(|| format!("cannot kill the container {}", self.name))?;
        }
        Ok(())
    }

    pub(crate) async fn pause(&self) -> Result<()> {
        either!(&self.inner, container => container.pause().await)
            .with_context(|| format!("cannot pause the container {}", self.name))
    }

    pub(crate) async fn resume(&self) -> Result<()> {
        either!(&self.inner, container => container.unpause().await)
            .with_context(|| format!("cannot resume the container {}", self.name))
    }

    /// The exit code if it ended by itself.
    pub(crate) async fn exit_code(&self) -> Result<Option<i32>> {
        let code = either!(&self.inner, container => container.exit_code().await)?;
        Ok(code.map(|code| i32::try_from(code).unwrap_or(-1)))
    }

    pub(crate) async fn log(&self) -> String {
        let (out, err) = either!(&self.inner, container => {
            (container.stdout_to_vec().await, container.stderr_to_vec().await)
        });
        let mut log = out.unwrap_or_default();
        log.extend(err.unwrap_or_default());
        String::from_utf8_lossy(&log).into_owned()
    }
}

impl std::fmt::Debug for Container {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Container").field("name", &self.name).finish_non_exhaustive()
    }
}
