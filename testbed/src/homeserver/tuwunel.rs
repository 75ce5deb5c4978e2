//! tuwunel's configuration.

use serde_json::Value;

use super::{CONDUIT_CONFIG, HomeserverBuilder, SERVER_NAME};
use crate::server::{Place, Setup};

pub(super) fn setup(builder: &HomeserverBuilder, place: &Place) -> Setup {
    let Place { address, port, .. } = place;
    let max_request_size = builder.max_upload_bytes();
    let database = Value::from(format!("{}/database", place.data));
    // It pushes to no address of a private network unless nothing is denied.
    let config = format!(
        r#"[global]
server_name = "{SERVER_NAME}"
address = "{address}"
port = {port}
database_path = {database}
db_cache_capacity_mb = 16
cache_capacity_modifier = 0.1
max_request_size = {max_request_size}
allow_registration = false
allow_guest_registration = false
allow_federation = false
new_user_displayname_suffix = ""
trusted_servers = []
ip_range_denylist = []
log = "warn"

[global.well_known]
client = "http://127.0.0.1:{port}"
"#
    );
    Setup::default()
        .file(CONDUIT_CONFIG, config)
        .environment("TUWUNEL_CONFIG", &format!("{}/{CONDUIT_CONFIG}", place.files))
}
