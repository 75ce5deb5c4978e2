//! Servers in containers, for `NATS_MATRIX_TESTBED=containers`.
//!
//! They need the cargo feature `containers`, so that those who do without it need not compile what
//! talks to Docker.

use std::env;

use anyhow::{Context, Result, bail};

#[cfg(not(feature = "containers"))]
mod absent;
#[cfg(feature = "containers")]
mod docker;

#[cfg(not(feature = "containers"))]
pub(crate) use absent::{Container, create};
#[cfg(feature = "containers")]
pub(crate) use docker::{Container, create};

/// A container image, and what one has to know about it to run a server.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "containers"), expect(dead_code, reason = "only containers need it"))]
pub(crate) struct Image {
    pub(crate) server: ImageOf,
    pub(crate) name: String,
    pub(crate) tag: String,
    /// The port that it listens on.
    pub(crate) port: u16,
    /// The directory that it may write to.
    pub(crate) data: &'static str,
}

/// The server in an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ImageOf {
    Nats,
    Conduit,
    Synapse,
}

impl ImageOf {
    /// The image of this server: the public one, or the one that the environment names.
    pub(crate) fn image(self) -> Result<Image> {
        let (variable, public, port, data) = match self {
            Self::Nats => ("NATS_MATRIX_NATS_IMAGE", "nats:2", 4222, "/testbed"),
            Self::Conduit => (
                "NATS_MATRIX_HOMESERVER_IMAGE",
                "matrixconduit/matrix-conduit:latest",
                6167,
                "/var/lib/matrix-conduit",
            ),
            Self::Synapse => {
                ("NATS_MATRIX_HOMESERVER_IMAGE", "matrixdotorg/synapse:latest", 8008, "/data")
            }
        };
        let image = env::var(variable).ok().filter(|image| !image.is_empty());
        let image = image.unwrap_or_else(|| public.to_owned());
        let (name, tag) = image
            .rsplit_once(':')
            .with_context(|| format!("{variable} is {image:?}, but must be name:tag"))?;
        Ok(Image { server: self, name: name.to_owned(), tag: tag.to_owned(), port, data })
    }
}

/// This machine, as it is called in containers.
pub(crate) const HOST: &str = "host.docker.internal";

/// Whether servers are to run in containers.
pub(crate) fn wanted() -> Result<bool> {
    match env::var("NATS_MATRIX_TESTBED").as_deref() {
        Err(_) | Ok("" | "processes") => Ok(false),
        Ok("containers") => Ok(true),
        Ok(other) => {
            bail!("NATS_MATRIX_TESTBED is {other:?}, which is neither processes nor containers")
        }
    }
}
