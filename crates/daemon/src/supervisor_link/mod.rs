//! The link of a supervised daemon to its supervisor: sends messages, and reads lines with the sockets that come
//! with them. It is the process's standard input where that is a socket (`socket.rs`), otherwise standard input and
//! standard output (`pipes.rs`). What the lines mean is in `child_protocol.rs`; all calls block.

#[cfg_attr(unix, path = "socket.rs")]
#[cfg_attr(not(unix), path = "pipes.rs")]
mod stream;

use std::io::{self, Write};

use bytes::BytesMut;

use crate::LineSplitter;
use crate::child_protocol::{ChildMessage, MAX_LINE_BYTES};

pub(crate) use stream::{Socket, into_listener, passes_sockets};

/// Sends a message to the supervisor. A supervisor that is gone misses it: the end of the link is dealt with
/// elsewhere.
pub(crate) fn send(message: &ChildMessage) {
    stream::send(message.to_line().as_bytes());
}

/// Calls `handle` for each line until the link ends, with the last socket that came and was not taken. A socket
/// comes with its own line, but both may come in one piece with the lines before them.
pub(crate) fn for_each_line(handle: impl FnMut(&str, &mut Option<Socket>)) {
    read_lines(stream::receive, handle);
}

/// Reads lines by `receive`, which appends bytes and returns how many, and a socket if one came.
fn read_lines(
    mut receive: impl FnMut(&mut BytesMut) -> io::Result<(usize, Option<Socket>)>,
    mut handle: impl FnMut(&str, &mut Option<Socket>),
) {
    let mut lines = LineSplitter::new(MAX_LINE_BYTES);
    let mut passed = None;
    while let Ok((1.., socket)) = receive(lines.buffer()) {
        passed = socket.or(passed);
        while let Some(line) = lines.next_line() {
            handle(String::from_utf8_lossy(&line).trim_end(), &mut passed);
        }
    }
}

/// Writes to standard output. Nothing waits for what becomes of it.
fn write_to_stdout(line: &[u8]) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(line).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_handled_one_by_one_however_they_arrive_and_long_ones_in_pieces() {
        let long = "x".repeat(MAX_LINE_BYTES);
        let mut parts = ["rel", "oad\nstatus\r\n", &long, "y\nla", "st\n", ""].into_iter();
        let receive = |bytes: &mut BytesMut| {
            let part = parts.next().unwrap_or_default();
            bytes.extend_from_slice(part.as_bytes());
            Ok((part.len(), None))
        };
        let mut handled = Vec::new();
        read_lines(receive, |line, _| handled.push(line.to_owned()));
        assert_eq!(handled, ["reload", "status", &long, "y", "last"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_socket_is_there_for_its_own_line_whatever_comes_with_it() {
        let socket = Socket::from(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let mut parts = [("status\nlistener k\nstatus\n", Some(socket)), ("", None)].into_iter();
        let receive = |bytes: &mut BytesMut| {
            let (part, socket) = parts.next().unwrap();
            bytes.extend_from_slice(part.as_bytes());
            Ok((part.len(), socket))
        };
        let mut taken = Vec::new();
        read_lines(receive, |line, socket| {
            if line.starts_with("listener") {
                taken.push((line.to_owned(), socket.take().is_some()));
            }
        });
        assert_eq!(taken, [("listener k".to_owned(), true)]);
    }
}
