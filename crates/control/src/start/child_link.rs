//! The supervisor's end of the link to a child: its standard input, which is a Unix socket where there are some.
//! Writes messages, with listeners as ancillary data; `child_process.rs` is the only one to write. Closing it tells
//! the child to drain.

use std::io;
use std::net::TcpListener;
use std::process::Stdio;

use gatewayworker_daemon::child_protocol::SupervisorMessage;
use tokio::process::{Child, Command};

/// A message to a child, with the listener that belongs to it.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) message: SupervisorMessage,
    #[cfg_attr(not(unix), allow(dead_code, reason = "no child asks for one there"))]
    pub(super) listener: Option<TcpListener>,
}

impl From<SupervisorMessage> for Outgoing {
    fn from(message: SupervisorMessage) -> Self {
        Self { message, listener: None }
    }
}

#[cfg(unix)]
pub(super) use over_socket::{ChildInput, ChildOutput, send, spawn};

#[cfg(unix)]
mod over_socket {
    use std::io::IoSlice;
    use std::mem::MaybeUninit;
    use std::os::fd::{AsFd, OwnedFd};

    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use tokio::io::{AsyncWriteExt, Interest};
    use tokio::net::UnixStream;
    use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

    use super::*;

    /// Takes messages to the child. Dropped, it tells the child to drain.
    pub(crate) type ChildInput = OwnedWriteHalf;

    /// Has the messages of the child.
    pub(crate) type ChildOutput = OwnedReadHalf;

    /// Starts the program with a socket as its standard input.
    ///
    /// # Errors
    /// When there is no such program, or the system refuses.
    pub(crate) fn spawn(mut command: Command) -> io::Result<(Child, ChildInput, ChildOutput)> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let (output, input) = UnixStream::from_std(ours)?.into_split();
        command.stdin(Stdio::from(OwnedFd::from(theirs)));
        let process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        Ok((process, input, output))
    }

    /// Sends a message. Not cancel safe: a part of it may have been sent.
    ///
    /// # Errors
    /// When the child is gone.
    pub(crate) async fn send(input: &mut ChildInput, outgoing: &Outgoing) -> io::Result<()> {
        let line = outgoing.message.to_line();
        let sent = match &outgoing.listener {
            Some(listener) => send_with(input.as_ref(), line.as_bytes(), listener).await?,
            None => 0,
        };
        input.write_all(&line.as_bytes()[sent..]).await
    }

    /// Sends the listener with at least the line's first byte; returns how many bytes were sent.
    async fn send_with(stream: &UnixStream, line: &[u8], listener: &TcpListener) -> io::Result<usize> {
        let send = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let sockets = [listener.as_fd()];
            control.push(SendAncillaryMessage::ScmRights(&sockets));
            Ok(sendmsg(stream, &[IoSlice::new(line)], &mut control, SendFlags::empty())?)
        };
        loop {
            stream.writable().await?;
            match stream.try_io(Interest::WRITABLE, send) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return sent,
            }
        }
    }
}

#[cfg(not(unix))]
pub(super) use over_pipes::{ChildInput, ChildOutput, send, spawn};

#[cfg(not(unix))]
mod over_pipes {
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// Takes messages to the child. Dropped, it tells the child to drain.
    pub(crate) type ChildInput = tokio::process::ChildStdin;

    /// Is empty: the child's messages come over its standard output.
    pub(crate) type ChildOutput = tokio::io::Empty;

    /// Starts the program with a pipe as its standard input.
    ///
    /// # Errors
    /// When there is no such program, or the system refuses.
    pub(crate) fn spawn(mut command: Command) -> io::Result<(Child, ChildInput, ChildOutput)> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn()?;
        let input = process.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok((process, input, tokio::io::empty()))
    }

    /// Sends a message. Listeners cannot be passed on here, and no child asks for one.
    ///
    /// # Errors
    /// When the child is gone.
    pub(crate) async fn send(input: &mut ChildInput, outgoing: &Outgoing) -> io::Result<()> {
        input.write_all(outgoing.message.to_line().as_bytes()).await
    }
}
