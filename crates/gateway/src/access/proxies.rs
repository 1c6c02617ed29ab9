//! The trusted proxies of a listener, and the address of the client behind them.
//!
//! A header of any other peer is ignored, as a client could write it itself.
//! [`AccessPolicy`](super::AccessPolicy) calls it.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// The trusted proxies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Proxies {
    networks: Vec<IpNet>,
}

/// An entry of `trusted_proxies` that is neither an address nor a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address and no network: write 127.0.0.1, 10.0.0.0/8 or fd00::/8")]
pub(crate) struct NetworkError(String);

impl Proxies {
    /// Parses addresses and networks.
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

    /// Returns the address of the client behind `peer`: the last address of the header that is not
    /// a trusted proxy. A `peer` that is no trusted proxy is the client itself.
    ///
    /// `header` is the value of the header; of a repeated header, all values joined with commas.
    pub(crate) fn client(&self, peer: SocketAddr, header: &[u8]) -> SocketAddr {
        let mut nearest = peer;
        // Each proxy appends an address. Those before the last trusted one may be forged.
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

/// Parses an address as proxies write it, with or without a port; 0 stands for none.
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
    fn only_a_listed_proxy_is_trusted() {
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
    fn addresses_that_a_client_wrote_itself_are_ignored() {
        let proxies = proxies(&["127.0.0.1", "10.0.0.0/8"]);
        let peer = "127.0.0.1:5";
        // The client sent the first, the outer proxy appended the second, the inner the third.
        assert_eq!(client(&proxies, peer, "198.51.100.1, 203.0.113.7, 10.0.0.9"), "203.0.113.7:0");
        assert_eq!(client(&proxies, peer, "198.51.100.1,203.0.113.7,10.0.0.9"), "203.0.113.7:0");
        assert_eq!(client(&proxies, peer, "10.0.0.8, 203.0.113.7"), "203.0.113.7:0");
    }

    #[test]
    fn where_all_addresses_are_proxies_the_farthest_is_the_client() {
        let proxies = proxies(&["127.0.0.1", "10.0.0.0/8"]);
        assert_eq!(client(&proxies, "127.0.0.1:5", "10.0.0.8, 10.0.0.9"), "10.0.0.8:0");
        assert_eq!(client(&proxies, "127.0.0.1:5", ""), "127.0.0.1:5");
    }

    #[test]
    fn a_malformed_address_ends_the_search() {
        let proxies = proxies(&["127.0.0.1", "10.0.0.0/8"]);
        for junk in ["unknown", "", "203.0.113.7, ", "203.0.113.7, _hidden", "203.0.113.7,\u{fffd}"] {
            assert_eq!(client(&proxies, "127.0.0.1:5", junk), "127.0.0.1:5", "{junk:?}");
        }
        assert_eq!(client(&proxies, "127.0.0.1:5", "203.0.113.7, junk, 10.0.0.9"), "10.0.0.9:0");
    }

    #[test]
    fn an_address_may_have_a_port() {
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
    fn an_invalid_network_is_refused() {
        for text in ["localhost", "10.0.0.0/33", "10.0.0", ""] {
            assert!(Proxies::parse(&[text.to_owned()]).is_err(), "{text}");
        }
    }
}
