//! The agreement on compression: `Sec-WebSocket-Extensions` of RFC 6455 section 9.1, permessage-deflate of RFC 7692.
//!
//! Of the client's offers the first is accepted that the gateway can keep to. Both sides compress each message by itself
//! (no context takeover), whether or not the client has asked for that, so that neither keeps anything for a connection.
//! Anything else in the header is passed over: a client without an agreement is a client without compression.

use crate::core::websocket::compression::{Compression, Window};

const NAME: &str = "permessage-deflate";

/// What a client has offered that is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Accepted {
    /// The window of what the client is sent.
    window: Window,
    /// The client has asked for a limit of it, and is told that it has it.
    has_limit: bool,
}

/// Returns what is agreed on with a client that sends this `Sec-WebSocket-Extensions` header to a listener that compresses,
/// or does not; and the header that tells the client, where there is one to be sent.
pub(crate) fn negotiate(header: Option<&[u8]>, is_on: bool) -> (Compression, Option<String>) {
    let Some(header) = header else { return (Compression::Off, None) };
    match is_on.then(|| accept(header)).flatten() {
        Some(accepted) => (Compression::Agreed(accepted.window), Some(accepted.answer())),
        None if is_offered(header) => (Compression::Declined, None),
        None => (Compression::Off, None),
    }
}

impl Accepted {
    /// The value of the header that accepts it.
    fn answer(self) -> String {
        let limit = if self.has_limit {
            format!("; server_max_window_bits={}", self.window.bits())
        } else {
            String::new()
        };
        format!("{NAME}; server_no_context_takeover; client_no_context_takeover{limit}")
    }
}

/// Returns the first offer that can be accepted. One that follows a mistake in the header is none.
fn accept(header: &[u8]) -> Option<Accepted> {
    let mut rest = skip_commas(header);
    while !rest.is_empty() {
        let (extension, behind) = Extension::take(rest)?;
        if let Some(accepted) = extension.accepted() {
            return Some(accepted);
        }
        rest = behind;
    }
    None
}

/// Returns whether a client that sends this header offers permessage-deflate, with whatever parameters.
fn is_offered(header: &[u8]) -> bool {
    header.split(|byte| *byte == b',').any(|offer| {
        let name = offer.split(|byte| *byte == b';').next().unwrap_or_default();
        name.trim_ascii().eq_ignore_ascii_case(NAME.as_bytes())
    })
}

/// An element of the header.
#[derive(Debug)]
struct Extension<'h> {
    name: &'h [u8],
    /// Names and values, without quotes.
    parameters: Vec<(&'h [u8], Option<&'h [u8]>)>,
}

impl<'h> Extension<'h> {
    /// Takes the element at the front of a header, and the comma behind it; `None` where that is no element.
    fn take(header: &'h [u8]) -> Option<(Self, &'h [u8])> {
        let (name, mut rest) = token(header)?;
        let mut parameters = Vec::new();
        loop {
            match rest.split_first() {
                None => return Some((Self { name, parameters }, rest)),
                Some((b',', behind)) => {
                    return Some((Self { name, parameters }, skip_commas(behind)));
                }
                Some((b';', behind)) => {
                    let (name, behind) = token(behind.trim_ascii_start())?;
                    let (value, behind) = match behind.split_first() {
                        Some((b'=', value)) => {
                            let (value, behind) = value_of(value.trim_ascii_start())?;
                            (Some(value), behind)
                        }
                        _ => (None, behind),
                    };
                    parameters.push((name, value));
                    rest = behind;
                }
                Some(_) => return None,
            }
        }
    }

    /// Returns what is accepted of it. An offer is declined if a parameter is unknown, is there twice, or has a value that
    /// it may not have (RFC 7692 section 7.1), and if it asks for a window in which nothing can be compressed here.
    fn accepted(&self) -> Option<Accepted> {
        if !self.name.eq_ignore_ascii_case(NAME.as_bytes()) {
            return None;
        }
        let mut accepted = Accepted { window: Window::Bits15, has_limit: false };
        for (n, (name, value)) in self.parameters.iter().enumerate() {
            let is_repeated = self.parameters[..n].iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
            if is_repeated {
                return None;
            }
            match (&*name.to_ascii_lowercase(), value) {
                (b"server_no_context_takeover" | b"client_no_context_takeover", None) => {}
                // How far the client's own messages may refer back: any window is read here.
                (b"client_max_window_bits", None) => {}
                (b"client_max_window_bits", Some(bits)) => _ = window_bits(bits)?,
                (b"server_max_window_bits", Some(bits)) => {
                    accepted = Accepted { window: Window::new(window_bits(bits)?)?, has_limit: true };
                }
                _ => return None,
            }
        }
        Some(accepted)
    }
}

/// Returns the number that a window may have in an offer, written without leading zeros: 8 to 15.
fn window_bits(value: &[u8]) -> Option<u8> {
    match value {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

/// Skips empty elements at the front of a list: RFC 9110 section 5.6.1.
fn skip_commas(list: &[u8]) -> &[u8] {
    let skipped = list.iter().take_while(|byte| b", \t".contains(byte)).count();
    &list[skipped..]
}

/// Takes a token off the front (RFC 9110 section 5.6.2), and the blanks behind it.
fn token(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = text.iter().take_while(|byte| is_in_token(**byte)).count();
    let (token, rest) = text.split_at(len);
    (len > 0).then_some((token, rest.trim_ascii_start()))
}

/// Takes a value off the front, which is a token, perhaps in quotes. Within these a character may be escaped; none that a
/// parameter of permessage-deflate has needs it, so that such a value is not read.
fn value_of(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let Some(quoted) = text.strip_prefix(b"\"") else { return token(text) };
    let end = quoted.iter().position(|byte| !is_in_token(*byte))?;
    let behind = quoted[end..].strip_prefix(b"\"")?;
    (end > 0).then_some((&quoted[..end], behind.trim_ascii_start()))
}

fn is_in_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bits of the window that is agreed on, and the header.
    fn agreed(header: &str) -> Option<(u8, String)> {
        match negotiate(Some(header.as_bytes()), true) {
            (Compression::Agreed(window), Some(answer)) => Some((window.bits(), answer)),
            (_, None) => None,
            other => panic!("{header}: {other:?}"),
        }
    }

    const ALWAYS: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    #[test]
    fn neither_side_keeps_a_context_whatever_is_offered() {
        for header in [
            "permessage-deflate",
            // Chromium, Firefox and Node.
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=8",
            "permessage-deflate; client_max_window_bits=\"15\"",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            "  Permessage-Deflate ;Client_Max_Window_Bits ",
            "permessage-deflate,",
            ",permessage-deflate",
            "x-webkit-deflate-frame, permessage-deflate",
            "other; a; b=c; d=\"e\", , permessage-deflate; client_no_context_takeover, permessage-deflate",
        ] {
            assert_eq!(agreed(header), Some((15, ALWAYS.to_owned())), "{header}");
        }
    }

    #[test]
    fn a_window_is_as_large_as_the_client_lets_it_be() {
        for (header, bits) in [
            ("permessage-deflate; server_max_window_bits=15", 15),
            ("permessage-deflate; server_max_window_bits=9", 9),
            ("permessage-deflate; server_max_window_bits=\"10\"; client_max_window_bits", 10),
            (
                "permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=12",
                12,
            ),
            ("permessage-deflate; server_max_window_bits = 11", 11),
        ] {
            let answer = format!("{ALWAYS}; server_max_window_bits={bits}");
            assert_eq!(agreed(header), Some((bits, answer)), "{header}");
        }
    }

    #[test]
    fn an_offer_that_cannot_be_kept_to_is_declined_and_the_next_one_is_taken() {
        for offer in [
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=09",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=1",
            "permessage-deflate; server_max_window_bits=255",
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate; client_max_window_bits=08",
            "permessage-deflate; client_max_window_bits; client_max_window_bits",
            "permessage-deflate; server_max_window_bits=10; Server_Max_Window_Bits=10",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover=true",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; unknown",
            "permessage-deflate; client_max_window_bits; unknown=1",
            "permessage-deflate2",
            "x-webkit-deflate-frame",
        ] {
            assert_eq!(agreed(offer), None, "{offer}");
            assert_eq!(
                agreed(&format!("{offer}, permessage-deflate")).map(|(bits, _)| bits),
                Some(15),
                "{offer}"
            );
        }
    }

    #[test]
    fn nothing_is_taken_from_a_malformed_header_behind_its_mistake() {
        for header in [
            "",
            ";",
            "permessage-deflate;",
            "permessage-deflate; =1",
            "permessage-deflate; client_max_window_bits=",
            "permessage-deflate; client_max_window_bits=\"\"",
            "permessage-deflate; client_max_window_bits=\"15",
            "permessage-deflate; client_max_window_bits=\"1\\5\"",
            "permessage-deflate client_max_window_bits",
            "other; a=\", permessage-deflate",
            "@, permessage-deflate",
        ] {
            assert_eq!(agreed(header), None, "{header}");
        }
    }

    #[test]
    fn a_listener_that_does_not_compress_answers_nothing_and_knows_who_has_offered() {
        for (header, compression) in [
            (Some("permessage-deflate"), Compression::Declined),
            (Some("permessage-deflate; client_max_window_bits"), Compression::Declined),
            (
                Some("x-webkit-deflate-frame, Permessage-Deflate;server_no_context_takeover"),
                Compression::Declined,
            ),
            (Some("x-webkit-deflate-frame"), Compression::Off),
            (Some("other; a=permessage-deflate"), Compression::Off),
            (Some("permessage-deflate2"), Compression::Off),
            (Some(""), Compression::Off),
            (None, Compression::Off),
        ] {
            assert_eq!(negotiate(header.map(str::as_bytes), false), (compression, None), "{header:?}");
        }
        let narrow = b"permessage-deflate; server_max_window_bits=8";
        assert_eq!(negotiate(Some(narrow), true), (Compression::Declined, None));
    }
}
