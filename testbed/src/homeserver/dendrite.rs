//! Dendrite's configuration.

use serde_json::{Value, json};

use super::settings::{REGISTRATION_SECRET, SERVER_NAME, Settings};
use crate::setup::{Placement, Setup};

const CONFIG: &str = "homeserver.json";
const KEY: &str = "key.pem";

pub(super) fn setup(settings: &Settings, place: &Placement) -> Setup {
    // JSON is YAML.
    Setup::default()
        .file(CONFIG, config(settings, place).to_string())
        .file(KEY, key())
        .arguments(["--config", CONFIG])
        .arguments(["--http-bind-address", &format!("{}:{}", place.address, place.port)])
}

fn config(settings: &Settings, place: &Placement) -> Value {
    let Placement { files, data, port, .. } = place;
    let database = |name| json!({ "connection_string": format!("file:{data}/{name}.db") });
    json!({
        "version": 2,
        "global": {
            "server_name": SERVER_NAME,
            "private_key": format!("{files}/{KEY}"),
            "well_known_client_name": format!("http://127.0.0.1:{port}"),
            "disable_federation": true,
            "jetstream": { "storage_path": format!("{data}/jetstream") },
            "cache": { "max_size_estimated": "64mb" },
        },
        "client_api": {
            "registration_disabled": true,
            "registration_shared_secret": REGISTRATION_SECRET,
            "rate_limiting": { "enabled": false },
        },
        "federation_api": { "database": database("federation") },
        "key_server": { "database": database("keys") },
        "media_api": {
            "database": database("media"),
            "base_path": format!("{data}/media"),
            "max_file_size_bytes": settings.max_upload,
        },
        "mscs": { "database": database("mscs") },
        "relay_api": { "database": database("relay") },
        "room_server": { "database": database("rooms") },
        "sync_api": { "database": database("sync") },
        "user_api": {
            "account_database": database("accounts"),
            "bcrypt_cost": 4,
            "push_gateway_disable_tls_validation": true,
        },
        "logging": [{ "type": "std", "level": "warn" }],
    })
}

/// A key of zeros, in base64: none is worth keeping on a server that federates with nobody.
fn key() -> String {
    let zeros = format!("{}=", "A".repeat(43));
    format!(
        "-----BEGIN MATRIX PRIVATE KEY-----\nKey-ID: ed25519:testbed\n\n{zeros}\n-----END MATRIX PRIVATE KEY-----\n"
    )
}
