//! `nats-matrix summary`: summarises a route's messages up to now.

use std::{path::PathBuf, sync::Arc};

use clap::ValueEnum;
use jiff::civil::Weekday;

use crate::{
    cli::common::{ConfigFile, block_on, fitting, names, print},
    config::{Config, Every, Route, Summary},
    decode::Library,
    failure::{Failure, chain},
    matrix::{Account, Entry, MatrixError, Room},
    nats::Nats,
    pipeline::Routing,
    summary::Summaries,
};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    config: ConfigFile,
    /// The route. May be omitted if there is only one.
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// The period to summarise, ending now. By default that of the route's own summaries, or else a day.
    #[arg(long, value_enum, value_name = "PERIOD")]
    of: Option<Span>,
    /// Write the picture to this file, as a PNG.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Post the summary to the route's room.
    #[arg(long)]
    post: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Span {
    Day,
    Week,
}

pub(super) fn main(options: &Options) -> Result<(), Failure> {
    let config = Config::load(&options.config.config)?;
    block_on(summarise(options, config))?
}

async fn summarise(options: &Options, config: Config) -> Result<(), Failure> {
    let library = Arc::new(Library::load(&config.routes)?);
    let routes: Arc<[Arc<Route>]> = config.routes.into_iter().map(Arc::new).collect();
    let route = chosen(&routes, options.route.as_deref())?;
    let summary = match options.of {
        Some(Span::Day) => Summary::DAILY,
        Some(Span::Week) => Summary { every: Every::Week(Weekday::Monday), ..Summary::DAILY },
        None => route.summary.unwrap_or(Summary::DAILY),
    };
    let nats = Nats::connect(&config.nats).await?;
    let routing = Routing::of(route, &routes, &config.nats.dead_letter_subject);
    let routing = routing.with_shapes(&library, route);
    let summaries = Summaries::of(Arc::clone(route), routing, nats.clone());
    let period = summaries.period_up_to_now(summary);
    let composed = tokio::select! {
        biased;
        failure = nats.refused(None) => return Err(failure),
        composed = summaries.compose(&period) => composed,
    };
    let composed = composed.map_err(|problem| {
        problem.into_failure(|error| Failure::Unavailable(chain(&error))).of(route)
    })?;
    let Some(composed) = composed else {
        // The stream was made just now, by a clock that is ahead of ours.
        print(&format!("Stream {} is new, so there is nothing to summarise yet", route.stream));
        return Ok(());
    };
    print(composed.plain());
    if let Some(file) = &options.output {
        let said = if composed.write(file)? {
            format!("\nThe picture is in {}", file.display())
        } else {
            "\nThere is no picture, as no host reported disk_percent or memory_percent".to_owned()
        };
        print(&said);
    }
    if options.post {
        let account = Account::open_briefly(config.matrix).await;
        let account = account.map_err(|error| error.into_failure(|error| unavailable(&error)))?;
        let account = Arc::new(account);
        let posted = post(&account, route, &summaries, &period, &composed).await;
        if let Some(account) = Arc::into_inner(account) {
            account.log_out().await;
        }
        posted?;
        print(&format!("\nPosted into {}", route.rooms));
    }
    Ok(())
}

fn chosen<'a>(routes: &'a [Arc<Route>], name: Option<&str>) -> Result<&'a Arc<Route>, Failure> {
    match fitting(routes, name)?[..] {
        [route] => Ok(route),
        _ => Err(Failure::Config(format!("choose a route with --route: {}", names(routes)))),
    }
}

async fn post(
    account: &Arc<Account>,
    route: &Route,
    summaries: &Summaries,
    period: &std::ops::Range<jiff::Timestamp>,
    composed: &crate::summary::Composed,
) -> Result<(), Failure> {
    let target = route.rooms.one().ok_or_else(|| {
        let what = format!(
            "route {} has more than one room, and --post needs a route with one",
            route.name
        );
        Failure::Config(what)
    })?;
    let entered = Room::enter(account, target).await.map_err(|error| unavailable(&error))?;
    let Entry::Joined(id) = entered else {
        return Err(Failure::Config(format!("route {}: there is no room {target}", route.name)));
    };
    let room = Room::new(Arc::clone(account), id);
    summaries.post(&room, period, composed).await.map_err(|error| unavailable(&error))
}

fn unavailable(error: &MatrixError) -> Failure {
    Failure::Unavailable(format!("homeserver: {error}"))
}
