//! The workers that are linked, and which of them a client goes to.
//!
//! Plain data. The shell has it behind one lock. It is looked at when a client comes and when a
//! client's worker is gone, not for each message.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Weak};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::IteratorRandom;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::link_buffer::LinkBuffer;
use super::suspects::Suspects;
use super::worker_link::{Peer, WorkerLink};

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

/// The table.
#[derive(Debug)]
pub struct WorkerTable<B> {
    routing: Routing,
    /// The open links.
    links: BTreeMap<Arc<str>, Arc<WorkerLink<B>>>,
    /// Those that take no new events and are not over: they drain, or what has come from them is being
    /// read out.
    leaving: Vec<Arc<WorkerLink<B>>>,
    /// The last worker that acknowledged events ended without having said that it stops, and none has joined
    /// since.
    is_one_missing: bool,
    /// How many clients go to a key, for as long as any does.
    clients: BTreeMap<Arc<str>, Weak<AtomicUsize>>,
    /// Whose turn it is, where workers take turns.
    turn: usize,
    rng: SmallRng,
    /// Events that may have ended a worker.
    pub suspects: Suspects,
}

/// A link that has joined.
#[derive(Debug)]
pub struct Joined<B> {
    /// The link.
    pub link: Arc<WorkerLink<B>>,
    /// The link that had the key before. With acknowledged events it takes no new ones from now on:
    /// where it is the same process its epoch is over, else it [drains](WorkerTable::drain), and the
    /// caller sees to either. Any other link is closed already.
    pub replaced: Option<Arc<WorkerLink<B>>>,
}

impl<B: LinkBuffer> WorkerTable<B> {
    /// An empty table. `seed` decides what [`Routing::Random`] draws.
    pub fn new(routing: Routing, seed: u64) -> Self {
        Self {
            routing,
            links: BTreeMap::new(),
            leaving: Vec::new(),
            is_one_missing: false,
            clients: BTreeMap::new(),
            turn: 0,
            rng: SmallRng::seed_from_u64(seed),
            suspects: Suspects::default(),
        }
    }

    /// Takes a link in. It has the place of an older link with the same key.
    pub fn join(&mut self, key: &str, buffer: B, peer: Peer) -> Joined<B> {
        let key: Arc<str> = key.into();
        self.is_one_missing = false;
        self.clients.retain(|_, clients| clients.strong_count() > 0);
        let known = self.clients.entry(key.clone()).or_default();
        let clients = known.upgrade().unwrap_or_default();
        *known = Arc::downgrade(&clients);
        let link = Arc::new(WorkerLink::new(key.clone(), buffer, peer, clients));
        let replaced = self.links.insert(key, link.clone());
        if let Some(older) = &replaced {
            if !older.acknowledges() {
                warn!(worker = %link.key(), "another worker has the same name and id: the older link is closed");
                older.set_over();
                older.buffer.finish();
            } else {
                if older.process() == link.process() {
                    older.set_closing();
                }
                self.leaving.push(older.clone());
            }
        }
        Joined { link, replaced }
    }

    /// The worker of a link stops. Returns whether each of `shards` shards is to be told, with
    /// [`Shard::worker_drains`](super::Shard::worker_drains): a link with acknowledged events takes no
    /// new ones from now on, and ends by itself when nothing is left to be finished.
    pub fn drain(&mut self, link: &Arc<WorkerLink<B>>, shards: usize) -> bool {
        let is_first = link.set_draining(shards);
        if is_first {
            self.unlist(link);
        }
        is_first
    }

    /// A link takes no more events. One with acknowledged events is over only when its task says so
    /// ([`leave`](Self::leave)): what was read from it is still obeyed.
    pub fn close(&mut self, link: &Arc<WorkerLink<B>>) {
        if !link.acknowledges() {
            return self.leave(link);
        }
        link.set_closing();
        self.unlist(link);
    }

    fn unlist(&mut self, link: &Arc<WorkerLink<B>>) {
        if self.links.get(link.key()).is_some_and(|current| Arc::ptr_eq(current, link)) {
            self.links.remove(link.key());
            self.leaving.push(link.clone());
        }
    }

    /// Takes a link out, unless a newer one has its place already: it is over, and nothing of it is
    /// obeyed any more. With acknowledged events every shard is told next, with
    /// [`Shard::worker_gone`](super::Shard::worker_gone).
    pub fn leave(&mut self, link: &Arc<WorkerLink<B>>) {
        link.set_over();
        self.unlist(link);
        self.leaving.retain(|leaving| !Arc::ptr_eq(leaving, link));
        let stays = |link: &WorkerLink<B>| link.acknowledges() && !link.has_said_stop();
        if stays(link) && !self.links().any(|other| stays(other)) {
            self.is_one_missing = true;
        }
    }

    /// Returns the worker for a client that had the worker with the key `before`, or `None`
    /// when no worker is linked. With `ours_first` a worker that does not acknowledge events is chosen
    /// only where none does.
    ///
    /// A worker that came back under its old key gets its clients back. A worker that does not
    /// read what it is sent is chosen only where all are so.
    pub fn choose(&mut self, before: Option<&str>, ours_first: bool) -> Option<Arc<WorkerLink<B>>> {
        let ours = |link: &WorkerLink<B>| link.acknowledges();
        if ours_first && self.links.values().any(|link| link.is_open() && ours(link)) {
            return self.choose_among(before, ours);
        }
        self.choose_among(before, |_| true)
    }

    fn choose_among(
        &mut self,
        before: Option<&str>,
        may: impl Fn(&WorkerLink<B>) -> bool + Copy,
    ) -> Option<Arc<WorkerLink<B>>> {
        if let Some(link) = before.and_then(|key| self.links.get(key))
            && link.is_open()
            && may(link)
        {
            return Some(link.clone());
        }
        let with_room = self.choose_of(|link| link.has_room() && may(link));
        with_room.or_else(|| self.choose_of(|link| link.is_open() && may(link)))
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

    /// Whether none is linked that takes events.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many are linked that take events.
    pub fn len(&self) -> usize {
        self.links.values().filter(|link| link.is_open()).count()
    }

    /// Whether no worker takes events, and one may link soon: the last one that acknowledged events has ended
    /// without a word, so it runs, or whoever started it starts it again. One that has said that it stops ends
    /// because somebody wants it to, and one of the original has nobody wait for it: it says nothing.
    pub fn is_one_missing(&self) -> bool {
        self.is_one_missing && self.is_empty()
    }

    /// Whether a worker is there, if only to end what it has, or is [missing](Self::is_one_missing).
    pub fn expects_worker(&self) -> bool {
        self.is_one_missing || self.links().next().is_some()
    }

    /// All links: first those that take events, in the order of their keys, then those that drain or
    /// are being closed.
    pub fn links(&self) -> impl Iterator<Item = &Arc<WorkerLink<B>>> {
        self.links.values().chain(&self.leaving)
    }
}

#[cfg(test)]
mod tests {
    use gatewayworker_protocol::Features;

    use super::super::testing::MemoryLink;
    use super::*;

    type Link = Arc<WorkerLink<MemoryLink>>;

    fn table() -> WorkerTable<MemoryLink> {
        WorkerTable::new(Routing::LeastConnections, 0)
    }

    /// Joins a worker that acknowledges events.
    fn join(table: &mut WorkerTable<MemoryLink>, key: &str, epoch: u32) -> Link {
        let peer = Peer { features: Features::ALL, epoch, process: Some(epoch.into()) };
        table.join(key, MemoryLink::new(1000), peer).link
    }

    /// Joins a worker of the original.
    fn join_php(table: &mut WorkerTable<MemoryLink>) -> Link {
        table.join("php", MemoryLink::new(1000), Peer::default()).link
    }

    #[test]
    fn a_worker_that_ends_without_a_word_is_missing_until_one_joins() {
        let mut table = table();
        assert!(!table.expects_worker());
        let crashed = join(&mut table, "a", 1);
        table.leave(&crashed);
        assert!(table.is_one_missing() && table.expects_worker());
        join(&mut table, "b", 2);
        assert!(!table.is_one_missing() && table.expects_worker());
    }

    #[test]
    fn a_worker_that_has_said_that_it_stops_is_not_missing_whether_it_was_let_go_or_not() {
        let mut table = table();
        let stopped = join(&mut table, "a", 1);
        table.drain(&stopped, 1);
        assert!(!stopped.was_let_go() && table.expects_worker());
        table.leave(&stopped);
        assert!(!table.expects_worker());
        // That it stops may be read when its link is closing.
        let stopped = join(&mut table, "a", 2);
        table.close(&stopped);
        stopped.set_said_stop();
        table.leave(&stopped);
        assert!(!table.expects_worker());
    }

    #[test]
    fn a_worker_that_stops_does_not_hide_that_another_is_missing() {
        let mut table = table();
        let (stopped, crashed) = (join(&mut table, "a", 1), join(&mut table, "b", 2));
        table.drain(&stopped, 1);
        table.leave(&crashed);
        assert!(table.is_one_missing());
        stopped.release();
        assert!(stopped.was_let_go());
        table.leave(&stopped);
        assert!(table.is_one_missing());
    }

    #[test]
    fn a_worker_of_the_original_is_not_missing_and_does_not_hide_that_another_is() {
        let mut table = table();
        let php = join_php(&mut table);
        table.leave(&php);
        assert!(!table.expects_worker());
        let (php, crashed) = (join_php(&mut table), join(&mut table, "a", 1));
        table.leave(&crashed);
        assert!(!table.is_one_missing(), "one takes events");
        table.leave(&php);
        assert!(table.is_one_missing());
    }

    #[test]
    fn a_worker_that_cannot_be_told_so_was_not_let_go() {
        let mut table = table();
        let link = join(&mut table, "a", 1);
        table.drain(&link, 1);
        link.buffer.is_closed.set(true);
        link.release();
        assert!(link.is_let_go() && !link.was_let_go());
    }
}
