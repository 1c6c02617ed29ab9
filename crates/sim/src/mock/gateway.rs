//! The mock's gateway: a table of clients, each with a worker; outboxes with a budget of bytes.
//!
//! It has the shape of a real core: inputs are methods, writing is done at the end of a step,
//! and a client is not read from while its worker's link is full.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::frames::{CLOSE, CONNECT, Frame, MESSAGE};
use crate::link_buffer::LinkBuffer;
use crate::model::{Context, Input};
use crate::network::{ReadOutcome, Socket, SocketId, Written};
use crate::violation::{Violation, ensure};

/// The port that workers connect to; clients connect to another.
pub(super) const WORKERS: u16 = 1;

/// Bytes that a link holds before clients are not read from.
const LINK_BYTES: usize = 2_000;

/// Bytes that wait for a client before it is closed.
const OUTBOX_BYTES: usize = 60_000;

#[derive(Debug)]
struct Client {
    socket: Rc<Socket>,
    worker: SocketId,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    /// Its worker's link was full when there was something to read.
    paused: bool,
}

#[derive(Debug)]
struct Link {
    socket: Rc<Socket>,
    buffer: LinkBuffer,
    inbox: Vec<u8>,
}

/// The gateway.
#[derive(Debug, Default)]
pub struct Gateway {
    clients: BTreeMap<u32, Client>,
    ids: BTreeMap<SocketId, u32>,
    links: BTreeMap<SocketId, Link>,
    /// Bytes in all outboxes.
    held: usize,
}

impl Gateway {
    pub(super) fn step<A>(&mut self, input: Input<A>, context: &mut Context<'_>) {
        match input {
            Input::Accepted { socket, port: WORKERS } => {
                let socket = Rc::new(socket);
                let buffer = LinkBuffer::new(socket.clone(), LINK_BYTES);
                self.links.insert(socket.id(), Link { socket, buffer, inbox: Vec::new() });
            }
            Input::Accepted { socket, .. } => self.insert(socket, context),
            Input::Readable(socket) => match self.ids.get(&socket) {
                Some(&id) => self.read_client(id),
                None => self.read_link(socket, context),
            },
            Input::Writable(socket) => match self.ids.get(&socket) {
                Some(&id) => self.flush(id),
                None => self.resume(socket),
            },
            _ => {}
        }
        self.links.values().for_each(|link| link.buffer.flush());
    }

    fn insert(&mut self, socket: Socket, context: &mut Context<'_>) {
        let links: Vec<SocketId> = self.links.keys().copied().collect();
        // Without a worker the socket is dropped, and so closed.
        let Some(&worker) = context.rng.pick(&links) else { return };
        let id = context.rng.next_u64() as u32;
        context.note(|| format!("client {id} is {:?}, its worker is {worker:?}", socket.id()));
        self.ids.insert(socket.id(), id);
        let socket = Rc::new(socket);
        self.clients
            .insert(id, Client { socket, worker, inbox: Vec::new(), outbox: Vec::new(), paused: false });
        self.tell(id, CONNECT, 0, 0);
    }

    /// Appends an event to the link of a client's worker.
    fn tell(&self, id: u32, kind: u8, number: u64, filling: u16) {
        let worker = self.clients.get(&id).map(|client| client.worker);
        if let Some(link) = worker.and_then(|worker| self.links.get(&worker)) {
            let frame = Frame { kind, client: id, number, filling };
            // A closed link's clients are closed when its end is read.
            let _ = link.buffer.push(|out| out.extend_from_slice(&frame.encode()));
        }
    }

    fn read_client(&mut self, id: u32) {
        let mut scratch = [0; 1024];
        loop {
            let Some(client) = self.clients.get_mut(&id) else { return };
            let is_full = self.links.get(&client.worker).is_none_or(|link| link.buffer.is_full());
            client.paused = is_full;
            if is_full {
                return;
            }
            if let Some(frame) = Frame::take(&mut client.inbox) {
                self.tell(id, MESSAGE, frame.number, frame.filling);
                continue;
            }
            match client.socket.try_read(&mut scratch) {
                ReadOutcome::Bytes(n) => client.inbox.extend_from_slice(&scratch[..n]),
                ReadOutcome::Empty => return,
                ReadOutcome::End | ReadOutcome::Reset => return self.remove(id),
            }
        }
    }

    /// Reads from the clients of a link that has room again.
    fn resume(&mut self, socket: SocketId) {
        if let Some(link) = self.links.get(&socket) {
            link.buffer.flush();
        }
        let paused = self.clients.iter().filter(|(_, client)| client.paused && client.worker == socket);
        for id in paused.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.read_client(id);
        }
    }

    fn read_link(&mut self, socket: SocketId, context: &mut Context<'_>) {
        let mut scratch = [0; 1024];
        let Some(link) = self.links.get_mut(&socket) else { return };
        let outcome = link.socket.try_read(&mut scratch);
        match outcome {
            ReadOutcome::Bytes(n) => link.inbox.extend_from_slice(&scratch[..n]),
            ReadOutcome::Empty => return,
            ReadOutcome::End | ReadOutcome::Reset => {
                self.links.remove(&socket);
                let orphans = self.clients.iter().filter(|(_, client)| client.worker == socket);
                for id in orphans.map(|(id, _)| *id).collect::<Vec<_>>() {
                    self.remove(id);
                }
                return;
            }
        }
        // One piece in a step: others have their turn before the next.
        context.read_again(socket);
        while let Some(frame) = self.links.get_mut(&socket).and_then(|link| Frame::take(&mut link.inbox)) {
            self.send(frame);
        }
    }

    fn send(&mut self, frame: Frame) {
        let Some(client) = self.clients.get_mut(&frame.client) else { return };
        let before = client.outbox.len();
        client.outbox.extend(frame.encode());
        self.held += client.outbox.len() - before;
        match client.outbox.len() > OUTBOX_BYTES {
            true => self.remove(frame.client),
            false => self.flush(frame.client),
        }
    }

    fn flush(&mut self, id: u32) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        while !client.outbox.is_empty() {
            match client.socket.try_write(&client.outbox) {
                Written::Bytes(n) => {
                    client.outbox.drain(..n);
                    self.held -= n;
                }
                Written::Blocked => return,
                Written::Broken => return self.remove(id),
            }
        }
    }

    fn remove(&mut self, id: u32) {
        self.tell(id, CLOSE, 0, 0);
        if let Some(client) = self.clients.remove(&id) {
            self.ids.remove(&client.socket.id());
            self.held -= client.outbox.len();
        }
    }

    pub(super) fn check(&self) -> Result<(), Violation> {
        let held: usize = self.clients.values().map(|client| client.outbox.len()).sum();
        ensure(held == self.held, "budget-is-given-back", || {
            format!("{held} bytes wait, {} are held", self.held)
        })
    }

    pub(super) fn is_idle(&self) -> bool {
        self.clients.is_empty() && self.ids.is_empty()
    }
}
