//! The simulated network: connections between processes, as TCP has them, and what goes wrong with them.
//!
//! Bytes of one direction arrive in order, in pieces, each after a delay of its own; different
//! connections overtake each other. Buffers are bounded. A cut between two processes stops all that
//! is under way, in one direction, and tells nobody. It knows no node: `simulation.rs` gives nodes
//! what [`Network::deliver`] and [`Network::room`] return.

mod faults;
mod pipe;
mod socket;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::fmt;
use std::ops::RangeInclusive;
use std::rc::Rc;

use pipe::{Delivery, End, Pipe};
pub use socket::{ReadOutcome, Socket, SocketId, Written};

use crate::event_queue::{EventQueue, Ticket};
use crate::rng::Rng;

/// The number of a process, from 0.
pub type ProcessId = usize;

/// The connections between two processes, in one direction: all of them, or those to one port.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path {
    /// The process that sends.
    pub from: ProcessId,
    /// The process that receives.
    pub to: ProcessId,
    /// The port that one of them has given to `Context::connect`; `None` stands for every port.
    pub port: Option<u16>,
}

/// How the network behaves.
#[derive(Debug, Clone)]
pub struct NetworkOptions {
    /// The delay of a delivery, in ms.
    pub delay_ms: RangeInclusive<u64>,
    /// How many of 100 deliveries take ten times as long.
    pub slow_percent: u64,
    /// Bytes that a direction of a connection holds; drawn for each.
    pub capacity: RangeInclusive<u64>,
    /// How many of 100 deliveries carry only a part of what is under way.
    pub piece_percent: u64,
}

impl Default for NetworkOptions {
    /// 0–3 ms, one delivery in 50 slow, buffers of 64 bytes to 8 KiB, every fifth delivery in pieces.
    fn default() -> Self {
        Self { delay_ms: 0..=3, slow_percent: 2, capacity: 64..=8192, piece_percent: 20 }
    }
}

/// What happens at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event {
    /// What this end has written arrives at the other one.
    Deliver(SocketId),
    /// This end hears that there is room to write.
    Room(SocketId),
    /// A process that asked for it reads again; the number counts its starts, as a later one did not ask.
    ReadAgain(ProcessId, u32, SocketId),
    /// A process that asked for it has its turn.
    Turn(ProcessId, u32, u32),
    Deadline(ProcessId),
    /// A process ends itself as a killed one does, and starts again so many ms later.
    Abort(ProcessId, u32, u64),
    /// A process that is gone starts again.
    Restart(ProcessId),
    /// A step of the script.
    Script(usize),
    /// A stage of the end begins, or the last one is over.
    Stage(usize),
}

/// What a delivery means to a process.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// Somebody connects. Whoever cannot accept says [`Network::refuse`].
    Opening {
        to: ProcessId,
        socket: SocketId,
        port: u16,
    },
    Connected(ProcessId, SocketId),
    Readable(ProcessId, SocketId),
}

#[derive(Debug)]
struct Connection {
    port: u16,
    /// What each end writes.
    pipes: [Pipe; 2],
    /// Each end has a socket that is not closed.
    open: [bool; 2],
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    connection: Option<Connection>,
}

/// All connections, and the time.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) now_ms: u64,
    pub(crate) events: EventQueue<Event>,
    /// Of all that was read and written: equal runs have equal ones.
    pub(crate) hash: u64,
    options: NetworkOptions,
    seed: u64,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// The directions that are cut, at `from * processes + to`.
    cut: Vec<bool>,
    /// The directions of single ports that are cut: mostly none.
    cut_ports: Vec<Path>,
    /// How often each pair has connected.
    connects: Vec<u64>,
    processes: usize,
}

impl Network {
    pub(crate) fn new(seed: u64, processes: usize, options: NetworkOptions) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self {
            now_ms: 0,
            events: EventQueue::default(),
            hash: seed,
            options,
            seed,
            slots: Vec::new(),
            free: Vec::new(),
            cut: vec![false; processes * processes],
            cut_ports: Vec::new(),
            connects: vec![0; processes * processes],
            processes,
        }))
    }

    /// Adds an event.
    pub(crate) fn at(&mut self, at_ms: u64, event: Event) -> Ticket {
        self.events.push(at_ms, event)
    }

    /// Adds the event that happens next. There is one at most.
    pub(crate) fn now(&mut self, event: Event) {
        self.events.push_first(self.now_ms, event);
    }

    /// Connections that are not closed by both ends.
    pub(crate) fn connections(&self) -> usize {
        self.slots.iter().filter(|slot| slot.connection.is_some()).count()
    }

    /// Begins a connection; what is written to it at once arrives behind its beginning.
    pub(crate) fn connect(this: &Rc<RefCell<Self>>, from: ProcessId, to: ProcessId, port: u16) -> Socket {
        let network = &mut *this.borrow_mut();
        let pair = from * network.processes + to;
        network.connects[pair] += 1;
        let path = [from as u64, to as u64, network.connects[pair]];
        let mut rng = Rng::derive(network.seed, &path);
        let mut pipe = |from, to| {
            let capacity = rng.within(&network.options.capacity) as usize;
            Pipe::new(from, to, capacity, Rng::new(rng.next_u64()))
        };
        let mut pipes = [pipe(from, to), pipe(to, from)];
        pipes[0].opening = true;
        let connection = Connection { port, pipes, open: [true, false] };
        let slot = network.free.pop().unwrap_or_else(|| {
            network.slots.push(Slot::default());
            network.slots.len() as u32 - 1
        });
        let place = &mut network.slots[slot as usize];
        place.generation += 1;
        place.connection = Some(connection);
        let id = SocketId { slot, generation: place.generation, side: 0 };
        network.schedule(id);
        Socket::new(id, to, this.clone())
    }

    /// Makes the socket of a process that accepts.
    pub(crate) fn accept(this: &Rc<RefCell<Self>>, id: SocketId) -> Socket {
        let network = &mut *this.borrow_mut();
        let mut peer = 0;
        if let Some(connection) = network.connection(id) {
            connection.open[1] = true;
            connection.pipes[1].opening = true;
            peer = connection.pipes[1].to;
        }
        network.schedule(id);
        Socket::new(id, peer, this.clone())
    }

    /// Answers the beginning of a connection with a reset.
    pub(crate) fn refuse(&mut self, id: SocketId) {
        if let Some(connection) = self.connection(id) {
            connection.pipes[1].reset();
        }
        self.schedule(id);
    }

    /// Lets arrive what the end `id` has under way.
    pub(crate) fn deliver(&mut self, id: SocketId) -> Option<Arrival> {
        let piece_percent = self.options.piece_percent;
        let pipe = self.pipe(id)?;
        pipe.is_scheduled = false;
        let to = pipe.to;
        if self.is_cut(id) {
            return None;
        }
        let (side, peer) = (usize::from(id.side), id.peer());
        let connection = self.connection(id)?;
        let delivery = connection.pipes[side].deliver(piece_percent);
        if connection.pipes[side].arrived_end == Some(End::Reset) && connection.pipes[1 - side].wants_room {
            // Who waits for room finds the connection broken.
            connection.pipes[1 - side].wants_room = false;
            self.schedule_room(peer);
        }
        let arrival = match (delivery, id.side) {
            (Delivery::Nothing, _) => None,
            (Delivery::Opening, 0) => {
                let port = self.connection(id)?.port;
                Some(Arrival::Opening { to, socket: peer, port })
            }
            (Delivery::Opening, _) => Some(Arrival::Connected(to, peer)),
            (Delivery::Readable, _) => Some(Arrival::Readable(to, peer)),
        };
        self.schedule(id);
        if matches!(arrival, Some(Arrival::Opening { .. })) {
            return arrival;
        }
        let connection = self.connection(id)?;
        if connection.open[1 - side] {
            return arrival;
        }
        if connection.pipes[side].discard() && connection.pipes[1 - side].end != Some(End::Reset) {
            connection.pipes[1 - side].reset();
            self.schedule(peer);
        }
        self.free_if_over(id);
        None
    }

    /// Returns the process that hears that it can write to the socket `id`.
    pub(crate) fn room(&mut self, id: SocketId) -> Option<ProcessId> {
        let connection = self.connection(id)?;
        connection.open[usize::from(id.side)].then(|| connection.pipes[usize::from(id.side)].from)
    }

    /// Forgets a connection that neither end has, unless its beginning is still under way.
    fn free_if_over(&mut self, id: SocketId) {
        let Some(connection) = self.connection(id) else { return };
        let first = &connection.pipes[0];
        if connection.open == [false, false] && (!first.opening || first.end == Some(End::Reset)) {
            self.slots[id.slot as usize].connection = None;
            self.free.push(id.slot);
        }
    }

    /// Plans the delivery of what the end `id` has under way, if there is anything and none is planned.
    fn schedule(&mut self, id: SocketId) {
        let (delay_ms, slow_percent) = (self.options.delay_ms.clone(), self.options.slow_percent);
        let Some(pipe) = self.pipe(id) else { return };
        if pipe.is_scheduled || !pipe.is_under_way() {
            return;
        }
        let delay = delay(&mut pipe.rng, &delay_ms, slow_percent);
        if self.is_cut(id) {
            return;
        }
        if let Some(pipe) = self.pipe(id) {
            pipe.is_scheduled = true;
        }
        self.events.push(self.now_ms + delay, Event::Deliver(id));
    }

    fn schedule_room(&mut self, id: SocketId) {
        let (delay_ms, slow_percent) = (self.options.delay_ms.clone(), self.options.slow_percent);
        let Some(pipe) = self.pipe(id) else { return };
        let delay = delay(&mut pipe.rng, &delay_ms, slow_percent);
        self.events.push(self.now_ms + delay, Event::Room(id));
    }

    /// Says whether what the end `id` writes does not arrive.
    fn is_cut(&mut self, id: SocketId) -> bool {
        let Some(connection) = self.connection(id) else { return false };
        let pipe = &connection.pipes[usize::from(id.side)];
        let path = Path { from: pipe.from, to: pipe.to, port: Some(connection.port) };
        self.cut[path.from * self.processes + path.to] || self.cut_ports.contains(&path)
    }

    fn connection(&mut self, id: SocketId) -> Option<&mut Connection> {
        let slot = &mut self.slots[id.slot as usize];
        slot.connection.as_mut().filter(|_| slot.generation == id.generation)
    }

    /// Returns the direction that the end `id` writes.
    fn pipe(&mut self, id: SocketId) -> Option<&mut Pipe> {
        self.connection(id).map(|connection| &mut connection.pipes[usize::from(id.side)])
    }

    /// Returns both ends of every connection.
    fn ids(&self) -> Vec<SocketId> {
        let taken = self.slots.iter().enumerate().filter(|(_, slot)| slot.connection.is_some());
        let ends = |(slot, generation)| [0, 1].map(|side| SocketId { slot, generation, side });
        taken.map(|(index, slot)| (index as u32, slot.generation)).flat_map(ends).collect()
    }
}

impl Connection {
    /// Returns what the end `id` writes, and what it reads.
    fn pipes_of(&mut self, id: SocketId) -> [&mut Pipe; 2] {
        let [first, second] = &mut self.pipes;
        if id.side == 0 { [first, second] } else { [second, first] }
    }
}

impl Path {
    /// Creates the path of all connections from a process to another one.
    pub fn all(from: ProcessId, to: ProcessId) -> Self {
        Self { from, to, port: None }
    }

    /// Returns the path of the other direction.
    #[must_use]
    pub fn back(self) -> Self {
        Self { from: self.to, to: self.from, port: self.port }
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}->{}", self.from, self.to)?;
        self.port.iter().try_for_each(|port| write!(f, ":{port}"))
    }
}

impl SocketId {
    fn peer(self) -> Self {
        Self { side: 1 - self.side, ..self }
    }

    pub(crate) fn number(self) -> u64 {
        u64::from(self.slot) << 33 | u64::from(self.generation) << 1 | u64::from(self.side)
    }
}

fn delay(rng: &mut Rng, range: &RangeInclusive<u64>, slow_percent: u64) -> u64 {
    let delay = rng.within(range);
    if rng.chance(slow_percent) { delay.max(1) * 10 } else { delay }
}
