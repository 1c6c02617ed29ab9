//! The errors of a gateway that cannot start, or cannot go on.

use std::io;

use gatewayworker_daemon::{AddressError, BindError, ExposureError, ListenerError};

use crate::config::{ConfigError, NoLanIp};

/// The error of a gateway that cannot start, or cannot go on. Each is one line that says what happened
/// and, where something can be done, what.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot work, or a file that it names is missing or invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address does not resolve.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// An address cannot be bound, or the socket that a service manager has passed for it is of no use.
    #[error(transparent)]
    Listen(#[from] ListenerError),
    /// The address for workers cannot be found out.
    #[error(transparent)]
    NoLanIp(#[from] NoLanIp),
    /// The inner port would be open to everybody: not on loopback, without a `secret_key`.
    #[error(transparent)]
    Exposed(#[from] ExposureError),
    /// `metrics_listen` cannot be listened on.
    #[error(transparent)]
    Metrics(#[from] BindError),
    /// The spans of traced events cannot be exported.
    #[cfg(feature = "otel")]
    #[error(transparent)]
    Otel(#[from] gatewayworker_otel::SetupError),
    /// The limit on open files leaves next to no room for connections.
    #[error(
        "the limit on open files is {limit}, and {reserved} of them are taken or set aside for the gateway itself: \
         raise it to {required} at least (ulimit -n), better to thousands"
    )]
    OpenFiles {
        /// The limit.
        limit: usize,
        /// The files that are open already or that the gateway reserves for itself.
        reserved: usize,
        /// The lowest limit with which a gateway starts.
        required: usize,
    },
    /// The number of bound listeners is not that of [`Config::listen`](crate::Config::listen).
    #[error("as many listeners are to be bound as listen has")]
    ListenerCount,
    /// The system does not tell the address of a bound socket.
    #[error("a listener has no address: {0}")]
    LocalAddress(io::Error),
    /// A shard's thread cannot be started.
    #[error("cannot start shard {index} of {shards}: {error}")]
    StartShard {
        /// The index of the shard.
        index: usize,
        /// The number of shards.
        shards: usize,
        /// Why the system did not start it.
        error: io::Error,
    },
    /// A part has failed without which the gateway cannot serve, such as a shard or an acceptor. The
    /// text names it.
    #[error("{0}")]
    PartFailed(String),
}
