//! Reads a collector's answer to an HTTP request: its status, and its body as far as that matters.

use std::io::Read;

use opentelemetry_http::{Bytes, HttpError, Response};

/// The longest answer that is read, in bytes. A collector answers with a few.
const MAX_LEN: u64 = 64 * 1024;

/// Reads an answer up to the end of its body, or of the stream.
///
/// # Errors
/// When the stream ends before the head does, or fails, or what comes is not HTTP.
pub(crate) fn read(mut stream: impl Read) -> Result<Response<Bytes>, HttpError> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    let mut stream = (&mut stream).take(MAX_LEN);
    loop {
        if let Some(head) = Head::parse(&bytes)? {
            let end = head.len.saturating_add(head.body_len.unwrap_or(usize::MAX));
            // Of a body in chunks nothing is used: it would be about spans that were not taken.
            if head.is_chunked || bytes.len() >= end {
                let body = if head.is_chunked { Vec::new() } else { bytes[head.len..end].to_vec() };
                return Ok(Response::builder().status(head.status).body(body.into())?);
            }
        }
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            // A peer may end TLS without a word.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error.into()),
        }
    }
    let head = Head::parse(&bytes)?.ok_or("the collector has closed the connection without an answer")?;
    Ok(Response::builder().status(head.status).body(bytes.split_off(head.len).into())?)
}

/// The head of an answer.
struct Head {
    status: u16,
    /// Its own length.
    len: usize,
    /// The length of the body, where the head says it.
    body_len: Option<usize>,
    is_chunked: bool,
}

impl Head {
    fn parse(bytes: &[u8]) -> Result<Option<Self>, HttpError> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(len) = response.parse(bytes)? else { return Ok(None) };
        let header = |name: &str| {
            let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
            found.and_then(|header| std::str::from_utf8(header.value).ok()).map(str::trim)
        };
        let status = response.code.unwrap_or_default();
        let body_len =
            if status == 204 { Some(0) } else { header("Content-Length").and_then(|n| n.parse().ok()) };
        let is_chunked =
            header("Transfer-Encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        Ok(Some(Self { status, len, body_len, is_chunked }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status_and_body(answer: &str) -> Option<(u16, String)> {
        let response = read(answer.as_bytes()).ok()?;
        Some((response.status().as_u16(), String::from_utf8(response.into_body().to_vec()).unwrap()))
    }

    #[test]
    fn an_answer_ends_with_its_body_or_the_stream() {
        for (answer, status, body) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi, and more", 200, "hi"),
            ("HTTP/1.1 200 OK\r\n\r\nto the end", 200, "to the end"),
            ("HTTP/1.1 204 No Content\r\n\r\n", 204, ""),
            ("HTTP/1.1 503 Busy\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n", 503, ""),
        ] {
            assert_eq!(status_and_body(answer), Some((status, body.to_owned())), "{answer}");
        }
        for wrong in ["", "HTTP/1.1 200 OK\r\n", "SSH-2.0-x\r\n\r\n", "HTTP/1.1 99999 No\r\n\r\n"] {
            assert_eq!(status_and_body(wrong), None, "{wrong}");
        }
    }
}
