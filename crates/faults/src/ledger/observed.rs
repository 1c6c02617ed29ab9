//! What handlers say to clients of others: each message's handler says its number to observers, and each observer
//! notes what arrives.
//!
//! `Ledger` enters what `observers` reports. Which messages are owed to an observer, the ledger finds out.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::order::{Come, Order};
use super::record::Connection;

/// The observers that a message's handler says its number to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// All of them: they are in a group.
    All,
    /// One of them, by its index: it has a client id.
    One(usize),
}

/// One observer: the client at the gateway with this address.
#[derive(Debug)]
pub(super) struct Observer {
    pub(super) connection: Connection,
    pub(super) gateway: Ipv4Addr,
    /// By the connection whose messages were said.
    arrived: BTreeMap<Connection, Arrived>,
    /// The latest message of each connection when the observer's connection has ended, if it has.
    pub(super) ended: Option<BTreeMap<Connection, u32>>,
}

/// What has arrived about the messages of one connection.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    all: Track,
    /// The same, by the worker that has said it: a gateway may read what two workers say in either order.
    by_worker: BTreeMap<u32, Track>,
    pub(super) reordered: u64,
    pub(super) reordered_between_workers: u64,
}

/// Numbers in the order in which they have arrived.
#[derive(Debug, Default)]
struct Track {
    order: Order,
    numbers: Vec<Come>,
}

impl Audience {
    /// Returns the audience of a message, of so many observers: of every other message all are.
    pub fn of(number: u32, observers: usize) -> Self {
        match number.is_multiple_of(2) {
            true => Self::One(number as usize / 2 % observers.max(1)),
            false => Self::All,
        }
    }

    /// Whether the observer with this index is one of them.
    pub(super) fn includes(self, index: usize) -> bool {
        match self {
            Self::All => true,
            Self::One(one) => one == index,
        }
    }
}

impl Observer {
    pub(super) fn new(connection: Connection, gateway: Ipv4Addr) -> Self {
        Self { connection, gateway, arrived: BTreeMap::new(), ended: None }
    }

    pub(super) fn hear(&mut self, worker: u32, connection: Connection, number: u32) {
        self.arrived.entry(connection).or_default().enter(worker, number);
    }

    /// Returns what has arrived about a connection's messages.
    pub(super) fn arrived(&self, connection: Connection) -> Option<&Arrived> {
        self.arrived.get(&connection)
    }

    /// Returns how many of a connection's messages were sent while the observer was there, if so many were sent.
    pub(super) fn present_for(&self, connection: Connection, sent: u32) -> u32 {
        self.ended
            .as_ref()
            .map_or(sent, |ended| ended.get(&connection).copied().unwrap_or_default().min(sent))
    }

    pub(super) fn all_arrived(&self) -> impl Iterator<Item = &Arrived> {
        self.arrived.values()
    }
}

impl Arrived {
    fn enter(&mut self, worker: u32, number: u32) {
        let is_in_order = self.all.enter(number);
        if !self.by_worker.entry(worker).or_default().enter(number) {
            self.reordered += 1;
        } else if !is_in_order {
            self.reordered_between_workers += 1;
        }
    }

    /// Returns how often a message's number has arrived.
    pub(super) fn times(&self, number: u32) -> u16 {
        self.all.numbers.get(number as usize).map_or(0, |come| come.times)
    }

    /// Returns the highest number that has arrived.
    pub(super) fn highest(&self) -> u32 {
        self.all.order.furthest().unwrap_or_default() as u32
    }
}

impl Track {
    fn enter(&mut self, number: u32) -> bool {
        let number = number as usize;
        if self.numbers.len() <= number {
            self.numbers.resize(number + 1, Come::default());
        }
        self.order.enter(number, &mut self.numbers[number])
    }
}
