//! Whose word is taken for where a client comes from: the proxies before the listener.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The header in which the proxies say where a client comes from. Only one is looked
/// at: the other may be what the client wrote itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RealIpHeader {
    /// `X-Forwarded-For`, to which each proxy appends who came to it.
    #[default]
    XForwardedFor,
    /// `X-Real-IP`, in which the last one has written a single address.
    XRealIp,
}

impl RealIpHeader {
    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::XRealIp => "x-real-ip",
        }
    }
}

/// The proxies that are believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Proxies {
    networks: Vec<IpNet>,
}

/// What is no address and no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address and no network: write 127.0.0.1, 10.0.0.0/8 or fd00::/8")]
pub(crate) struct NetworkError(String);

impl Proxies {
    /// Those with these addresses, or in these networks.
    pub(crate) fn parse(texts: &[String]) -> Result<Self, NetworkError> {
        let network = |text: &String| {
            let parsed = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            parsed.map_err(|_| NetworkError(text.clone()))
        };
        Ok(Self { networks: texts.iter().map(network).collect::<Result<_, _>>()? })
    }

    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Where a client comes from that `peer` brings, by its header: the address nearest
    /// to us that is none of the proxies'. A `peer` that is no proxy is the client.
    ///
    /// The values of a header that came several times are joined with a comma.
    pub(crate) fn client(&self, peer: SocketAddr, header: &[u8]) -> SocketAddr {
        let mut nearest = peer;
        // Each proxy appends: what stands before the last that is believed, anybody wrote.
        for address in header.rsplit(|byte| *byte == b',') {
            if !self.trusts(nearest.ip()) {
                break;
            }
            let Some(before) = std::str::from_utf8(address).ok().and_then(parse_address) else { break };
            nearest = before;
        }
        nearest
    }
}

/// An address as proxies write it, perhaps with a port; 0 stands for none.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let ip = bare.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0));
    ip.or_else(|_| text.parse()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(texts: &[&str]) -> Proxies {
        Proxies::parse(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn client(proxies: &Proxies, peer: &str, header: &str) -> String {
        proxies.client(peer.parse().unwrap(), header.as_bytes()).to_string()
    }

    #[test]
    fn nobody_but_a_listed_proxy_is_believed() {
        let proxies = proxies(&["127.0.0.1", "10.0.0.0/8", "fd00::/8"]);
        assert_eq!(client(&proxies, "127.0.0.1:5", "203.0.113.7"), "203.0.113.7:0");
        assert_eq!(client(&proxies, "[::ffff:10.1.2.3]:5", "203.0.113.7"), "203.0.113.7:0");
        assert_eq!(client(&proxies, "[fd00::1]:5", "2001:db8::7"), "[2001:db8::7]:0");
        for stranger in ["127.0.0.2:5", "11.0.0.1:5", "[fe80::1]:5"] {
            assert_eq!(client(&proxies, stranger, "203.0.113.7"), stranger);
        }
        assert_eq!(client(&Proxies::default(), "127.0.0.1:5", "203.0.113.7"), "127.0.0.1:5");
    }

    #[test]
    fn what_a_client_wrote_before_its_own_address_is_not_believed() {
        let proxies = proxies(&["127.0.0.1", "10.0.0.0/8"]);
        let peer = "127.0.0.1:5";
        // The client sent the first, the outer proxy appended the second, the inner the third.
        assert_eq!(client(&proxies, peer, "198.51.100.1, 203.0.113.7, 10.0.0.9"), "203.0.113.7:0");
        assert_eq!(client(&proxies, peer, "198.51.100.1,203.0.113.7,10.0.0.9"), "203.0.113.7:0");
        assert_eq!(client(&proxies, peer, "10.0.0.8, 203.0.113.7"), "203.0.113.7:0");
    }

    #[test]
    fn where_all_are_proxies_the_farthest_is_the_client() {
        let proxies = proxies(&["127.0.0.1", "10.0.0.0/8"]);
        assert_eq!(client(&proxies, "127.0.0.1:5", "10.0.0.8, 10.0.0.9"), "10.0.0.8:0");
        assert_eq!(client(&proxies, "127.0.0.1:5", ""), "127.0.0.1:5");
    }

    #[test]
    fn what_is_no_address_ends_the_search() {
        let proxies = proxies(&["127.0.0.1", "10.0.0.0/8"]);
        for junk in ["unknown", "", "203.0.113.7, ", "203.0.113.7, _hidden", "203.0.113.7,\u{fffd}"] {
            assert_eq!(client(&proxies, "127.0.0.1:5", junk), "127.0.0.1:5", "{junk:?}");
        }
        assert_eq!(client(&proxies, "127.0.0.1:5", "203.0.113.7, junk, 10.0.0.9"), "10.0.0.9:0");
    }

    #[test]
    fn a_port_may_stand_behind_the_address() {
        let proxies = proxies(&["127.0.0.1"]);
        for (line, expected) in [
            ("203.0.113.7:4711", "203.0.113.7:4711"),
            ("[2001:db8::7]:4711", "[2001:db8::7]:4711"),
            ("[2001:db8::7]", "[2001:db8::7]:0"),
        ] {
            assert_eq!(client(&proxies, "127.0.0.1:5", line), expected);
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["localhost", "10.0.0.0/33", "10.0.0", ""] {
            assert!(Proxies::parse(&[text.to_owned()]).is_err(), "{text}");
        }
    }
}
