//! `[health]`: where the bridge tells how it is.

use std::net::SocketAddr;

use serde::Deserialize;

use super::Wrong;

/// Where the bridge tells how it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Health {
    /// The address of the listener, if there is to be one.
    pub listen: Option<SocketAddr>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    listen: Option<String>,
}

impl Written {
    pub(super) fn check(self) -> Result<Health, Wrong> {
        let listen = self.listen.map(|listen| {
            listen.parse().map_err(|_| {
                let what = format!(
                    "\"{listen}\" is no address with a port: write one like \"127.0.0.1:9464\""
                );
                Wrong::new("health.listen", what)
            })
        });
        Ok(Health { listen: listen.transpose()? })
    }
}
