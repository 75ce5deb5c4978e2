//! Requests to the homeserver and its answers, which are kept in memory only up to a limit.
//!
//! A program in the homeserver's place, and any member who writes into a room, can influence how long an answer is.

use std::{borrow::Cow, collections::BTreeSet, fmt, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use matrix_sdk::{
    HttpError,
    reqwest::{self, Certificate, Response},
    ruma::{
        OwnedDeviceId, OwnedUserId,
        api::{
            IncomingResponse, OutgoingRequest, SupportedVersions,
            auth_scheme::{AuthScheme, SendAccessToken},
            client::{
                discovery::get_supported_versions,
                uiaa::{UiaaInfo, UiaaResponse},
            },
            error::ErrorKind,
            path_builder::{PathBuilder, SinglePath, VersionHistory},
        },
        exports::http,
    },
};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};
use zeroize::Zeroizing;

use crate::{
    config,
    failure::{Failure, chain},
    matrix::{elements::Elements, error::MatrixError, neighbour::Guard, resolver::Resolver},
};

/// Builds the HTTP client for a homeserver's API. Redirects are off, as they would carry our access token elsewhere;
/// compression is off, as with answers of fifty bytes it only costs time on both sides.
pub(crate) fn http_client(config: &config::Matrix) -> Result<reqwest::Client, Failure> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("nats-matrix/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(MOST_IDLE)
        .no_gzip();
    if let Some(path) = &config.ca_file {
        let wrong =
            |what: String| Failure::Config(format!("matrix.ca_file: {}: {what}", path.display()));
        let pem = std::fs::read(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
        let certificates =
            Certificate::from_pem_bundle(&pem).map_err(|error| wrong(chain(&error)))?;
        for certificate in certificates {
            builder = builder.add_root_certificate(certificate);
        }
    }
    if let Some(guard) = Guard::of(config) {
        if config.is_here() {
            builder = builder.dns_resolver(Resolver::of(&guard));
        }
        builder = guard.on(builder);
    }
    if config.homeserver.scheme() == "http" {
        // The system's CAs are not loaded: a small machine may have none, and loading them takes time.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|error| {
        Failure::Config(format!(
            "matrix: no HTTPS client: {}. Install the system's CA certificates (on Debian the package \
             ca-certificates), or set matrix.ca_file",
            chain(&error)
        ))
    })
}

/// The number of connections that are kept for further requests. Each has buffers of about 20 kB.
const MOST_IDLE: usize = 16;

/// The time limit of a request with its answer. It is long because a homeserver that is still busy with the request
/// must not get it a second time.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);

/// The longest answer that is kept in memory, in bytes. One event can take about 200 kB of it: the event itself, and
/// the related events that a homeserver adds.
pub(crate) const LONGEST_ANSWER: usize = 1024 * 1024;

/// The longest answer that is read piece by piece, in bytes: the state of a room with a hundred thousand members, or
/// what has happened in very many rooms.
const LONGEST_STATE: usize = 64 * 1024 * 1024;

/// The length in bytes above which an answer is only read further while fewer than [`LONG_AT_ONCE`] others are.
const SHORT: usize = 64 * 1024;

/// The number of long answers in memory at the same time, for all routes together.
const LONG_AT_ONCE: usize = 4;

/// An account with its own device and access token.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// The homeserver that issued the token.
    pub(crate) homeserver: String,
    pub(crate) user_id: OwnedUserId,
    pub(crate) device_id: OwnedDeviceId,
    pub(crate) access_token: Zeroizing<String>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on device {}", self.user_id, self.device_id)
    }
}

/// The connection to one homeserver, for an account or anonymous.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    http: reqwest::Client,
    homeserver: String,
    identity: Option<Arc<Identity>>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The versions of the API that the homeserver supports.
    versions: OnceCell<SupportedVersions>,
    long: Semaphore,
}

/// The reason why a request has no result.
#[derive(Debug, Error)]
pub(crate) enum RequestError {
    /// The answer is longer than this number of bytes.
    #[error("the answer has more than {0} bytes")]
    TooLong(usize),
    /// The answer is not an array, or an incomplete one.
    #[error("the answer is not the requested list")]
    NoArray,
    /// The answer is no JSON document, an incomplete one, or one without what it has to have.
    #[error("the answer is not a whole document")]
    NotWhole,
    /// There is no answer, or it is a refusal.
    #[error(transparent)]
    Http(Box<HttpError>),
}

impl RequestError {
    /// The homeserver's error code, if it has refused the request.
    pub(crate) fn kind(&self) -> Option<&ErrorKind> {
        let Self::Http(error) = self else { return None };
        error.client_api_error_kind()
    }

    /// The authentication that the homeserver asks for before it accepts the request.
    pub(crate) fn asks_for_proof(&self) -> Option<&UiaaInfo> {
        let Self::Http(error) = self else { return None };
        error.as_uiaa_response()
    }
}

impl From<HttpError> for RequestError {
    fn from(error: HttpError) -> Self {
        Self::Http(Box::new(error))
    }
}

impl From<reqwest::Error> for RequestError {
    fn from(error: reqwest::Error) -> Self {
        HttpError::from(error).into()
    }
}

impl From<RequestError> for MatrixError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::TooLong(limit) => Self::TooLong { megabytes: limit >> 20 },
            RequestError::NoArray => {
                Self::Unreachable("answers with something other than the requested list".to_owned())
            }
            RequestError::NotWhole => Self::Unreachable("answers incompletely".to_owned()),
            RequestError::Http(error) => (*error).into(),
        }
    }
}

/// The way to find the path of a request.
pub(crate) trait Path: PathBuilder {
    /// Whether the path depends on the versions that the homeserver supports.
    const IS_VERSIONED: bool;

    fn input(versions: &SupportedVersions) -> Self::Input<'_>;
}

impl Path for VersionHistory {
    const IS_VERSIONED: bool = true;

    fn input(versions: &SupportedVersions) -> Cow<'_, SupportedVersions> {
        Cow::Borrowed(versions)
    }
}

impl Path for SinglePath {
    const IS_VERSIONED: bool = false;

    fn input(_: &SupportedVersions) {}
}

/// A request that a [`Session`] can make.
pub(crate) trait Request:
    OutgoingRequest<
        EndpointError: Into<UiaaResponse>,
        Authentication: for<'a> AuthScheme<Input<'a> = SendAccessToken<'a>>,
        PathBuilder: Path,
    >
{
}

impl<R> Request for R where
    R: OutgoingRequest<
            EndpointError: Into<UiaaResponse>,
            Authentication: for<'a> AuthScheme<Input<'a> = SendAccessToken<'a>>,
            PathBuilder: Path,
        >
{
}

impl Session {
    /// Creates an anonymous session, without a request to the homeserver.
    ///
    /// # Errors
    ///
    /// [`Failure::Config`] if no HTTP client can be made with this configuration.
    pub(crate) fn anonymous(config: &config::Matrix) -> Result<Self, Failure> {
        Ok(Self {
            http: http_client(config)?,
            homeserver: config.homeserver.to_string(),
            identity: None,
            shared: Arc::new(Shared {
                versions: OnceCell::new(),
                long: Semaphore::new(LONG_AT_ONCE),
            }),
        })
    }

    /// Returns the same session for an account.
    pub(crate) fn of(self, identity: Identity) -> Self {
        Self { identity: Some(Arc::new(identity)), ..self }
    }

    /// The account, unless the session is anonymous.
    pub(crate) fn identity(&self) -> Option<&Identity> {
        self.identity.as_deref()
    }

    /// Makes one attempt at a request.
    ///
    /// # Errors
    ///
    /// [`RequestError::TooLong`] for an answer of more than [`LONGEST_ANSWER`].
    pub(crate) async fn send<R: Request>(
        &self,
        request: R,
    ) -> Result<R::IncomingResponse, RequestError> {
        let request = self.prepare(request).await?;
        self.answer::<R>(request.map(BytesMut::freeze)).await
    }

    /// Makes one attempt at a request whose body is replaced by `bytes`, without copying them.
    ///
    /// # Errors
    ///
    /// The errors of [`Session::send`].
    pub(crate) async fn send_bytes<R: Request>(
        &self,
        request: R,
        bytes: Bytes,
    ) -> Result<R::IncomingResponse, RequestError> {
        let request = self.prepare(request).await?;
        self.answer::<R>(request.map(|_| bytes)).await
    }

    /// Makes one attempt at a request that returns an array, and passes its elements to `take` one by one. An element
    /// that is longer than any event can be is left out.
    ///
    /// # Errors
    ///
    /// The errors of [`Session::send`], but with a higher limit, because the answer is read piece by piece.
    pub(crate) async fn send_for_each<R: Request>(
        &self,
        request: R,
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), RequestError> {
        let mut elements = Elements::default();
        self.send_in_pieces(request, |piece| elements.feed(piece, &mut take)).await?;
        if elements.are_whole() { Ok(()) } else { Err(RequestError::NoArray) }
    }

    /// Makes one attempt at a request, and passes the pieces of its answer to `take` as they come.
    ///
    /// # Errors
    ///
    /// The errors of [`Session::send`], but with a higher limit.
    pub(super) async fn send_in_pieces<R: Request>(
        &self,
        request: R,
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), RequestError> {
        let request = self.prepare(request).await?;
        let mut response = self.execute(request.map(BytesMut::freeze)).await?;
        if !response.status().is_success() {
            return self.understand::<R>(response).await.map(drop);
        }
        let mut length = 0_usize;
        while let Some(chunk) = response.chunk().await? {
            length = length.saturating_add(chunk.len());
            if length > LONGEST_STATE {
                return Err(RequestError::TooLong(LONGEST_STATE));
            }
            take(&chunk);
        }
        Ok(())
    }

    async fn prepare<R: Request>(
        &self,
        request: R,
    ) -> Result<http::Request<BytesMut>, RequestError> {
        let none = SupportedVersions { versions: BTreeSet::new(), features: BTreeSet::new() };
        let versions = if R::PathBuilder::IS_VERSIONED { self.versions().await? } else { &none };
        let token = self.identity().map_or(SendAccessToken::None, |identity| {
            SendAccessToken::IfRequired(&identity.access_token)
        });
        let path = R::PathBuilder::input(versions);
        request
            .try_into_http_request(&self.homeserver, token, path)
            .map_err(|error| HttpError::IntoHttp(error).into())
    }

    /// Returns the versions of the API that the homeserver supports. It is asked only once.
    async fn versions(&self) -> Result<&SupportedVersions, RequestError> {
        let ask = async || {
            let request = get_supported_versions::Request::new();
            let answer = Box::pin(self.send(request)).await?;
            Ok(answer.as_supported_versions())
        };
        self.shared.versions.get_or_try_init(ask).await
    }

    async fn execute(&self, request: http::Request<Bytes>) -> Result<Response, RequestError> {
        let mut request = reqwest::Request::try_from(request)?;
        *request.timeout_mut() = Some(REQUEST_TIMEOUT);
        Ok(self.http.execute(request).await?)
    }

    async fn answer<R: Request>(
        &self,
        request: http::Request<Bytes>,
    ) -> Result<R::IncomingResponse, RequestError> {
        let response = self.execute(request).await?;
        self.understand::<R>(response).await
    }

    async fn understand<R: Request>(
        &self,
        mut response: Response,
    ) -> Result<R::IncomingResponse, RequestError> {
        let mut answer = http::Response::new(Vec::new());
        *answer.status_mut() = response.status();
        *answer.headers_mut() = std::mem::take(response.headers_mut());
        // The permit is held until the answer is parsed, as parsing takes memory again.
        let _permit = read(response, answer.body_mut(), &self.shared.long).await?;
        R::IncomingResponse::try_from_http_response(answer)
            .map_err(|error| HttpError::from(error.map(Into::<UiaaResponse>::into)).into())
    }
}

/// Reads an answer to its end.
///
/// # Errors
///
/// [`RequestError::TooLong`] as soon as the length is known to exceed the limit.
pub(crate) async fn read<'a>(
    mut response: Response,
    body: &mut Vec<u8>,
    long: &'a Semaphore,
) -> Result<Option<SemaphorePermit<'a>>, RequestError> {
    let is_too_long = |length: usize| length > LONGEST_ANSWER;
    let declared = response.content_length().unwrap_or_default();
    if is_too_long(usize::try_from(declared).unwrap_or(usize::MAX)) {
        return Err(RequestError::TooLong(LONGEST_ANSWER));
    }
    let mut permit = None;
    while let Some(chunk) = response.chunk().await? {
        let length = body.len().saturating_add(chunk.len());
        if is_too_long(length) {
            return Err(RequestError::TooLong(LONGEST_ANSWER));
        }
        if length > SHORT && permit.is_none() {
            // Acquiring cannot fail, as the semaphore is never closed.
            permit = long.acquire().await.ok();
        }
        body.extend_from_slice(&chunk);
    }
    Ok(permit)
}
