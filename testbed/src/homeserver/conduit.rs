//! The configuration of Conduit, and what it has in common with that of its successors.

use serde_json::Value;

use super::{CONDUIT_CONFIG, HomeserverBuilder, REGISTRATION_TOKEN, SERVER_NAME};
use crate::server::{Place, Setup};

pub(super) fn setup(builder: &HomeserverBuilder, place: &Place) -> Setup {
    // In a container it cannot be provisioned as its users do it, by a Conduit in its place.
    let allow_registration = builder.in_container;
    let own = format!(
        r#"database_backend = "rocksdb"
conduit_cache_capacity_modifier = 0.1
allow_registration = {allow_registration}
registration_token = "{REGISTRATION_TOKEN}"
allow_check_for_updates = false
enable_lightning_bolt = false
"#
    );
    setup_with(&own, "CONDUIT_CONFIG", builder, place)
}

/// With settings of one's own; `variable` says where the file is.
pub(super) fn setup_with(
    own: &str,
    variable: &str,
    builder: &HomeserverBuilder,
    place: &Place,
) -> Setup {
    let Place { address, port, .. } = place;
    let max_request_size = builder.max_upload_bytes();
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
