//! Resolves the name of a homeserver on this machine, such as `localhost`, to the addresses where no stranger listens.
//!
//! The name may have several addresses, and any user may take the port of one where the homeserver does not listen. The
//! check of each connection refuses that user, but the HTTP client would try the same address again and again.

use std::{net::SocketAddr, sync::Arc};

use matrix_sdk::reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::lookup_host;

use crate::matrix::neighbour::Guard;

/// Resolves names for the HTTP client.
#[derive(Debug)]
pub(super) struct Resolver(Arc<Guard>);

impl Resolver {
    /// Returns the resolver for a homeserver that a guard watches.
    pub(super) fn of(guard: &Guard) -> Self {
        Self(Arc::new(guard.clone()))
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = Arc::clone(&self.0);
        Box::pin(async move {
            let found: Vec<SocketAddr> = lookup_host((name.as_str(), 0)).await?.collect();
            let addresses: Addrs = Box::new(guard.without_strangers(found).into_iter());
            Ok(addresses)
        })
    }
}
