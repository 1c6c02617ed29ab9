//! The origins of pages that may connect: the `Origin` header of browsers, RFC 6454 and RFC 6455
//! section 4.2.2. [`AccessPolicy`](super::AccessPolicy) calls it.
//!
//! This keeps other people's pages from using a visitor's cookies. It does not keep programs out: a
//! client that is no browser may send any origin, or none.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An entry of `allowed_origins`: `https://example.com`, with its port unless that is the scheme's
/// default; `https://*.example.com` for every name below; `null` for pages from disk; `*` for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AllowedOrigin {
    Any,
    Null,
    Exactly(Origin),
    /// Every name below the origin's.
    Below(Origin),
}

/// A scheme, a host and a port. Two origins that are written differently are equal by RFC 6454
/// section 5.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    scheme: String,
    host: Host,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    /// A name or an IPv4 address; empty for `file://`.
    Name(String),
    V6(Ipv6Addr),
}

/// An entry of `allowed_origins` that no browser's Origin would ever match.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} matches no page: {why}")]
pub(crate) struct AllowedOriginError {
    text: String,
    why: &'static str,
}

/// How to write an origin, for error messages.
const FORM: &str = "write https://example.com, https://*.example.com, null or *, without a path";

impl FromStr for AllowedOrigin {
    type Err = AllowedOriginError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = |why| AllowedOriginError { text: text.to_owned(), why };
        match text {
            "*" => return Ok(Self::Any),
            "null" => return Ok(Self::Null),
            _ => {}
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(|| bad(FORM))?;
        let below = rest.strip_prefix("*.");
        let origin = Origin::parse(scheme, below.unwrap_or(rest)).map_err(bad)?;
        if ["ws", "wss"].contains(&&*origin.scheme) {
            return Err(bad("an origin is a page's: write http:// or https://"));
        }
        Ok(match below {
            None => Self::Exactly(origin),
            Some(_) if !origin.host.has_names_below() => return Err(bad("no name is below an address")),
            Some(_) => Self::Below(origin),
        })
    }
}

impl AllowedOrigin {
    /// Returns whether it allows an origin; `None` stands for `null`.
    fn allows(&self, origin: Option<&Origin>) -> bool {
        match (self, origin) {
            (Self::Any, _) | (Self::Null, None) => true,
            (Self::Exactly(allowed), Some(origin)) => allowed == origin,
            (Self::Below(above), Some(origin)) => {
                (&above.scheme, above.port) == (&origin.scheme, origin.port)
                    && origin.host.is_below(&above.host)
            }
            _ => false,
        }
    }
}

impl Origin {
    /// Parses an origin from the parts before and behind `://`.
    ///
    /// # Errors
    /// A sentence that says what is wrong, where no browser sends such an origin.
    fn parse(scheme: &str, rest: &str) -> Result<Self, &'static str> {
        let scheme = scheme.to_ascii_lowercase();
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        if !is_scheme {
            return Err(FORM);
        }
        let (host, port) = match rest.rfind(':') {
            // A colon within brackets belongs to an IPv6 address.
            Some(at) if !rest[at..].contains(']') => (&rest[..at], Some(&rest[at + 1..])),
            _ => (rest, None),
        };
        let is_file = scheme == "file" && rest.is_empty();
        let host = if is_file { Host::Name(String::new()) } else { host.parse()? };
        let port = match port.map(str::parse::<u16>) {
            None => None,
            Some(Ok(port @ 1..)) => Some(port),
            Some(_) => return Err("its port is not one from 1 to 65535"),
        };
        let default_port = match &*scheme {
            "http" | "ws" => Some(80),
            "https" | "wss" => Some(443),
            _ => None,
        };
        Ok(Self { scheme, host, port: port.or(default_port) })
    }
}

impl FromStr for Host {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(address) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            let address = address.parse().map_err(|_| "its host is not an IPv6 address");
            return address.map(Self::V6);
        }
        if !text.is_ascii() {
            return Err("browsers send a name's ASCII form: write it as xn--…");
        }
        let name = text.to_ascii_lowercase();
        // A name with a dot at its end is valid, and not equal to the one without.
        let mut labels = name.strip_suffix('.').unwrap_or(&name).split('.');
        let is_label = |label: &str| {
            !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        };
        if !labels.clone().all(is_label) {
            return Err(FORM);
        }
        let ends_in_number =
            labels.next_back().is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()));
        if ends_in_number && name.parse::<Ipv4Addr>().is_err() {
            return Err("browsers send an IPv4 address as four numbers: write it as 127.0.0.1");
        }
        Ok(Self::Name(name))
    }
}

impl Host {
    fn has_names_below(&self) -> bool {
        matches!(self, Self::Name(name) if !name.is_empty() && name.parse::<Ipv4Addr>().is_err())
    }

    fn is_below(&self, above: &Self) -> bool {
        let (Self::Name(name), Self::Name(above)) = (self, above) else { return false };
        name.strip_suffix(above.as_str()).is_some_and(|front| front.len() > 1 && front.ends_with('.'))
    }
}

/// Returns whether a request with this `Origin` header may connect. Any may where nothing is
/// listed. A request without the header may, as it comes from no browser. A header with several
/// origins may not, as browsers send one.
pub(crate) fn allows(listed: &[AllowedOrigin], header: Option<&[u8]>) -> bool {
    if listed.is_empty() || listed.contains(&AllowedOrigin::Any) {
        return true;
    }
    let Some(header) = header else { return true };
    let Ok(text) = std::str::from_utf8(header) else { return false };
    let origin = match text.trim() {
        "null" => None,
        text => {
            let Some((scheme, rest)) = text.split_once("://") else { return false };
            let Ok(origin) = Origin::parse(scheme, rest) else { return false };
            Some(origin)
        }
    };
    listed.iter().any(|entry| entry.allows(origin.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(texts: &[&str]) -> Vec<AllowedOrigin> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn may(listed: &[AllowedOrigin], origin: &str) -> bool {
        allows(listed, Some(origin.as_bytes()))
    }

    #[test]
    fn only_the_listed_pages_may_connect() {
        let listed = listed(&["https://Example.com", "http://localhost:8080"]);
        for origin in ["https://example.com", "HTTPS://EXAMPLE.COM", "http://localhost:8080"] {
            assert!(may(&listed, origin), "{origin}");
        }
        for origin in [
            "http://example.com",
            "https://example.com:444",
            "https://example.com.evil.net",
            "https://evil.net/https://example.com",
            "https://www.example.com",
            "http://localhost",
            "null",
            "",
        ] {
            assert!(!may(&listed, origin), "{origin}");
        }
    }

    #[test]
    fn origins_that_are_written_differently_are_equal() {
        for (entry, origin) in [
            ("https://example.com", "https://example.com:443"),
            ("https://example.com:443", "https://example.com"),
            ("https://example.com:0443", "https://example.com"),
            ("http://example.com:80", "http://example.com"),
            ("http://example.com", "http://example.com:80"),
            ("HTTP://EXAMPLE.com:80", "http://example.com"),
            ("https://*.example.com", "https://a.example.com:443"),
            ("https://*.example.com:443", "https://a.example.com"),
            ("http://[0:0:0:0:0:0:0:1]:80", "http://[::1]"),
            ("http://[::1]", "http://[::1]:80"),
            ("http://[2001:DB8::1]:8080", "http://[2001:db8::1]:8080"),
            ("http://[::ffff:192.0.2.1]", "http://[::ffff:c000:201]"),
            ("http://192.0.2.1:80", "http://192.0.2.1"),
            ("file://", "file://"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("https://xn--mnchen-3ya.example", "https://xn--mnchen-3ya.example"),
        ] {
            assert!(may(&listed(&[entry]), origin), "{entry} {origin}");
        }
    }

    #[test]
    fn origins_with_another_scheme_host_or_port_are_not_equal() {
        for (entry, origin) in [
            ("https://example.com", "https://example.com:80"),
            ("http://example.com", "http://example.com:443"),
            ("http://example.com:443", "https://example.com"),
            ("https://example.com:80", "http://example.com"),
            ("https://*.example.com", "https://a.example.com:444"),
            ("https://example.com", "https://example.com."),
            ("https://example.com", "https://example.com:"),
            ("https://example.com", "https://example.com:443:443"),
            ("https://example.com", "https://user@example.com"),
            ("http://[::1]", "http://[::2]"),
            ("http://[::1]", "http://::1"),
            ("capacitor://localhost", "capacitor://localhost:443"),
            ("file://", "null"),
            ("null", "https://null"),
            ("null", "NULL"),
        ] {
            assert!(!may(&listed(&[entry]), origin), "{entry} {origin}");
        }
    }

    #[test]
    fn a_star_stands_for_every_name_below_and_not_for_the_name_itself() {
        let listed = listed(&["https://*.example.com:8443"]);
        for origin in ["https://a.example.com:8443", "https://b.a.example.com:8443"] {
            assert!(may(&listed, origin), "{origin}");
        }
        for origin in [
            "https://example.com:8443",
            "https://.example.com:8443",
            "https://a.example.com",
            "https://evil-example.com:8443",
            "https://evil.net/a.example.com:8443",
            "https://evil.net#.example.com:8443",
            "https://u@a.example.com:8443",
        ] {
            assert!(!may(&listed, origin), "{origin}");
        }
    }

    #[test]
    fn without_a_list_or_an_origin_every_client_may_connect() {
        assert!(may(&[], "https://anywhere.net"));
        let listed = listed(&["https://example.com"]);
        assert!(allows(&listed, None));
        assert!(!may(&listed, "https://example.com,https://evil.net"));
        assert!(!allows(&listed, Some(b"\xff")));
        assert!(may(&[AllowedOrigin::Any], "https://anywhere.net"));
        assert!(may(&[AllowedOrigin::Null], "null"));
    }

    #[test]
    fn an_entry_that_no_origin_could_match_is_refused_with_a_reason() {
        for (text, says) in [
            ("example.com", "write https://example.com"),
            ("NULL", "write https://example.com"),
            ("https://", "write https://example.com"),
            ("https://a.com/", "without a path"),
            ("https://a.com?b", "without a path"),
            ("https://*", "write https://example.com"),
            ("https://a.*.com", "write https://example.com"),
            ("https://*.*.com", "write https://example.com"),
            ("*://a.com", "write https://example.com"),
            ("https://a..com", "write https://example.com"),
            ("https://user@a.com", "write https://example.com"),
            ("", "write https://example.com"),
            ("https://a.com:", "from 1 to 65535"),
            ("https://a.com:0", "from 1 to 65535"),
            ("https://a.com:65536", "from 1 to 65535"),
            ("https://a.com:https", "from 1 to 65535"),
            ("https://*.192.0.2.1", "no name is below an address"),
            ("https://*.[::1]", "no name is below an address"),
            ("http://[::g]", "not an IPv6 address"),
            ("http://127.1", "four numbers"),
            ("https://münchen.example", "ASCII form"),
            ("wss://a.com", "write http:// or https://"),
        ] {
            let error = text.parse::<AllowedOrigin>().unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("{text:?} matches no page: ")) && error.contains(says),
                "{error}"
            );
        }
    }
}
