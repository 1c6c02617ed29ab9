//! One connection: what a peer says, what it is told, and why it ends.
//!
//! A peer is a stranger until a line shows the key. It may announce an address,
//! ask for the list, or both, as in the original.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use gatewayworker_net::{LineError, LineReader, LogLimiter};
use gatewayworker_protocol::SecretKey;
use gatewayworker_protocol::register::{MAX_LINE, MAX_LINE_UNAUTHENTICATED, Message};
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, info, warn};

use crate::roster::ConnectionId;
use crate::server::Register;

/// What a peer that speaks something else is told before it is closed.
const BAD_REQUEST: &[u8] =
    b"Bad request: this is a GatewayWorker register, it takes one JSON object on each line. \
    Clients connect to a gateway.\n";

/// The longest address taken, in bytes: the longest host name has 253.
const MAX_ADDRESS: usize = 300;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Close {
    #[error("the peer closed the connection")]
    Left,
    #[error("the connection failed: {0}")]
    Failed(#[from] io::Error),
    #[error("no valid first line in time; is it a daemon of this cluster?")]
    NoIntroduction,
    #[error("it pinged before and has been silent since; its host may be gone")]
    Silent,
    #[error("it does not read what it is told")]
    Slow,
    #[error("a line is longer than {limit} bytes; is it a daemon of this cluster?")]
    LineTooLong { limit: usize },
    #[error(
        "it sent a line that is no JSON object with an event; clients connect to a gateway, not to the register"
    )]
    BadRequest,
    #[error("unknown event {0:?}; is it of another version?")]
    UnknownEvent(String),
    #[error("a {0} line lacks what it needs, or has something of the wrong kind")]
    BadEvent(String),
    #[error("its secret_key is another one; set the same on all daemons and client libraries of the cluster")]
    WrongKey,
    #[error("it announces an address that cannot be one; check the gateway's lan_ip and lan_port")]
    BadAddress,
}

impl Close {
    /// Says in the log what is worth saying about `peer`: whoever reaches the register can
    /// cause such a line, so there is one a second at most.
    pub(crate) fn log(self, peer: SocketAddr, logs: &Logs) {
        match self {
            Self::Left => debug!(%peer, "{self}"),
            Self::Failed(_) => logs.failed.log(move |times| info!(%peer, times, "{self}")),
            _ => logs.closed.log(move |times| warn!(%peer, times, "closed: {self}")),
        }
    }
}

/// A limiter for each kind of line about connections.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    failed: LogLimiter,
    closed: LogLimiter,
    /// Connections over a limit.
    pub(crate) refused: LogLimiter,
}

impl From<LineError> for Close {
    fn from(error: LineError) -> Self {
        match error {
            LineError::TooLong { limit } => Self::LineTooLong { limit },
            LineError::Io(error) => Self::Failed(error),
        }
    }
}

/// Talks with a peer until the connection ends. `stranger` is given back as soon
/// as the peer has shown the key.
pub(crate) async fn converse(
    register: &Register,
    id: ConnectionId,
    stream: TcpStream,
    peer: SocketAddr,
    stranger: OwnedSemaphorePermit,
) -> Close {
    gatewayworker_net::tune(&stream);
    let (reading, mut writing) = stream.into_split();
    let asked = Notify::new();
    let hearing = Hearing {
        register,
        id,
        peer,
        asked: &asked,
        lines: LineReader::new(reading),
        stranger: Some(stranger),
        pinged: false,
        since: Instant::now(),
    };
    let why = tokio::select! {
        why = hearing.run() => why,
        why = tell(register, &asked, &mut writing) => why,
    };
    if let Close::BadRequest = why {
        // As the original does; whether the peer hears it is its own affair.
        let _ = write(register, &mut writing, BAD_REQUEST).await;
    }
    why
}

/// Writes the list whenever it was `asked` for and, from the first time on,
/// whenever it changes.
async fn tell(register: &Register, asked: &Notify, writing: &mut OwnedWriteHalf) -> Close {
    asked.notified().await;
    let mut published = register.follow();
    let mut told = register.list();
    loop {
        if let Err(why) = write(register, writing, &told.line).await {
            return why;
        }
        told = loop {
            tokio::select! {
                () = asked.notified() => break register.list(),
                Ok(()) = published.changed() => {
                    let list = published.borrow_and_update().clone();
                    if list.version > told.version {
                        break list;
                    }
                }
            }
        };
    }
}

async fn write(register: &Register, writing: &mut OwnedWriteHalf, line: &[u8]) -> Result<(), Close> {
    timeout(register.config.limits.write, writing.write_all(line)).await.map_err(|_| Close::Slow)??;
    Ok(())
}

/// The listening side of a conversation.
struct Hearing<'a> {
    register: &'a Register,
    id: ConnectionId,
    peer: SocketAddr,
    asked: &'a Notify,
    lines: LineReader<OwnedReadHalf>,
    /// Held until the peer has shown the key.
    stranger: Option<OwnedSemaphorePermit>,
    pinged: bool,
    since: Instant,
}

impl Hearing<'_> {
    async fn run(mut self) -> Close {
        loop {
            if let Err(why) = self.hear_line().await {
                return why;
            }
        }
    }

    async fn hear_line(&mut self) -> Result<(), Close> {
        let limits = &self.register.config.limits;
        let (longest, deadline, too_late) = match self.stranger {
            Some(_) => {
                (MAX_LINE_UNAUTHENTICATED, Some(self.since + limits.introduction), Close::NoIntroduction)
            }
            None => (MAX_LINE, self.pinged.then(|| Instant::now() + limits.silence), Close::Silent),
        };
        let line = self.lines.next_line(longest);
        let line = match deadline {
            Some(deadline) => timeout_at(deadline, line).await.map_err(|_| too_late)?,
            None => line.await,
        };
        let Some(line) = line? else { return Err(Close::Left) };
        match Message::parse(&line) {
            Ok(Message::Ping) => self.pinged = true,
            Ok(Message::GatewayConnect { address, secret_key }) => {
                self.authenticate(&secret_key)?;
                if !can_be_address(&address) {
                    return Err(Close::BadAddress);
                }
                info!(peer = %self.peer, %address, "a gateway is here");
                self.register.announce(self.id, address);
            }
            Ok(Message::WorkerConnect { secret_key }) => {
                self.authenticate(&secret_key)?;
                // At debug level: each look-up of a client library is one.
                debug!(peer = %self.peer, "asks for the gateways");
                self.asked.notify_one();
            }
            Ok(Message::BroadcastAddresses { .. }) => {
                return Err(Close::UnknownEvent("broadcast_addresses".into()));
            }
            Err(_) => return Err(objection(&line)),
        }
        Ok(())
    }

    fn authenticate(&mut self, key: &SecretKey) -> Result<(), Close> {
        if *key != self.register.config.secret_key {
            self.register.wrong_keys.fetch_add(1, Ordering::Relaxed);
            return Err(Close::WrongKey);
        }
        self.stranger = None;
        Ok(())
    }
}

/// Passed on and logged as it is, so nothing that would break a line or flood.
fn can_be_address(address: &str) -> bool {
    (1..=MAX_ADDRESS).contains(&address.len())
        && !address.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// What is wrong with a line that is no message. The parser's own words are not
/// used: they may quote the key.
fn objection(line: &[u8]) -> Close {
    #[derive(Deserialize)]
    struct Event {
        event: String,
    }
    match serde_json::from_slice::<Event>(line) {
        Ok(Event { event })
            if ["gateway_connect", "worker_connect", "broadcast_addresses"].contains(&event.as_str()) =>
        {
            Close::BadEvent(event)
        }
        Ok(Event { event }) if !event.is_empty() => Close::UnknownEvent(event.chars().take(50).collect()),
        _ => Close::BadRequest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_objection_quotes_a_key() {
        for line in [
            r#"{"event":"gateway_connect","address":"a:1","secret_key":424242}"#,
            r#"{"event":"dance","secret_key":"424242"}"#,
            r#"{"secret_key":"424242"}"#,
            r#"424242"#,
        ] {
            let why = objection(line.as_bytes()).to_string();
            assert!(!why.contains("424242"), "{why}");
        }
    }

    #[test]
    fn an_address_is_short_and_has_no_blanks() {
        for good in ["127.0.0.1:2300", "gateway-1.internal:2300", "[::1]:2300"] {
            assert!(can_be_address(good), "{good}");
        }
        for bad in ["", " ", "a b:1", "a:1\n", "\u{1b}[31m:1", &"x".repeat(301)] {
            assert!(!can_be_address(bad), "{bad:?}");
        }
    }
}
