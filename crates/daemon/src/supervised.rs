//! The child's end of what a supervising parent process and a daemon say to each other,
//! in lines. On Unix, standard input is a socket for both directions, which the application
//! finds empty, and standard output is its own; where it is a pipe, the child speaks on
//! standard output.
//!
//! | parent | child | |
//! |---|---|---|
//! | | `ready ADDRESS…` | once everything listens |
//! | `status` | `status {"clients":3,…}` | how it goes |
//! | `reload` | `reloaded`, or `failed WHY` | files are read again |
//! | `listener KEY` with the socket, or `refused KEY WHY` | `listen KEY ADDRESS` | a listener that the parent holds, so that no connection is lost when another process takes this one's place |
//! | end of input | | drain and end; the system says it for a parent that is gone, however it went |

use std::collections::HashMap;
use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::operator::{AskReload, By, Stats};

/// A parent's lines are short; what is longer than this many bytes comes in pieces.
const MAX_LINE: usize = 4096;

/// How long the parent may take to open a listener.
const PATIENCE: Duration = Duration::from_secs(5);

/// Says that everything listens, on `addresses`.
pub(crate) fn ready<A: Display>(addresses: impl IntoIterator<Item = A>) {
    say(&addresses.into_iter().fold("ready".to_owned(), |line, address| format!("{line} {address}")));
}

/// Does what the parent says, on a thread of its own; at the end of its words it cancels
/// `shutdown`.
///
/// # Errors
/// When there is no thread to be had.
pub(crate) fn obey(
    shutdown: CancellationToken,
    reload: AskReload,
    stats: Stats,
    listeners: ListenerSource,
) -> io::Result<()> {
    let obey = move || {
        each_line(receive, |line, socket| match line.split_once(' ').unwrap_or((line, "")) {
            ("reload", _) => reload.ask(By::Parent),
            ("status", _) => say(&format!("status {}", stats.to_json())),
            ("listener", key) => {
                let socket = socket.take();
                listeners.answer(key, socket.ok_or_else(|| "the parent process sent no socket".to_owned()));
            }
            ("refused", refusal) => {
                let (key, why) = refusal.split_once(' ').unwrap_or((refusal, ""));
                listeners.answer(key, Err(why.to_owned()));
            }
            _ => debug!(line, "the parent process says what this daemon does not know"),
        });
        if !shutdown.is_cancelled() {
            shutdown.cancel();
            info!("draining, as the parent process asks");
        }
    };
    std::thread::Builder::new().name("parent".into()).spawn(obey).map(drop)
}

/// Where listeners come from that are to outlive the process: from the parent process if
/// that holds them, otherwise from here.
#[derive(Debug, Clone, Default)]
pub struct ListenerSource(Option<Arc<Asked>>);

/// Which listeners the parent was asked for, by their keys.
type Asked = Mutex<HashMap<String, oneshot::Sender<Result<Socket, String>>>>;

impl ListenerSource {
    /// From the parent, if it is one that holds listeners.
    pub(crate) fn of_parent() -> Self {
        Self(has_socket().then(Arc::default))
    }

    /// Listens on `address`, which the configuration calls `key`.
    ///
    /// # Errors
    /// When the address is in use, not this machine's, or needs rights; when the parent
    /// does not answer within five seconds.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn bind(&self, key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
        let Some(asked) = &self.0 else { return crate::bind(key, address) };
        let (to, answer) = oneshot::channel();
        asked.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), to);
        say(&format!("listen {key} {address}"));
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(Ok(socket))) => into_listener(socket).with_context(|| format!("{key}: {address}")),
            Ok(Ok(Err(why))) => bail!(why),
            _ => Err(anyhow!("{key}: the parent process did not open {address}")),
        }
    }

    fn answer(&self, key: &str, socket: Result<Socket, String>) {
        let Some(asked) = &self.0 else { return };
        if let Some(to) = asked.lock().unwrap_or_else(PoisonError::into_inner).remove(key) {
            let _ = to.send(socket);
        }
    }
}

/// Calls `f` for each line, until there are no more, and with the last socket that came
/// and was not taken: with its own line, but maybe in one piece with one before it.
/// `receive` appends bytes, and returns how many, and a socket if one came.
fn each_line(
    mut receive: impl FnMut(&mut Vec<u8>) -> io::Result<(usize, Option<Socket>)>,
    mut f: impl FnMut(&str, &mut Option<Socket>),
) {
    let mut bytes = Vec::new();
    let mut passed = None;
    while let Ok((1.., socket)) = receive(&mut bytes) {
        passed = socket.or(passed);
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let rest = bytes.split_off(end + 1);
            let line = std::mem::replace(&mut bytes, rest);
            f(String::from_utf8_lossy(&line).trim_end(), &mut passed);
        }
        if bytes.len() >= MAX_LINE {
            f(&String::from_utf8_lossy(&std::mem::take(&mut bytes)), &mut passed);
        }
    }
}

#[cfg(unix)]
pub(crate) use socket::say;
#[cfg(unix)]
use socket::{Socket, has_socket, into_listener, receive};

#[cfg(unix)]
mod socket {
    use std::io::{self, IoSliceMut, Write};
    use std::mem::MaybeUninit;
    use std::os::fd::OwnedFd;
    use std::sync::OnceLock;

    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::io::Errno;
    use rustix::net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send, sockopt::socket_type,
    };
    use tokio::net::TcpListener;

    pub(crate) type Socket = OwnedFd;

    /// The socket that was standard input, if it was one. It is not any more: what the
    /// application starts would inherit it, and take words away.
    fn parent() -> Option<&'static OwnedFd> {
        static PARENT: OnceLock<Option<OwnedFd>> = OnceLock::new();
        let take = || {
            socket_type(io::stdin()).ok()?;
            let socket = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3).ok()?;
            let nothing = std::fs::File::open("/dev/null").ok()?;
            rustix::stdio::dup2_stdin(nothing).ok()?;
            Some(socket)
        };
        PARENT.get_or_init(take).as_ref()
    }

    /// Whether standard input was one, when this was asked for the first time.
    pub(super) fn has_socket() -> bool {
        parent().is_some()
    }

    /// Says a line to the parent. One that no longer listens has its own end to deal with.
    pub(crate) fn say(line: &str) {
        let line = format!("{line}\n");
        if let Some(parent) = parent() {
            let mut left = line.as_bytes();
            while !left.is_empty() {
                match send(parent, left, SendFlags::empty()) {
                    Ok(sent) => left = &left[sent..],
                    Err(error) if wait(parent, error, PollFlags::OUT) => {}
                    Err(_) => return,
                }
            }
            return;
        }
        let mut out = io::stdout().lock();
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }

    pub(super) fn receive(bytes: &mut Vec<u8>) -> io::Result<(usize, Option<Socket>)> {
        let mut chunk = [0; 1024];
        let Some(parent) = parent() else {
            let read = io::Read::read(&mut io::stdin(), &mut chunk)?;
            bytes.extend_from_slice(&chunk[..read]);
            return Ok((read, None));
        };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let read = loop {
            match recvmsg(parent, &mut [IoSliceMut::new(&mut chunk)], &mut control, RecvFlags::empty()) {
                Err(error) if wait(parent, error, PollFlags::IN) => {}
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
            // What the daemon starts is not to hold it.
            rustix::io::fcntl_setfd(socket, rustix::io::FdFlags::CLOEXEC)?;
        }
        Ok((read, socket))
    }

    /// Whether it is to be tried again: somebody who shares the socket may have set it not
    /// to block.
    fn wait(socket: &OwnedFd, error: Errno, until: PollFlags) -> bool {
        if error == Errno::AGAIN {
            let _ = poll(&mut [PollFd::new(socket, until)], None);
        }
        matches!(error, Errno::AGAIN | Errno::INTR)
    }

    pub(super) fn into_listener(socket: Socket) -> io::Result<TcpListener> {
        let listener = std::net::TcpListener::from(socket);
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    }
}

#[cfg(not(unix))]
pub(crate) use pipes::say;
#[cfg(not(unix))]
use pipes::{Socket, has_socket, into_listener, receive};

#[cfg(not(unix))]
mod pipes {
    use std::convert::Infallible;
    use std::io::{self, Read, Write};

    use tokio::net::TcpListener;

    /// None ever comes.
    pub(crate) type Socket = Infallible;

    pub(super) fn has_socket() -> bool {
        false
    }

    /// Says a line to the parent. One that no longer listens has its own end to deal with.
    pub(crate) fn say(line: &str) {
        let mut out = io::stdout().lock();
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }

    pub(super) fn receive(bytes: &mut Vec<u8>) -> io::Result<(usize, Option<Socket>)> {
        let mut chunk = [0; 1024];
        let read = io::stdin().read(&mut chunk)?;
        bytes.extend_from_slice(&chunk[..read]);
        Ok((read, None))
    }

    pub(super) fn into_listener(socket: Socket) -> io::Result<TcpListener> {
        match socket {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_heard_one_by_one_however_they_arrive_and_long_ones_in_pieces() {
        let long = "x".repeat(MAX_LINE);
        let mut parts = ["rel", "oad\nstatus\r\n", &long, "y\nla", "st\n", ""].into_iter();
        let receive = |bytes: &mut Vec<u8>| {
            let part = parts.next().unwrap_or_default();
            bytes.extend_from_slice(part.as_bytes());
            Ok((part.len(), None))
        };
        let mut heard = Vec::new();
        each_line(receive, |line, _| heard.push(line.to_owned()));
        assert_eq!(heard, ["reload", "status", &long, "y", "last"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_socket_is_there_for_its_own_line_whatever_comes_with_it() {
        let socket = Socket::from(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let mut parts = [("status\nlistener k\nstatus\n", Some(socket)), ("", None)].into_iter();
        let receive = |bytes: &mut Vec<u8>| {
            let (part, socket) = parts.next().unwrap();
            bytes.extend_from_slice(part.as_bytes());
            Ok((part.len(), socket))
        };
        let mut taken = Vec::new();
        each_line(receive, |line, socket| {
            if line.starts_with("listener") {
                taken.push((line.to_owned(), socket.take().is_some()));
            }
        });
        assert_eq!(taken, [("listener k".to_owned(), true)]);
    }
}
