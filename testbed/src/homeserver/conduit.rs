//! The configuration of Conduit, and what it has in common with that of its successors.

use serde_json::Value;

use super::settings::{CONDUIT_CONFIG, REGISTRATION_TOKEN, SERVER_NAME, Settings};
use crate::setup::{Placement, Setup};

/// The configuration of our Debian package, which is the one of the module.
const PACKAGED: &str = include_str!("../../../nixos-module/debian/etc/conduit.toml");

pub(super) fn setup(settings: &Settings, place: &Placement) -> Setup {
    if settings.as_packaged {
        return packaged(place);
    }
    // In a container it cannot be provisioned as its users do it, by a Conduit in its place.
    let allow_registration = settings.in_container;
    let own = format!(
        r#"database_backend = "rocksdb"
conduit_cache_capacity_modifier = 0.1
allow_registration = {allow_registration}
registration_token = "{REGISTRATION_TOKEN}"
allow_check_for_updates = false
enable_lightning_bolt = false
"#
    );
    setup_with(&own, "CONDUIT_CONFIG", settings, place)
}

/// The configuration of the package, with another name and at another place, in the environment of the package's unit.
fn packaged(place: &Placement) -> Setup {
    let database = Value::from(format!("{}/database", place.data));
    let config = PACKAGED
        .replace("chat.example.com", SERVER_NAME)
        .replace("port = 6167", &format!("port = {}\nlog = \"warn\"", place.port))
        .replace("\"/var/lib/nats-matrix-conduit/\"", &database.to_string());
    Setup::default()
        .file(CONDUIT_CONFIG, config)
        .environment("CONDUIT_CONFIG", &format!("{}/{CONDUIT_CONFIG}", place.files))
        .environment("MALLOC_ARENA_MAX", "2")
}

/// A configuration with lines of the implementation's own; `variable` of the environment says where the file is.
pub(super) fn setup_with(
    own: &str,
    variable: &str,
    settings: &Settings,
    place: &Placement,
) -> Setup {
    let Placement { address, port, .. } = place;
    let max_request_size = settings.max_upload;
    let database = Value::from(format!("{}/database", place.data));
    let config = format!(
        r#"[global]
server_name = "{SERVER_NAME}"
address = "{address}"
port = {port}
database_path = {database}
db_cache_capacity_mb = 16
max_request_size = {max_request_size}
allow_federation = false
trusted_servers = []
log = "warn"
{own}
[global.well_known]
client = "http://127.0.0.1:{port}"
"#
    );
    Setup::default()
        .file(CONDUIT_CONFIG, config)
        .environment(variable, &format!("{}/{CONDUIT_CONFIG}", place.files))
}
