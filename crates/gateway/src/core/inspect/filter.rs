//! Which clients an operator asks for: the conditions of a `ClientQuery`, ready to be compared.

use std::net::{Ipv4Addr, SocketAddrV4};

use bytes::Bytes;
use gatewayworker_protocol::ClientId;
use gatewayworker_protocol::inspect::ClientQuery;

/// The conditions that a client has to meet, all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ClientFilter {
    /// The only connection, where the query names a client of this gateway.
    pub(super) connection_id: Option<u32>,
    pub(super) uid: Option<Bytes>,
    pub(super) group: Option<Bytes>,
    pub(super) address: Option<AddressFilter>,
    /// The port of the listener.
    pub(super) port: Option<u16>,
}

/// Why no client can meet a query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FilterError {
    /// The client id has another form.
    #[error("{0:?} is no client id: one has 20 hexadecimal digits")]
    Id(String),
    /// The address has another form.
    #[error("{0:?} is no IPv4 address, and not the beginning of one with a dot at its end, as 10.0. is")]
    Address(String),
    /// No listener has this URL or port.
    #[error("the gateway has no listener {0:?}")]
    Listener(String),
    /// The client is another gateway's.
    #[error("the client is another gateway's")]
    Elsewhere,
}

/// IPv4 addresses that begin alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AddressFilter {
    network: u32,
    mask: u32,
    port: Option<u16>,
}

impl ClientFilter {
    /// Reads a query to the gateway that announces `gateway`. `port_of` finds the port of a listener by its URL or
    /// port.
    ///
    /// # Errors
    /// When no client can meet it.
    pub(crate) fn new(
        query: &ClientQuery,
        gateway: SocketAddrV4,
        port_of: impl FnOnce(&str) -> Option<u16>,
    ) -> Result<Self, FilterError> {
        let connection_id = query.id.as_deref().map(|id| connection_id(id, gateway)).transpose()?;
        let address = query.address.as_deref().map(AddressFilter::parse).transpose()?;
        let port = match &query.listener {
            Some(listener) => Some(port_of(listener).ok_or_else(|| FilterError::Listener(listener.clone()))?),
            None => None,
        };
        let bytes = |name: &Option<String>| name.clone().map(Bytes::from);
        Ok(Self { connection_id, uid: bytes(&query.uid), group: bytes(&query.group), address, port })
    }
}

/// Reads the id of a client of this gateway.
///
/// # Errors
/// When it is no client id, or another gateway's.
pub(crate) fn connection_id(id: &str, gateway: SocketAddrV4) -> Result<u32, FilterError> {
    let id: ClientId = id.parse().map_err(|_| FilterError::Id(id.chars().take(40).collect()))?;
    if id.gateway() != gateway {
        return Err(FilterError::Elsewhere);
    }
    Ok(id.connection_id())
}

impl AddressFilter {
    /// Reads `10.0.0.7`, `10.0.0.7:50000`, or one to three numbers with a dot behind each.
    fn parse(text: &str) -> Result<Self, FilterError> {
        let all = |ip: Ipv4Addr, port| Self { network: ip.into(), mask: u32::MAX, port };
        if let Ok(ip) = text.parse() {
            return Ok(all(ip, None));
        }
        if let Ok(address) = text.parse::<SocketAddrV4>() {
            return Ok(all(*address.ip(), Some(address.port())));
        }
        Self::parse_prefix(text).ok_or_else(|| FilterError::Address(text.chars().take(40).collect()))
    }

    fn parse_prefix(text: &str) -> Option<Self> {
        let numbers = text.strip_suffix('.')?;
        let octets: Vec<u8> = numbers.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
        let len = octets.len();
        if len > 3 {
            return None;
        }
        let mut network = [0; 4];
        network[..len].copy_from_slice(&octets);
        let mask = u32::MAX << (32 - 8 * len);
        Some(Self { network: u32::from_be_bytes(network), mask, port: None })
    }

    pub(super) fn matches(&self, address: SocketAddrV4) -> bool {
        u32::from(*address.ip()) & self.mask == self.network
            && self.port.is_none_or(|port| port == address.port())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 2300);

    #[test]
    fn an_address_is_one_or_all_that_begin_with_its_numbers() {
        let address = "10.0.1.7:50000".parse().unwrap();
        for (filter, matches) in [
            ("10.0.1.7", true),
            ("10.0.1.7:50000", true),
            ("10.0.1.7:50001", false),
            ("10.0.1.70", false),
            ("10.", true),
            ("10.0.", true),
            ("10.0.1.", true),
            ("10.0.2.", false),
            ("1.", false),
        ] {
            assert_eq!(AddressFilter::parse(filter).unwrap().matches(address), matches, "{filter}");
        }
    }

    #[test]
    fn a_query_that_no_client_can_meet_says_why() {
        let query = |set: fn(&mut ClientQuery)| {
            let mut query = ClientQuery::default();
            set(&mut query);
            ClientFilter::new(&query, GATEWAY, |listener| (listener == "8289").then_some(8289))
        };
        for (address, why) in [
            ("", FilterError::Address(String::new())),
            (".", FilterError::Address(".".into())),
            ("10.0", FilterError::Address("10.0".into())),
            ("10.0.0.0.", FilterError::Address("10.0.0.0.".into())),
            ("300.", FilterError::Address("300.".into())),
            ("::1", FilterError::Address("::1".into())),
        ] {
            let query = ClientQuery { address: Some(address.into()), ..ClientQuery::default() };
            assert_eq!(ClientFilter::new(&query, GATEWAY, |_| None), Err(why), "{address}");
        }
        assert_eq!(query(|query| query.id = Some("7f".into())), Err(FilterError::Id("7f".into())));
        assert_eq!(
            query(|query| query.id = Some("7f00000108fd00000001".into())),
            Err(FilterError::Elsewhere)
        );
        assert_eq!(query(|query| query.listener = Some("1".into())), Err(FilterError::Listener("1".into())));
        let found = query(|query| {
            query.id = Some("7f00000108fc00000001".into());
            query.listener = Some("8289".into());
        });
        let filter = ClientFilter { connection_id: Some(1), port: Some(8289), ..ClientFilter::default() };
        assert_eq!(found, Ok(filter));
    }
}
