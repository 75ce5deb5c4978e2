//! The subcommand `nats-matrix check`: tries each step on the way of a report, and says whether it works or what to do.
//! It changes nothing: it creates no consumer, joins no room and keeps no session.

use std::{
    collections::BTreeSet, fmt::Display, net::IpAddr, path::Path, process::ExitCode, sync::Arc,
    time::Duration,
};

use async_nats::jetstream::stream::{Config as StreamConfig, Info as StreamInfo, Stream};
use jiff::Timestamp;
use matrix_sdk::ruma::{RoomAliasId, UserId};
use tokio::{net::lookup_host, time::timeout};

use crate::{
    book,
    cli::{
        clock,
        common::{ConfigFile, UNASKED, block_on},
        retention::too_short,
        rights,
        stored_subjects::{held, unrouted},
        tunnel,
        unused_consumers::unused,
        waiting,
    },
    config::{Config, Exposure, Login, Means, RoomTarget, Route, Summary},
    decode::Library,
    failure::{Failure, chain},
    listen::event,
    matrix::{
        Account, LoginError, MatrixError, Membership, Room, account,
        remembered::Remembered,
        room::{encrypted, is_ours, resolve},
        sync::sync,
    },
    nats::{Nats, bucket, streams},
    pipeline::{dead_letter, deferral},
    provision::readable_database,
    render::{Parsed, Renderer},
    reserved::DEFERRED_STREAM,
    run::history::History,
    source::{self, Feed, ReadError, consumer, identity, stored},
    summary::poster,
    text,
};

/// The largest message with which `cargo memory` measures, in bytes.
const LARGEST: usize = 8 << 20;

/// The units that may run beside the bridge on this machine.
const CONDUIT_UNIT: &str = "nats-matrix-conduit.service";

const TUNNEL_UNIT: &str = "nats-matrix-tunnel.service";
const TUNNEL_LOG: &str = "journalctl -u nats-matrix-tunnel says why";

const PROVISION_UNIT: &str = "nats-matrix-provision.service";

/// The time for which a stream should keep messages at least: an outage that somebody has to end.
const OUTAGE: Duration = Duration::from_hours(1);

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    config: ConfigFile,
    /// Check the configuration alone: no network, no secrets.
    #[arg(long)]
    offline: bool,
}

pub(super) fn main(options: &Options) -> ExitCode {
    let mut findings = Findings::default();
    let file = options.config.config.display();
    let config = match Config::load(&options.config.config) {
        Ok(config) => config,
        Err(failure) => {
            findings.fail("config", failure);
            return findings.end();
        }
    };
    let count = config.routes.len();
    findings.ok("config", format!("{file}: {count} route{}", if count == 1 { "" } else { "s" }));
    in_clear(&config, &mut findings);
    for route in config.routes.iter().filter(|route| route.templates.is_some()) {
        templates(route, &mut findings);
    }
    shapes(&config, &mut findings);
    if !options.offline
        && let Err(failure) = block_on(online(config, &mut findings))
    {
        findings.fail("check", failure);
    }
    findings.end()
}

/// Reports connections without TLS, which the network, or other users of this machine, can read.
fn in_clear(config: &Config, findings: &mut Findings) {
    let servers = config.nats.in_clear();
    if !servers.is_empty() {
        let has_secret = config.nats.sends_secret();
        let what = if has_secret { "password or token, and all messages," } else { "all messages" };
        findings.note(
            "nats",
            format!(
                "{}: {what} cross the network in clear: use tls://, with nats.ca_file for a private CA, and best with a \
                 client certificate (nats.cert_file)",
                servers.join(", ")
            ),
        );
    }
    let servers = config.nats.on_loopback();
    if !servers.is_empty() && config.nats.sends_secret() {
        findings.note(
            "nats",
            format!(
                "{}: any user of this machine who takes that port while nats-server is down is told the password or token: \
                 use an nkey (nats.nkey_seed_file), of which only a signature is sent, or tls://",
                servers.join(", ")
            ),
        );
    }
    let matrix = &config.matrix;
    if matrix.homeserver.scheme() == "http" && !matrix.is_here() {
        let what = "the bridge's password, its token and all messages cross the network in clear: use https://";
        findings.note("homeserver", format!("{}: {what}", matrix.homeserver));
    }
}

fn templates(route: &Route, findings: &mut Findings) {
    match Renderer::of(route, &mut Parsed::default()) {
        Ok(renderer) => {
            let count = renderer.templates();
            let plural = if count == 1 { "" } else { "s" };
            let path = route.templates.as_deref().unwrap_or(Path::new("")).display();
            findings
                .ok("templates", format!("route {}: {path}: {count} template{plural}", route.name));
        }
        // There can be several faults, and each gets a line of its own.
        Err(failure) => {
            for line in failure.to_string().lines() {
                findings.fail("templates", Failure::Config(line.to_owned()));
            }
        }
    }
}

/// Reports the shapes of the user's own, which are read for all routes together.
fn shapes(config: &Config, findings: &mut Findings) {
    match Library::load(&config.routes) {
        Ok(library) => {
            for (path, count) in library.counts() {
                let plural = if count == 1 { "" } else { "s" };
                findings.ok("shapes", format!("{}: {count} shape{plural}", path.display()));
            }
        }
        Err(failure) => {
            for line in failure.to_string().lines() {
                findings.fail("shapes", Failure::Config(line.to_owned()));
            }
        }
    }
}

/// Reports secrets that every user of this machine can read or write.
fn exposed(config: &Config, findings: &mut Findings) {
    for (key, path) in config.secret_files() {
        if let Some(exposure) = Exposure::of(path) {
            findings.note("secrets", format!("{key}: {exposure}"));
        }
    }
    if let Some(Means::Conduit { config, .. }) = &config.provision.means
        && let Some(exposure) = readable_database(config)
    {
        findings.note("secrets", format!("the homeserver's database_path: {exposure}"));
    }
}

/// Reports servers whose name leads to several addresses on this machine. Each has ports of its own, which any user may
/// take where the server does not listen.
async fn ambiguous(config: &Config, findings: &mut Findings) {
    let matrix = &config.matrix;
    let homeserver = matrix.homeserver.domain().filter(|_| matrix.is_here());
    let homeserver = homeserver.map(|name| ("homeserver", name.to_owned()));
    let servers = config.nats.names_on_loopback().into_iter().map(|name| ("nats", name));
    for (step, name) in homeserver.into_iter().chain(servers) {
        let Ok(found) = lookup_host((&*name, 0)).await else { continue };
        let addresses: BTreeSet<IpAddr> = found.map(|found| found.ip()).collect();
        if addresses.len() > 1 {
            let all = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
            let what = format!(
                "{name} is {all}: any user of this machine may listen on the one where the server does not; give the \
                 address of the server instead of the name"
            );
            findings.note(step, what);
        }
    }
}

async fn online(config: Config, findings: &mut Findings) {
    exposed(&config, findings);
    ambiguous(&config, findings).await;
    // The names of consumers depend on the account; whether it can be used is reported further below.
    let login = Account::open_briefly(config.matrix.clone()).await;
    let user = login.as_ref().ok().map(|account| account.user.clone());
    if let Some(nats) = nats(&config, findings).await {
        // Without answers from NATS, each of these checks would only report that there was none.
        let refused = tokio::select! {
            biased;
            failure = nats.refused(None) => Some(failure),
            () = streams(&nats, &config, user.as_deref(), findings) => None,
        };
        if let Some(failure) = refused {
            findings.fail("nats", failure);
        }
        own_streams(&nats, &config, findings).await;
    }
    if config.matrix.is_here() {
        for (step, unit) in [("conduit", CONDUIT_UNIT), ("tunnel", TUNNEL_UNIT)] {
            if let Some(waiting) = waiting::waiting(unit) {
                findings.note(step, waiting);
            }
        }
        phones(findings).await;
    }
    if waiting::has_failed(PROVISION_UNIT) {
        findings.note("provision", "has failed: journalctl -u nats-matrix-provision says at what");
    }
    let Some(account) = account(&config, login, findings).await else { return };
    let account = Arc::new(account);
    for route in &config.routes {
        rooms(&account, route, findings).await;
    }
    answers(&account, &config.routes, findings).await;
    if let Ok(account) = Arc::try_unwrap(account) {
        account.log_out().await;
    }
}

/// Says whether the tunnel of this machine has a connection, if it has all that it waits for.
async fn phones(findings: &mut Findings) {
    if waiting::waiting(TUNNEL_UNIT).is_some() {
        return;
    }
    let Some(metrics) = waiting::setting(TUNNEL_UNIT, "TUNNEL_METRICS") else { return };
    match tunnel::is_connected(&metrics).await {
        Ok(true) => findings.ok("tunnel", "cloudflared is connected to Cloudflare"),
        Ok(false) => findings.note(
            "tunnel",
            format!("cloudflared has no connection to Cloudflare, so no phone reaches the homeserver: {TUNNEL_LOG}"),
        ),
        Err(error) => findings.note(
            "tunnel",
            format!("{TUNNEL_UNIT} does not run ({error}), so no phone reaches the homeserver: {TUNNEL_LOG}"),
        ),
    }
}

async fn nats(config: &Config, findings: &mut Findings) -> Option<Nats> {
    match Nats::connect(&config.nats).await {
        Ok(nats) => {
            let info = nats.client.server_info();
            findings.ok(
                "nats",
                format!(
                    "connected to nats-server {}, {}, by {}",
                    info.version,
                    info.server_name,
                    config.nats.hosts().join(", ")
                ),
            );
            Some(nats)
        }
        Err(failure) => {
            findings.fail("nats", failure);
            None
        }
    }
}

async fn streams(nats: &Nats, config: &Config, user: Option<&UserId>, findings: &mut Findings) {
    for route in &config.routes {
        stream(nats, route, user, findings).await;
    }
    for lack in rights::lacks_for_alerts(nats).await {
        findings.note("rights", lack);
    }
    let streams: BTreeSet<&str> = config.routes.iter().map(|route| &*route.stream).collect();
    if let Some(stream) = streams.first()
        && let Some(difference) = clock::difference(nats, stream).await
    {
        findings.note("clock", difference);
    }
    for name in streams {
        left_over(nats, name, &config.routes, findings).await;
    }
    let Some(user) = user else { return };
    let all: Vec<Arc<Route>> = config.routes.iter().cloned().map(Arc::new).collect();
    for history in History::peek(&config.matrix.state_dir).of_streams(&all, user) {
        for line in unused(nats, &history, &all, user).await {
            findings.note("consumer", line);
        }
    }
}

async fn stream(nats: &Nats, route: &Route, user: Option<&UserId>, findings: &mut Findings) {
    let of = |text: String| format!("route {}: {text}", route.name);
    // Each later check would only report that there was no answer.
    let right = source::rights::to_find_stream(nats.config(), &route.stream);
    let denied = source::rights::denied(nats, &[right]).await;
    for lack in &denied {
        findings.fail("rights", Failure::Refused(of(lack.clone())));
    }
    if !denied.is_empty() {
        return;
    }
    let stream = match consumer::stream(nats, &route.stream).await {
        Ok(stream) => stream,
        // `run` waits for a stream, but here a person has to look at it now.
        Err(error) => {
            return findings.fail("stream", Failure::Unavailable(chain(&error)).of(route));
        }
    };
    let info = stream.cached_info();
    let taken = consumer::taken(&info.config);
    findings.ok(
        "stream",
        of(format!("{} holds {} messages and takes {taken}", route.stream, info.state.messages)),
    );
    retention(info, OUTAGE, findings, of);
    for line in powers(&info.config) {
        findings.note("stream", of(format!("{} {line}", route.stream)));
    }
    if let Some(line) = too_large(nats.max_payload(), &info.config) {
        findings.note("limits", of(line));
    }
    let unmatched = consumer::unmatched(&route.subjects, &info.config);
    for line in &unmatched {
        findings.fail("subjects", Failure::Config(of(line.clone())));
    }
    if unmatched.is_empty() {
        subjects(nats, route, findings).await;
    }
    if let Some(line) = consumer::removal(&info.config) {
        findings.note("consumer", of(line));
    }
    match user {
        Some(user) => {
            let feed = Feed::live(&Arc::new(route.clone()), user);
            if let Some(durable) = durable(nats, &stream, &feed, findings).await {
                permissions(nats, &feed, &durable, findings).await;
            }
        }
        None => findings.note("consumer", of("its name is known once the login works".to_owned())),
    }
    if let Some(due) = route.summary {
        summary(&stream, route, due, findings);
    }
}

/// Reports the permissions in NATS that a route does not have.
async fn permissions(nats: &Nats, feed: &Feed, durable: &Durable, findings: &mut Findings) {
    let route = &*feed.route;
    let of = |text: String| format!("route {}: {text}", route.name);
    let lacks = rights::lacks(nats, feed, &durable.name, durable.is_changed).await;
    if lacks.essential.is_empty() {
        if let Err(error) = stored::check(nats, &route.stream).await {
            findings.fail("stream", Failure::Unavailable(chain(&error)).of(route));
        }
        findings.ok("rights", of("has those in NATS without which it would stop".to_owned()));
    }
    for lack in lacks.essential {
        findings.fail("rights", Failure::Refused(of(lack)));
    }
    for lack in lacks.optional {
        findings.note("rights", of(lack));
    }
}

/// Returns what the configuration of a stream lets publishers do beyond publishing on the subjects that NATS permits them.
fn powers(config: &StreamConfig) -> Vec<&'static str> {
    let has_sources = config.sources.as_ref().is_some_and(|sources| !sources.is_empty());
    [
        (
            config.allow_message_schedules,
            "has allow_msg_schedules: whoever may publish on one of its subjects can have messages stored on any other; \
             they are shown with both subjects",
        ),
        (
            config.allow_rollup,
            "has allow_rollup_hdrs: whoever may publish on one of its subjects can delete all its messages, also those \
             that wait; the room is told how many",
        ),
        (
            config.mirror.is_some() || has_sources,
            "takes messages of other streams: whoever may publish there speaks here, too",
        ),
    ]
    .into_iter()
    .filter(|(is_so, _)| *is_so)
    .map(|(_, line)| line)
    .collect()
}

/// Reports limits by which a stream drops messages before they can be read.
fn retention(
    stream: &StreamInfo,
    needed: Duration,
    findings: &mut Findings,
    of: impl Fn(String) -> String,
) {
    for line in too_short(stream, needed, Timestamp::now()) {
        let name = &stream.config.name;
        let hours = needed.as_secs() / 3600;
        let what = format!(
            "stream {name}: {line}: messages that have to wait, as in an outage of {hours} h, are lost then; raise it (nats \
             stream edit {name})"
        );
        findings.note("retention", of(what));
    }
}

/// Reports the messages that the stream holds on the subjects of the route.
async fn subjects(nats: &Nats, route: &Route, findings: &mut Findings) {
    for filter in &route.subjects {
        match held(nats, &route.stream, filter.as_str()).await {
            Ok(held) => {
                let found = if held.subjects == 0 {
                    "can match, nothing is stored yet".to_owned()
                } else {
                    format!("matches {held}")
                };
                findings.ok("subjects", format!("route {}: \"{filter}\" {found}", route.name));
            }
            Err(error) => {
                let (stream, error) = (&route.stream, chain(&error));
                let error = format!("no answer about the subjects of stream {stream}: {error}");
                findings.fail("subjects", Failure::Unavailable(error).of(route));
            }
        }
    }
}

/// Reports the messages of a stream whose subjects match no route. If the stream cannot be asked, an earlier check has
/// reported it.
async fn left_over(nats: &Nats, name: &str, routes: &[Route], findings: &mut Findings) {
    let of_stream: Vec<&Route> = routes.iter().filter(|route| route.stream == name).collect();
    let Ok(held) = unrouted(nats, name, &of_stream).await else { return };
    if held.subjects > 0 {
        let what = format!(
            "stream {name}: no route takes {held}; a last route with `default = true` and all subjects would"
        );
        findings.note("subjects", what);
    }
}

/// Reports streams of the bridge that lose messages, because somebody else has created or changed them, or that have no
/// size limit and could fill the disk. The bridge creates new ones with a limit.
async fn own_streams(nats: &Nats, config: &Config, findings: &mut Findings) {
    let quiet = config.routes.iter().find(|route| route.quiet.is_some());
    let like = quiet.or(config.routes.first()).map_or("", |route| &*route.stream);
    let letters = dead_letter::stream_config(&config.nats.dead_letter_subject);
    let held = quiet.map(|_| deferral::stream_config());
    let listens = config.routes.iter().any(|route| route.answers.is_some());
    let answers = listens.then(event::stream_config);
    for wanted in [bucket::config(), letters].into_iter().chain(held).chain(answers) {
        // A missing permission is reported by the check that needs it.
        let asked = timeout(UNASKED, nats.jetstream.get_stream(&wanted.name)).await;
        let Ok(Ok(stream)) = asked else { continue };
        let faults = streams::faults(nats, &stream.cached_info().config, &wanted, like).await;
        if !faults.is_empty() {
            let (name, unfit) = (&wanted.name, streams::unfit(&faults, &wanted.name));
            findings.note(
                "stream",
                format!("{name} does not keep what nats-matrix writes there: {unfit}"),
            );
        } else if wanted.name == DEFERRED_STREAM {
            retention(stream.cached_info(), streams::NEEDED, findings, |line| line);
        }
        if !streams::is_limited(&stream.cached_info().config) {
            let (name, bytes) = (&wanted.name, wanted.max_bytes);
            let what = format!(
                "stream {name} has no limit of bytes: the bridge gives it one of {bytes} when it uses it; or run nats \
                 stream edit {name} --max-bytes={bytes}"
            );
            findings.note("limits", what);
        }
    }
}

/// Returns a line if a stream takes larger messages than the bridge is made for.
fn too_large(max_payload: usize, stream: &StreamConfig) -> Option<String> {
    let own = usize::try_from(stream.max_message_size).ok().filter(|most| *most > 0);
    let most = own.map_or(max_payload, |own| own.min(max_payload));
    (most > LARGEST).then(|| {
        let name = &stream.name;
        format!(
            "stream {name} takes messages of up to {most} bytes, and the memory of the bridge is measured with messages of up to \
             {LARGEST}: run nats stream edit {name} --max-msg-size={LARGEST}, or set max_payload of NATS"
        )
    })
}

/// The consumer of a feed.
struct Durable {
    name: String,
    /// Whether it has to be made or changed.
    is_changed: bool,
}

/// Reports the consumer of a feed. Returns it unless it is unknown.
async fn durable(
    nats: &Nats,
    stream: &Stream,
    feed: &Feed,
    findings: &mut Findings,
) -> Option<Durable> {
    let route = &*feed.route;
    let of = |text: String| format!("route {}: {text}", route.name);
    let found = async {
        let info = consumer::find(nats, stream, feed).await?;
        let names = identity::names(nats, feed).await?;
        Ok::<_, ReadError>((info, names.own))
    };
    let (info, own) = match found.await {
        Ok((Some(info), own)) => (info, own),
        Ok((None, own)) => {
            findings.ok("consumer", of(format!("{own} will be made at the first start")));
            return Some(Durable { name: own, is_changed: true });
        }
        Err(error @ ReadError::ConsumerDenied { .. }) => {
            findings.fail("rights", Failure::Refused(chain(&error)).of(route));
            return None;
        }
        Err(error) => {
            findings.fail("consumer", Failure::Unavailable(chain(&error)).of(route));
            return None;
        }
    };
    let name = &info.name;
    let present = match consumer::usable(feed, &info) {
        Ok(present) => present,
        Err(failure) => {
            findings.fail("consumer", failure);
            return Some(Durable { name: name.clone(), is_changed: false });
        }
    };
    let changes = consumer::differences(
        &present,
        &consumer::wanted(feed, name, &stream.cached_info().config, present.clone()),
    );
    let is_changed = !changes.is_empty();
    let waiting = consumer::unsettled(&info);
    let changes = if changes.is_empty() {
        String::new()
    } else {
        format!("; the next start changes {}", changes.join(", "))
    };
    findings.ok("consumer", of(format!("{waiting} messages wait in {name} to be posted{changes}")));
    if *name != own {
        let what = format!(
            "another site behind a leaf node may have a consumer called {name}, and acknowledge its messages: run \
             nats-matrix consumers move --route {}, which makes it {own}",
            route.name
        );
        findings.note("consumer", of(what));
    }
    Some(Durable { name: name.clone(), is_changed })
}

fn summary(stream: &Stream, route: &Route, due: Summary, findings: &mut Findings) {
    let next = poster::next_due(due, &route.display.time_zone).strftime("%Y-%m-%d %H:%M %Q");
    let line = format!("route {}: the next one is due on {next}", route.name);
    match poster::check_stream(stream, due) {
        Ok(None) => findings.ok("summary", line),
        Ok(Some(lack)) => findings.note("summary", format!("{line}; {lack}")),
        Err(failure) => findings.fail("summary", failure.of(route)),
    }
}

async fn account(
    config: &Config,
    login: Result<Account, LoginError>,
    findings: &mut Findings,
) -> Option<Account> {
    let homeserver = &config.matrix.homeserver;
    let advice = if config.matrix.is_here() && waiting::exists(CONDUIT_UNIT) {
        format!(": look at systemctl status {CONDUIT_UNIT}")
    } else {
        String::new()
    };
    let of = |error: MatrixError| Failure::Unavailable(format!("{homeserver}: {error}{advice}"));
    // This check does not need the homeserver.
    let (Login::Password { password: secret, .. } | Login::AccessToken(secret)) =
        &config.matrix.login;
    let secret = secret.read().map_err(|failure| findings.fail("login", failure));
    match account::versions(&config.matrix).await {
        Ok(versions) => {
            let newest = versions.last().map_or("no version", String::as_str);
            findings.ok("homeserver", format!("{homeserver} speaks Matrix up to {newest}"));
        }
        Err(error) => {
            findings.fail("homeserver", error.into_failure(of));
            end(login).await;
            return None;
        }
    }
    if secret.is_err() {
        end(login).await;
        return None;
    }
    match login {
        Ok(account) => {
            findings.ok("login", format!("as {}", account.user));
            Some(account)
        }
        Err(error) => {
            findings.fail("login", error.into_failure(of));
            None
        }
    }
}

/// Ends the session of a login that is not used.
async fn end(login: Result<Account, LoginError>) {
    if let Ok(account) = login {
        account.log_out().await;
    }
}

async fn rooms(account: &Arc<Account>, route: &Route, findings: &mut Findings) {
    if let Some(target) = route.rooms.one() {
        return room(account, route, target, findings).await;
    }
    let (name, rooms) = (&route.name, &route.rooms);
    let limit = format!(
        "route {name}: {rooms} is known with the first message for each; at most {} are made within an hour",
        route.new_rooms_per_hour
    );
    let Some(fallback) = &route.fallback_room else {
        let what = format!(
            "{limit}, and what is for others is a dead letter: a `fallback_room` of the route would show it"
        );
        return findings.note("room", what);
    };
    findings.note("room", format!("{limit}, and what is for others goes to {fallback}"));
    room(account, route, fallback, findings).await;
}

async fn room(account: &Arc<Account>, route: &Route, target: &RoomTarget, findings: &mut Findings) {
    let (name, user) = (&route.name, &account.user);
    let unavailable =
        |error: MatrixError| Failure::Unavailable(format!("room {target}: {error}")).of(route);
    let id = match resolve(account, target).await {
        Ok(Some(id)) => id,
        Ok(None) if is_ours(account, target) => {
            let free =
                format!("route {name}: {target} is free, and will be made at the first start");
            if route.invite.is_empty() {
                let what = format!(
                    "{free} with nobody in it: is the alias right? If so, name people in `invite` of the route"
                );
                return findings.note("room", what);
            }
            return findings.ok("room", free);
        }
        Ok(None) => {
            let what = format!("there is no room {target}: correct `room` of the route");
            return findings.fail("room", Failure::Config(what).of(route));
        }
        Err(error) => return findings.fail("room", unavailable(error)),
    };
    let room = Room::new(Arc::clone(account), id);
    moved(&room, route, target, findings).await;
    match room.standing().await {
        Ok(Membership::NotJoined) => {
            let what = format!(
                "{user} is not in room {target} yet: start the bridge, which joins if it is invited or the room is public; \
                 else invite {user}"
            );
            findings.note("room", format!("route {name}: {what}"));
        }
        Ok(Membership::NoPower { have, need }) => {
            let what = format!(
                "{user} has power level {have} in room {target}, but needs {need} to post: raise it in the room's settings"
            );
            findings.fail("power", Failure::Config(what).of(route));
        }
        Ok(Membership::MayPost) => match room.is_encrypted().await {
            Ok(false) => {
                let whose = whose(&room).await;
                findings.ok("room", format!("route {name}: {user} may post into {target}{whose}"));
                mentioned(&room, route, findings).await;
                offered(&room, route, findings).await;
            }
            Ok(true) => findings.fail("room", Failure::Encrypted(encrypted(target)).of(route)),
            Err(error) => findings.fail("room", unavailable(error)),
        },
        Err(error) => findings.fail("room", unavailable(error)),
    }
}

/// Reports that a room is replaced, or that its alias has led to another one.
async fn moved(room: &Room, route: &Route, target: &RoomTarget, findings: &mut Findings) {
    let name = &route.name;
    if let Ok(Some(replacement)) = room.replacement().await {
        let what = format!(
            "{target} {replacement}: the bridge posts there if it is let in: invite {} if it is not",
            room.account().user
        );
        return findings.note("room", format!("route {name}: {what}"));
    }
    let Ok(alias) = <&RoomAliasId>::try_from(&**target) else { return };
    let remembered = Remembered::of(route, room.account().state_dir());
    if let Some(before) = remembered.room_of(alias).filter(|before| before.room != room.id()) {
        let what = format!(
            "{target} leads to room {} now, and led to {} before: the bridge follows it if the same people have made \
             both, or if the one before says that it was replaced; else only when {} is removed",
            room.id(),
            before.room,
            remembered.file()
        );
        findings.note("room", format!("route {name}: {what}"));
    }
}

/// Returns the creator of a room, which its alias does not show, in words that follow the room's name.
async fn whose(room: &Room) -> String {
    let Ok(ownership) = room.ownership().await else { return String::new() };
    let creators: Vec<&str> = ownership.creators().map(|user| user.as_str()).collect();
    if creators.is_empty() { String::new() } else { format!(", made by {}", creators.join(", ")) }
}

/// Reports whether the homeserver tells the bridge what people answer.
async fn answers(account: &Account, routes: &[Route], findings: &mut Findings) {
    let names = routes.iter().filter(|route| route.answers.is_some());
    let names: Vec<&str> = names.map(|route| route.name.as_str()).collect();
    if names.is_empty() {
        return;
    }
    match sync(account, None, &BTreeSet::new(), Duration::ZERO, |_, _| {}).await {
        Ok(_) => {
            let names = names.join(", ");
            findings.ok("answers", format!("people may answer alerts of {names}"));
        }
        Err(error) => {
            let what = format!("the homeserver does not tell what people answer: {error}");
            findings.fail("answers", Failure::Unavailable(what));
        }
    }
}

/// Reports that the bridge may not put reactions on alerts, and people who may answer and are not in the room.
async fn offered(room: &Room, route: &Route, findings: &mut Findings) {
    let Some(answers) = &route.answers else { return };
    if answers.offer
        && let Ok(Membership::NoPower { have, need }) = room.standing_for("m.reaction").await
    {
        let what = format!(
            "route {}: we have power level {have}, but need {need} to offer reactions: raise it in the room's settings, or set \
             offer = false",
            route.name
        );
        findings.note("answers", what);
    }
    for user in &answers.people {
        if matches!(room.has(user).await, Ok(false)) {
            let what = format!(
                "route {}: {user} may answer alerts, and is not in the room: correct `people`, or invite them",
                route.name
            );
            findings.note("answers", what);
        }
    }
}

/// Reports users whom the route mentions and who are not in the room.
async fn mentioned(room: &Room, route: &Route, findings: &mut Findings) {
    for user in &route.mention {
        if matches!(room.has(user).await, Ok(false)) {
            let what = format!(
                "route {}: critical alerts mention {user}, who is not in the room: correct `mention`, or invite them",
                route.name
            );
            findings.note("mention", what);
        }
    }
}

impl Failure {
    pub(super) fn of(self, route: &Route) -> Self {
        self.under(&format!("route {}: ", route.name))
    }
}

/// Prints the findings as they come, and remembers the first failure for the exit code.
#[derive(Default)]
struct Findings {
    failure: Option<Failure>,
}

impl Findings {
    #[expect(clippy::unused_self, reason = "reads like its siblings")]
    fn ok(&mut self, step: &str, text: impl Display) {
        Self::line("ok", step, text);
    }

    #[expect(clippy::unused_self, reason = "reads like its siblings")]
    fn note(&mut self, step: &str, text: impl Display) {
        Self::line("note", step, text);
    }

    fn fail(&mut self, step: &str, failure: Failure) {
        Self::line("FAIL", step, &failure);
        self.failure.get_or_insert(failure);
    }

    fn line(mark: &str, step: &str, text: impl Display) {
        // A text from a server or a stream can have several lines, none of which may look like a finding.
        let text = text::clean(&text.to_string()).replace('\n', &format!("\n{:18}", ""));
        crate::cli::common::print(&format!("{mark:<5} {step:<11} {text}"));
    }

    fn end(self) -> ExitCode {
        if self.failure.is_some() {
            Self::line("see", "book", format!("{} explains each FAIL", book::troubleshooting()));
        }
        self.failure.as_ref().map_or(ExitCode::SUCCESS, ExitCode::from)
    }
}
