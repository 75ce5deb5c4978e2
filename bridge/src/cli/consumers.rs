//! `nats-matrix consumers`: lists the durable consumers of the bridge, and renames them.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use clap::Subcommand;
use futures_util::TryStreamExt;
use matrix_sdk::ruma::OwnedUserId;
use tokio::time::timeout;

use crate::{
    cli::common::{ConfigFile, block_on, print},
    config::{Config, Route},
    failure::{Failure, chain},
    matrix::{Account, MatrixError},
    nats::Nats,
    reserved::DEFERRED_STREAM,
    source::{
        Feed, Problem, consumer,
        identity::{self, Names, Owner},
        rename::{Renamed, rename},
    },
};

/// The time to wait for the list of all consumers of a stream. The permission for it may be missing.
const UNASKED: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    config: ConfigFile,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Give a consumer that is named just like its route a name that no other site has.
    ///
    /// NATS cannot rename a consumer, so a new one is created that begins with the first message that is not
    /// acknowledged, and then the old one is deleted. No message is lost or shown twice. A bridge that runs meanwhile
    /// notices, and goes on with the new one.
    Move {
        /// The route. All of them if it is omitted.
        #[arg(long, value_name = "NAME")]
        route: Option<String>,
    },
}

pub(super) fn main(options: &Options) -> Result<(), Failure> {
    let config = Config::load(&options.config.config)?;
    block_on(online(options, config))?
}

async fn online(options: &Options, config: Config) -> Result<(), Failure> {
    let routes: Vec<Arc<Route>> = config.routes.iter().cloned().map(Arc::new).collect();
    let nats = Nats::connect(&config.nats).await?;
    let user = user(&config).await?;
    let work = async {
        match &options.action {
            None => list(&nats, &routes, &user).await,
            Some(Action::Move { route }) => {
                move_all(&nats, &chosen(&routes, route.as_deref())?, &user).await
            }
        }
    };
    tokio::select! {
        biased;
        failure = nats.refused(None) => Err(failure),
        done = work => done,
    }
}

/// Returns the bridge's own user, which is a part of the names of its consumers.
async fn user(config: &Config) -> Result<OwnedUserId, Failure> {
    let unavailable =
        |error: MatrixError| Failure::Unavailable(format!("{}: {error}", config.matrix.homeserver));
    let account = Account::open_briefly(config.matrix.clone()).await;
    let account = account.map_err(|error| error.into_failure(unavailable))?;
    let user = account.user.clone();
    account.log_out().await;
    Ok(user)
}

fn chosen(routes: &[Arc<Route>], name: Option<&str>) -> Result<Vec<Arc<Route>>, Failure> {
    let fits = |route: &&Arc<Route>| name.is_none_or(|name| route.name.as_str() == name);
    let chosen: Vec<_> = routes.iter().filter(fits).cloned().collect();
    if chosen.is_empty() {
        let names: Vec<&str> = routes.iter().map(|route| route.name.as_str()).collect();
        return Err(Failure::Config(format!(
            "there is no route \"{}\", only {}",
            name.unwrap_or_default(),
            names.join(", ")
        )));
    }
    Ok(chosen)
}

/// Returns the feeds of a route that may have a consumer.
async fn feeds(nats: &Nats, route: &Arc<Route>, user: &OwnedUserId) -> Vec<Feed> {
    let mut feeds = vec![Feed::live(route, user)];
    // Without the stream, or without the permission to ask for it, nothing was deferred.
    let deferred = timeout(UNASKED, nats.jetstream.get_stream(DEFERRED_STREAM)).await;
    if matches!(deferred, Ok(Ok(_))) {
        feeds.push(Feed::deferred(route, user));
    }
    feeds
}

async fn list(nats: &Nats, routes: &[Arc<Route>], user: &OwnedUserId) -> Result<(), Failure> {
    let mut streams: Vec<String> = Vec::new();
    for route in routes {
        for feed in feeds(nats, route, user).await {
            let line = line(nats, &feed).await.map_err(|problem| failure(&feed, problem))?;
            if let Some(line) = line {
                print(&line);
            }
            if !streams.iter().any(|stream| stream == feed.stream()) {
                streams.push(feed.stream().to_owned());
            }
        }
    }
    for stream in streams {
        for line in left_over(nats, &stream, routes, user).await {
            print(&line);
        }
    }
    Ok(())
}

/// Describes the consumer of a feed. Deferred messages without a consumer are not worth a line.
async fn line(nats: &Nats, feed: &Feed) -> Result<Option<String>, Problem> {
    let (route, stream) = (&feed.route.name, feed.stream());
    let found = consumer::find(nats, &consumer::stream(nats, stream).await?, feed).await?;
    let own = Names::of(feed, &identity::domain(nats, feed).await?).own;
    let Some(info) = found else {
        let line =
            format!("route {route}: {own} on stream {stream}, will be made at the first start");
        return Ok(Some(line).filter(|_| !feed.is_deferred()));
    };
    let waiting = info.num_pending + info.num_ack_pending as u64;
    let mut line =
        format!("route {route}: {} on stream {stream}, {waiting} messages wait", info.name);
    if info.name != own {
        // Writing to a String cannot fail.
        let _ = write!(line, "; nats-matrix consumers move --route {route} makes it {own}");
    }
    Ok(Some(line))
}

/// Describes the consumers that routes of this bridge have left, if the server lists them.
async fn left_over(
    nats: &Nats,
    name: &str,
    routes: &[Arc<Route>],
    user: &OwnedUserId,
) -> Vec<String> {
    let listed = async {
        let stream = nats.jetstream.get_stream(name).await.ok()?;
        stream.consumers().try_collect::<Vec<_>>().await.ok()
    };
    let all = timeout(UNASKED, listed).await.ok().flatten().unwrap_or_default();
    let is_left = |owner: &Owner| {
        owner.user == user.as_str()
            && !routes.iter().any(|route| route.name.as_str() == owner.route)
    };
    let line = |info: &async_nats::jetstream::consumer::Info| {
        let owner = Owner::of(info).filter(is_left)?;
        let (consumer, waiting) = (&info.name, info.num_pending + info.num_ack_pending as u64);
        Some(format!(
            "left by route {}: {consumer} on stream {name}, {waiting} messages wait; nats consumer rm {name} {consumer} \
             deletes it, and consumer = \"{consumer}\" gives it to another route",
            owner.route
        ))
    };
    all.iter().filter_map(line).collect()
}

async fn move_all(nats: &Nats, routes: &[Arc<Route>], user: &OwnedUserId) -> Result<(), Failure> {
    for route in routes {
        for feed in feeds(nats, route, user).await {
            let renamed = rename(nats, &feed).await.map_err(|problem| failure(&feed, problem))?;
            let (name, stream) = (&route.name, feed.stream());
            match renamed {
                Renamed::Done { from, to, waiting } => print(&format!(
                    "route {name}: consumer {from} on stream {stream} is now {to}, where {waiting} messages wait"
                )),
                Renamed::Already(own) => {
                    print(&format!("route {name}: consumer {own} on stream {stream} stays"));
                }
                Renamed::NoConsumer if feed.is_deferred() => {}
                Renamed::NoConsumer => {
                    print(&format!("route {name}: it has no consumer on stream {stream} yet"));
                }
            }
        }
    }
    Ok(())
}

fn failure(feed: &Feed, problem: Problem) -> Failure {
    let name = &feed.route.name;
    problem.into_failure(|error| Failure::Unavailable(format!("route {name}: {}", chain(&error))))
}
