//! Why a connection to a register is over, and what an operator is told of it.
//!
//! `registers` makes a [`ConnectionEnd`], `register_connection` reports it.

use std::io::{self, ErrorKind};

/// Why a connection is over.
#[derive(Debug)]
pub enum ConnectionEnd {
    /// It could not be made.
    Unreachable(io::Error),
    /// The register closed it.
    Closed,
    /// Reading or writing failed.
    Failed(io::Error),
    /// The register was silent for too long .
    Silent,
    /// A line was longer than `limit` bytes.
    LineTooLong {
        /// The limit, in bytes.
        limit: usize,
    },
}

impl ConnectionEnd {
    /// Returns why the register is of no use now, and what to do about it. `was_accepted` says whether
    /// it had accepted the daemon on this connection.
    pub(crate) fn explain(&self, register: &str, was_accepted: bool) -> String {
        match self {
            Self::Unreachable(error) => format!(
                "the register at {register} cannot be reached ({error}): does it run, and is \
                 register_address right?"
            ),
            Self::LineTooLong { limit } => format!(
                "the peer at {register} is not a register: it sent a line longer than {limit} bytes; is \
                 register_address right?"
            ),
            Self::Silent if was_accepted => format!(
                "the register at {register} has been silent for too long, so the connection is made anew: \
                 does its process run, and is the network whole?"
            ),
            Self::Silent => unanswered(register),
            Self::Closed if was_accepted => {
                format!("the register at {register} closed the connection: it has stopped")
            }
            Self::Closed => refused(register),
            // It closed before it had read everything.
            Self::Failed(error)
                if !was_accepted
                    && matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) =>
            {
                refused(register)
            }
            Self::Failed(error) => format!("the connection to the register at {register} failed: {error}"),
        }
    }
}

pub(crate) fn unanswered(register: &str) -> String {
    format!("the register at {register} has not answered yet: is it one?")
}

/// The register closes a connection at once, and without a word, where the key is another one.
fn refused(register: &str) -> String {
    format!("the register at {register} closed the connection at once: is the secret_key the same?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_says_whether_the_register_refused_or_has_stopped() {
        let reset = || ConnectionEnd::Failed(ErrorKind::ConnectionReset.into());
        for (was_accepted, end, expected) in [
            (false, ConnectionEnd::Closed, "is the secret_key the same?"),
            (false, reset(), "is the secret_key the same?"),
            (true, ConnectionEnd::Closed, "it has stopped"),
            (true, reset(), "failed: connection reset"),
            (true, ConnectionEnd::Silent, "has been silent for too long"),
            (false, ConnectionEnd::Silent, "has not answered yet"),
            (false, ConnectionEnd::Unreachable(ErrorKind::ConnectionRefused.into()), "cannot be reached ("),
            (true, ConnectionEnd::LineTooLong { limit: 7 }, "is not a register"),
        ] {
            let why = end.explain("192.0.2.1:1236", was_accepted);
            assert!(why.contains(expected), "{why}");
        }
    }
}
