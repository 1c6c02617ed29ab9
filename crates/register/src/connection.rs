//! The connection of one peer: reads its lines, writes the lists to it, and says why it ended.
//!
//! `server` starts one task for each. What a line means, which list is due and when the peer is too
//! late is decided by `roster`; this file moves the bytes and waits.

use std::io;
use std::net::SocketAddr;

use gatewayworker_net::{LineError, LineReader, LinkReader, LinkSink, LinkStream};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::{timeout, timeout_at};
use tracing::{debug, info, warn};

use crate::register::{Logs, Register};
use crate::rejections::RejectReason;
use crate::request::{BAD_REQUEST, CloseCause, Request};
use crate::roster::PeerId;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionEnd {
    #[error("the peer closed the connection")]
    Left,
    #[error("the connection failed: {0}")]
    Failed(#[from] io::Error),
    #[error("it does not read the lists that it is sent")]
    Slow,
    #[error("a line is longer than {limit} bytes; is it a daemon of this cluster?")]
    LineTooLong { limit: usize },
    #[error(transparent)]
    Closed(#[from] CloseCause),
}

impl From<LineError> for ConnectionEnd {
    fn from(error: LineError) -> Self {
        match error {
            LineError::TooLong { limit } => Self::LineTooLong { limit },
            LineError::Io(error) => Self::Failed(error),
        }
    }
}

impl ConnectionEnd {
    /// Returns why the register closed the connection; `None` where the peer or the network did.
    pub(crate) fn rejection(&self) -> Option<RejectReason> {
        Some(match self {
            Self::Left | Self::Failed(_) => return None,
            Self::Slow => RejectReason::SlowReader,
            Self::LineTooLong { .. } => RejectReason::LineTooLong,
            Self::Closed(cause) => match cause {
                CloseCause::NoIntroduction => RejectReason::NoIntroduction,
                CloseCause::Silent => RejectReason::Silent,
                CloseCause::BadRequest => RejectReason::BadRequest,
                CloseCause::UnknownEvent(_) => RejectReason::UnknownEvent,
                CloseCause::BadEvent(_) => RejectReason::BadEvent,
                CloseCause::WrongKey => RejectReason::WrongKey,
                CloseCause::BadAddress => RejectReason::BadAddress,
            },
        })
    }

    /// Logs why the connection to `peer` ended. Anybody who reaches the register can cause such a
    /// line, so there is one a second at most.
    pub(crate) fn log(self, peer: SocketAddr, logs: &Logs) {
        match self {
            Self::Left => debug!(%peer, "{self}"),
            Self::Failed(_) => logs.failed.log(move |times| info!(%peer, times, "{self}")),
            _ => logs.closed.log(move |times| warn!(%peer, times, "closed: {self}")),
        }
    }
}

/// Serves a peer until its connection ends. Drops `unauthenticated` as soon as the peer has shown
/// the key.
pub(crate) async fn serve(
    register: &Register,
    id: PeerId,
    stream: TcpStream,
    peer: SocketAddr,
    unauthenticated: OwnedSemaphorePermit,
) -> ConnectionEnd {
    gatewayworker_net::tune(&stream);
    let stream = match LinkStream::accept(stream, register.tls.as_ref()).await {
        Ok(stream) => stream,
        Err(error) => return ConnectionEnd::Failed(error),
    };
    let (reading, mut writing) = stream.into_split();
    let line_due = Notify::new();
    let reader = Reader {
        register,
        id,
        peer,
        line_due: &line_due,
        lines: LineReader::new(reading),
        unauthenticated: Some(unauthenticated),
    };
    let end = tokio::select! {
        end = reader.run() => end,
        end = write_lines(register, id, &line_due, &mut writing) => end,
    };
    if let ConnectionEnd::Closed(CloseCause::BadRequest) = end {
        // As the original does. The peer may have gone already.
        let _ = write(register, &mut writing, BAD_REQUEST).await;
    }
    end
}

/// Writes the lines that are due to the peer: the answers to what it asks and, once it has asked for
/// the list, each new one that is published.
async fn write_lines(
    register: &Register,
    id: PeerId,
    line_due: &Notify,
    writing: &mut LinkSink,
) -> ConnectionEnd {
    let mut publications = register.publications();
    loop {
        tokio::select! {
            () = line_due.notified() => {}
            Ok(()) = publications.changed(), if register.follows(id) => {}
        }
        while let Some(line) = register.next_line(id) {
            if let Err(end) = write(register, writing, &line).await {
                return end;
            }
        }
    }
}

async fn write(register: &Register, writing: &mut LinkSink, line: &[u8]) -> Result<(), ConnectionEnd> {
    let limit = register.config.limits.write;
    let written = async {
        writing.write_all(line).await?;
        writing.flush().await
    };
    timeout(limit, written).await.map_err(|_| ConnectionEnd::Slow)??;
    Ok(())
}

/// The reading side of a connection.
struct Reader<'a> {
    register: &'a Register,
    id: PeerId,
    peer: SocketAddr,
    line_due: &'a Notify,
    lines: LineReader<LinkReader>,
    /// Held until the peer has shown the key.
    unauthenticated: Option<OwnedSemaphorePermit>,
}

impl Reader<'_> {
    async fn run(mut self) -> ConnectionEnd {
        loop {
            if let Err(end) = self.read_line().await {
                return end;
            }
        }
    }

    async fn read_line(&mut self) -> Result<(), ConnectionEnd> {
        let (limit, deadline) = self.register.expects(self.id);
        let line = self.lines.next_line(limit);
        let line = match deadline {
            Some(deadline) => match timeout_at(deadline, line).await {
                Ok(line) => line,
                Err(_) => return self.register.check_deadline(self.id).map_err(ConnectionEnd::Closed),
            },
            None => line.await,
        };
        let Some(line) = line? else { return Err(ConnectionEnd::Left) };
        match self.register.received(self.id, &line)? {
            Request::Ping { answer } => {
                if answer {
                    self.line_due.notify_one();
                }
                return Ok(());
            }
            Request::Announce(address) => info!(peer = %self.peer, %address, "a gateway is here"),
            Request::List => {
                // At debug level: each look-up of a client library is one.
                debug!(peer = %self.peer, "a peer asks for the gateways");
                self.line_due.notify_one();
            }
        }
        self.unauthenticated = None;
        Ok(())
    }
}
