//! Private parts of the gateway, held out to its benchmarks and fuzz targets.
//!
//! No interface: it exists with the feature `internals` only, says what they need
//! and no more, and may change with any commit.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use gatewayworker_net::LinkWriter;
use socket2::{Domain, Socket, Type};
use tokio::net::TcpStream;

use crate::config::Config;
use crate::door::{Door, Limit, Place};
use crate::shard::{NewClient, Table};
use crate::websocket::decode::{self, Event, Step};
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
    /// A fragment before the last.
    Fragment,
    /// A ping.
    Ping(Vec<u8>),
    /// A pong.
    Pong,
    /// A close; nothing is read behind it.
    Close(Option<u16>),
    /// A violation that is answered with this close code; nor behind this.
    Failed(u16),
}

/// Reads one client's frames as its reading task does: out of the buffer that is
/// handed in, and what is left of it with what comes next.
#[derive(Debug, Default)]
pub struct Reader {
    decoder: decode::Decoder,
    partial: Vec<u8>,
    wanted: usize,
}

impl Reader {
    /// Takes the frame at the front of `buffer`, and says how long it is, if it is
    /// whole and good.
    pub fn step(&mut self, buffer: &mut [u8], limit: usize) -> Option<usize> {
        match self.decoder.step(buffer, limit) {
            Ok(Step::Frame { len, .. }) => Some(len),
            Ok(Step::Incomplete(_)) | Err(_) => None,
        }
    }

    /// Adds what `fresh` says to `said`; false when nothing will follow.
    ///
    /// # Panics
    /// When the decoder contradicts itself.
    pub fn read(&mut self, fresh: &[u8], limit: usize, said: &mut Vec<Said>) -> bool {
        self.partial.extend_from_slice(fresh);
        if self.partial.len() < self.wanted {
            return true;
        }
        self.wanted = 0;
        let mut buffer = std::mem::take(&mut self.partial);
        let mut taken = 0;
        while taken < buffer.len() {
            let front = &mut buffer[taken..];
            let (len, event) = match self.decoder.step(front, limit) {
                Ok(Step::Frame { len, event }) => (len, event),
                Ok(Step::Incomplete(wanted)) => {
                    assert!(wanted > front.len(), "all that it waits for is there");
                    self.wanted = wanted;
                    break;
                }
                Err(error) => {
                    said.push(Said::Failed(error.close_code()));
                    return false;
                }
            };
            said.push(match event {
                Event::Message { binary, payload } => {
                    Said::Message { binary, payload: front[payload].to_vec() }
                }
                Event::Assembled { binary, payload } => Said::Message { binary, payload },
                Event::Fragment => Said::Fragment,
                Event::Ping(payload) => Said::Ping(front[payload].to_vec()),
                Event::Pong => Said::Pong,
                Event::Close(code) => {
                    said.push(Said::Close(code));
                    return false;
                }
            });
            taken += len;
        }
        self.partial = buffer.split_off(taken);
        true
    }
}

/// What a client says whose bytes come in these pieces.
pub fn said<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limit: usize) -> Vec<Said> {
    let (mut reader, mut said) = (Reader::default(), Vec::new());
    for piece in pieces {
        if !reader.read(piece, limit, &mut said) {
            break;
        }
    }
    said
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
            8 => (any::<bool>(), prop::sample::select(vec![0, 1, 2, 8, 9, 10]))
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
        ) {
            let bytes = frames.concat();
            let whole = said([&bytes[..]], LIMIT);
            prop_assert_eq!(&said(bytes.chunks(1), LIMIT), &whole);
            prop_assert_eq!(&said(bytes.chunks(cut), LIMIT), &whole);
            prop_assert_eq!(&said(frames.iter().map(Vec::as_slice), LIMIT), &whole);
        }
    }
}
