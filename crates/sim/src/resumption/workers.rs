//! The workers of this scenario, beside the gateway in its process: they take events out of their links, run the
//! application's handlers, and say what those said a little later.
//!
//! They acknowledge events, as workers of ours do. A handler runs whole, and what it says ends with DONE, so that a
//! worker that is gone has handled an event or has not. One may drain, or be gone at once; another one comes.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::BytesMut;
use gatewayworker_gateway::internals::testing::{MemoryDirectory, MemoryLink, OURS};
use gatewayworker_gateway::internals::{CoreWorkerLink, LinkState, Peer, ShardCommand};
use gatewayworker_protocol::{Command, EventCounts, Frame, SecretKey};

use super::application;
use super::ledger::Ledger;
use crate::rng::Rng;
use crate::violation::Violation;

/// Something that a worker says.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub(super) command: Command,
    /// The number of its message, where it has one.
    pub(super) message: Option<u32>,
    /// The uid or group that it is about.
    pub(super) place: Option<u8>,
}

impl From<Command> for Said {
    fn from(command: Command) -> Self {
        Self { command, message: None, place: None }
    }
}

/// A worker.
pub(super) struct Worker {
    pub(super) link: Arc<CoreWorkerLink<MemoryLink>>,
    state: LinkState,
    /// Events that have arrived and are not handled.
    events: VecDeque<Command>,
    /// What it has said and the gateway has not executed.
    said: VecDeque<Said>,
    epoch: u32,
}

/// All workers.
pub(super) struct Workers {
    directory: MemoryDirectory,
    all: Vec<Worker>,
    epochs: u32,
    link_bytes: usize,
}

impl Workers {
    /// One worker, whose link is full with so many unfinished bytes.
    pub(super) fn new(directory: MemoryDirectory, link_bytes: usize) -> Self {
        let mut workers = Self { directory, all: Vec::new(), epochs: 0, link_bytes };
        workers.join();
        workers
    }

    /// A worker comes.
    pub(super) fn join(&mut self) {
        self.epochs += 1;
        let epoch = self.epochs;
        let peer = Peer { features: OURS, epoch, process: Some(epoch.into()) };
        let link = self.directory.join(&format!("worker {epoch}"), self.link_bytes, peer);
        let mut state = LinkState::new(SecretKey::default(), usize::MAX, 1);
        state.attach(epoch);
        self.all.push(Worker { link, state, events: VecDeque::new(), said: VecDeque::new(), epoch });
    }

    /// The worker that came last.
    pub(super) fn newest(&mut self) -> Option<&mut Worker> {
        self.all.last_mut()
    }

    /// Takes the oldest worker out that does not drain, if there is one.
    pub(super) fn take_oldest(&mut self) -> Option<Worker> {
        let oldest = self.all.iter().position(|worker| worker.link.is_open())?;
        Some(self.all.remove(oldest))
    }

    /// The oldest worker that does not drain.
    pub(super) fn oldest(&self) -> Option<&Arc<CoreWorkerLink<MemoryLink>>> {
        self.all.iter().map(|worker| &worker.link).find(|link| link.is_open())
    }

    /// Takes a worker out that has drained and said all.
    pub(super) fn take_drained(&mut self) -> Option<Worker> {
        let is_drained = |worker: &Worker| worker.link.is_let_go() && worker.is_idle();
        let drained = self.all.iter().position(is_drained)?;
        Some(self.all.remove(drained))
    }

    /// Whether a worker has something to handle, and whether one has said something.
    pub(super) fn busy(&self) -> (bool, bool) {
        let has_events =
            |worker: &Worker| !worker.events.is_empty() || !worker.link.buffer.written.borrow().is_empty();
        (self.all.iter().any(has_events), self.all.iter().any(|worker| !worker.said.is_empty()))
    }

    /// Handles some events.
    pub(super) fn handle(&mut self, ledger: &mut Ledger, rng: &mut Rng) -> Result<(), Violation> {
        for worker in &mut self.all {
            worker.read()?;
            for _ in 0..=rng.below(5) {
                let Some(event) = worker.events.pop_front() else { break };
                worker.handle(event, ledger, rng)?;
            }
        }
        Ok(())
    }

    /// Takes something out that a worker has said, for the gateway to execute.
    pub(super) fn next_said(&mut self) -> Option<(Said, Vec<ShardCommand>)> {
        self.all.iter_mut().find_map(Worker::next_said)
    }
}

impl Worker {
    fn is_idle(&self) -> bool {
        self.events.is_empty() && self.said.is_empty() && self.link.buffer.written.borrow().is_empty()
    }

    /// Says something.
    pub(super) fn say(&mut self, said: Said) {
        self.said.push_back(said);
    }

    fn read(&mut self) -> Result<(), Violation> {
        let mut written = std::mem::take(&mut *self.link.buffer.written.borrow_mut());
        let wrong = |error: String| Violation::new("frames-are-whole", error);
        while let Some(frame) =
            Frame::parse(&mut written, usize::MAX).map_err(|error| wrong(error.to_string()))?
        {
            self.events.push_back(Command::decode(frame).map_err(|error| wrong(error.to_string()))?);
        }
        Ok(())
    }

    fn handle(&mut self, event: Command, ledger: &mut Ledger, rng: &mut Rng) -> Result<(), Violation> {
        let Some((id, said)) = application::handle(event, ledger, rng)? else { return Ok(()) };
        self.said.extend(said);
        let done = Command::Done { epoch: self.epoch, counts: EventCounts(vec![(id, 1)]) };
        self.said.push_back(done.into());
        Ok(())
    }

    /// Takes the next thing out that it has said.
    pub(super) fn next_said(&mut self) -> Option<(Said, Vec<ShardCommand>)> {
        let said = self.said.pop_front()?;
        let mut bytes = BytesMut::new();
        said.command.clone().encode(&mut bytes);
        let event = self.state.next(&mut bytes, || 1);
        debug_assert!(matches!(event, Ok(None)), "{event:?}");
        Some((said, self.state.pending.iter_mut().flat_map(std::mem::take).collect()))
    }
}
