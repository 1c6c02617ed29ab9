//! The error of a client: the end of its connection.

use std::fmt;

/// The reason why a connection has ended.
#[derive(Debug)]
pub(crate) enum ClientError {
    /// The server ended the connection.
    Ended,
    /// The server sent a close frame, with this code if any.
    Closed(Option<u16>),
    /// The server sent an invalid frame, or a message that no client has asked for.
    Unexpected(String),
    /// The socket failed.
    Io(std::io::Error),
}

impl ClientError {
    /// An unexpected message, of which the error shows the beginning.
    pub(crate) fn unexpected(payload: &[u8]) -> Self {
        ClientError::Unexpected(format!("{:?}", String::from_utf8_lossy(&payload[..payload.len().min(60)])))
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Ended => write!(f, "the server ended the connection"),
            ClientError::Closed(Some(code)) => write!(f, "the server closed with code {code}"),
            ClientError::Closed(None) => write!(f, "the server closed"),
            ClientError::Unexpected(what) => write!(f, "the server sent {what}"),
            ClientError::Io(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for ClientError {}
