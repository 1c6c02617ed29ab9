//! The lines that a peer of the register may send, and why the register closes a peer.
//!
//! Reads a line and checks it, and changes nothing: `roster` calls it and acts on the request.

use gatewayworker_protocol::SecretKey;
use gatewayworker_protocol::register::{Message, can_be_address};
use serde::Deserialize;

/// What a peer asks of the register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A sign of life, from a peer that may not have shown the key yet.
    Ping {
        /// The peer wants one in return.
        answer: bool,
    },
    /// A gateway announces its address, in place of the one that it announced before.
    Announce(String),
    /// A worker or a client library asks for the list, and for each later change of it.
    List,
}

/// Why the register closes a peer. The text says what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloseCause {
    /// The peer has not shown the key in time.
    #[error("no valid first line in time; is it a daemon of this cluster?")]
    NoIntroduction,
    /// The peer has pinged before, and has been silent for too long.
    #[error("it pinged before and has been silent since; its host may be gone")]
    Silent,
    /// A line is no JSON object with an event; [`BAD_REQUEST`] is sent before the peer is closed.
    #[error(
        "it sent a line that is no JSON object with an event; clients connect to a gateway, not to the register"
    )]
    BadRequest,
    /// A line has an event that no peer sends.
    #[error("unknown event {0:?}; is it of another version?")]
    UnknownEvent(String),
    /// A line has a known event without the keys that it needs.
    #[error("a {0} line lacks a key, or has a value of the wrong kind")]
    BadEvent(String),
    /// The key is not the cluster's.
    #[error(
        "its secret_key is not the cluster's; set the same on all daemons and client libraries of the cluster"
    )]
    WrongKey,
    /// The announced address is empty, too long, or has blanks in it.
    #[error("it announces an address that cannot be one; check the gateway's lan_ip and lan_port")]
    BadAddress,
}

/// The line that a peer gets before it is closed for [`CloseCause::BadRequest`].
pub const BAD_REQUEST: &[u8] =
    b"Bad request: this is a GatewayWorker register, it takes one JSON object on each line. \
    Clients connect to a gateway.\n";

/// Reads a line of a peer and checks the key in it.
///
/// # Errors
/// Why the peer is to be closed.
pub(crate) fn read(line: &[u8], secret_key: &SecretKey) -> Result<Request, CloseCause> {
    let authenticate = |key: &SecretKey| if key == secret_key { Ok(()) } else { Err(CloseCause::WrongKey) };
    match Message::parse(line) {
        Ok(Message::Ping { answer }) => Ok(Request::Ping { answer }),
        Ok(Message::GatewayConnect { address, secret_key }) => {
            authenticate(&secret_key)?;
            if !can_be_address(&address) {
                return Err(CloseCause::BadAddress);
            }
            Ok(Request::Announce(address))
        }
        Ok(Message::WorkerConnect { secret_key }) => {
            authenticate(&secret_key)?;
            Ok(Request::List)
        }
        Ok(Message::BroadcastAddresses { .. }) => Err(CloseCause::UnknownEvent("broadcast_addresses".into())),
        Ok(Message::Pong) => Err(CloseCause::UnknownEvent("pong".into())),
        Err(_) => Err(objection(line)),
    }
}

/// The objection to a line that is no message. The parser's own words are not used: they may quote
/// the key.
fn objection(line: &[u8]) -> CloseCause {
    #[derive(Deserialize)]
    struct Event {
        event: String,
    }
    match serde_json::from_slice::<Event>(line) {
        Ok(Event { event })
            if ["gateway_connect", "worker_connect", "ping", "broadcast_addresses"]
                .contains(&event.as_str()) =>
        {
            CloseCause::BadEvent(event)
        }
        Ok(Event { event }) if !event.is_empty() => {
            CloseCause::UnknownEvent(event.chars().take(50).collect())
        }
        _ => CloseCause::BadRequest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_objection_quotes_a_key() {
        for line in [
            r#"{"event":"gateway_connect","address":"a:1","secret_key":424242}"#,
            r#"{"event":"dance","secret_key":"424242"}"#,
            r#"{"secret_key":"424242"}"#,
            r#"424242"#,
        ] {
            let why = objection(line.as_bytes()).to_string();
            assert!(!why.contains("424242"), "{why}");
        }
    }
}
