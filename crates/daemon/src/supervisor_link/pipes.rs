//! The supervisor's link where there are no Unix sockets: standard input and standard output. No socket is ever
//! passed on. Used by `mod.rs` only.

use std::convert::Infallible;
use std::io::{self, Read};

use bytes::BytesMut;
use tokio::net::TcpListener;

use super::write_to_stdout;

/// A socket that the supervisor passes on: none ever comes.
pub(crate) type Socket = Infallible;

/// Whether the link passes sockets on: never.
pub(crate) fn passes_sockets() -> bool {
    false
}

pub(super) fn send(line: &[u8]) {
    write_to_stdout(line);
}

/// Appends bytes; returns how many.
pub(super) fn receive(bytes: &mut BytesMut) -> io::Result<(usize, Option<Socket>)> {
    let mut chunk = [0; 1024];
    let read = io::stdin().read(&mut chunk)?;
    bytes.extend_from_slice(&chunk[..read]);
    Ok((read, None))
}

/// Is never called.
///
/// # Errors
/// None.
pub(crate) fn into_listener(socket: Socket) -> io::Result<TcpListener> {
    match socket {}
}
