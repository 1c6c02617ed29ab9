//! What can go wrong between a handle and the gateways.

use std::fmt;
use std::net::SocketAddrV4;

use gatewayworker_net::PushError;
use gatewayworker_protocol::IdError;

use crate::SessionError;

/// Why a gateway was not reached, or did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreached {
    /// No register lists a gateway with this address.
    #[error("no such gateway is registered")]
    NotKnown,
    /// There is no link to it at the moment.
    #[error("not connected")]
    NotConnected,
    /// It reads too slowly: what waits to be sent to it, or asked of it, is at its limit.
    #[error("overloaded")]
    Overloaded,
    /// It did not answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// The link was lost before the answer came.
    #[error("the link was lost before the answer came")]
    Lost,
    /// What it answered is no answer to the question.
    #[error("an answer that cannot be read")]
    BadAnswer,
}

impl Unreached {
    /// Its name for programs: `not_known`, `not_connected`, `overloaded`,
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

/// Whom a send or a command did not reach.
///
/// Reached means: handed to the link. The protocol acknowledges nothing, so what
/// a gateway that dies in this instant was told is lost without a trace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    /// The gateways that may hold a receiver and were not reached, with the reason.
    pub unreached: Vec<(SocketAddrV4, Unreached)>,
}

impl Delivery {
    /// Whether every gateway concerned was reached.
    pub fn is_complete(&self) -> bool {
        self.unreached.is_empty()
    }

    /// Notes the outcome at one gateway.
    pub(crate) fn note(&mut self, gateway: SocketAddrV4, outcome: Result<(), Unreached>) {
        if let Err(why) = outcome {
            self.unreached.push((gateway, why));
        }
    }
}

/// Why nothing was sent, or one gateway's answer is not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No gateway is known, so nobody can be reached. (The original throws here
    /// from GatewayClient, and sends to nobody from a worker.)
    #[error("no gateway is registered")]
    NoGateways,
    /// The one gateway that could have answered did not.
    #[error("gateway {gateway}: {why}")]
    Unreached {
        /// The gateway's address.
        gateway: SocketAddrV4,
        /// The reason.
        why: Unreached,
    },
    /// The message, with the ids that go along with it, does not fit a frame.
    #[error("a frame of {len} bytes is over the protocol's limit of {limit} bytes")]
    TooLarge {
        /// The frame's length, in bytes.
        len: usize,
        /// The protocol's limit, in bytes: 10 MiB, or more from a worker to gateways of ours
        /// whose `max_message_bytes` is more.
        limit: usize,
    },
    /// A uid or group that the protocol has no room for.
    #[error(transparent)]
    Id(#[from] IdError),
    /// A value that is no session.
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// Why there is no whole answer to a question that all gateways are asked.
#[derive(Debug)]
pub enum AskError<T> {
    /// Not every gateway answered. What did come is never passed off as the whole,
    /// but it is here.
    Incomplete {
        /// The answer that those gateways make that did answer.
        partial: T,
        /// The others, with the reason.
        missing: Vec<(SocketAddrV4, Unreached)>,
    },
    /// Nobody was asked.
    NotAsked(Error),
}

impl<T> AskError<T> {
    /// Makes another type of what did come.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> AskError<U> {
        match self {
            Self::Incomplete { partial, missing } => {
                AskError::Incomplete { partial: change(partial), missing }
            }
            Self::NotAsked(error) => AskError::NotAsked(error),
        }
    }
}

impl<T> fmt::Display for AskError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete { missing, .. } => {
                f.write_str("the answer is incomplete")?;
                missing.iter().try_for_each(|(gateway, why)| write!(f, "; gateway {gateway}: {why}"))
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
