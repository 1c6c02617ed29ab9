//! Why the gateway ends a link.

use std::io::{self, ErrorKind};
use std::time::Duration;

use super::HELLO_TIMEOUT;
use crate::core::link::LinkProtocolError;
use crate::core::pairing::AttachError;
use crate::core::worker_link::Gone;

/// Why the gateway ends a link.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Protocol(#[from] LinkProtocolError),
    #[error(transparent)]
    Attach(#[from] AttachError),
    #[error("it showed no secret_key within {} s", HELLO_TIMEOUT.as_secs())]
    NoKey,
    #[error("no call link was attached to it within {} s", HELLO_TIMEOUT.as_secs())]
    NoCallLink,
    #[error("it announces groups and uids, and the last places of max_links are for others: raise max_links")]
    NoPlace,
    #[error("nothing was heard on it for {:.1} s", .0.as_secs_f64())]
    Silent(Duration),
    #[error("shard {0} has ended, and the gateway ends next")]
    ShardGone(usize),
}

impl LinkError {
    /// Returns what the end of a worker's link by this error says about the worker. A network that
    /// fails is no crash of the worker.
    pub(super) fn how(&self) -> Gone {
        match self {
            Self::Silent(_) => Gone::Silent,
            Self::Io(error) => match error.kind() {
                ErrorKind::TimedOut
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable
                | ErrorKind::NetworkDown => Gone::Silent,
                _ => Gone::Ended,
            },
            _ => Gone::Ended,
        }
    }
}
