//! The kinds of homeserver, and what they can and cannot do.

use std::env;

use anyhow::{Context, Result};

/// The homeserver's implementation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HomeserverKind {
    /// Conduit: small, in Rust.
    Conduit,
    /// The successor of Conduit's former fork conduwuit.
    Tuwunel,
    /// Synapse: the reference, in Python.
    Synapse,
    /// Dendrite: in Go, with a NATS server inside.
    Dendrite,
}

impl HomeserverKind {
    const ALL: [Self; 4] = [Self::Conduit, Self::Tuwunel, Self::Synapse, Self::Dendrite];

    /// Its name as people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Conduit => "Conduit",
            Self::Tuwunel => "tuwunel",
            Self::Synapse => "Synapse",
            Self::Dendrite => "Dendrite",
        }
    }

    /// Whether it has no command to make accounts, so that `nats-matrix provision` runs one in its place; otherwise
    /// accounts are made while it runs.
    pub fn stops_for_provisioning(self) -> bool {
        matches!(self, Self::Conduit | Self::Tuwunel)
    }

    /// Whether it tells clients that it knows threads (Matrix 1.4). If not, Element shows what is said there in the
    /// room, as replies.
    pub fn has_threads(self) -> bool {
        self != Self::Dendrite
    }

    /// Whether it tells the newest first of a thread if asked to. Conduit 0.11 tells the oldest first, so that Element
    /// may show a thread upside down.
    pub fn orders_threads(self) -> bool {
        self != Self::Conduit
    }

    /// Whether a mention is a highlight, on the screen and in a push. For Dendrite 0.15 it is as any other message.
    pub fn counts_highlights(self) -> bool {
        self != Self::Dendrite
    }

    /// Whether an edit is not pushed (Matrix 1.9). Dendrite 0.15 pushes it as any other message.
    pub fn pushes_no_edits(self) -> bool {
        self != Self::Dendrite
    }

    /// Whether it pushes to a gateway without TLS, too.
    pub fn pushes_without_tls(self) -> bool {
        self != Self::Dendrite
    }

    /// The least that it takes for a limit of uploads, in bytes.
    pub(super) fn least_max_upload(self) -> u32 {
        match self {
            Self::Tuwunel => 10_000_000,
            Self::Conduit | Self::Synapse | Self::Dendrite => 1,
        }
    }

    /// The kind that `$NATS_MATRIX_HOMESERVER_KIND` asks for, if it asks for one.
    pub(super) fn from_env() -> Result<Option<Self>> {
        let Ok(wanted) = env::var("NATS_MATRIX_HOMESERVER_KIND") else { return Ok(None) };
        if wanted.is_empty() {
            return Ok(None);
        }
        let kind = Self::ALL.into_iter().find(|kind| kind.name().to_lowercase() == wanted);
        kind.map(Some).with_context(|| {
            format!(
                "NATS_MATRIX_HOMESERVER_KIND is {wanted:?}, which is none of conduit, tuwunel, synapse and dendrite"
            )
        })
    }
}
