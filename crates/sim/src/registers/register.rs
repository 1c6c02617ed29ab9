//! The process of a register: the real roster, and a shell around it as `connection.rs` of the register is.

use std::collections::BTreeMap;

use gatewayworker_protocol::SecretKey;
use gatewayworker_register::Limits;
use gatewayworker_register::internals::{BAD_REQUEST, CloseCause, PeerId, Roster};

use super::lines::Lines;
use crate::model::{Context, Input};
use crate::network::{ReadOutcome, SocketId};
use crate::violation::Violation;

/// A register.
#[derive(Debug)]
pub struct Register {
    roster: Roster,
    peers: BTreeMap<PeerId, Peer>,
    ids: BTreeMap<SocketId, PeerId>,
    next_id: PeerId,
    write_limit_ms: u64,
    closed_as_silent: u64,
}

#[derive(Debug)]
struct Peer {
    lines: Lines,
    /// When it began not to take a line that is written to it.
    slow_since_ms: Option<u64>,
}

impl Register {
    pub(super) fn new(now_ms: u64) -> Self {
        let limits = Limits::default();
        Self {
            roster: Roster::new(SecretKey::default(), &limits, now_ms),
            peers: BTreeMap::new(),
            ids: BTreeMap::new(),
            next_id: 1,
            write_limit_ms: limits.write.as_millis() as u64,
            closed_as_silent: 0,
        }
    }

    /// How many peers were closed because they did not read, or did not send, in time.
    pub(super) fn closed_as_silent(&self) -> u64 {
        self.closed_as_silent
    }

    pub(super) fn gateways(&self) -> usize {
        self.roster.gateways()
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        let peers = self.peers.iter().flat_map(|(id, peer)| {
            let slow = peer.slow_since_ms.map(|since_ms| since_ms + self.write_limit_ms);
            self.roster.peer_deadline(*id).into_iter().chain(slow)
        });
        peers.chain(self.roster.next_deadline()).min()
    }

    pub(super) fn step(
        &mut self,
        input: Input<super::GatewayEnd>,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let now_ms = context.now_ms;
        match input {
            Input::Accepted { socket, .. } => {
                let id = self.next_id;
                self.next_id += 1;
                self.roster.connected(id, now_ms);
                self.ids.insert(socket.id(), id);
                self.peers.insert(id, Peer { lines: Lines::new(socket), slow_since_ms: None });
            }
            Input::Readable(socket) => {
                if let Some(id) = self.ids.get(&socket).copied() {
                    self.read(id, now_ms, context);
                }
            }
            Input::Writable(socket) => {
                if let Some(id) = self.ids.get(&socket).copied() {
                    self.write(id, now_ms);
                }
            }
            Input::Deadline => self.deadline(now_ms, context),
            _ => {}
        }
        Ok(())
    }

    fn read(&mut self, id: PeerId, now_ms: u64, context: &mut Context<'_>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let outcome = peer.lines.read();
        while let Some(line) = self.peers.get_mut(&id).and_then(|peer| peer.lines.next_line()) {
            if let Err(cause) = self.roster.received(id, &line, now_ms) {
                context.note(|| format!("peer {id} is closed: {cause}"));
                return self.close(id, cause == CloseCause::BadRequest);
            }
        }
        match outcome {
            ReadOutcome::End | ReadOutcome::Reset => self.close(id, false),
            _ => self.write(id, now_ms),
        }
    }

    /// Writes the lists that are due, each when the one before is written.
    fn write(&mut self, id: PeerId, now_ms: u64) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        while peer.lines.flush() {
            peer.slow_since_ms = None;
            let Some(line) = self.roster.next_line(id) else { return };
            peer.lines.push(&line);
        }
        peer.slow_since_ms.get_or_insert(now_ms);
    }

    fn deadline(&mut self, now_ms: u64, context: &mut Context<'_>) {
        let ids: Vec<PeerId> = self.peers.keys().copied().collect();
        if let Some(version) = self.roster.deadline(now_ms) {
            context.note(|| format!("list {version}"));
            ids.iter().for_each(|id| self.write(*id, now_ms));
        }
        for id in ids {
            let slow = self.peers.get(&id).and_then(|peer| peer.slow_since_ms);
            let is_slow = slow.is_some_and(|since_ms| since_ms + self.write_limit_ms <= now_ms);
            if is_slow || self.roster.timed_out(id, now_ms).is_some() {
                context.note(|| format!("peer {id} is too late"));
                self.closed_as_silent += 1;
                self.close(id, false);
            }
        }
    }

    fn close(&mut self, id: PeerId, bad_request: bool) {
        let Some(mut peer) = self.peers.remove(&id) else { return };
        if bad_request {
            peer.lines.push(BAD_REQUEST);
            peer.lines.flush();
        }
        self.ids.remove(&peer.lines.socket.id());
        self.roster.disconnected(id);
    }
}
