//! The target of an HTTP request, from the request line or `REQUEST_URI`: RFC 9112, section 3.2.
//!
//! Proxies and some clients write it in absolute form, `http://example.com/ws?room=9`. It has the
//! same path as `/ws?room=9`. The gateway's access policy and the worker's `Handshake` read paths
//! by it.

/// Returns the path of a request's target, `/` where it names none (as PHP's `parse_url`
/// and the original's `Request::path` have it).
///
/// ```
/// use gatewayworker_protocol::request_target::path;
///
/// assert_eq!(path("/ws?room=9"), "/ws");
/// assert_eq!(path("http://example.com:8289/ws?room=9"), "/ws");
/// assert_eq!(path("http://example.com?room=9"), "/");
/// ```
pub fn path(target: &str) -> &str {
    match origin_form(target).split(['?', '#']).next() {
        None | Some("") => "/",
        Some(path) => path,
    }
}

/// Returns the query of a request's target, without `?`; empty where there is none.
///
/// ```
/// use gatewayworker_protocol::request_target::query;
///
/// assert_eq!(query("http://example.com?room=9#top"), "room=9");
/// assert_eq!(query("/ws"), "");
/// ```
pub fn query(target: &str) -> &str {
    let before_fragment = target.split('#').next().unwrap_or_default();
    origin_form(before_fragment).split_once('?').map_or("", |(_, query)| query)
}

/// Removes scheme and authority from a target in absolute form.
fn origin_form(target: &str) -> &str {
    match target.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => {
            &rest[rest.find(['/', '?', '#']).unwrap_or(rest.len())..]
        }
        _ => target,
    }
}

/// Whether a text is a scheme: RFC 3986, section 3.1.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_has_its_path_and_query() {
        for (target, its_path, its_query) in [
            ("/ws", "/ws", ""),
            ("/ws?a=1?b=2#top", "/ws", "a=1?b=2"),
            ("/ws#top?a=1", "/ws", ""),
            ("/?u=http://x/y", "/", "u=http://x/y"),
            ("/a://b/c", "/a://b/c", ""),
            ("?a=1", "/", "a=1"),
            ("", "/", ""),
            ("*", "*", ""),
            ("HTTP://Host/WS?a=1", "/WS", "a=1"),
            ("https://host:443/ws/", "/ws/", ""),
            ("ws://[::1]:8289/ws", "/ws", ""),
            ("http://user@host/a//b", "/a//b", ""),
            ("http://host", "/", ""),
            ("http://host/", "/", ""),
            ("http://host?x=1", "/", "x=1"),
            ("http://host#top", "/", ""),
            ("http:///ws", "/ws", ""),
            ("1http://host/ws", "1http://host/ws", ""),
        ] {
            assert_eq!((path(target), query(target)), (its_path, its_query), "{target}");
        }
    }
}
