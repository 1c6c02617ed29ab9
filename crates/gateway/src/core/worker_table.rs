//! The workers that are linked, which of them a client goes to, and the closes that no worker
//! was there to hear of.
//!
//! Plain data. The shell has it behind one lock, so that a close finds either a link or the
//! list that the next link is given. It is looked at when a client comes and when a client's
//! worker is gone, not for each message.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Weak};

use bytes::{Bytes, BytesMut};
use gatewayworker_protocol::Features;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::IteratorRandom;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::link_buffer::LinkBuffer;
use super::worker_link::WorkerLink;

/// How a worker is chosen for a client, which then stays with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Routing {
    /// The worker with the fewest clients of this gateway.
    #[default]
    LeastConnections,
    /// Any.
    Random,
    /// One after the other.
    RoundRobin,
}

/// Closes kept for the next worker, and their bytes. A frame is a header and a session.
const MAX_KEPT: usize = 100_000;
pub(crate) const MAX_KEPT_BYTES: usize = 64 * 1024 * 1024;

/// The table.
#[derive(Debug)]
pub struct WorkerTable<B> {
    routing: Routing,
    links: BTreeMap<Arc<str>, Arc<WorkerLink<B>>>,
    /// How many clients go to a key, for as long as any does.
    clients: BTreeMap<Arc<str>, Weak<AtomicUsize>>,
    /// Whose turn it is, where workers take turns.
    turn: usize,
    rng: SmallRng,
    kept: KeptCloses,
}

/// Closes that no worker was there to hear of.
#[derive(Debug, Default)]
struct KeptCloses {
    frames: VecDeque<Bytes>,
    bytes: usize,
    dropped: u64,
}

impl<B: LinkBuffer> WorkerTable<B> {
    /// An empty table. `seed` decides what [`Routing::Random`] draws.
    pub fn new(routing: Routing, seed: u64) -> Self {
        Self {
            routing,
            links: BTreeMap::new(),
            clients: BTreeMap::new(),
            turn: 0,
            rng: SmallRng::seed_from_u64(seed),
            kept: KeptCloses::default(),
        }
    }

    /// Takes a link in, and gives it the closes that were kept. An older link with the same
    /// key is closed.
    pub fn join(&mut self, key: &str, buffer: B, features: Features) -> Arc<WorkerLink<B>> {
        let key: Arc<str> = key.into();
        self.clients.retain(|_, clients| clients.strong_count() > 0);
        let known = self.clients.entry(key.clone()).or_default();
        let clients = known.upgrade().unwrap_or_default();
        *known = Arc::downgrade(&clients);
        let link = Arc::new(WorkerLink::new(key.clone(), buffer, features, clients));
        if let Some(older) = self.links.insert(key, link.clone()) {
            warn!(worker = %link.key(), "another worker has the same name and id: the older link is closed");
            older.set_closed();
            older.buffer.finish();
        }
        for frame in self.take_kept() {
            // A link that fails at once loses what it was given; nobody can tell.
            let _ = link.buffer.append(|out| out.extend_from_slice(&frame));
        }
        link.buffer.flush_soon();
        link
    }

    /// Takes a link out, unless a newer one has its place already.
    pub fn leave(&mut self, link: &Arc<WorkerLink<B>>) {
        link.set_closed();
        if self.links.get(link.key()).is_some_and(|current| Arc::ptr_eq(current, link)) {
            self.links.remove(link.key());
        }
    }

    /// Returns the worker for a client that had the worker with the key `before`, or `None`
    /// when no worker is linked.
    ///
    /// A worker that came back under its old key gets its clients back. A worker that does not
    /// read what it is sent is chosen only where all are so.
    pub fn choose(&mut self, before: Option<&str>) -> Option<Arc<WorkerLink<B>>> {
        if let Some(link) = before.and_then(|key| self.links.get(key)) {
            return Some(link.clone());
        }
        self.choose_of(WorkerLink::has_room).or_else(|| self.choose_of(WorkerLink::is_open))
    }

    fn choose_of(&mut self, may: impl Fn(&WorkerLink<B>) -> bool) -> Option<Arc<WorkerLink<B>>> {
        let mut links = self.links.values().filter(|link| may(link));
        match self.routing {
            Routing::LeastConnections => links.min_by_key(|link| link.clients()),
            Routing::Random => links.choose(&mut self.rng),
            Routing::RoundRobin => {
                let len = self.links.values().filter(|link| may(link)).count();
                let turn = self.turn;
                self.turn = self.turn.wrapping_add(usize::from(len > 0));
                links.nth(turn.checked_rem(len)?)
            }
        }
        .cloned()
    }

    /// Whether none is linked.
    #[cfg(any(test, feature = "internals"))]
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// How many are linked.
    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// All links, in the order of their keys.
    pub fn links(&self) -> impl Iterator<Item = &Arc<WorkerLink<B>>> {
        self.links.values()
    }

    /// Keeps a close for the next worker, or gives it to one that has just come.
    pub fn keep_close(&mut self, write: impl Fn(&mut BytesMut)) {
        while let Some(link) = self.choose(None) {
            if link.buffer.append(&write).is_ok() {
                return link.buffer.flush_soon();
            }
            self.leave(&link);
        }
        let mut frame = BytesMut::new();
        write(&mut frame);
        let kept = &mut self.kept;
        if kept.frames.len() < MAX_KEPT && kept.bytes + frame.len() <= MAX_KEPT_BYTES {
            kept.bytes += frame.len();
            kept.frames.push_back(frame.freeze());
            return;
        }
        if kept.dropped == 0 {
            warn!(
                kept = kept.frames.len(),
                "no worker is linked and no more closes can be kept for one: on_close is lost for some clients"
            );
        }
        kept.dropped += 1;
    }

    /// Gives up the closes that are kept, and returns how many there were, with those that
    /// there was no room for.
    pub fn drop_kept(&mut self) -> u64 {
        let kept = std::mem::take(&mut self.kept);
        kept.frames.len() as u64 + kept.dropped
    }

    pub(crate) fn take_kept(&mut self) -> VecDeque<Bytes> {
        let KeptCloses { frames, dropped, .. } = std::mem::take(&mut self.kept);
        if dropped > 0 {
            warn!(closes = dropped, "on_close is lost for clients that left while no worker was linked");
        }
        frames
    }
}
