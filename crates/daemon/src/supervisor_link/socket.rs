//! The supervisor's link on Unix: the socket that was standard input, or standard input and output where that is
//! no socket. Used by `mod.rs` only.

use std::io::{self, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use bytes::BytesMut;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send as send_bytes,
    sockopt::socket_type,
};
use tokio::net::TcpListener;

use super::write_to_stdout;

/// A socket that the supervisor passes on.
pub(crate) type Socket = OwnedFd;

/// Returns the socket that was standard input, if it was one. The first call takes it away from there: what the
/// application starts would inherit it, and read messages of the supervisor.
fn supervisor() -> Option<&'static OwnedFd> {
    static SUPERVISOR: OnceLock<Option<OwnedFd>> = OnceLock::new();
    let take = || {
        socket_type(io::stdin()).ok()?;
        let socket = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3).ok()?;
        let nothing = std::fs::File::open("/dev/null").ok()?;
        rustix::stdio::dup2_stdin(nothing).ok()?;
        Some(socket)
    };
    SUPERVISOR.get_or_init(take).as_ref()
}

/// Whether standard input was a socket, when this file was first used.
pub(crate) fn passes_sockets() -> bool {
    supervisor().is_some()
}

pub(super) fn send(line: &[u8]) {
    let Some(supervisor) = supervisor() else { return write_to_stdout(line) };
    let mut left = line;
    while !left.is_empty() {
        match send_bytes(supervisor, left, SendFlags::empty()) {
            Ok(sent) => left = &left[sent..],
            Err(error) if may_retry(supervisor, error, PollFlags::OUT) => {}
            Err(_) => return,
        }
    }
}

/// Appends bytes; returns how many, and a socket if one came.
pub(super) fn receive(bytes: &mut BytesMut) -> io::Result<(usize, Option<Socket>)> {
    let mut chunk = [0; 1024];
    let Some(supervisor) = supervisor() else {
        let read = io::stdin().read(&mut chunk)?;
        bytes.extend_from_slice(&chunk[..read]);
        return Ok((read, None));
    };
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let read = loop {
        match recvmsg(supervisor, &mut [IoSliceMut::new(&mut chunk)], &mut control, RecvFlags::empty()) {
            Err(error) if may_retry(supervisor, error, PollFlags::IN) => {}
            received => break received?.bytes,
        }
    };
    bytes.extend_from_slice(&chunk[..read]);
    let mut socket = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = message {
            socket = passed.last();
        }
    }
    if let Some(socket) = &socket {
        // What the daemon starts must not hold it open.
        rustix::io::fcntl_setfd(socket, rustix::io::FdFlags::CLOEXEC)?;
    }
    Ok((read, socket))
}

/// Whether to try again after `error`. Waits where the socket does not block: a process that shares it may have set
/// it so.
fn may_retry(socket: &OwnedFd, error: Errno, until: PollFlags) -> bool {
    if error == Errno::AGAIN {
        let _ = poll(&mut [PollFd::new(socket, until)], None);
    }
    matches!(error, Errno::AGAIN | Errno::INTR)
}

/// Makes a listener of a socket that was passed on.
///
/// # Errors
/// When the system refuses.
///
/// # Panics
/// Outside a tokio runtime.
pub(crate) fn into_listener(socket: Socket) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::from(socket);
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}
