//! The client id: the address of a client's gateway, and the client's connection there.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The id of a client, unique in the cluster: its gateway's address and its connection there.
///
/// Written as 20 lowercase hexadecimal digits, ip (8), port (4), connection (8),
/// as the original's `Context::addressToClientId` makes it.
///
/// A *qualified* id has an alias in the place of the gateway's address, which stands for that address in one
/// of several clusters with the same addresses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId {
    gateway: SocketAddrV4,
    connection_id: u32,
}

impl ClientId {
    /// The client with `connection_id` on the gateway that announces `gateway`.
    pub fn new(gateway: SocketAddrV4, connection_id: u32) -> Self {
        Self { gateway, connection_id }
    }

    /// The address that the client's gateway announces, or its alias.
    pub fn gateway(&self) -> SocketAddrV4 {
        self.gateway
    }

    /// Whether this is a qualified id: its gateway's address is in 240.0.0.0/4, which is reserved, so that no gateway has such an
    /// address.
    pub fn is_qualified(&self) -> bool {
        Self::is_alias(self.gateway)
    }

    /// Whether an address is an alias, as qualified ids have it.
    pub fn is_alias(gateway: SocketAddrV4) -> bool {
        gateway.ip().octets()[0] >= 240
    }

    /// The connection's number on its gateway.
    pub fn connection_id(&self) -> u32 {
        self.connection_id
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ip = u32::from(*self.gateway.ip());
        write!(f, "{ip:08x}{:04x}{:08x}", self.gateway.port(), self.connection_id)
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not a client id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a client id: {given:?} (20 hexadecimal digits are)")]
pub struct ParseClientIdError {
    given: String,
}

impl FromStr for ClientId {
    type Err = ParseClientIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            // from_str_radix would take a sign.
            if text.len() != 20 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
                return None;
            }
            let ip = u32::from_str_radix(&text[..8], 16).ok()?;
            let port = u16::from_str_radix(&text[8..12], 16).ok()?;
            let connection_id = u32::from_str_radix(&text[12..], 16).ok()?;
            Some(Self::new(SocketAddrV4::new(Ipv4Addr::from(ip), port), connection_id))
        };
        parse().ok_or_else(|| ParseClientIdError { given: text.chars().take(40).collect() })
    }
}

impl Serialize for ClientId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ClientId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_with_a_reserved_address_is_qualified() {
        for (text, is_qualified) in
            [("7f00000108fc00000001", false), ("f000000008fc00000001", true), ("ffffffffffff00000001", true)]
        {
            assert_eq!(text.parse::<ClientId>().unwrap().is_qualified(), is_qualified, "{text}");
        }
    }

    #[test]
    fn rejects_texts_that_are_not_twenty_hexadecimal_digits() {
        for text in [
            "",
            "7f00000108fc0000000",
            "7f00000108fc000000011",
            "7f00000108fc0000000g",
            "+f00000108fc00000001",
            "七七七七七七aa",
        ] {
            assert!(text.parse::<ClientId>().is_err(), "{text:?}");
        }
    }
}
