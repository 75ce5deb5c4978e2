//! Settings from which the configurations of all kinds of homeserver are made.

/// The name behind the colon of every user and room of a testbed homeserver.
pub const SERVER_NAME: &str = "testbed.localhost";

/// The token that guards registration at a Conduit in a container. It listens on loopback only.
pub(super) const REGISTRATION_TOKEN: &str = "testbed";

/// The `registration_shared_secret` of Synapse and Dendrite.
pub(super) const REGISTRATION_SECRET: &str = "shared by the testbed";

/// The name of the configuration file of a Conduit, or of its relative.
pub(super) const CONDUIT_CONFIG: &str = "homeserver.toml";

/// The settings of a homeserver in which tests differ.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// Whether an account may send 5 messages at once, then one a second.
    pub(super) rate_limited: bool,
    /// The largest upload in bytes.
    pub(super) max_upload: u32,
    /// Whether it runs in a container.
    pub(super) in_container: bool,
    /// Whether a Conduit has the settings of our package.
    pub(super) as_packaged: bool,
}
