//! The errors between a handle and the gateways.
//!
//! [`Unreached`] is about one gateway, [`Delivery`] lists them after a command, [`Error`] and
//! [`AskError`] are what the methods of [`Gateway`](crate::Gateway) return.

use std::fmt;
use std::net::SocketAddrV4;

use gatewayworker_net::PushError;
use gatewayworker_protocol::IdError;

use crate::{ClusterName, SessionError};

/// Why a gateway was not reached, or did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreached {
    /// No register lists a gateway with this address.
    #[error("no such gateway is registered")]
    NotKnown,
    /// It is not connected at the moment, or was silent for too long and has not answered since.
    #[error("not connected")]
    NotConnected,
    /// It reads or answers too slowly: as much waits for it as may.
    #[error("overloaded")]
    Overloaded,
    /// It did not answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// The link ended before the answer came.
    #[error("the link was lost before the answer came")]
    Lost,
    /// Its answer is none to the question.
    #[error("an answer that cannot be read")]
    BadAnswer,
}

impl Unreached {
    /// Returns its name for programs: `not_known`, `not_connected`, `overloaded`,
    /// `timed_out`, `lost` or `bad_answer`.
    pub fn code(self) -> &'static str {
        match self {
            Self::NotKnown => "not_known",
            Self::NotConnected => "not_connected",
            Self::Overloaded => "overloaded",
            Self::TimedOut => "timed_out",
            Self::Lost => "lost",
            Self::BadAnswer => "bad_answer",
        }
    }
}

impl From<PushError> for Unreached {
    fn from(error: PushError) -> Self {
        match error {
            PushError::Full => Self::Overloaded,
            PushError::Closed => Self::NotConnected,
        }
    }
}

/// The gateways that a send or a command did not reach.
///
/// A gateway counts as reached when its link has the frame. The protocol acknowledges no command,
/// so a frame for a gateway that dies at this moment is lost without a trace. So is one for a gateway
/// that is frozen, as long as its link is not found to be silent ([`Liveness`](crate::Liveness)). Then
/// a warning says how many bytes had not left, and the gateway is named here as
/// [`NotConnected`](Unreached::NotConnected) until it answers again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    /// The gateways that may hold a receiver and were not reached, with the reason.
    pub unreached: Vec<(SocketAddrV4, Unreached)>,
    /// The other clusters that may hold a receiver and for which NATS has not taken the call, with the reason. Empty without a
    /// federation. [`ClusterName::unknown`] stands for clusters that nobody knows.
    pub unreached_clusters: Vec<(ClusterName, Unreached)>,
}

impl Delivery {
    /// Whether every gateway concerned was reached, and NATS has taken what is for other clusters.
    pub fn is_complete(&self) -> bool {
        self.unreached.is_empty() && self.unreached_clusters.is_empty()
    }

    /// Adds the outcome at one gateway.
    pub(crate) fn note(&mut self, gateway: SocketAddrV4, outcome: Result<(), Unreached>) {
        if let Err(why) = outcome {
            self.unreached.push((gateway, why));
        }
    }
}

/// Why nothing was sent, or one gateway has not answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No gateway is known, so no client can be reached. (The original's GatewayClient throws
    /// here; its worker does nothing.)
    #[error("no gateway is registered")]
    NoGateways,
    /// The one gateway that could have answered has not.
    #[error("gateway {gateway}: {why}")]
    Unreached {
        /// The gateway's address.
        gateway: SocketAddrV4,
        /// The reason.
        why: Unreached,
    },
    /// The message, together with the ids that go with it, does not fit a frame.
    #[error("a frame of {len} bytes is over the protocol's limit of {limit} bytes")]
    TooLarge {
        /// The frame's length, in bytes.
        len: usize,
        /// The protocol's limit, in bytes: 10 MiB, or more from a worker to gateways of ours
        /// whose `max_message_bytes` is more.
        limit: usize,
    },
    /// The message does not fit a message of NATS, so that other clusters cannot be reached. Nothing was sent, to the own
    /// cluster neither.
    #[error(
        "a call of {len} bytes to other clusters is over the limit of {limit} bytes that NATS has (max_payload)"
    )]
    TooLargeForClusters {
        /// The length of the call with all that goes with it, in bytes.
        len: usize,
        /// The limit of NATS, in bytes.
        limit: usize,
    },
    /// A link to the gateway of this handle's event has ended. Nothing was sent. The gateway gives the event
    /// again, unless it delivers at most once. If the gateway is lost, this worker handles the event again.
    #[error(
        "a link to the gateway that the event came from has ended: nothing was sent, and the event is not finished"
    )]
    Fenced,
    /// A uid or group is empty or `"0"`, which the protocol cannot carry.
    #[error(transparent)]
    Id(#[from] IdError),
    /// A session cannot be read or written.
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// Why there is no whole answer to a question that went to all gateways.
#[derive(Debug)]
pub enum AskError<T> {
    /// Not every gateway has answered. The answer of the others is never returned as if it
    /// were the whole, but it is in here.
    Incomplete {
        /// The answer of the gateways that have answered.
        partial: T,
        /// The other gateways, with the reasons.
        missing: Vec<(SocketAddrV4, Unreached)>,
        /// The other clusters that have not answered, with the reasons. Empty without a federation.
        missing_clusters: Vec<(ClusterName, Unreached)>,
    },
    /// No gateway was asked.
    NotAsked(Error),
}

impl<T> AskError<T> {
    /// Converts the partial answer.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> AskError<U> {
        match self {
            Self::Incomplete { partial, missing, missing_clusters } => {
                AskError::Incomplete { partial: change(partial), missing, missing_clusters }
            }
            Self::NotAsked(error) => AskError::NotAsked(error),
        }
    }
}

impl<T> fmt::Display for AskError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete { missing, missing_clusters, .. } => {
                f.write_str("the answer is incomplete")?;
                missing.iter().try_for_each(|(gateway, why)| write!(f, "; gateway {gateway}: {why}"))?;
                missing_clusters.iter().try_for_each(|(cluster, why)| write!(f, "; cluster {cluster}: {why}"))
            }
            Self::NotAsked(error) => error.fmt(f),
        }
    }
}

impl<T: fmt::Debug> std::error::Error for AskError<T> {}

impl<T> From<Error> for AskError<T> {
    fn from(error: Error) -> Self {
        Self::NotAsked(error)
    }
}

impl<T> From<IdError> for AskError<T> {
    fn from(error: IdError) -> Self {
        Self::NotAsked(error.into())
    }
}

/// The answer of all gateways, or an error that carries the answer of some.
pub type AskResult<T> = Result<T, AskError<T>>;
