//! Loopback ports that stay ours while a server is down.
//!
//! A test that kills its server must find the port free when it starts the server again. Two things
//! could take it in between: an outgoing connection, for which the kernel picks a port of the
//! ephemeral range, and another test's server. Ports from below that range rule out the first, and a
//! locked file per port, seen by every test process of this user, the second.

use std::{
    fs::{self, File, TryLockError},
    hash::{BuildHasher, Hasher, RandomState},
    net::{Ipv4Addr, TcpListener},
};

use anyhow::{Context, Result, bail};

use crate::cache;

const FIRST: u16 = 20_000;
const LAST: u16 = 31_999;

/// A port of 127.0.0.1 that no other test uses until this value is dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _reservation: File,
}

impl Port {
    /// Reserves a port that nothing listens on.
    pub fn reserve() -> Result<Self> {
        let locks = cache::dir()?.join("ports");
        fs::create_dir_all(&locks)
            .with_context(|| format!("cannot make the directory {}", locks.display()))?;

        let (first, last) = range();
        let count = u64::from(last - first) + 1;
        let start = RandomState::new().build_hasher().finish();
        for step in 0..count {
            let offset = u16::try_from(start.wrapping_add(step) % count)?;
            let number = first + offset;
            let file = locks.join(number.to_string());
            let reservation = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&file)
                .with_context(|| format!("cannot open {}", file.display()))?;
            match reservation.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => {
                    return Err(error).context(format!("cannot lock {}", file.display()));
                }
            }
            if TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self { number, _reservation: reservation });
            }
        }
        bail!("no port of {first} to {last} is free on 127.0.0.1");
    }

    /// The port.
    pub fn number(&self) -> u16 {
        self.number
    }
}

/// Our range, cut where the kernel's ephemeral ports begin.
fn range() -> (u16, u16) {
    let ephemeral = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse::<u16>().ok());
    match ephemeral {
        Some(begin) if begin > FIRST + 1_000 => (FIRST, LAST.min(begin - 1)),
        // Either not Linux or a host that gave nearly every port away: take the chance.
        _ => (FIRST, LAST),
    }
}
