//! Checks which user runs the program at the other end of a connection within this machine.
//!
//! While the homeserver is down, any user of the machine may bind its port on loopback, and would then receive the
//! bridge's access token and password. Only the kernel can tell: `/proc/self/net/tcp` has a line for each end of such
//! a connection, with the user that owns it. It is read after a connection is made and before a byte is sent over it,
//! and it describes that very connection. A look at the listener before connecting would leave a gap; here nobody can
//! step in between, because the other end keeps its owner as long as our end is open.

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

/// The directory in which systemd publishes the user IDs of running services with `DynamicUser=`, as links. They can
/// be read without libnss-systemd, which need not be installed, and without access to systemd itself.
const DYNAMIC_USERS: &str = "/run/systemd/dynamic-uid";

const ROOT: u32 = 0;

/// The first user ID of people. Those below it are system users.
const FIRST_LOGIN: u32 = 1000;

/// The user IDs that systemd assigns to services with `DynamicUser=` (systemd.io/UIDS-GIDS).
const DYNAMIC: std::ops::RangeInclusive<u32> = 61_184..=65_519;

/// The user ID that stands for every user that a user namespace does not map.
const UNKNOWN: u32 = 65_534;

/// The reason why nothing may be sent over a connection: the other end is a stranger, or unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Stranger(String);

impl Stranger {
    /// Finds the stranger among the causes of a failed request, if that is why it failed.
    pub(crate) fn behind<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Self> {
        std::iter::successors(Some(error), |error| error.source())
            .find_map(|error| error.downcast_ref())
    }
}

/// The layer of an HTTP client that hands out a new connection to the homeserver only after a check of its owner.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    owner: HomeserverOwner,
    port: u16,
    /// Whether the other end has to be on this machine.
    is_here: bool,
}

impl Guard {
    /// The guard for a homeserver, if it needs one. With TLS its certificate identifies it.
    pub(crate) fn of(config: &config::Matrix) -> Option<Self> {
        let owner = config.owner.clone();
        if config.homeserver.scheme() != "http" || owner == HomeserverOwner::Anybody {
            return None;
        }
        let port = config.homeserver.port_or_known_default()?;
        let is_here = config.is_here() || owner != HomeserverOwner::Undeclared;
        Some(Self { owner, port, is_here })
    }

    /// Adds the layer to a client. Proxies from the environment are disabled, as a proxy would be the other end.
    pub(crate) fn on(self, builder: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
        let builder = if self.is_here { builder.no_proxy() } else { builder };
        builder.connector_layer(self)
    }

    /// Checks all connections of this process to the homeserver. The new one is among them, but the HTTP client does
    /// not tell which it is.
    fn look(&self) -> Result<(), Stranger> {
        let (own, sockets) = match own_sockets().and_then(|own| Ok((own, Sockets::read()?))) {
            Ok(read) => read,
            Err(_) if !self.is_here => return Ok(()),
            Err(error) => {
                return Err(Stranger(format!(
                    "cannot be verified, as the kernel does not say which user it belongs to: {error}"
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
                "is not on this machine, so nobody can check which user it belongs to: use https://, or leave out \
                 matrix.homeserver_owner"
                    .to_owned(),
            ));
        }
        ours.try_for_each(|socket| self.judge(socket.remote(), &sockets.who_has(socket)))
    }

    /// Returns the addresses where nobody but the homeserver listens, as far as that is known; all of them if there is
    /// none. Only the check of a connection tells for certain.
    pub(super) fn without_strangers(&self, addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
        match Sockets::read() {
            Ok(sockets) => self.choose(addresses, &sockets, &Users::read()),
            Err(_) => addresses,
        }
    }

    fn choose(
        &self,
        addresses: Vec<SocketAddr>,
        sockets: &Sockets,
        users: &Users,
    ) -> Vec<SocketAddr> {
        let is_trusted = |address: &&SocketAddr| {
            let listeners = sockets.listeners(SocketAddr::new(address.ip(), self.port));
            listeners.iter().all(|listener| self.allows(listener.0.uid, users))
        };
        let trusted: Vec<SocketAddr> = addresses.iter().filter(is_trusted).copied().collect();
        if trusted.is_empty() { addresses } else { trusted }
    }

    fn judge(&self, place: SocketAddr, other: &Other) -> Result<(), Stranger> {
        let users = Users::read();
        let uids = match other {
            Other::Gone => return Ok(()),
            Other::Users(uids) => uids,
            Other::Unseen => {
                return Err(Stranger(format!(
                    "cannot be verified: the user of {place} is not visible from here, as with a port that is \
                     forwarded to a container; nothing is sent to it. Use https://, or set matrix.homeserver_owner = \
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
                "a user hidden by a user namespace (PrivateUsers= of a unit, or a container)"
                    .to_owned()
            }
            Some(name) => format!("user {name} (uid {uid})"),
            None => format!("the user with uid {uid}"),
        };
        let wanted = match &self.owner {
            HomeserverOwner::Named(name) if users.uid(name).is_none() => {
                format!(
                    "{name}, a user that does not exist at the moment, as its service does not run"
                )
            }
            HomeserverOwner::Named(name) => name.clone(),
            HomeserverOwner::Own => "this user".to_owned(),
            HomeserverOwner::Anybody | HomeserverOwner::Undeclared => {
                "root, a system user, or the bridge's own user".to_owned()
            }
        };
        Stranger(format!(
            "may be an impostor: {place} belongs to {who}, not to {wanted}; nothing is sent to it. See which program \
             that is (ss -ltnp) and stop it, or set matrix.homeserver_owner to its user if it is the homeserver"
        ))
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, connector: S) -> Guarded<S> {
        Guarded { guard: self.clone(), connector }
    }
}

/// A connector whose connections a [`Guard`] checks.
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

/// The inodes of this process's open sockets.
fn own_sockets() -> ProcResult<HashSet<u64>> {
    let inode = |file: io::Result<fs::DirEntry>| {
        let name = fs::read_link(file.ok()?.path()).ok()?;
        name.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    Ok(fs::read_dir(OWN_FILES)?.filter_map(inode).collect())
}

/// An entry of the kernel's socket table. Its inode is zero if no process has the socket open.
#[derive(Debug)]
struct Socket(TcpNetEntry);

impl Socket {
    fn of(mut entry: TcpNetEntry) -> Self {
        // A listener for both IPv6 and IPv4 shows IPv4 addresses in the mapped form.
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

    /// Whether the socket is connected. Without an inode it has not been accepted yet.
    fn is_open(&self) -> bool {
        matches!(self.0.state, TcpState::Established | TcpState::SynRecv)
    }

    /// Whether the other end is on this machine. A connection to the machine's own address also starts at that
    /// address.
    fn is_local(&self) -> bool {
        self.remote().ip().is_loopback() || self.remote().ip() == self.local().ip()
    }

    /// Whether a connection to `place` may reach this listener.
    fn listens_on(&self, place: SocketAddr) -> bool {
        let ip = self.local().ip();
        self.0.state == TcpState::Listen
            && self.local().port() == place.port()
            && (ip.is_unspecified() || ip == place.ip())
    }
}

/// The users who may read what is sent to the other end of a connection.
#[derive(Debug, PartialEq, Eq)]
enum Other {
    /// Nobody: the connection was closed.
    Gone,
    /// Processes of these users.
    Users(Vec<u32>),
    /// The other end is not in this network namespace.
    Unseen,
}

/// All TCP sockets.
struct Sockets(Vec<Socket>);

impl Sockets {
    /// Reads the tables of our own network namespace from `/proc/self/net`. Unlike `/proc/net` it also exists with
    /// systemd's `ProcSubset=pid`.
    fn read() -> ProcResult<Self> {
        let process = Process::myself()?;
        let mut entries = process.tcp()?;
        match process.tcp6() {
            Ok(more) => entries.extend(more),
            // The kernel may lack IPv6.
            Err(ProcError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(Self::of(entries))
    }

    fn of(entries: Vec<TcpNetEntry>) -> Self {
        Self(entries.into_iter().map(Socket::of).collect())
    }

    /// Returns the listeners that get a new connection to an address: those on the very address, else those on all of its
    /// family, else those on all.
    fn listeners(&self, place: SocketAddr) -> Vec<&Socket> {
        let rank = |socket: &&Socket| {
            let ip = socket.local().ip();
            (ip != place.ip(), ip.is_ipv4() != place.is_ipv4())
        };
        let all = || self.0.iter().filter(|socket| socket.listens_on(place));
        let first = all().map(|socket| rank(&socket)).min();
        all().filter(|socket| Some(rank(socket)) == first).collect()
    }

    /// Returns the users of the other end of one of our sockets.
    ///
    /// Before a connection is accepted, they are the users of the listeners, as these can accept it. Nobody else can
    /// listen there before the current listener has closed its socket, which would end the connection.
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

/// The names of users, looked up without asking a service that may hang.
struct Users {
    passwd: String,
}

impl Users {
    fn read() -> Self {
        Self { passwd: fs::read_to_string(PASSWD).unwrap_or_default() }
    }

    /// Returns the user ID of a name, or the number that the name consists of.
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

/// Returns the name of a dynamic user ID, or the user ID of a dynamic user's name.
fn dynamic(of: impl fmt::Display) -> Option<String> {
    let link = Path::new(DYNAMIC_USERS).join(format!("direct:{of}"));
    Some(fs::read_link(link).ok()?.to_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use procfs::{FromReadSI, current_system_info, net::TcpNetEntries};

    use super::*;

    /// Builds the table of a connection to port 6167 (`1817`): the listener, our end and the other end.
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
        // The other end may only have closed its sending side, to look like one that is gone.
        let sockets = table(990, "2: 0100007F:1817 0100007F:B5CE 05 0:0 00:0 0 1001 0 13 1");
        assert_eq!(sockets.who_has(&sockets.0[1]), Other::Users(vec![1001]));
    }

    #[test]
    fn a_connection_that_nobody_has_accepted_is_of_who_listens() {
        for state in ["01", "03"] {
            // Older kernels list such a socket as root's.
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
    fn an_address_where_a_stranger_listens_is_passed_over() {
        let listening = |sockets: &[(&str, u32)]| {
            let line = |(index, (place, uid)): (usize, &(&str, u32))| {
                format!("{index}: {place} 00000000:0000 0A 0:0 00:0 0 {uid} 0 {} 1", index + 11)
            };
            let head = "  sl  local_address rem_address   st".to_owned();
            let lines: Vec<String> =
                [head].into_iter().chain(sockets.iter().enumerate().map(line)).collect();
            let table = lines.join("\n");
            let table = TcpNetEntries::from_read(table.as_bytes(), current_system_info());
            Sockets::of(table.unwrap().0)
        };
        let guard = guard(HomeserverOwner::Named("997".to_owned()));
        let users = Users { passwd: String::new() };
        let [first, second] = ["127.0.0.2:0", "127.0.0.1:0"].map(|it| it.parse().unwrap());
        let choose = |sockets: &[(&str, u32)]| {
            guard.choose(vec![first, second], &listening(sockets), &users)
        };
        let (on_first, on_second, on_all) = ("0200007F:1817", "0100007F:1817", "00000000:1817");
        assert_eq!(choose(&[(on_first, 1001), (on_second, 997)]), [second]);
        assert_eq!(choose(&[(on_first, 997), (on_all, 1001)]), [first]);
        // Where nobody listens nobody is told anything.
        assert_eq!(choose(&[(on_first, 997)]), [first, second]);
        // The check of the connection says who it is.
        assert_eq!(choose(&[(on_all, 1001)]), [first, second]);
        assert_eq!(choose(&[("0200007F:1818", 1001)]), [first, second], "another port");
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
            said.0.contains("127.0.0.1:6167 belongs to user mallory (uid 1001), not to conduit, a user that does not exist"),
            "{said}"
        );
        let said = guard(HomeserverOwner::Undeclared).refusal(place, 65_534, &users);
        assert!(said.0.contains("PrivateUsers="), "{said}");
    }

    /// Reads the kernel's own lines.
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
