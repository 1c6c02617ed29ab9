//! The protocol of an inner link: a worker's, or a client library's.
//!
//! A [`LinkState`] reads commands out of the bytes of a link. Those for shards it collects, a list
//! for each shard, in their order; everything else it returns, for the link's task to carry out
//! (`link` beside the core). It sends nothing itself. A link has to show the secret key before
//! anything else that it says counts.
//!
//! The call link of a worker of ours says ATTACH, and belongs to an epoch from then on
//! (`pairing`). DONE and RETURN count only on such a link, and only for its epoch.

use bytes::{Bytes, BytesMut};
use gatewayworker_protocol::interest::{InterestReport, Name};
use gatewayworker_protocol::{
    Command, Features, Frame, FrameError, Hello, MAX_FRAME_LEN, Pairing, PingBody, Question, SecretKey,
};

use super::close::Closer;
use super::commands::closed::Closed;
use super::commands::send_to_all::SendToSome;
use super::commands::{self, Routed, ShardCommand};
use super::worker_reports::{NewReport, ReportReader, UnreadableReport};

/// The longest frame before the key, in bytes: a hello is a little JSON.
const MAX_HELLO_LEN: usize = 64 * 1024;

/// The most connections that a worker may name with CLOSED before ATTACH.
const MAX_CLOSED: usize = 4 * 1024 * 1024;

/// The state of one link.
#[derive(Debug)]
pub struct LinkState {
    secret_key: SecretKey,
    is_authorized: bool,
    /// The longest frame, in bytes.
    max_frame_len: usize,
    role: Role,
    /// The connections of CLOSED, which count once the link is attached: before that nothing says that
    /// they are this gateway's.
    closed: Vec<u32>,
    /// Who the peer is, to be named where it closes a client.
    caller: Closer,
    /// The reader of reports, on the link of a worker that lists `worker-reports`.
    reports: Option<ReportReader>,
    /// Commands that wait to be handed to the shards.
    pub pending: Vec<Vec<ShardCommand>>,
    /// The names that those make clients members of. Whoever hands the commands over takes them, and announces the
    /// names before.
    pub joined: Vec<Name>,
    /// Whether the gateway announces names.
    has_interest: bool,
}

/// What a link is, as far as its peer has said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// A client library's, or a call link that has not said ATTACH.
    Call,
    /// A worker's only link, or its event link; that of a PHP worker carries its commands, too.
    Event,
    /// The event link of an epoch.
    PairedEvent,
    /// The call link of this epoch.
    Attached(u32),
    /// An interest link.
    Interest,
}

/// What a peer says that is not for the shards.
#[derive(Debug)]
pub enum LinkEvent {
    /// The link is a worker's.
    Worker {
        /// The worker's name and id, without its address.
        key: String,
        /// What it can do; nothing, for a worker of the original.
        features: Features,
        /// It is a worker of ours, to be answered with a [greeting](LinkState::greeting).
        is_ours: bool,
        /// Its process, if it acknowledges events: it becomes a worker with ATTACH on a call link.
        process: Option<u64>,
    },
    /// The link is to be the call link of this epoch. Where the epoch waits for one, call
    /// [`attach`](LinkState::attach); otherwise the link ends.
    Attach {
        /// The epoch.
        epoch: u32,
        /// The worker's process.
        process: u64,
    },
    /// The worker stops. One without acknowledged events will close its side next.
    Draining,
    /// A question. What the peer said before it has to take effect first.
    Question(Question),
    /// The link is an interest link, to be answered with a [greeting](LinkState::greeting).
    Subscribe,
    /// What a subscriber says.
    InterestReport(InterestReport),
    /// An event for all workers.
    Publish(Command),
    /// What a worker tells about itself: to be [read](LinkState::read_report), and answered with REPORTED.
    Report {
        /// The number of the report, which the answer names.
        number: u32,
        /// The report.
        body: Bytes,
    },
    /// A frame that says nothing known, and why.
    Ignored(String),
}

/// Why a link ends.
#[derive(Debug, thiserror::Error)]
pub enum LinkProtocolError {
    /// The bytes are no frame.
    #[error("it sent what is no frame: {0}")]
    Frame(#[from] FrameError),
    /// It has another key, or none.
    #[error("its secret_key is not the one configured here")]
    WrongKey,
    /// The peer sent a command before its key.
    #[error("it sent command {0} before its secret_key")]
    Unauthorized(u8),
    /// The peer has said what the link is, and says another thing.
    #[error("it sent {0} on a link that has another use")]
    OtherUse(&'static str),
}

impl LinkState {
    /// A link to a gateway with so many shards, which has to show this key, if it is not empty.
    pub fn new(secret_key: SecretKey, max_frame_len: usize, shards: usize) -> Self {
        let pending = (0..shards).map(|_| Vec::new()).collect();
        let is_authorized = secret_key.is_empty();
        Self {
            is_authorized,
            secret_key,
            max_frame_len,
            role: Role::Call,
            closed: Vec::new(),
            caller: Closer::default(),
            reports: None,
            pending,
            joined: Vec::new(),
            has_interest: false,
        }
    }

    /// Lets the peer subscribe to names, and collects those of joins.
    #[must_use]
    pub fn with_interest(mut self, has_interest: bool) -> Self {
        self.has_interest = has_interest;
        self
    }

    /// Says who the peer is. The clients that it closes from now on are closed at its wish.
    pub fn set_caller(&mut self, caller: Closer) {
        self.caller = caller;
    }

    /// Whether it has shown the key.
    pub fn is_authorized(&self) -> bool {
        self.is_authorized
    }

    /// Takes whole frames off the front of `buffer`, until one says something that is not for the
    /// shards, or there is none. `number` returns the next number in the order of joining and
    /// binding.
    ///
    /// # Errors
    /// When the link has to end.
    pub fn next(
        &mut self,
        buffer: &mut BytesMut,
        mut number: impl FnMut() -> u64,
    ) -> Result<Option<LinkEvent>, LinkProtocolError> {
        loop {
            let limit = if self.is_authorized { self.max_frame_len } else { MAX_HELLO_LEN };
            let Some(frame) = Frame::parse(buffer, limit)? else { return Ok(None) };
            let cmd = frame.cmd;
            let command = match Command::decode(frame) {
                Ok(command) => command,
                Err(error) if self.is_authorized => return Ok(Some(LinkEvent::Ignored(error.to_string()))),
                Err(_) => return Err(LinkProtocolError::Unauthorized(cmd)),
            };
            let event = match command {
                Command::WorkerConnect(hello) => Some(self.take_worker(hello)?),
                Command::ClientConnect(hello) => self.take_client(hello)?,
                _ if !self.is_authorized => return Err(LinkProtocolError::Unauthorized(cmd)),
                Command::Ping(body) => {
                    (PingBody::parse(&body) == Some(PingBody::Draining)).then_some(LinkEvent::Draining)
                }
                Command::Attach { epoch, process } => Some(self.take_attach(epoch, process)?),
                Command::Closed(ids) => self.take_closed(ids),
                Command::Done { epoch, .. } | Command::Return { epoch, .. } if !self.is_of(epoch) => {
                    Some(LinkEvent::Ignored(format!("it is of epoch {epoch}, which is not this link's")))
                }
                Command::Publish { .. } => Some(LinkEvent::Publish(command)),
                Command::InterestReport(report) if self.role == Role::Interest => {
                    Some(LinkEvent::InterestReport(report))
                }
                Command::Ask(question) => Some(LinkEvent::Question(question)),
                Command::Report { number, body } if self.reports.is_some() => {
                    Some(LinkEvent::Report { number, body })
                }
                Command::Report { .. } => {
                    Some(LinkEvent::Ignored("REPORT of a peer that does not list worker-reports".into()))
                }
                command => {
                    self.note_joined(&command);
                    if let Some(routed) = commands::route(command, &self.caller, &mut number) {
                        self.queue(routed);
                    }
                    None
                }
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// A missing or null key is a wrong one, as in the original.
    fn check_key(&mut self, key: Option<SecretKey>) -> Result<(), LinkProtocolError> {
        if key.as_ref() != Some(&self.secret_key) {
            return Err(LinkProtocolError::WrongKey);
        }
        self.is_authorized = true;
        Ok(())
    }

    /// A client library's link, or an interest link.
    fn take_client(&mut self, hello: Hello) -> Result<Option<LinkEvent>, LinkProtocolError> {
        self.check_key(hello.secret_key)?;
        let subscribes = self.has_interest && hello.features.is_some_and(|features| features.interest);
        if !subscribes {
            return Ok(None);
        }
        if self.role != Role::Call {
            return Err(LinkProtocolError::OtherUse("GATEWAY_CLIENT_CONNECT for interest"));
        }
        self.role = Role::Interest;
        Ok(Some(LinkEvent::Subscribe))
    }

    fn note_joined(&mut self, command: &Command) {
        let name = match command {
            Command::JoinGroup { group, .. } => Name::group(group),
            Command::BindUid { uid, .. } => Name::uid(uid),
            _ => return,
        };
        if self.has_interest {
            self.joined.push(name);
        }
    }

    fn take_worker(&mut self, hello: Hello) -> Result<LinkEvent, LinkProtocolError> {
        self.check_key(hello.secret_key)?;
        if matches!(self.role, Role::Attached(_) | Role::PairedEvent | Role::Interest) {
            return Err(LinkProtocolError::OtherUse("WORKER_CONNECT"));
        }
        let is_ours = hello.features.is_some();
        let mut features = hello.features.unwrap_or_default();
        let process = hello.process.filter(|_| features.acknowledged_events);
        features.acknowledged_events = process.is_some();
        self.reports = features.worker_reports.then(ReportReader::default);
        self.role = if process.is_some() { Role::PairedEvent } else { Role::Event };
        Ok(LinkEvent::Worker { key: hello.worker_key.unwrap_or_default(), features, is_ours, process })
    }

    /// Returns the answer to the WORKER_CONNECT of a worker of ours: the gateway's features, and the
    /// pairing where the worker acknowledges events.
    pub fn greeting(&self, pairing: Option<Pairing>) -> Command {
        let large_frames = self.max_frame_len > MAX_FRAME_LEN;
        let features = Features {
            large_frames,
            acknowledged_events: pairing.is_some(),
            // These are for events. No worker sends any.
            trace_context: false,
            event_context: false,
            interest: self.has_interest,
            ..Features::ALL
        };
        Command::Ping(PingBody::Welcome { features, pairing }.encode())
    }

    /// Reads a report of the link's worker; `None` where it comes too soon behind another. The clock of `now_ms` is the
    /// same for all reports of the link.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_report(&mut self, body: &[u8], now_ms: u64) -> Result<Option<NewReport>, UnreadableReport> {
        self.reports.as_mut().map_or(Ok(None), |reports| reports.read(body, now_ms))
    }

    fn take_attach(&self, epoch: u32, process: u64) -> Result<LinkEvent, LinkProtocolError> {
        match self.role {
            Role::Call => Ok(LinkEvent::Attach { epoch, process }),
            Role::Event | Role::PairedEvent | Role::Attached(_) | Role::Interest => {
                Err(LinkProtocolError::OtherUse("ATTACH"))
            }
        }
    }

    /// The link is the call link of this epoch from now on. Returns whether the worker has said CLOSED,
    /// which is queued for the shards.
    pub fn attach(&mut self, epoch: u32) -> bool {
        self.role = Role::Attached(epoch);
        if self.closed.is_empty() {
            return false;
        }
        let closed = Command::Closed(std::mem::take(&mut self.closed));
        if let Some(routed) = commands::route(closed, &self.caller, || 0) {
            self.queue(routed);
        }
        true
    }

    /// Whether the link is attached to this epoch.
    fn is_of(&self, epoch: u32) -> bool {
        self.role == Role::Attached(epoch)
    }

    fn take_closed(&mut self, ids: Vec<u32>) -> Option<LinkEvent> {
        if self.role != Role::Call || self.closed.len() + ids.len() > MAX_CLOSED {
            return Some(LinkEvent::Ignored("CLOSED with too many connections, or behind ATTACH".into()));
        }
        self.closed.extend(ids);
        None
    }

    fn queue(&mut self, routed: Routed) {
        let shards = self.pending.len();
        let shard_of = |connection_id: u32| connection_id as usize % shards;
        match routed {
            Routed::Connection(connection_id, command) => {
                self.pending[shard_of(connection_id)].push(command);
            }
            Routed::All(command) => self.pending.iter_mut().for_each(|pending| pending.push(command.clone())),
            Routed::Split(ids, message) => {
                let ids = split(ids, shards, |id| *id);
                for (pending, connection_ids) in self.pending.iter_mut().zip(ids) {
                    if !connection_ids.is_empty() {
                        let message = message.clone();
                        pending.push(ShardCommand::SendToSome(SendToSome { connection_ids, message }));
                    }
                }
            }
            Routed::Closed(ids) => {
                for (pending, connection_ids) in self.pending.iter_mut().zip(split(ids, shards, |id| *id)) {
                    if !connection_ids.is_empty() {
                        pending.push(ShardCommand::Closed(Closed { connection_ids }));
                    }
                }
            }
            // The usual case: one client's events, or one shard.
            Routed::Counts(counts, epoch, command) if shards == 1 || counts.len() == 1 => {
                if let Some((first, _)) = counts.first() {
                    self.pending[shard_of(*first)].push(command(epoch, counts));
                }
            }
            Routed::Counts(counts, epoch, command) => {
                let counts = split(counts, shards, |(id, _)| *id);
                for (pending, counts) in self.pending.iter_mut().zip(counts) {
                    if !counts.is_empty() {
                        pending.push(command(epoch, counts));
                    }
                }
            }
        }
    }
}

/// Splits a list by the shards that have the connections.
fn split<T>(list: Vec<T>, shards: usize, connection_id: impl Fn(&T) -> u32) -> Vec<Vec<T>> {
    let mut split: Vec<Vec<T>> = (0..shards).map(|_| Vec::new()).collect();
    for one in list {
        split[connection_id(&one) as usize % shards].push(one);
    }
    split
}

#[cfg(test)]
mod tests;
