//! Whose program is at the other end of a connection that stays on this machine.
//!
//! Any user of a machine may bind a port of loopback while the homeserver that has it is down, and would be told the
//! bridge's token, then its password. Only the kernel knows better: `/proc/self/net/tcp` has a line for both ends of such
//! a connection, with the user that each belongs to. It is read when a connection was made and before a byte is sent over
//! it, and it is about that very connection. So, other than with a look at who listens before connecting, nobody can come
//! in between: as long as our end is open, the other end stays with those who have it.

use std::{
    collections::HashSet,
    fmt, fs, io,
    net::SocketAddr,
    path::Path,
    pin::Pin,
    task::{Context, Poll},
};

use matrix_sdk::reqwest;
use procfs::{
    ProcError, ProcResult,
    net::{TcpNetEntry, TcpState},
    process::Process,
};
use rustix::process::geteuid;
use tower_layer::Layer;
use tower_service::Service;

use crate::config::{self, HomeserverOwner};

const OWN_FILES: &str = "/proc/self/fd";

const PASSWD: &str = "/etc/passwd";

/// Where systemd says which user id a running service with `DynamicUser=` has, for those who cannot ask it. What
/// libnss-systemd makes of it need not be installed.
const DYNAMIC_USERS: &str = "/run/systemd/dynamic-uid";

const ROOT: u32 = 0;

/// The first user id of people; those before are of the system.
const FIRST_LOGIN: u32 = 1000;

/// What systemd gives services with `DynamicUser=` (systemd.io/UIDS-GIDS).
const DYNAMIC: std::ops::RangeInclusive<u32> = 61_184..=65_519;

/// The user id that stands for all that a user namespace has no other for.
const UNKNOWN: u32 = 65_534;

/// Somebody is at the other end to whom nothing may be sent, or it cannot be told who.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Stranger(String);

impl Stranger {
    /// The one that is why a request failed, if it was that.
    pub(crate) fn behind<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Self> {
        std::iter::successors(Some(error), |error| error.source())
            .find_map(|error| error.downcast_ref())
    }
}

/// The layer of an HTTP client that hands out a new connection to the homeserver only once it is known whose it is.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    owner: HomeserverOwner,
    port: u16,
    /// The other end has to be on this machine.
    is_here: bool,
}

impl Guard {
    /// The guard of a homeserver, if it needs one: with TLS its certificate says who it is.
    pub(crate) fn of(config: &config::Matrix) -> Option<Self> {
        let owner = config.owner.clone();
        if config.homeserver.scheme() != "http" || owner == HomeserverOwner::Anybody {
            return None;
        }
        let port = config.homeserver.port_or_known_default()?;
        let is_here = config.is_here() || owner != HomeserverOwner::Undeclared;
        Some(Self { owner, port, is_here })
    }

    /// Adds the layer to a client. A proxy that the environment names would be the other end.
    pub(crate) fn on(self, builder: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
        let builder = if self.is_here { builder.no_proxy() } else { builder };
        builder.connector_layer(self)
    }

    /// Looks at all connections of this process to the homeserver, the one that was just made among them: which of
    /// them that is, the HTTP client does not tell.
    fn look(&self) -> Result<(), Stranger> {
        let (own, sockets) = match own_sockets().and_then(|own| Ok((own, Sockets::read()?))) {
            Ok(read) => read,
            Err(_) if !self.is_here => return Ok(()),
            Err(error) => {
                return Err(Stranger(format!(
                    "cannot be told from anybody else, as the kernel does not say whose it is: {error}"
                )));
            }
        };
        let mut ours = sockets
            .0
            .iter()
            .filter(|it| it.remote().port() == self.port && own.contains(&it.0.inode))
            .filter(|it| it.is_local() && it.0.state != TcpState::SynSent)
            .peekable();
        if self.is_here && ours.peek().is_none() {
            return Err(Stranger(
                "is not on this machine, so that nobody can tell whose it is: use https://, or leave out \
                 matrix.homeserver_owner"
                    .to_owned(),
            ));
        }
        ours.try_for_each(|socket| self.judge(socket.remote(), &sockets.who_has(socket)))
    }

    fn judge(&self, place: SocketAddr, other: &Other) -> Result<(), Stranger> {
        let users = Users::read();
        let uids = match other {
            Other::Gone => return Ok(()),
            Other::Users(uids) => uids,
            Other::Unseen => {
                return Err(Stranger(format!(
                    "cannot be told from anybody else: who has {place} is not seen from here, as with a port that is \
                     passed on to a container; nothing is sent to it. Use https://, or declare matrix.homeserver_owner = \
                     \"*\" if nobody else can take that port"
                )));
            }
        };
        let stranger = uids.iter().find(|uid| !self.allows(**uid, &users));
        stranger.map_or(Ok(()), |uid| Err(self.refusal(place, *uid, &users)))
    }

    fn allows(&self, uid: u32, users: &Users) -> bool {
        match &self.owner {
            HomeserverOwner::Anybody => true,
            HomeserverOwner::Own => uid == geteuid().as_raw(),
            HomeserverOwner::Named(name) => uid == ROOT || users.uid(name) == Some(uid),
            HomeserverOwner::Undeclared => {
                uid == geteuid().as_raw() || uid < FIRST_LOGIN || DYNAMIC.contains(&uid)
            }
        }
    }

    fn refusal(&self, place: SocketAddr, uid: u32, users: &Users) -> Stranger {
        let who = match users.name(uid) {
            _ if uid == UNKNOWN => {
                "somebody whom a user namespace hides from here (PrivateUsers= of a unit, or a container)".to_owned()
            }
            Some(name) => format!("user {name} (uid {uid})"),
            None => format!("the user with uid {uid}"),
        };
        let wanted = match &self.owner {
            HomeserverOwner::Named(name) if users.uid(name).is_none() => {
                format!(
                    "{name}, a user that there is not at the moment, as its service does not run"
                )
            }
            HomeserverOwner::Named(name) => name.clone(),
            HomeserverOwner::Own => "this user".to_owned(),
            HomeserverOwner::Anybody | HomeserverOwner::Undeclared => {
                "root, a user of the system, or this one".to_owned()
            }
        };
        Stranger(format!(
            "is not the one that it should be: {place} belongs to {who}, not to {wanted}; nothing is sent to it. See what \
             that is (ss -ltnp) and end it, or name its user in matrix.homeserver_owner if all is as it should be"
        ))
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, connector: S) -> Guarded<S> {
        Guarded { guard: self.clone(), connector }
    }
}

/// A connector with a [`Guard`].
#[derive(Debug, Clone)]
pub(crate) struct Guarded<S> {
    guard: Guard,
    connector: S,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl<S, Target> Service<Target> for Guarded<S>
where
    S: Service<Target, Error = BoxError>,
    S::Response: Send,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.connector.poll_ready(context)
    }

    fn call(&mut self, target: Target) -> Self::Future {
        let connect = self.connector.call(target);
        let guard = self.guard.clone();
        Box::pin(async move {
            let connection = connect.await?;
            guard.look()?;
            Ok(connection)
        })
    }
}

/// The inodes of the sockets that this process has open.
fn own_sockets() -> ProcResult<HashSet<u64>> {
    let inode = |file: io::Result<fs::DirEntry>| {
        let name = fs::read_link(file.ok()?.path()).ok()?;
        name.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    Ok(fs::read_dir(OWN_FILES)?.filter_map(inode).collect())
}

/// A line of the kernel's table. Its inode is zero if no process has it.
#[derive(Debug)]
struct Socket(TcpNetEntry);

impl Socket {
    fn of(mut entry: TcpNetEntry) -> Self {
        // What listens with IPv6 for both has IPv4 in that form.
        for address in [&mut entry.local_address, &mut entry.remote_address] {
            address.set_ip(address.ip().to_canonical());
        }
        Self(entry)
    }

    fn local(&self) -> SocketAddr {
        self.0.local_address
    }

    fn remote(&self) -> SocketAddr {
        self.0.remote_address
    }

    /// Whether it is connected; where it has no inode, nobody has accepted it yet.
    fn is_open(&self) -> bool {
        matches!(self.0.state, TcpState::Established | TcpState::SynRecv)
    }

    /// Whether the other end is on this machine: what connects to an address of the machine itself does so from there.
    fn is_local(&self) -> bool {
        self.remote().ip().is_loopback() || self.remote().ip() == self.local().ip()
    }

    /// Whether what connects to `place` may come to this listener.
    fn listens_on(&self, place: SocketAddr) -> bool {
        let ip = self.local().ip();
        self.0.state == TcpState::Listen
            && self.local().port() == place.port()
            && (ip.is_unspecified() || ip == place.ip())
    }
}

/// Who may read what is sent to the other end of a connection.
#[derive(Debug, PartialEq, Eq)]
enum Other {
    /// Nobody: it was closed.
    Gone,
    /// Processes of these users.
    Users(Vec<u32>),
    /// It is not in this network namespace.
    Unseen,
}

/// All sockets of TCP.
struct Sockets(Vec<Socket>);

impl Sockets {
    /// Reads the tables of our own network namespace from `/proc/self/net`, which, unlike `/proc/net`, is there with
    /// systemd's `ProcSubset=pid`.
    fn read() -> ProcResult<Self> {
        let process = Process::myself()?;
        let mut entries = process.tcp()?;
        match process.tcp6() {
            Ok(more) => entries.extend(more),
            // A kernel may be without IPv6.
            Err(ProcError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(Self::of(entries))
    }

    fn of(entries: Vec<TcpNetEntry>) -> Self {
        Self(entries.into_iter().map(Socket::of).collect())
    }

    /// Who has the other end of a socket of ours.
    ///
    /// Before it is accepted, that is whoever listens, and so can accept it. No other may listen there before that one
    /// has closed its socket, by which the connection would end.
    fn who_has(&self, ours: &Socket) -> Other {
        let is_other = |it: &&Socket| it.local() == ours.remote() && it.remote() == ours.local();
        match self.0.iter().find(is_other) {
            Some(other) if other.0.inode != 0 => Other::Users(vec![other.0.uid]),
            Some(other) if other.is_open() => {
                let listeners = self.0.iter().filter(|socket| socket.listens_on(ours.remote()));
                let uids: Vec<u32> = listeners.map(|socket| socket.0.uid).collect();
                if uids.is_empty() { Other::Gone } else { Other::Users(uids) }
            }
            Some(_) => Other::Gone,
            // One of the ends has closed it.
            None if !ours.is_open() => Other::Gone,
            None => Other::Unseen,
        }
    }
}

/// The names of users, without asking a service that may hang.
struct Users {
    passwd: String,
}

impl Users {
    fn read() -> Self {
        Self { passwd: fs::read_to_string(PASSWD).unwrap_or_default() }
    }

    /// The user id of a name, or of a number that is written as one.
    fn uid(&self, name: &str) -> Option<u32> {
        let in_passwd = || self.entries().find(|entry| entry.0 == name).map(|entry| entry.1);
        name.parse().ok().or_else(in_passwd).or_else(|| dynamic(name)?.parse().ok())
    }

    fn name(&self, uid: u32) -> Option<String> {
        let in_passwd = self.entries().find(|entry| entry.1 == uid);
        in_passwd.map(|entry| entry.0.to_owned()).or_else(|| dynamic(uid))
    }

    fn entries(&self) -> impl Iterator<Item = (&str, u32)> {
        self.passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            Some((fields.next()?, fields.nth(1)?.parse().ok()?))
        })
    }
}

/// The name of a dynamic user by its number, or the number by its name.
fn dynamic(of: impl fmt::Display) -> Option<String> {
    let link = Path::new(DYNAMIC_USERS).join(format!("direct:{of}"));
    Some(fs::read_link(link).ok()?.to_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use procfs::{FromReadSI, current_system_info, net::TcpNetEntries};

    use super::*;

    /// A connection to port 6167 (`1817`): what listens, our end, and the other one.
    fn table(listener: u32, other: &str) -> Sockets {
        let lines = [
            "  sl  local_address rem_address   st".to_owned(),
            format!("0: 0100007F:1817 00000000:0000 0A 0:0 00:0 0 {listener} 0 11 1"),
            "1: 0100007F:B5CE 0100007F:1817 01 0:0 00:0 0 1500 0 12 1".to_owned(),
            other.to_owned(),
        ];
        let table = lines.join("\n");
        let table = TcpNetEntries::from_read(table.trim_end().as_bytes(), current_system_info());
        Sockets::of(table.unwrap().0)
    }

    fn guard(owner: HomeserverOwner) -> Guard {
        Guard { owner, port: 6167, is_here: true }
    }

    #[test]
    fn whoever_has_accepted_the_connection_has_it() {
        let sockets = table(990, "2: 0100007F:1817 0100007F:B5CE 01 0:0 00:0 0 1001 0 13 1");
        assert_eq!(sockets.who_has(&sockets.0[1]), Other::Users(vec![1001]));
        // It may have closed its way of sending only, to look like one that has gone.
        let sockets = table(990, "2: 0100007F:1817 0100007F:B5CE 05 0:0 00:0 0 1001 0 13 1");
        assert_eq!(sockets.who_has(&sockets.0[1]), Other::Users(vec![1001]));
    }

    #[test]
    fn a_connection_that_nobody_has_accepted_is_of_who_listens() {
        for state in ["01", "03"] {
            // Older kernels say here that it is root's.
            let other = format!("2: 0100007F:1817 0100007F:B5CE {state} 0:0 00:0 0 0 0 0 1");
            let sockets = table(1001, &other);
            assert_eq!(sockets.who_has(&sockets.0[1]), Other::Users(vec![1001]));
        }
    }

    #[test]
    fn one_that_is_closed_is_of_nobody_and_one_that_is_elsewhere_is_not_seen() {
        let sockets = table(1001, "2: 0100007F:1817 0100007F:B5CE 05 0:0 00:0 0 0 0 0 1");
        assert_eq!(sockets.who_has(&sockets.0[1]), Other::Gone);
        let sockets = table(1001, "");
        assert_eq!(sockets.who_has(&sockets.0[1]), Other::Unseen);
    }

    #[test]
    fn what_listens_with_ipv6_for_both_is_found() {
        let other = "2: 0000000000000000FFFF00000100007F:1817 0000000000000000FFFF00000100007F:B5CE 01 0:0 00:0 0 998 0 13 1";
        let sockets = table(998, other);
        assert_eq!(sockets.who_has(&sockets.0[1]), Other::Users(vec![998]));
        let table = table(
            998,
            "2: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 0:0 00:0 0 1 0 14 1",
        );
        assert_eq!(table.0[2].local(), "[::1]:8080".parse().unwrap());
    }

    #[test]
    fn people_are_strangers_and_the_system_is_not_unless_one_is_named() {
        let users = Users { passwd: "root:x:0:0::/:/bin/sh\nconduit:x:997:997::/:\n".to_owned() };
        let named = |name: &str| guard(HomeserverOwner::Named(name.to_owned()));
        let own = geteuid().as_raw();
        for (guard, allowed, strangers) in [
            (
                guard(HomeserverOwner::Undeclared),
                &[own, 0, 33, 61_200][..],
                &[1001, 65_534, 165_536][..],
            ),
            (named("conduit"), &[0, 997], &[33, 1001, 61_200]),
            (named("1001"), &[0, 1001], &[997, 1002]),
            (named("nobody-has-this-name"), &[0], &[997, 1001]),
            (guard(HomeserverOwner::Own), &[own], &[own + 1]),
        ] {
            assert!(allowed.iter().all(|uid| guard.allows(*uid, &users)), "{guard:?}");
            assert!(!strangers.iter().any(|uid| guard.allows(*uid, &users)), "{guard:?}");
        }
    }

    #[test]
    fn a_refusal_says_who_it_is_and_who_it_should_be() {
        let users = Users { passwd: "mallory:x:1001:1001::/:/bin/sh\n".to_owned() };
        let place = "127.0.0.1:6167".parse().unwrap();
        let said = guard(HomeserverOwner::Named("conduit".to_owned())).refusal(place, 1001, &users);
        assert!(
            said.0.contains("127.0.0.1:6167 belongs to user mallory (uid 1001), not to conduit, a user that there is not"),
            "{said}"
        );
        let said = guard(HomeserverOwner::Undeclared).refusal(place, 65_534, &users);
        assert!(said.0.contains("PrivateUsers="), "{said}");
    }

    /// The kernel's own lines.
    #[test]
    fn both_ends_of_a_connection_of_our_own_are_ours() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        let guard = Guard { owner: HomeserverOwner::Own, port, is_here: true };
        assert_eq!(guard.look(), Ok(()), "not accepted yet");
        let other = listener.accept().unwrap();
        assert_eq!(guard.look(), Ok(()));
        drop((ours, other));
    }
}
