//! Private parts of the gateway, held out to its benchmarks and fuzz targets.
//!
//! No interface: it exists with the feature `internals` only, says what they need
//! and no more, and may change with any commit.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use gatewayworker_net::LinkWriter;
use gatewayworker_protocol::{CloseReason, Command, Frame, MAX_FRAME_LEN};
use socket2::{Domain, Socket, Type};
use tokio::net::TcpStream;

use crate::capacity::Capacity;
use crate::config::Config;
use crate::door::{Door, Limit, Place};
use crate::inbox::{Inbox, Outlet, Stop, ToShard};
use crate::order::{Order, Orders};
use crate::protocol::Protocol;
use crate::shard::{self, Key, NewClient, Shard, Shared, Table};
use crate::websocket::encode;
use crate::workers::{Features, Routing, WorkerLink, Workers};

/// What a client has said, in bytes of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// A message, in one frame or put together.
    Message {
        /// Or text.
        binary: bool,
        /// All of it.
        payload: Vec<u8>,
    },
    /// A ping, by the frame that answers it.
    Ping(Bytes),
    /// The end, by the frame that says so to the client; nothing is read behind it.
    End(CloseReason, Option<Bytes>),
}

/// A client's inbox, which notes what comes out of it.
pub struct Reader {
    inbox: Inbox,
    said: Vec<Said>,
}

/// Notes what a client says.
struct Notes<'s>(&'s mut Vec<Said>);

impl Outlet for Notes<'_> {
    fn protocol(&self) -> Option<Arc<dyn Protocol>> {
        None
    }

    fn check_route(&self) -> Result<(), Stop> {
        Ok(())
    }

    fn message(&mut self, binary: bool, message: &[u8]) -> Result<(), CloseReason> {
        self.0.push(Said::Message { binary, payload: message.to_vec() });
        Ok(())
    }

    fn pong(&mut self, frame: Bytes) {
        self.0.push(Said::Ping(frame));
    }
}

impl Reader {
    /// One for messages of at most `limit` bytes, which may be compressed if the client has
    /// offered that.
    pub fn new(limit: usize, may_compress: bool) -> Self {
        let mut inbox = Inbox::with_limit(limit, false);
        inbox.begin_with(Vec::new(), may_compress);
        Self { inbox, said: Vec::new() }
    }

    /// Takes what has been read from the client; false when nothing will follow.
    pub fn read(&mut self, fresh: &mut [u8]) -> bool {
        match self.inbox.advance(&mut Notes(&mut self.said), fresh) {
            Stop::Starved => true,
            Stop::Paused(_) => unreachable!("messages always have somewhere to go here"),
            Stop::Closed(reason, last) => {
                self.said.push(Said::End(reason, last));
                false
            }
        }
    }

    /// What the client has said since this was last called.
    pub fn said(&mut self) -> Vec<Said> {
        std::mem::take(&mut self.said)
    }
}

/// What a client says whose bytes come in these pieces.
pub fn said<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limit: usize, may_compress: bool) -> Vec<Said> {
    let mut reader = Reader::new(limit, may_compress);
    for piece in pieces {
        if !reader.read(&mut piece.to_vec()) {
            break;
        }
    }
    reader.said()
}

/// A message as a frame.
pub fn encode(binary: bool, payload: &[u8]) -> Bytes {
    encode::message(binary, payload)
}

/// A client's outbox.
#[derive(Debug, Default)]
pub struct Outbox {
    outbox: crate::outbox::Outbox,
    bytes: usize,
}

impl Outbox {
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

/// A shard's table of clients, whose sockets are connected to nothing.
#[derive(Debug, Default)]
pub struct Clients {
    table: Table,
    joined: u64,
}

impl Clients {
    /// Clients with the connection ids from 1 to `n`.
    ///
    /// # Panics
    /// When there are not so many sockets to be had, or no tokio runtime.
    pub fn connected(n: u32) -> Self {
        let workers = Workers::new(Routing::default());
        let writer = LinkWriter::new(nowhere().into_split().1, 1024);
        let worker = workers.join("worker", Arc::new(writer), Features::default());
        let config = Config::default();
        let places = Arc::new(Limit::new(n as usize));
        let door = Door::new(8289, &config.listen[0], &config, places).expect("the defaults work");
        let door = Arc::new(door);
        let mut clients = Self::default();
        for connection_id in 1..=n {
            clients.connect(connection_id, &door, &worker);
        }
        clients
    }

    fn connect(&mut self, connection_id: u32, door: &Arc<Door>, worker: &Arc<WorkerLink>) {
        let client = NewClient {
            connection_id,
            seq: connection_id.into(),
            address: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 50000),
            door: Place::take(door).expect("there is one for each"),
            worker: worker.clone(),
            heard_ms: 0,
        };
        self.table.insert(client, Rc::new(crate::socket::Socket::Plain(nowhere())));
    }

    /// Whether there is such a client.
    pub fn find(&mut self, connection_id: u32) -> bool {
        self.table.by_id(connection_id).is_some()
    }

    /// Puts a client into a group.
    pub fn join(&mut self, connection_id: u32, group: &Bytes) {
        self.joined += 1;
        self.table.join_group(connection_id, group, self.joined);
    }

    /// Takes a client out of a group.
    pub fn leave(&mut self, connection_id: u32, group: &[u8]) {
        self.table.leave_group(connection_id, group);
    }

    /// Queues a frame at every member of a group, and takes it away again: how many
    /// there were.
    pub fn send_to_group(&mut self, group: &[u8], frame: &Bytes) -> usize {
        let keys: Vec<_> = self.table.group(group).collect();
        for key in &keys {
            if let Some(client) = self.table.get(*key) {
                client.outbox.push(frame.clone());
                client.outbox.advance(frame.len());
            }
        }
        keys.len()
    }
}

/// A shard with a worker and clients in it. The clients' sockets take all that they are
/// sent, and the worker's link is written to nobody.
pub struct BusyShard {
    shard: Rc<Shard>,
    link: Arc<WorkerLink>,
    inbox: Inbox,
    key: Key,
    /// What is sent to a socket that is closed fails.
    _sink: UdpSocket,
}

impl BusyShard {
    /// One with clients with the connection ids from 1 to `n`.
    ///
    /// # Panics
    /// When there are not so many sockets to be had, or no tokio runtime.
    pub fn connected(n: u32) -> Self {
        let config = Config { shards: 1, ..Config::default() };
        let capacity = Capacity::new(&config, None).expect("no limit on files");
        let (mailbox, _) = shard::mailbox();
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 2300);
        let shared = Arc::new(Shared::new(config, capacity, address, vec![mailbox]));
        let writer = LinkWriter::new(nowhere().into_split().1, 64 * 1024 * 1024);
        let link = shared.workers.join("worker", Arc::new(writer), Features::default());
        let places = Arc::new(Limit::new(n as usize));
        let door = Door::new(8289, &shared.config.listen[0], &shared.config, places);
        let door = Arc::new(door.expect("the defaults work"));
        let shard = Shard::new(0, shared);
        let sink = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let keys: Vec<Key> = (1..=n)
            .map(|connection_id| {
                let client = NewClient {
                    connection_id,
                    seq: connection_id.into(),
                    address: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 50000),
                    door: Place::take(&door).expect("there is one for each"),
                    worker: link.clone(),
                    heard_ms: 0,
                };
                shard.insert(client, Rc::new(crate::socket::Socket::Plain(into(&sink))))
            })
            .collect();
        Self { shard, link, inbox: Inbox::new(&door), key: keys[0], _sink: sink }
    }

    /// The first client sends a frame, which becomes an event in its worker's link: how many
    /// bytes that has.
    ///
    /// # Panics
    /// When the frame is no message.
    pub fn receive(&mut self, frame: &mut [u8]) -> usize {
        let mut outlet = ToShard { shard: &self.shard, key: self.key };
        let stop = self.inbox.advance(&mut outlet, frame);
        assert!(matches!(stop, Stop::Starved));
        let mut bytes = 0;
        let taken = self.link.writer.push_over(|out| {
            bytes = out.len();
            out.clear();
        });
        taken.expect("an open link");
        bytes
    }

    /// A worker's commands take effect, and whoever is sent something by them is written to.
    ///
    /// # Panics
    /// When these are no commands.
    pub fn execute(&mut self, commands: &[u8]) {
        let mut commands = BytesMut::from(commands);
        while let Some(frame) = Frame::parse(&mut commands, MAX_FRAME_LEN).expect("a frame") {
            let command = Command::decode(frame).expect("a command");
            let orders = Orders::of(command, || self.shard.shared.number());
            let order = match orders.expect("a shard's command") {
                Orders::One(_, order) | Orders::All(order) => order,
                Orders::Split(ids, message) => Order::SendToSome(ids, message),
            };
            self.shard.obey([order]);
        }
        while self.shard.flush_slice() {}
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
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
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

    proptest! {
        #[test]
        fn however_its_bytes_are_cut_a_client_says_the_same(
            frames in vec(frame(), 1..8),
            cut in 1..40_usize,
            may_compress in any::<bool>(),
        ) {
            let bytes = frames.concat();
            let whole = said([&bytes[..]], LIMIT, may_compress);
            prop_assert_eq!(&said(bytes.chunks(1), LIMIT, may_compress), &whole);
            prop_assert_eq!(&said(bytes.chunks(cut), LIMIT, may_compress), &whole);
            prop_assert_eq!(&said(frames.iter().map(Vec::as_slice), LIMIT, may_compress), &whole);
        }
    }
}
