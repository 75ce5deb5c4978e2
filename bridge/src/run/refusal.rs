//! Refusals by NATS: whether they end the process, and whether the rooms know of them.
//!
//! Without TLS anybody in between can answer in the place of NATS and refuse the bridge. It ends for that only if NATS
//! has never accepted it: then whoever installs it should learn of it at once.

use std::{
    cell::{Cell, RefCell},
    path::Path,
    rc::Rc,
    time::Duration,
};

use tokio::time::Instant;
use tracing::warn;

use crate::{config::Config, directory::Durability, state_file::StateFile};

/// The file in the state directory that names the servers that have accepted the bridge.
const FILE: &str = "nats-accepted.json";

/// The time for which NATS has to refuse the bridge before the rooms are told.
const TOLD_AFTER: Duration = Duration::from_secs(10);

/// The time after which the rooms are told again.
const TOLD_AGAIN: Duration = Duration::from_hours(1);

/// The refusals by NATS, as far as they are known. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Refusals(Rc<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Whether NATS has accepted the bridge; `None` if the state directory was not looked at yet.
    was_accepted: Cell<Option<bool>>,
    /// The reason of the present refusal, and the time when it began.
    present: RefCell<Option<(String, Instant)>>,
    /// The time when the rooms were told last.
    told: Cell<Option<Instant>>,
}

impl Refusals {
    /// Notes that NATS refuses the bridge.
    pub(super) fn note(&self, reason: &str) {
        let mut present = self.0.present.borrow_mut();
        let since = present.as_ref().map_or_else(Instant::now, |(_, since)| *since);
        *present = Some((reason.to_owned(), since));
    }

    /// Returns the reason of the present refusal.
    pub(super) fn present(&self) -> Option<String> {
        self.0.present.borrow().as_ref().map(|(reason, _)| reason.clone())
    }

    /// Notes that NATS refuses the bridge no more.
    pub(super) fn over(&self) {
        self.0.present.take();
    }

    /// Notes that NATS has accepted the bridge, also for later processes.
    pub(super) fn accepted(&self, config: &Config) {
        if self.was_accepted(config) {
            return;
        }
        self.0.was_accepted.set(Some(true));
        let file = StateFile::new(&config.matrix.state_dir, FILE);
        if let Err(error) = file.write(&config.nats.hosts(), Durability::Disk) {
            warn!(
                "a NATS server that refuses the bridge at its next start will end it, as {file} cannot be written: {error}"
            );
        }
    }

    /// Whether NATS has accepted the bridge at the configured servers, in this process or before.
    pub(super) fn was_accepted(&self, config: &Config) -> bool {
        let was_accepted = self.0.was_accepted.get();
        was_accepted.unwrap_or_else(|| {
            let was_accepted = has_accepted(&config.matrix.state_dir, &config.nats.hosts());
            self.0.was_accepted.set(Some(was_accepted));
            was_accepted
        })
    }

    /// Returns the reason of a refusal that the rooms have to be told of.
    pub(super) fn to_be_told(&self) -> Option<String> {
        let told = self.0.told.get();
        let is_told = told.is_some_and(|told| told.elapsed() < TOLD_AGAIN);
        let present = self.0.present.borrow();
        let lasting = present.as_ref().filter(|(_, since)| since.elapsed() >= TOLD_AFTER);
        lasting.filter(|_| !is_told).map(|(reason, _)| reason.clone())
    }

    /// Notes that the rooms were told.
    pub(super) fn told(&self) {
        self.0.told.set(Some(Instant::now()));
    }
}

fn has_accepted(state_dir: &Path, servers: &[String]) -> bool {
    StateFile::new(state_dir, FILE).read_or_default::<Vec<String>>() == servers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_servers_that_have_accepted_the_bridge_are_known_to_later_processes() {
        let dir = tempfile::tempdir().unwrap();
        let servers = |host: &str| vec![host.to_owned()];
        assert!(!has_accepted(dir.path(), &servers("a:4222")));
        assert!(!has_accepted(&dir.path().join("none"), &servers("a:4222")));
        StateFile::new(dir.path(), FILE).write(&servers("a:4222"), Durability::Disk).unwrap();
        assert!(has_accepted(dir.path(), &servers("a:4222")));
        assert!(!has_accepted(dir.path(), &servers("b:4222")));
    }
}
