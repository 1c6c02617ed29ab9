//! Private parts of the gateway, held out to its benchmarks, its fuzz target and the simulation.
//!
//! No interface: it exists with the feature `internals` only, says what they need
//! and no more, and may change with any commit.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use gatewayworker_net::LinkWriter;
use gatewayworker_protocol::{CloseReason, Features, SecretKey};
use tokio::net::TcpStream;

use crate::capacity::Capacity;
use crate::config::Config;
use crate::gateway_state::GatewayState;
use crate::listener::{ConnectionLimit, ConnectionPermit, Listener};
use crate::shard::{self, ClientConnection, ShardThread};
use crate::websocket::handshake::extensions::negotiate;
use crate::workers::WorkerLink;

pub use crate::core::check::Unfinished;
pub use crate::core::client::{Client, NewClient};
pub use crate::core::close::{CloseRecord, Closer};
pub use crate::core::commands::ShardCommand;

pub use crate::core::delivery_counts::DeliveryCounts;
pub use crate::core::delivery_settings::{DeliveryMode, DeliverySettings};
pub use crate::core::effects::{Effect, Ending, Finished, Notice, Signals};
pub use crate::core::events::Route;
pub use crate::core::flush::Writable;
pub use crate::core::heartbeat::Heartbeat;
pub use crate::core::inbox::Inbox;
pub use crate::core::interest::{
    Effect as InterestEffect, HoldId, Interest, InterestCounts, InterestSettings, LinkOver, SubscriberId,
};
pub use crate::core::isolation::Isolated;
pub use crate::core::isolation_timer::IsolationTimer;
pub use crate::core::link::{LinkEvent, LinkProtocolError, LinkState};
pub use crate::core::link_buffer::{LinkBuffer, LinkClosed};
pub use crate::core::listener_policy::{Framing, ListenerPolicy, SlowConsumer};
pub use crate::core::liveness::{LinkTiming, Liveness};
pub use crate::core::membership_limits::{MembershipLimit, MembershipLimits};
pub use crate::core::outbox::{Flushed, Outbox};
pub use crate::core::outgoing::WebSocketType;
pub use crate::core::pairing::{AttachError, Pairings};
pub use crate::core::ports::{Connection, Directory, Ports, Transmit};
pub use crate::core::questions::{AskShards, Gather, answer_with};
pub use crate::core::rate_limits::{RateLimitPolicy, RateLimits};
pub use crate::core::reading::Reading;
pub use crate::core::resumption::control::Lost;
pub use crate::core::resumption::{Attached, ResumePolicy, Returning};
pub use crate::core::source::ClosesGivenUp;
pub use crate::core::table::{Key, Table};
pub use crate::core::token_bucket::Rate;
pub use crate::core::trace::{Seen, SeenFrame, TraceId, Traced};
pub use crate::core::unheard_timer::UnheardTimer;
use crate::core::websocket::compression::Deflation;
pub use crate::core::websocket::compression::{Compression, CompressionPolicy, Window};
use crate::core::websocket::decode::{Content, DecodeOptions, Decoder, Step};
use crate::core::websocket::encode;
use crate::core::websocket::inflate::inflate;
pub use crate::core::worker_link::{Gone, Peer, WorkerLink as CoreWorkerLink};
pub use crate::core::worker_table::{Joined, Routing, WorkerTable};
pub use crate::core::{Settings, Shard, testing};

/// What becomes of a client's bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// What its worker is told, as bytes of the link.
    pub told: Vec<u8>,
    /// What the client is sent.
    pub written: Vec<u8>,
    /// Why it is closed, if it is.
    pub end: Option<CloseReason>,
}

/// What becomes of a client's bytes that come in these pieces, at a listener that takes messages of
/// at most `limit` bytes. The client may compress like this.
///
/// # Panics
/// When the shard's books do not agree.
pub fn said<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limit: usize, compression: Compression) -> Said {
    said_by(pieces, limit, compression, None)
}

/// The same of a client of `gw.1`, which has opened.
///
/// # Panics
/// When the shard's books do not agree.
pub fn said_over_cuts<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limit: usize) -> Said {
    let policy = ResumePolicy { resume_ms: 60_000, resume_bytes: 64 * 1024, ping_ms: 25_000 };
    said_by(pieces, limit, Compression::Off, Some(policy))
}

fn said_by<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    limit: usize,
    compression: Compression,
    resume: Option<ResumePolicy>,
) -> Said {
    let (mut shard, workers) = testing::shard();
    let worker = workers.join("worker", usize::MAX, testing::OURS);
    let policy = ListenerPolicy { max_message_bytes: limit, resume, ..testing::policy() };
    let mut inbox = Inbox::new(&policy, Vec::new());
    let connection = testing::MemoryConnection::new(policy);
    let resume = resume.map(|policy| (policy, [0; 16]));
    let new = NewClient { compression, resume, ..testing::new_client(1, &worker, connection.clone()) };
    let key = shard.insert(new, 0);
    for piece in pieces {
        let mut piece = piece.to_vec();
        match shard.receive(key, &mut inbox, &mut piece, 0) {
            Reading::More => {}
            Reading::Paused(_) => unreachable!("the link has room"),
            Reading::Delayed(_) => unreachable!("the rate is not limited"),
            Reading::Closed => break,
        }
    }
    while shard.flush() {}
    let mut said = Said { told: worker.buffer.written.borrow().to_vec(), ..Said::default() };
    if let Some(Effect::Finish(mut finished)) = shard.next_effect() {
        finished.connection.flush(&mut finished.outbox);
        said.end = Some(finished.reason);
    }
    said.written = connection.written.borrow().to_vec();
    shard.check().expect("the books agree");
    said
}

/// What a compressed message of a client is, if that has at most `limit` bytes.
pub fn inflated(message: &[u8], limit: usize) -> Option<Vec<u8>> {
    inflate(message, b"", limit).ok()
}

/// The payload of the frame in which a client gets a message compressed; `None` where that is not shorter.
pub fn deflated(message: &[u8], level: u8, window: Window) -> Option<Bytes> {
    let policy = CompressionPolicy { min_bytes: 0, level };
    let frame = encode::deflated_message(true, message, Deflation { policy, window })?;
    let header = match frame[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    Some(frame.slice(header..))
}

/// What a listener that compresses agrees on with a client that sends this header, and what it answers.
pub fn negotiated(extensions: &[u8]) -> (Compression, Option<String>) {
    negotiate(Some(extensions), true)
}

/// A client's frames, taken apart.
#[derive(Debug, Default)]
pub struct FrameReader(Decoder);

impl FrameReader {
    /// The length of the message that is the whole of `frame`, which is unmasked.
    ///
    /// # Panics
    /// When it is none.
    pub fn read(&mut self, frame: &mut [u8], limit: usize) -> usize {
        match self.0.step(frame, DecodeOptions { limit, compression: Compression::Off }) {
            Ok(Step::Frame { content: Content::Message { payload, .. }, .. }) => payload.len(),
            other => panic!("{other:?}"),
        }
    }
}

/// A message as a frame.
pub fn encode(binary: bool, payload: &[u8]) -> Bytes {
    encode::message(binary, payload)
}

/// A client's outbox.
#[derive(Debug, Default)]
pub struct WrittenOutbox {
    outbox: Outbox,
    bytes: usize,
}

impl WrittenOutbox {
    /// Appends a frame.
    pub fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.outbox.push(frame);
    }

    /// Does what it does when a socket has taken everything.
    pub fn written(&mut self) {
        self.outbox.advance(std::mem::take(&mut self.bytes));
    }
}

/// A shard's table of clients.
pub struct Clients {
    table: Table<testing::MemoryPorts>,
    joined: u64,
}

impl Clients {
    /// Clients with the connection ids from 1 to `n`.
    pub fn connected(n: u32) -> Self {
        let (_, workers) = testing::shard();
        let worker = workers.join("worker", 1024, Features::default());
        let mut table = Table::new(MembershipLimits::default());
        for connection_id in 1..=n {
            let connection = testing::MemoryConnection::new(testing::policy());
            table.insert(testing::new_client(connection_id, &worker, connection));
        }
        Self { table, joined: 0 }
    }

    /// Whether there is such a client.
    pub fn find(&mut self, connection_id: u32) -> bool {
        self.table.by_id(connection_id).is_some()
    }

    /// Puts a client into a group.
    pub fn join(&mut self, connection_id: u32, group: &Bytes) {
        self.joined += 1;
        let _ = self.table.join_group(connection_id, group, self.joined);
    }

    /// Takes a client out of a group.
    pub fn leave(&mut self, connection_id: u32, group: &[u8]) {
        self.table.leave_group(connection_id, group);
    }
}

/// A shard with a worker and clients in it. The clients' sockets take all that they are
/// sent, and the worker's link is written to nobody.
pub struct BusyShard {
    shard: Rc<ShardThread>,
    link: Arc<WorkerLink>,
    state: LinkState,
    inbox: Inbox,
    keys: Vec<Key>,
    /// What is sent to a socket that is closed fails.
    _sink: UdpSocket,
}

impl BusyShard {
    /// One with clients with the connection ids from 1 to `n`, whose worker acknowledges events.
    ///
    /// # Panics
    /// When there are not so many sockets to be had, or no tokio runtime.
    pub fn connected(n: u32) -> Self {
        let features = testing::OURS;
        Self::connected_to(n, Peer { features, epoch: 1, process: Some(1) })
    }

    /// One whose worker is this peer.
    ///
    /// # Panics
    /// As [`connected`](Self::connected).
    pub fn connected_to(n: u32, worker: Peer) -> Self {
        Self::connected_with(n, worker, Compression::Off, Config::default())
    }

    /// One whose clients have agreed on compression, of this level.
    ///
    /// # Panics
    /// As [`connected`](Self::connected).
    pub fn compressing(n: u32, compression_level: u8) -> Self {
        let worker = Peer { features: testing::OURS, epoch: 1, process: Some(1) };
        let config = Config { compression: true, compression_level, ..Config::default() };
        Self::connected_with(n, worker, Compression::Agreed(Window::Bits15), config)
    }

    /// One whose clients keep their connection over cuts.
    ///
    /// # Panics
    /// As [`connected`](Self::connected).
    pub fn resuming(n: u32) -> Self {
        let worker = Peer { features: testing::OURS, epoch: 1, process: Some(1) };
        let config = Config { resume: true, ..Config::default() };
        Self::connected_with(n, worker, Compression::Off, config)
    }

    /// Each client acknowledges the messages up to this number.
    ///
    /// # Panics
    /// When they were not sent as many.
    pub fn acknowledge(&mut self, number: u64) {
        let ack = format!("\u{1}{{\"ack\":{number}}}");
        let frame = [&[0x81, 0x80 | ack.len() as u8, 0, 0, 0, 0], ack.as_bytes()].concat();
        let now_ms = self.shard.now_ms();
        for key in &self.keys {
            let (mut frame, mut inbox) = (frame.clone(), Inbox::default());
            let reading = self.shard.input(|core| core.receive(*key, &mut inbox, &mut frame, now_ms));
            assert!(matches!(reading, Reading::More));
        }
    }

    fn connected_with(n: u32, worker: Peer, compression: Compression, config: Config) -> Self {
        let config = Config { shards: 1, ..config };
        let capacity = Capacity::new(&config, None).expect("no limit on files");
        let (sender, _) = shard::channel();
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 2300);
        let shared = Arc::new(GatewayState::new(config, capacity, address, vec![sender]));
        let writer = LinkWriter::new(nowhere().into_split().1, 64 * 1024 * 1024);
        let link = shared.workers.join("worker", Arc::new(writer), worker);
        let limit = Arc::new(ConnectionLimit::new(n as usize));
        let listener = Listener::new(0, 8289, &shared.config.listen[0], &shared.config, limit);
        let listener = Arc::new(listener.expect("the defaults work"));
        let mut state = LinkState::new(SecretKey::default(), shared.max_frame_len, 1);
        if worker.epoch != 0 {
            state.attach(worker.epoch);
        }
        let shard = ShardThread::new(0, shared);
        let sink = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let keys: Vec<Key> = (1..=n)
            .map(|connection_id| {
                let permit = ConnectionPermit::acquire(&listener).expect("there is one for each");
                let socket = crate::socket::Socket::Plain(into(&sink));
                shard.insert(NewClient {
                    resume: listener.policy.resume.map(|policy| (policy, [7; 16])),
                    connection_id,
                    seq: connection_id.into(),
                    address: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 50000),
                    connection: ClientConnection::new(permit, socket),
                    worker: link.clone(),
                    compression,
                    response: Bytes::new(),
                })
            })
            .collect();
        let inbox = Inbox::new(&listener.policy, Vec::new());
        Self { shard, link, state, inbox, keys, _sink: sink }
    }

    /// The first client sends a frame, which becomes an event in its worker's link: how many
    /// bytes that has.
    ///
    /// # Panics
    /// When the frame is no message.
    pub fn receive(&mut self, frame: &mut [u8]) -> usize {
        let now_ms = self.shard.now_ms();
        let (key, inbox) = (self.keys[0], &mut self.inbox);
        let reading = self.shard.input(|core| core.receive(key, inbox, frame, now_ms));
        assert!(matches!(reading, Reading::More));
        let mut bytes = 0;
        let taken = self.link.buffer.append(|out| {
            bytes = out.len();
            out.clear();
        });
        taken.expect("an open link");
        bytes
    }

    /// A worker says DONE of an event.
    ///
    /// # Panics
    /// When these are no commands.
    pub fn end_event(&mut self, done: &[u8]) {
        let mut done = BytesMut::from(done);
        let said = self.state.next(&mut done, || 0).expect("frames");
        assert!(said.is_none());
        let pending = &mut self.state.pending[0];
        self.shard.input(|core| core.execute(pending.drain(..)));
    }

    /// How many events the worker has not finished.
    pub fn unfinished(&self) -> usize {
        self.link.unfinished()
    }

    /// A worker's commands take effect, and whoever is sent something by them is written to.
    ///
    /// # Panics
    /// When these are no commands.
    pub fn execute(&mut self, commands: &[u8]) {
        let mut commands = BytesMut::from(commands);
        let shared = &self.shard.shared;
        let said = self.state.next(&mut commands, || shared.next_seq()).expect("frames");
        assert!(said.is_none());
        let pending = &mut self.state.pending[0];
        self.shard.input(|core| core.execute(pending.drain(..)));
        while self.shard.input(|core| core.flush()) {}
    }
}

/// A client's socket that takes everything at once: what is sent there is dropped.
fn into(sink: &UdpSocket) -> TcpStream {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.connect(sink.local_addr().expect("it is bound")).expect("it is bound");
    socket.set_nonblocking(true).expect("a fresh socket");
    // Not TCP: the system's `send` is the same.
    let socket: std::net::TcpStream = OwnedFd::from(socket).into();
    TcpStream::from_std(socket).expect("within a runtime")
}

fn nowhere() -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_nonblocking(true).expect("a fresh socket");
    TcpStream::from_std(socket.into()).expect("within a runtime")
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 300;

    /// A frame of a client; mostly a good one.
    fn frame() -> impl Strategy<Value = Vec<u8>> {
        let first = prop_oneof![
            8 => (any::<bool>(), prop::sample::select(vec![0, 1, 2, 8, 9, 10, 0x41, 0x42]))
                .prop_map(|(fin, opcode)| u8::from(fin) << 7 | opcode),
            1 => any::<u8>(),
        ];
        let payload = prop_oneof![vec(0..0x80_u8, 0..200), vec(any::<u8>(), 0..8)];
        (first, payload, any::<[u8; 4]>(), 0..40_u8).prop_map(|(first, payload, mask, luck)| {
            let masked = if luck == 0 { 0 } else { 0x80 };
            let mut frame = vec![first];
            match payload.len() {
                n @ 0..=125 => frame.push(masked | n as u8),
                n => frame.extend([masked | 126, 0, n as u8]),
            }
            frame.extend(mask);
            frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
            frame
        })
    }

    /// A text of a client of `gw.1`; mostly a message or a good control message.
    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            8 => "[a-z\u{1}]{0,20}",
            2 => (0..3_u64).prop_map(|n| format!("\u{1}{{\"ack\":{n}}}")),
            2 => Just("\u{1}{\"ping\":{}}".to_owned()),
            1 => Just("\u{1}{\"later\":[]}".to_owned()),
            1 => "\u{1}[\\[{}\":a-z0-9]{0,20}",
        ]
    }

    proptest! {
        #[test]
        fn however_its_bytes_are_cut_a_client_says_the_same(
            frames in vec(frame(), 1..8),
            cut in 1..40_usize,
            compression in prop::sample::select(vec![
                Compression::Off,
                Compression::Declined,
                Compression::Agreed(Window::Bits15),
            ]),
        ) {
            let bytes = frames.concat();
            let whole = said([&bytes[..]], LIMIT, compression);
            prop_assert_eq!(&said(bytes.chunks(1), LIMIT, compression), &whole);
            prop_assert_eq!(&said(bytes.chunks(cut), LIMIT, compression), &whole);
            prop_assert_eq!(&said(frames.iter().map(Vec::as_slice), LIMIT, compression), &whole);
        }

        #[test]
        fn however_its_bytes_are_cut_a_client_of_gw_1_says_the_same(
            texts in vec(text(), 1..80),
            cut in 1..40_usize,
        ) {
            let bytes: Vec<u8> = texts.iter().flat_map(|text| {
                let head = [0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
                [&head, text.as_bytes()].concat()
            }).collect();
            let whole = said_over_cuts([&bytes[..]], LIMIT);
            prop_assert_eq!(&said_over_cuts(bytes.chunks(1), LIMIT), &whole);
            prop_assert_eq!(&said_over_cuts(bytes.chunks(cut), LIMIT), &whole);
        }
    }
}
