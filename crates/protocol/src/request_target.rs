//! The target of an HTTP request, as it stands in the request line and in `REQUEST_URI`:
//! RFC 9112 section 3.2.
//!
//! Proxies and some clients write it in absolute form, `http://example.com/ws?room=9`. It
//! names the same path as `/ws?room=9` does.

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

/// Returns what stands behind the `?` of a request's target, and nothing where there is none.
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

/// Takes scheme and authority off a target in absolute form.
fn origin_form(target: &str) -> &str {
    match target.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => {
            &rest[rest.find(['/', '?', '#']).unwrap_or(rest.len())..]
        }
        _ => target,
    }
}

/// RFC 3986 section 3.1.
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
