//! A client of a simulated gateway, from its first byte to its end, as `client.rs` of the gateway has it.
//!
//! The handshake is a line: the client's name, which stands for the request, and is what its worker is told. The
//! answer is a line as well. Behind it both speak WebSocket. What the core says of a client's bytes ([`Reading`])
//! decides whether it is read from.

use std::rc::Rc;

use gatewayworker_gateway::internals::{
    Compression, Directory, Inbox, Key, NewClient, Outbox, Reading, Route, Writable,
};
use gatewayworker_protocol::ClientId;

use super::{Gateway, Wake};
use crate::closing::Closing;
use crate::cluster::observer::Observer;
use crate::cluster::ports::{SimConnection, SimLink};
use crate::model::Context;
use crate::network::{ReadOutcome, Socket, Written};
use crate::websocket::MessageCounter;

/// The most that is read of a client that waits for a worker, in bytes.
const MAX_SAID: usize = 4 * 1024;

/// What a step reads of a client at most, in bytes.
const SCRATCH: usize = 2 * 1024;

/// The answer to a handshake.
pub(in crate::cluster) const ACCEPTED: &[u8] = b"101\n";
/// The answer to a handshake when there is no worker.
pub(in crate::cluster) const NO_WORKER: &[u8] = b"503\n";

/// A client's connection.
pub(super) struct ClientTask {
    pub(super) socket: Rc<Socket>,
    pub(super) shard: usize,
    pub(super) stage: Stage,
    /// A turn is planned.
    is_woken: bool,
}

/// How far a client is.
pub(super) enum Stage {
    Handshake { head: Vec<u8>, until_ms: u64 },
    WaitsForWorker { handshake: Vec<u8>, said: Vec<u8>, until_ms: u64 },
    Open(Open),
    Closing(Closing),
}

/// A client in the table of its shard.
pub(super) struct Open {
    key: Key,
    inbox: Inbox,
    /// It is not read from until its events can go somewhere.
    waits: Option<Route<SimLink>>,
    /// The core wants to hear when its socket takes bytes again.
    pub(super) waits_writable: bool,
    /// The onlooker's count of its messages.
    messages: MessageCounter,
}

impl Gateway {
    pub(super) fn accept_client(&mut self, socket: Socket, context: &mut Context<'_>) {
        let number = self.next_number;
        self.next_number += 1;
        let shard = context.rng.below(self.shards.len() as u64) as usize;
        let stage = Stage::Handshake {
            head: Vec::new(),
            until_ms: context.now_ms + self.options.handshake_timeout_ms,
        };
        self.sockets.insert(socket.id(), Wake::Client(number));
        self.clients.insert(number, ClientTask { socket: Rc::new(socket), shard, stage, is_woken: false });
    }

    /// Drops a client's socket.
    pub(super) fn forget_client(&mut self, number: u32) {
        if let Some(client) = self.clients.remove(&number) {
            self.sockets.remove(&client.socket.id());
        }
    }

    /// Something has arrived, or a client that was read from goes on.
    pub(super) fn read_client(&mut self, number: u32, observer: &mut Observer, context: &mut Context<'_>) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        let socket = client.socket.clone();
        let mut scratch = [0; SCRATCH];
        match &mut client.stage {
            Stage::Handshake { head, .. } => {
                match socket.try_read(&mut scratch[..256]) {
                    ReadOutcome::Bytes(n) => head.extend_from_slice(&scratch[..n]),
                    ReadOutcome::Empty => return,
                    ReadOutcome::End | ReadOutcome::Reset => return self.forget_client(number),
                }
                match head.iter().position(|byte| *byte == b'\n') {
                    None => context.read_again(socket.id()),
                    Some(end) => {
                        let said = head.split_off(end + 1);
                        head.pop();
                        let handshake = std::mem::take(head);
                        self.find_worker(number, handshake, said, observer, context);
                    }
                }
            }
            Stage::WaitsForWorker { said, .. } => {
                let room = MAX_SAID.saturating_sub(said.len()).min(SCRATCH);
                if room == 0 {
                    return;
                }
                match socket.try_read(&mut scratch[..room]) {
                    ReadOutcome::Bytes(n) => {
                        said.extend_from_slice(&scratch[..n]);
                        context.read_again(socket.id());
                    }
                    ReadOutcome::Empty => {}
                    ReadOutcome::End | ReadOutcome::Reset => {
                        self.waiting -= 1;
                        self.forget_client(number);
                    }
                }
            }
            Stage::Open(open) if open.waits.is_some() => {}
            Stage::Open(open) => match socket.try_read(&mut scratch) {
                ReadOutcome::Bytes(n) => {
                    let (shard, key, now_ms) = (client.shard, open.key, context.now_ms);
                    open.messages.push(&scratch[..n]);
                    let core = &mut self.shards[shard].core;
                    let reading = core.receive(key, &mut open.inbox, &mut scratch[..n], now_ms);
                    self.go_on(number, reading, observer, context);
                    self.carry_out(shard, observer, context);
                }
                ReadOutcome::Empty => {}
                ReadOutcome::End | ReadOutcome::Reset => {
                    let (shard, key) = (client.shard, open.key);
                    self.input(shard, observer, context, |core| core.read_ended(key));
                }
            },
            Stage::Closing(_) => self.advance_closing(number, context.now_ms),
        }
    }

    /// Does what the core says about a client's reading.
    fn go_on(
        &mut self,
        number: u32,
        reading: Reading<SimLink>,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        let Stage::Open(open) = &mut client.stage else { return };
        let left = match reading {
            // Whatever stands before the close frame was taken.
            Reading::Closed if open.messages.has_closed() => Some(0),
            Reading::Closed => None,
            Reading::More | Reading::Paused(_) | Reading::Delayed(_) => Some(open.inbox.waiting()),
        };
        if let Some(left) = left {
            let id = ClientId::new(super::super::address(context.process), open.key.connection_id());
            observer.ledger.accepts(id, open.messages.messages(left));
        }
        match reading {
            Reading::More => context.read_again(client.socket.id()),
            Reading::Paused(route) => {
                context.note(|| format!("client {number} pauses: {route:?}"));
                open.waits = Some(route);
            }
            Reading::Delayed(until_ms) => {
                open.waits = Some(Route::Open);
                let delay_ms = until_ms.saturating_sub(context.now_ms);
                context.turn_after(delay_ms, Wake::Client(number).encode());
            }
            Reading::Closed => {}
        }
    }

    /// Looks for a worker for a client that has sent its handshake, or lets it wait for one.
    fn find_worker(
        &mut self,
        number: u32,
        handshake: Vec<u8>,
        said: Vec<u8>,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) {
        if self.directory.has_room() {
            return self.insert_client(number, handshake, said, observer, context);
        }
        if self.waiting == self.options.max_waiting {
            return self.end(number, Outbox::of(NO_WORKER.into()), false, context);
        }
        self.waiting += 1;
        let until_ms = context.now_ms + self.options.worker_wait_ms;
        let Some(client) = self.clients.get_mut(&number) else { return };
        client.stage = Stage::WaitsForWorker { handshake, said, until_ms };
        context.read_again(client.socket.id());
    }

    /// Answers a handshake, and puts the client into its shard's table.
    fn insert_client(
        &mut self,
        number: u32,
        handshake: Vec<u8>,
        said: Vec<u8>,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        let Some(worker) = self.directory.choose(None, false) else { return };
        let socket = client.socket.clone();
        if !matches!(socket.try_write(ACCEPTED), Written::Bytes(_)) {
            return self.forget_client(number);
        }
        let shard = client.shard;
        if self.shards[shard].core.is_stopping() {
            return self.end(number, Outbox::of(super::super::CLOSE_FRAME.into()), true, context);
        }
        let core = &mut self.shards[shard].core;
        let mut messages = MessageCounter::default();
        messages.push(&said);
        let inbox = Inbox::new(&self.policy, said);
        let connection = SimConnection { socket: socket.clone(), policy: self.policy.clone(), number };
        let new = NewClient {
            resume: None,
            connection_id: core.draw_connection_id(|| context.rng.next_u64() as u32),
            seq: self.next_seq,
            address: super::super::address(socket.peer()),
            connection,
            worker,
            compression: Compression::Off,
            // It is written above.
            response: Default::default(),
        };
        self.next_seq += 1;
        let now_ms = context.now_ms;
        let key = core.insert(new, now_ms);
        observer
            .ledger
            .comes(self.life, ClientId::new(super::super::address(context.process), key.connection_id()));
        core.tell_connected(key, Some(&handshake), now_ms);
        client.stage = Stage::Open(Open { key, inbox, waits: None, waits_writable: false, messages });
        context.note(|| format!("client {number} has the connection id {:08x}", key.connection_id()));
        self.carry_out(shard, observer, context);
        self.resume(number, observer, context);
    }

    /// Goes on with a client that begins, or whose wait is over.
    fn resume(&mut self, number: u32, observer: &mut Observer, context: &mut Context<'_>) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        let Stage::Open(open) = &mut client.stage else { return };
        open.waits = None;
        let shard = client.shard;
        let reading = self.shards[shard].core.resume(open.key, &mut open.inbox, context.now_ms);
        self.go_on(number, reading, observer, context);
        self.carry_out(shard, observer, context);
    }

    /// A client's planned turn has come.
    pub(super) fn run_client(&mut self, number: u32, observer: &mut Observer, context: &mut Context<'_>) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        client.is_woken = false;
        match &mut client.stage {
            Stage::WaitsForWorker { handshake, said, .. } if self.directory.has_room() => {
                let (handshake, said) = (std::mem::take(handshake), std::mem::take(said));
                self.waiting -= 1;
                self.insert_client(number, handshake, said, observer, context);
            }
            Stage::Open(open) if open.waits.is_some() => self.resume(number, observer, context),
            _ => {}
        }
    }

    /// A client's socket has room, or is broken.
    pub(super) fn client_is_writable(
        &mut self,
        number: u32,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        match &mut client.stage {
            Stage::Open(open) if open.waits_writable => {
                let (shard, key) = (client.shard, open.key);
                open.waits_writable = false;
                let writable = self.input(shard, observer, context, |core| core.writable(key));
                if writable == Writable::Blocked
                    && let Some(client) = self.clients.get_mut(&number)
                    && let Stage::Open(open) = &mut client.stage
                {
                    open.waits_writable = true;
                }
            }
            Stage::Closing(_) => self.advance_closing(number, context.now_ms),
            _ => {}
        }
    }

    /// Ends a connection that is not in a table, after these last bytes.
    fn end(&mut self, number: u32, outbox: Outbox, with_close_frame: bool, context: &mut Context<'_>) {
        if let Some(client) = self.clients.get_mut(&number) {
            client.stage = Stage::Closing(Closing::new(outbox, with_close_frame, false, context.now_ms));
        }
        self.advance_closing(number, context.now_ms);
    }

    pub(super) fn advance_closing(&mut self, number: u32, now_ms: u64) {
        if let Some(client) = self.clients.get_mut(&number)
            && let Stage::Closing(closing) = &mut client.stage
            && closing.advance(&client.socket, now_ms)
        {
            self.forget_client(number);
        }
    }

    /// Ends the waits whose time is over.
    pub(super) fn time_out_clients(&mut self, context: &mut Context<'_>) {
        let now_ms = context.now_ms;
        let due = |client: &ClientTask| client.deadline().is_some_and(|at_ms| at_ms <= now_ms);
        let due: Vec<u32> =
            self.clients.iter().filter(|(_, client)| due(client)).map(|(number, _)| *number).collect();
        for number in due {
            match self.clients.get(&number).map(|client| &client.stage) {
                Some(Stage::Handshake { .. }) => self.forget_client(number),
                Some(Stage::WaitsForWorker { .. }) => {
                    self.waiting -= 1;
                    self.end(number, Outbox::of(NO_WORKER.into()), false, context);
                }
                _ => self.advance_closing(number, now_ms),
            }
        }
    }

    /// Plans a turn for a client whose reader the core lets go on.
    pub(super) fn resume_reader(&mut self, shard: usize, key: Key, context: &mut Context<'_>) {
        let Some(connection) = self.shards[shard].core.connection(key) else { return };
        let number = connection.number;
        if let Some(client) = self.clients.get_mut(&number) {
            client.wake(number, context);
        }
    }

    /// Plans a turn for clients that wait for a worker, or for room on its link, where that is there.
    pub(super) fn wake_clients(&mut self, context: &mut Context<'_>) {
        let has_room = self.directory.has_room();
        for (number, client) in &mut self.clients {
            let is_over = match &client.stage {
                Stage::WaitsForWorker { .. } => has_room,
                Stage::Open(Open { waits: Some(route), .. }) => match route {
                    Route::Full(link) => !link.is_full() || !link.is_open(),
                    Route::Wait => false,
                    Route::Open | Route::Gone => true,
                },
                _ => false,
            };
            if is_over {
                client.wake(*number, context);
            }
        }
    }
}

impl ClientTask {
    fn wake(&mut self, number: u32, context: &mut Context<'_>) {
        if !std::mem::replace(&mut self.is_woken, true) {
            let delay_ms = context.rng.below(3);
            context.turn_after(delay_ms, Wake::Client(number).encode());
        }
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        match &self.stage {
            Stage::Handshake { until_ms, .. } | Stage::WaitsForWorker { until_ms, .. } => Some(*until_ms),
            Stage::Open(_) => None,
            Stage::Closing(closing) => Some(closing.until_ms),
        }
    }
}
