//! Synapse's configuration.

use serde_json::{Map, Value, json};

use super::settings::{REGISTRATION_SECRET, SERVER_NAME, Settings};
use crate::setup::{Placement, Setup};

/// The arguments that every use of its Python begins with. `-I` keeps the user's own packages out.
pub(super) const ARGUMENTS: &[&str] = &["-I", "-m", "synapse.app.homeserver"];

/// The setup of a program, which is told its configuration with an argument.
pub(super) fn program_setup(settings: &Settings, place: &Placement) -> Setup {
    setup(settings, place).arguments(["--config-path", "homeserver.json"])
}

/// The setup of the image, which is told its configuration in its environment. It would also change to another user, who could not read
/// our files.
pub(super) fn image_setup(settings: &Settings, place: &Placement) -> Setup {
    setup(settings, place)
        .environment("SYNAPSE_CONFIG_PATH", &format!("{}/homeserver.json", place.files))
        .environment("UID", "0")
        .environment("GID", "0")
}

fn setup(settings: &Settings, place: &Placement) -> Setup {
    // JSON is YAML.
    Setup::default()
        .file("homeserver.json", config(settings, place).to_string())
        .file("logging.json", logging().to_string())
}

fn config(settings: &Settings, place: &Placement) -> Value {
    let Placement { files, data, address, port } = place;
    let mut config = json!({
        "server_name": SERVER_NAME,
        "pid_file": format!("{data}/pid"),
        "listeners": [{
            "port": port,
            "type": "http",
            "tls": false,
            "bind_addresses": [address],
            "resources": [{ "names": ["client"] }],
        }],
        "database": {
            "name": "sqlite3",
            "args": { "database": format!("{data}/homeserver.db") },
        },
        "log_config": format!("{files}/logging.json"),
        "media_store_path": format!("{data}/media"),
        "max_upload_size": settings.max_upload,
        // No key is worth keeping on a server that federates with nobody: all zeros.
        "signing_key": format!("ed25519 testbed {}", "A".repeat(43)),
        "trusted_key_servers": [],
        "suppress_key_server_warning": true,
        "federation_domain_whitelist": [],
        "macaroon_secret_key": "testbed",
        "form_secret": "testbed",
        "report_stats": false,
        "enable_registration": false,
        "registration_shared_secret": REGISTRATION_SECRET,
        "public_baseurl": format!("http://127.0.0.1:{port}/"),
        "bcrypt_rounds": 4,
        // It pushes to no address of a private network unless it is told to.
        "ip_range_whitelist": ["127.0.0.1/32", "172.16.0.0/12"],
        "push": { "jitter_delay": "0s" },
        // Else a second initial sync within two minutes is given the first one's answer.
        "caches": { "sync_response_cache_duration": "0s" },
        "presence": { "enabled": false },
        "user_directory": { "enabled": false },
        "enable_search": false,
    });
    for (name, limit) in rate_limits(settings.rate_limited) {
        config[name] = limit;
    }
    config
}

/// Limits that no test reaches, but for messages if that is what a test is about.
fn rate_limits(limit_messages: bool) -> Map<String, Value> {
    let none = json!({ "per_second": 1_000_000, "burst_count": 1_000_000 });
    let messages =
        if limit_messages { json!({ "per_second": 1, "burst_count": 5 }) } else { none.clone() };
    let limits = json!({
        "rc_message": messages,
        "rc_media_create": none,
        "rc_registration": none,
        "rc_registration_token_validity": none,
        "rc_login": { "address": none, "account": none, "failed_attempts": none },
        "rc_joins": { "local": none, "remote": none },
        "rc_invites": { "per_room": none, "per_user": none, "per_issuer": none },
    });
    match limits {
        Value::Object(limits) => limits,
        _ => Map::new(),
    }
}

/// Warnings only: to describe every request costs Synapse a noticeable part of its speed.
fn logging() -> Value {
    json!({
        "version": 1,
        "formatters": { "line": { "format": "%(asctime)s %(levelname)s %(name)s: %(message)s" } },
        "handlers": { "console": { "class": "logging.StreamHandler", "formatter": "line" } },
        "root": { "level": "WARNING", "handlers": ["console"] },
        "disable_existing_loggers": false,
    })
}
