//! Which pages may connect: the Origin that a browser sends, RFC 6455 section 4.2.2
//! and RFC 6454.
//!
//! This keeps other people's pages from using a visitor's cookies. It keeps no
//! program out: one that is no browser says what it likes, or nothing.

use std::str::FromStr;

/// An entry of `allowed_origins`: `https://example.com`, with its port where that is
/// not the scheme's own; `https://*.example.com` for every name below; `null` for pages
/// from disk; `*` for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    Any,
    Exactly(String),
    /// What stands before and behind the part that may be anything.
    Below(String, String),
}

/// What is no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no origin: write https://example.com, https://*.example.com, null or *, without a path")]
pub(crate) struct OriginError(String);

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || OriginError(text.to_owned());
        match text {
            "*" => return Ok(Self::Any),
            "null" => return Ok(Self::Exactly("null".to_owned())),
            _ => {}
        }
        let lower = text.to_ascii_lowercase();
        let (scheme, host) = lower.split_once("://").ok_or_else(bad)?;
        let (below, host) = host.strip_prefix("*.").map_or((false, host), |host| (true, host));
        if scheme.is_empty() || host.is_empty() || host.contains(['*', '/', ' ', '@', '?', '#']) {
            return Err(bad());
        }
        Ok(match below {
            true => Self::Below(format!("{scheme}://"), format!(".{host}")),
            false => Self::Exactly(lower),
        })
    }
}

impl Origin {
    fn allows(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(allowed) => origin == allowed,
            Self::Below(before, behind) => origin
                .strip_prefix(before.as_str())
                .and_then(|host| host.strip_suffix(behind.as_str()))
                .is_some_and(|name| {
                    name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
                        && !name.is_empty()
                }),
        }
    }
}

/// Whether a request with this Origin may connect: any may where nothing is listed,
/// and one without, as it comes from no browser. Of several, joined with a comma, none
/// is listed: browsers send one.
pub(crate) fn allows(listed: &[Origin], header: Option<&[u8]>) -> bool {
    if listed.is_empty() {
        return true;
    }
    let Some(origin) = header else { return true };
    let Ok(origin) = std::str::from_utf8(origin) else { return false };
    let origin = origin.trim().to_ascii_lowercase();
    listed.iter().any(|listed| listed.allows(&origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(texts: &[&str]) -> Vec<Origin> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn may(listed: &[Origin], origin: &str) -> bool {
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
    fn without_a_list_or_an_origin_nobody_is_kept_out() {
        assert!(may(&[], "https://anywhere.net"));
        let listed = listed(&["https://example.com"]);
        assert!(allows(&listed, None));
        assert!(!may(&listed, "https://example.com,https://evil.net"));
        assert!(!allows(&listed, Some(b"\xff")));
        assert!(may(&[Origin::Any], "https://anywhere.net"));
        assert!(may(&[Origin::Exactly("null".into())], "null"));
    }

    #[test]
    fn what_could_never_match_is_refused() {
        for text in ["example.com", "https://", "https://a.com/", "https://*", "https://a.*.com", ""] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
    }
}
