//! `[health]`: the address at which the bridge reports its health.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::{error::ConfigError, list};

/// The address at which the bridge reports its health.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Health {
    /// The address to listen on; without one there is no listener.
    pub listen: Option<SocketAddr>,
    /// The host names that requests may use, besides `localhost` and any IP address.
    pub hosts: Vec<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHealth {
    /// Where the status page, `/livez`, `/readyz` and `/metrics` are. Without it there are none.
    #[schemars(example = &"127.0.0.1:9464", extend("x-type" = "address and port"))]
    listen: Option<String>,
    /// The names that it may be asked by, besides `localhost` and any address. Others are answered with 421.
    #[serde(default, deserialize_with = "list::list")]
    #[schemars(example = ["server-01"], extend("x-type" = "list of names"))]
    hosts: Vec<String>,
}

impl RawHealth {
    pub(super) fn check(self) -> Result<Health, ConfigError> {
        let listen = self.listen.map(|listen| {
            listen.parse().map_err(|_| {
                let what = format!(
                    "\"{listen}\" is not an address with a port: write one like \"127.0.0.1:9464\""
                );
                ConfigError::new("health.listen", what)
            })
        });
        for (number, host) in self.hosts.iter().enumerate() {
            if !is_name(host) {
                let what = format!(
                    "\"{host}\" is not a host name: write one like \"server-01\", without a port"
                );
                return Err(ConfigError::new(format!("health.hosts[{number}]"), what));
            }
        }
        Ok(Health { listen: listen.transpose()?, hosts: self.hosts })
    }
}

fn is_name(host: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    host.split('.').all(is_label)
}
