//! A door: one listener that clients come in by.

use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;
use gatewayworker_protocol::Payload;

use crate::outgoing::{Outgoing, WebSocketType};

/// What a listener speaks, and where.
#[derive(Debug)]
pub(crate) struct Door {
    /// The port that workers are told, as `gateway_port`.
    pub(crate) port: u16,
    pub(crate) websocket_type: WebSocketType,
}

impl Door {
    /// The bytes that a client of this door gets for a message.
    pub(crate) fn encode(&self, message: &Outgoing) -> Bytes {
        message.websocket(self.websocket_type)
    }

    /// The same where this client is the only one that gets it.
    pub(crate) fn encode_only(&self, message: Payload) -> Bytes {
        Outgoing::only_websocket(message, self.websocket_type)
    }
}

/// A listener's address as it is written in the configuration:
/// `websocket://127.0.0.1:8289`, or without the scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoorAddress(String);

impl DoorAddress {
    /// The `host:port` part.
    pub fn address(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DoorAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "websocket://{}", self.0)
    }
}

impl From<SocketAddr> for DoorAddress {
    fn from(address: SocketAddr) -> Self {
        Self(address.to_string())
    }
}

/// An address of a kind that the gateway cannot open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is no listener of this gateway: write websocket://HOST:PORT")]
pub struct DoorAddressError {
    given: String,
}

impl std::str::FromStr for DoorAddress {
    type Err = DoorAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let address = match text.split_once("://") {
            Some(("websocket" | "ws" | "Websocket", address)) => address,
            Some(_) => return Err(DoorAddressError { given: text.to_owned() }),
            None => text,
        };
        match address.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                Ok(Self(address.to_owned()))
            }
            _ => Err(DoorAddressError { given: text.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_websocket_address_with_or_without_its_scheme() {
        for text in ["websocket://0.0.0.0:8289", "0.0.0.0:8289"] {
            assert_eq!(text.parse::<DoorAddress>().unwrap().address(), "0.0.0.0:8289");
        }
        for text in ["udp://127.0.0.1:1", "websocket://127.0.0.1", "websocket://:80", "8289", ""] {
            assert!(text.parse::<DoorAddress>().is_err(), "{text}");
        }
    }
}
