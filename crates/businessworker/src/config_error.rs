//! Why a worker's configuration cannot work. Each error is one line that begins with the
//! key, as [`Config::validate`](crate::Config::validate) returns it.

use gatewayworker_daemon::AddressError;
use gatewayworker_net::LinkTlsError;

use crate::{BoxError, ClientCallsConfigError, EventsConfigError};

/// A value in a worker's configuration that cannot work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// `name` is empty.
    #[error("name: must not be empty")]
    EmptyName,
    /// `register_address` is empty.
    #[error("register_address: must name a register")]
    NoRegister,
    /// An address in `register_address` has no port.
    #[error("register_address: \"{0}\" is not host:port")]
    RegisterAddress(String),
    /// `concurrency` is 0.
    #[error("concurrency: must be at least 1")]
    NoConcurrency,
    /// `threads` is over 1024.
    #[error("threads = {0}: at most 1024")]
    TooManyThreads(usize),
    /// `question_timeout_ms` is 0.
    #[error("question_timeout_ms: must be at least 1")]
    NoQuestionTimeout,
    /// `link_ping_interval_ms` is 0.
    #[error("link_ping_interval_ms: must be at least 1")]
    NoLinkPingInterval,
    /// `link_timeout_ms` is less than two intervals.
    #[error("link_timeout_ms: {timeout_ms} is less than twice link_ping_interval_ms = {interval_ms}")]
    ShortLinkTimeout {
        /// `link_timeout_ms`.
        timeout_ms: u64,
        /// `link_ping_interval_ms`.
        interval_ms: u64,
    },
    /// `metrics_listen` is not an address with a port.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// `admin` cannot work.
    #[error(transparent)]
    Admin(#[from] gatewayworker_admin::ConfigError),
    /// `link_tls` cannot work.
    #[error(transparent)]
    LinkTls(#[from] LinkTlsError),
    /// `federation` is set without `cluster_name`.
    #[error("cluster_name: federation needs a name for this cluster")]
    NoClusterName,
    /// This key is set without `federation`.
    #[error("{0}: it is of no use without federation: set federation too, or remove it")]
    WithoutFederation(&'static str),
    /// One of the two is set without the other.
    #[error("federation_certificate and federation_certificate_key belong together: set both or none")]
    FederationCertificate,
    /// `federation` cannot work.
    #[error(transparent)]
    Federation(BoxError),
    /// The program was built without the cargo feature `federation`.
    #[error("federation: this program was built without it: build it with `--features federation`")]
    NoFederation,
    /// `client_calls` cannot work.
    #[error(transparent)]
    ClientCalls(#[from] ClientCallsConfigError),
    /// `history` cannot work.
    #[error(transparent)]
    History(#[from] gatewayworker_history::Error),
    /// `events` cannot work.
    #[error(transparent)]
    Events(#[from] EventsConfigError),
    /// `handler_timeout_ms` is set with `events.url`.
    #[error(
        "handler_timeout_ms: must be 0 with events.url: a handler waits as long as the backend is away. The limit of a \
         request is events.timeout_ms"
    )]
    HandlerTimeoutWithEvents,
    /// A key for calls over HTTP cannot work.
    #[error(transparent)]
    Http(BoxError),
}
