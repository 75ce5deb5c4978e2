//! What the bridge works by: a configuration with its templates and connections, and the next one
//! that takes its place if nothing is wrong with it.

use std::{cell::OnceCell, path::Path, rc::Rc, sync::Arc};

use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    config::{self, Config},
    failure::Failure,
    matrix::{Account, LoginError, account},
    nats::Nats,
    render::Renderer,
    run::patience::{Trouble, patiently},
    status::{Health, Outage, State},
};

/// A configuration that was accepted, and what was made by it.
pub(crate) struct Setup {
    pub(crate) config: Config,
    /// Of each route; `None` if its templates were refused, which are then tried again.
    pub(crate) renderers: Vec<Option<Arc<Renderer>>>,
    nats: OnceCell<Made<Nats>>,
    account: OnceCell<Made<Arc<Account>>>,
    /// Why the one that came after it has given way to it.
    pub(crate) refused: Option<Failure>,
}

/// A connection, and the fingerprint of what it was made by, if all of that could be read.
#[derive(Clone)]
struct Made<T> {
    by: Option<[u8; 32]>,
    it: T,
}

impl Setup {
    /// Reads the configuration and its templates, to begin with. Templates of one route that are wrong do not keep the
    /// others from running.
    ///
    /// # Errors
    ///
    /// [`Failure::Config`] for what is wrong in the configuration, or with the templates of all routes: with nothing that
    /// could run, whoever starts it had better be told so at once.
    pub(crate) fn begin(file: &Path) -> Result<Self, Failure> {
        let config = Config::load(file)?;
        let (mut renderers, mut refused) = (Vec::new(), None);
        for route in &config.routes {
            match Renderer::of(route) {
                Ok(renderer) => renderers.push(Some(Arc::new(renderer))),
                Err(failure) => {
                    renderers.push(None);
                    refused.get_or_insert(failure);
                }
            }
        }
        match refused {
            Some(failure) if renderers.iter().all(Option::is_none) => Err(failure),
            _ => Ok(Self::of(config, renderers)),
        }
    }

    /// Reads the configuration and its templates, to take the place of one that works.
    ///
    /// # Errors
    ///
    /// [`Failure::Config`] for whatever is wrong in either.
    fn load(file: &Path) -> Result<Self, Failure> {
        let config = Config::load(file)?;
        let made = config.routes.iter().map(|route| Renderer::of(route).map(Arc::new).map(Some));
        let renderers = made.collect::<Result<_, _>>()?;
        Ok(Self::of(config, renderers))
    }

    /// What is to come after this, by what the files hold now. Connections that need not change are
    /// kept, others are made, while this one is still in force.
    ///
    /// A server that cannot be reached is waited for, as at the start, unless the one of this
    /// configuration can be: then a wrong address is more likely, and nothing is gained by an outage.
    ///
    /// # Errors
    ///
    /// Why it is refused: the configuration, a template or a secret is wrong, or a server refuses us.
    pub(crate) async fn next(&self, file: &Path) -> Result<Rc<Self>, Failure> {
        let mut next = Self::load(file)?;
        let (nats, matrix) = (next.config.nats.fingerprint()?, next.config.matrix.fingerprint()?);
        next.nats = filled(self.next_nats(&next.config.nats, nats).await?);
        // Last, because a new login replaces the session that is kept.
        next.account = filled(self.next_account(&next.config.matrix, matrix).await?);
        Ok(Rc::new(next))
    }

    /// The same configuration without its connections.
    pub(crate) fn apart(&self) -> Self {
        Self::of(self.config.clone(), self.renderers.clone())
    }

    /// The same without its connection to NATS.
    pub(crate) fn reconnected(&self) -> Self {
        let refused = self.refused.clone();
        Self { account: self.account.clone(), refused, ..self.apart() }
    }

    /// It is in force again, as the one that came after it has failed.
    pub(crate) fn instead_of(self, failure: Failure) -> Self {
        Self { refused: Some(failure), ..self }
    }

    fn of(config: Config, renderers: Vec<Option<Arc<Renderer>>>) -> Self {
        let (nats, account) = (OnceCell::new(), OnceCell::new());
        Self { config, renderers, nats, account, refused: None }
    }

    /// The connection to NATS, waited for if there is none. `None` if we were told to stop first.
    ///
    /// # Errors
    ///
    /// As of [`Nats::connect`].
    pub(crate) async fn nats(
        &self,
        health: &Health,
        stop: &CancellationToken,
    ) -> Result<Option<Nats>, Failure> {
        if let Some(made) = self.nats.get() {
            return Ok(Some(made.it.clone()));
        }
        let config = &self.config.nats;
        let by = config.fingerprint().ok();
        let connect = async || Nats::connect(config).await.map_err(Trouble::from);
        let outage = Outage::of("NATS", health.condition(None));
        let nats = patiently(outage, State::NatsUnreachable, stop, connect).await?;
        let Some(it) = nats else { return Ok(None) };
        info!("connected to NATS ({})", it.client.server_info().server_name);
        Ok(Some(self.nats.get_or_init(|| Made { by, it }).it.clone()))
    }

    /// The account on the homeserver, in the same way.
    ///
    /// # Errors
    ///
    /// As of [`Account::open`].
    pub(crate) async fn account(
        &self,
        health: &Health,
        stop: &CancellationToken,
    ) -> Result<Option<Arc<Account>>, Failure> {
        if let Some(made) = self.account.get() {
            return Ok(Some(Arc::clone(&made.it)));
        }
        let config = &self.config.matrix;
        let by = config.fingerprint().ok();
        let what = format!("homeserver {}", config.homeserver);
        let open = async || Account::open(config.clone()).await.map_err(Trouble::from);
        let outage = Outage::of(&what, health.condition(None));
        let account = patiently(outage, State::HomeserverUnreachable, stop, open).await?;
        let Some(account) = account else { return Ok(None) };
        info!("logged in to {what} as {}", account.user);
        let made = self.account.get_or_init(|| Made { by, it: Arc::new(account) });
        Ok(Some(Arc::clone(&made.it)))
    }

    async fn next_nats(
        &self,
        config: &config::Nats,
        fingerprint: [u8; 32],
    ) -> Result<Option<Made<Nats>>, Failure> {
        let present = self.nats.get();
        if let Some(made) =
            present.filter(|made| made.by == Some(fingerprint) && !made.it.is_gone())
        {
            return Ok(Some(made.clone()));
        }
        let is_connected = present.is_some_and(|made| made.it.is_connected());
        match Nats::connect(config).await {
            Ok(it) => Ok(Some(Made { by: Some(fingerprint), it })),
            Err(Failure::Unavailable(_)) if !is_connected => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    async fn next_account(
        &self,
        config: &config::Matrix,
        fingerprint: [u8; 32],
    ) -> Result<Option<Made<Arc<Account>>>, Failure> {
        let present = self.account.get();
        if let Some(made) = present.filter(|made| made.by == Some(fingerprint)) {
            return Ok(Some(made.clone()));
        }
        match Account::open(config.clone()).await {
            Ok(account) => Ok(Some(Made { by: Some(fingerprint), it: Arc::new(account) })),
            Err(LoginError::Final(failure)) => Err(failure),
            Err(LoginError::Passing(error)) => {
                if present.is_none() || account::versions(&self.config.matrix).await.is_err() {
                    return Ok(None);
                }
                Err(Failure::Unavailable(format!("homeserver {}: {error}", config.homeserver)))
            }
        }
    }
}

fn filled<T>(value: Option<T>) -> OnceCell<T> {
    value.map_or_else(OnceCell::new, OnceCell::from)
}
