//! The setup that the bridge runs with: a configuration with its templates and connections. On a reload the next one
//! replaces it, if it is valid.

use std::{cell::OnceCell, path::Path, rc::Rc, sync::Arc};

use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    config::{self, Config},
    decode::Library,
    failure::{AttemptError, Failure},
    matrix::{Account, LoginError, account},
    nats::Nats,
    render::{Parsed, Renderer},
    run::{
        patience::{Trouble, patiently},
        refusal::Refusals,
    },
    status::{Health, Outage, State},
};

/// An accepted configuration, and what was made from it.
pub(crate) struct Setup {
    pub(crate) config: Config,
    /// The renderer of each route; `None` if its templates were refused, in which case loading them is retried.
    pub(crate) renderers: Vec<Option<Arc<Renderer>>>,
    /// The users' own shapes.
    pub(crate) library: Arc<Library>,
    nats: OnceCell<Made<Nats>>,
    account: OnceCell<Made<Arc<Account>>>,
    /// The failure of the later configuration that this one has replaced, if any.
    pub(crate) refused: Option<Failure>,
    /// The refusals by NATS, as far as they are known.
    pub(super) refusals: Refusals,
}

/// A connection, and the fingerprint of its configuration if all files could be read.
#[derive(Clone)]
struct Made<T> {
    by: Option<[u8; 32]>,
    it: T,
}

impl Setup {
    /// Reads the configuration and its templates at the start. Invalid templates of one route do not keep the others
    /// from running.
    ///
    /// # Errors
    ///
    /// [`Failure::Config`] if the configuration is invalid, or the templates of all routes are: then nothing could run,
    /// and whoever starts the bridge should know at once.
    pub(crate) fn begin(file: &Path) -> Result<Self, Failure> {
        let config = Config::load(file)?;
        let library = Arc::new(Library::load(&config.routes)?);
        let (mut renderers, mut refused) = (Vec::new(), None);
        let mut parsed = Parsed::default();
        for route in &config.routes {
            match Renderer::of(route, &mut parsed) {
                Ok(renderer) => renderers.push(Some(Arc::new(renderer))),
                Err(failure) => {
                    renderers.push(None);
                    refused.get_or_insert(failure);
                }
            }
        }
        match refused {
            Some(failure) if renderers.iter().all(Option::is_none) => Err(failure),
            _ => Ok(Self::of(config, renderers, library)),
        }
    }

    /// Reads the configuration and its templates on a reload.
    ///
    /// # Errors
    ///
    /// [`Failure::Config`] if anything in either is invalid.
    fn load(file: &Path) -> Result<Self, Failure> {
        let config = Config::load(file)?;
        let library = Arc::new(Library::load(&config.routes)?);
        let mut parsed = Parsed::default();
        let renderer = |route| Renderer::of(route, &mut parsed).map(|it| Some(Arc::new(it)));
        let renderers = config.routes.iter().map(renderer).collect::<Result<_, _>>()?;
        Ok(Self::of(config, renderers, library))
    }

    /// Makes the next setup from the present content of the files, while this one is still in use. Connections whose
    /// settings have not changed are kept.
    ///
    /// A server that cannot be reached is waited for, as at the start, unless the present configuration can reach its
    /// own: then a wrong address is more likely, and an outage would help nobody.
    ///
    /// # Errors
    ///
    /// The reason for the refusal: the configuration, a template or a secret is invalid, or a server rejects the
    /// bridge.
    pub(crate) async fn next(&self, file: &Path) -> Result<Rc<Self>, Failure> {
        let mut next = Self::load(file)?;
        if next.config.nats.hosts() == self.config.nats.hosts() {
            next.refusals = self.refusals.clone();
        }
        let (nats, matrix) = (next.config.nats.fingerprint()?, next.config.matrix.fingerprint()?);
        next.nats = filled(self.next_nats(&next.config.nats, nats).await?);
        // Last, because a new login replaces the stored session.
        next.account = filled(self.next_account(&next.config.matrix, matrix).await?);
        Ok(Rc::new(next))
    }

    /// Returns the same configuration without its connections.
    pub(crate) fn apart(&self) -> Self {
        let refusals = self.refusals.clone();
        Self {
            refusals,
            ..Self::of(self.config.clone(), self.renderers.clone(), Arc::clone(&self.library))
        }
    }

    /// Returns the same setup without its connection to NATS.
    pub(crate) fn reconnected(&self) -> Self {
        let refused = self.refused.clone();
        Self { account: self.account.clone(), refused, ..self.apart() }
    }

    /// Returns the same setup without its connection to NATS, which has refused the bridge.
    pub(crate) fn refused_by_nats(&self, reason: &str) -> Self {
        self.refusals.note(reason);
        self.reconnected()
    }

    /// Notes that NATS has accepted the bridge.
    pub(super) fn accepted_by_nats(&self) {
        self.refusals.accepted(&self.config);
    }

    /// Whether NATS has accepted the bridge, in this process or before.
    pub(super) fn was_accepted_by_nats(&self) -> bool {
        self.refusals.was_accepted(&self.config)
    }

    /// Returns this setup for use after a later one failed with `failure`.
    pub(crate) fn instead_of(self, failure: Failure) -> Self {
        Self { refused: Some(failure), ..self }
    }

    fn of(config: Config, renderers: Vec<Option<Arc<Renderer>>>, library: Arc<Library>) -> Self {
        let (nats, account) = (OnceCell::new(), OnceCell::new());
        let refusals = Refusals::default();
        Self { config, renderers, library, nats, account, refused: None, refusals }
    }

    /// Returns the connection to NATS, and waits for it if there is none. Returns `None` if the bridge is told to stop
    /// first. Once NATS has accepted the bridge, a refusal is waited for to end, too: it may come from a server that is
    /// configured wrongly, or from somebody else in its place.
    ///
    /// # Errors
    ///
    /// The errors of [`Nats::connect`].
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
        let mut refusal = self.refusals.present();
        let connect = async || {
            if let Some(reason) = refusal.take() {
                return Err(Trouble::Refused(reason));
            }
            match Nats::connect(config).await {
                Err(Failure::RefusedByNats(reason)) if self.was_accepted_by_nats() => {
                    self.refusals.note(&reason);
                    Err(Trouble::Refused(reason))
                }
                connected => connected.map_err(|failure| AttemptError::of(failure).into()),
            }
        };
        let outage = Outage::of("NATS", health.condition(None));
        let nats = patiently(outage, State::NatsUnreachable, stop, connect).await?;
        let Some(it) = nats else { return Ok(None) };
        self.refusals.over();
        info!("connected to NATS ({})", it.client.server_info().server_name);
        Ok(Some(self.nats.get_or_init(|| Made { by, it }).it.clone()))
    }

    /// Returns the account on the homeserver, in the same way.
    ///
    /// # Errors
    ///
    /// The errors of [`Account::open`].
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
            Err(LoginError::Permanent(failure)) => Err(failure),
            Err(LoginError::Transient(error)) => {
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
