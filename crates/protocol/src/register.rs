//! The lines between a register and its peers: one JSON object each, ended by `\n`.
//!
//! `gatewayworker-register` answers them; `gatewayworker-net` sends them for gateways, workers and
//! client libraries.

use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::SecretKey;

/// The longest line that a register accepts from a peer without the key, in bytes.
pub const MAX_LINE_UNAUTHENTICATED: usize = 64 * 1024;

/// The longest line from a peer that has shown the key, and from a register, in bytes: PHP's limit.
pub const MAX_LINE: usize = 10 * 1024 * 1024;

/// How often a daemon of ours pings each register ([`Message::Ping`]), in seconds. The original pings
/// every 25 s, and no register whose address begins with `127.0.0.1`.
pub const PING_INTERVAL_SECS: u64 = 10;

/// The longest address that a gateway may announce, in bytes: the longest host name has 253.
pub const MAX_ADDRESS: usize = 300;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Message {
    /// A gateway announces the address that workers connect to.
    GatewayConnect {
        /// `ip:port`; the register passes it on as it is. PHP allows a host name here.
        address: String,
        /// Missing or null is the empty key.
        #[serde(default, deserialize_with = "null_is_default")]
        secret_key: SecretKey,
    },
    /// A worker or a client library asks for the addresses, and for each later change of them.
    WorkerConnect {
        /// Missing or null is the empty key.
        #[serde(default, deserialize_with = "null_is_default")]
        secret_key: SecretKey,
    },
    /// A sign of life.
    Ping {
        /// Asks for a [`Pong`](Self::Pong). The key is only in pings of ours; the original's register
        /// reads no key of a ping, and answers none.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        answer: bool,
    },
    /// The answer of a register of ours to a ping that asks for one.
    Pong,
    /// The register lists the addresses of all gateways. Each line has the whole list.
    BroadcastAddresses {
        /// The announced addresses, each once. They are read from a list or, as PHP's
        /// de-duplication leaves holes, from an object; they are written as a list.
        #[serde(deserialize_with = "list_or_map")]
        addresses: Vec<String>,
        /// Whether these are all that the register knows of, and not what a register that has just
        /// started has heard so far. Only a register of ours says that they are not
        /// (`"complete":false`); the original's peers read no such key.
        #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
        complete: bool,
    },
}

/// Whether a text may be the address of a gateway. Registers pass it on and daemons log it as it is,
/// so it must break no line and be short ([`MAX_ADDRESS`]).
pub fn can_be_address(address: &str) -> bool {
    (1..=MAX_ADDRESS).contains(&address.len())
        && !address.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// A line that is not a message.
#[derive(Debug, thiserror::Error)]
#[error("not a register message: {0}")]
pub struct MessageError(#[from] serde_json::Error);

impl Message {
    /// Reads a line, with or without its `\r\n`.
    ///
    /// # Errors
    /// When it is not JSON, has no known `event`, or lacks what the event needs.
    pub fn parse(line: &[u8]) -> Result<Self, MessageError> {
        Ok(serde_json::from_slice(line)?)
    }

    /// The line, `\n` included.
    pub fn to_line(&self) -> String {
        let mut line = serde_json::to_string(self).expect("strings always serialize");
        line.push('\n');
        line
    }
}

fn yes() -> bool {
    true
}

fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn list_or_map<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Addresses;

    impl<'de> Visitor<'de> for Addresses {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a list or an object of addresses")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut addresses = Vec::new();
            while let Some(address) = seq.next_element()? {
                addresses.push(address);
            }
            Ok(addresses)
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut addresses = Vec::new();
            while let Some((_, address)) = map.next_entry::<de::IgnoredAny, String>()? {
                addresses.push(address);
            }
            Ok(addresses)
        }
    }

    deserializer.deserialize_any(Addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lines_as_php_writes_them() {
        let line = br#"{"event":"gateway_connect", "address":"127.0.0.1:2300", "secret_key":""}"#;
        let message =
            Message::GatewayConnect { address: "127.0.0.1:2300".into(), secret_key: SecretKey::default() };
        assert_eq!(Message::parse(line).unwrap(), message);
        assert_eq!(Message::parse(br#"{"event":"ping"}"#).unwrap(), Message::Ping { answer: false });
    }

    #[test]
    fn a_ping_without_an_answer_is_written_as_the_original_writes_it() {
        assert_eq!(Message::Ping { answer: false }.to_line(), "{\"event\":\"ping\"}\n");
        for message in [Message::Ping { answer: true }, Message::Pong] {
            assert_eq!(Message::parse(message.to_line().as_bytes()).unwrap(), message);
        }
    }

    #[test]
    fn an_address_is_short_and_has_no_blanks() {
        for good in ["127.0.0.1:2300", "gateway-1.internal:2300", "[::1]:2300"] {
            assert!(can_be_address(good), "{good}");
        }
        for bad in ["", " ", "a b:1", "a:1\n", "\u{1b}[31m:1", &"x".repeat(301)] {
            assert!(!can_be_address(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_missing_or_null_key_is_the_empty_one() {
        for line in [r#"{"event":"worker_connect"}"#, r#"{"event":"worker_connect","secret_key":null}"#] {
            assert_eq!(
                Message::parse(line.as_bytes()).unwrap(),
                Message::WorkerConnect { secret_key: SecretKey::default() }
            );
        }
    }

    #[test]
    fn addresses_are_read_from_a_list_and_from_a_list_with_holes() {
        for addresses in [r#"["a:1","b:2"]"#, r#"{"0":"a:1","2":"b:2"}"#] {
            let line = format!(r#"{{"event":"broadcast_addresses","addresses":{addresses}}}"#);
            let expected =
                Message::BroadcastAddresses { addresses: vec!["a:1".into(), "b:2".into()], complete: true };
            assert_eq!(Message::parse(line.as_bytes()).unwrap(), expected);
        }
    }

    #[test]
    fn only_a_list_that_is_not_complete_says_so() {
        let list = |complete| Message::BroadcastAddresses { addresses: Vec::new(), complete };
        assert_eq!(list(true).to_line(), "{\"event\":\"broadcast_addresses\",\"addresses\":[]}\n");
        let line = "{\"event\":\"broadcast_addresses\",\"addresses\":[],\"complete\":false}\n";
        assert_eq!(list(false).to_line(), line);
        assert_eq!(Message::parse(line.as_bytes()).unwrap(), list(false));
    }

    #[test]
    fn a_key_with_a_quote_in_it_is_escaped() {
        let line = Message::WorkerConnect { secret_key: SecretKey::new(r#"a"b"#) }.to_line();
        assert_eq!(line, "{\"event\":\"worker_connect\",\"secret_key\":\"a\\\"b\"}\n");
    }

    #[test]
    fn rejects_lines_that_are_no_messages() {
        for line in ["", "{}", "hello", "[]", r#"{"event":"dance"}"#, r#"{"event":"gateway_connect"}"#] {
            assert!(Message::parse(line.as_bytes()).is_err(), "{line}");
        }
    }
}
