//! What becomes of events, on shards in memory, with workers that acknowledge.
//!
//! Here is the gateway that the tests use: it gives inputs to one shard or two, and checks their books
//! after each. `walk` has a model of workers and draws what happens.

mod acknowledging;
mod admission;
mod closing;
mod contexts;
mod left_behind;
mod moving;
mod poison;
mod spans;
mod walk;

use std::sync::Arc;

use gatewayworker_protocol::{CloseReason, Features};

use super::delivery_settings::DeliverySettings;
use super::effects::{Effect, Notice};
use super::events::Route;
use super::table::Key;
use super::testing::{self, MemoryDirectory, MemoryLink, MemoryPorts, told};
use super::worker_link::{Gone, WorkerLink};
use super::{Settings, Shard};

type Link = Arc<WorkerLink<MemoryLink>>;

/// One shard, or two, and the effects that nobody has looked at yet.
struct Gateway {
    shards: Vec<Shard<MemoryPorts>>,
    workers: MemoryDirectory,
    effects: Vec<Effect<MemoryPorts>>,
}

impl Gateway {
    fn new() -> Self {
        let (shard, workers) = testing::shard();
        Self { shards: vec![shard], workers, effects: Vec::new() }
    }

    fn with(settings: DeliverySettings) -> Self {
        let mut gateway = Self::new();
        let (shard, workers) = (&gateway.shards[0], gateway.workers.clone());
        let settings = Settings { delivery: settings, ..shard.settings.clone() };
        gateway.shards = vec![Shard::new(settings, workers)];
        gateway
    }

    fn of_two_shards() -> Self {
        let (shards, workers) = testing::two_shards();
        Self { shards: shards.into(), workers, effects: Vec::new() }
    }

    fn worker(&mut self, key: &str, epoch: u32) -> Link {
        let link = self.workers.join_paired(key, epoch);
        self.settle();
        link
    }

    fn php(&mut self, key: &str) -> Link {
        let link = self.workers.join(key, 1 << 20, Features::default());
        self.settle();
        link
    }

    fn settle(&mut self) {
        self.effects.extend(testing::settle(&mut self.shards, &self.workers));
    }

    fn shard(&mut self, id: u32) -> &mut Shard<MemoryPorts> {
        let shards = self.shards.len();
        &mut self.shards[id as usize % shards]
    }

    /// Inserts a client that does not speak WebSocket, so that nobody is asked to admit it.
    fn connect(&mut self, id: u32, link: &Link) -> Key {
        let shard = self.shard(id);
        let (key, _) = testing::client(shard, id, link, testing::policy());
        shard.tell_connected(key, None, 0);
        self.settle();
        key
    }

    /// A client whose ON_CONNECT is done.
    fn connected(&mut self, id: u32, link: &Link) -> Key {
        let key = self.connect(id, link);
        self.done(link, id, 1);
        assert_eq!(told(link), [format!("connect {id}")]);
        key
    }

    fn say(&mut self, key: Key, message: &str) {
        self.shard(key.connection_id()).tell_message(key, false, message.as_bytes()).unwrap();
        self.settle();
    }

    fn done(&mut self, link: &Link, id: u32, events: u32) {
        let epoch = link.epoch();
        self.shard(id).end_events(epoch, &[(id, events)]);
        self.settle();
    }

    fn gives_back(&mut self, link: &Link, id: u32, events: u32) {
        let epoch = link.epoch();
        self.shard(id).take_back_events(id, epoch, events, false);
        self.settle();
    }

    fn gone(&mut self, link: &Link, how: Gone) {
        link.buffer.is_closed.set(true);
        self.workers.leave(link);
        self.shards.iter_mut().for_each(|shard| {
            shard.worker_gone(link, how);
        });
        self.settle();
    }

    fn drains(&mut self, link: &Link) {
        assert!(self.workers.drain(link, self.shards.len()));
        self.shards.iter_mut().for_each(|shard| shard.worker_drains(link));
        self.settle();
    }

    fn close(&mut self, key: Key, reason: CloseReason) {
        self.shard(key.connection_id()).close(key, reason, None);
        self.settle();
    }

    /// The reasons for which clients were closed.
    fn closed(&mut self) -> Vec<(u32, CloseReason)> {
        let closed = self.effects.extract_if(.., |effect| matches!(effect, Effect::Finish(_)));
        closed
            .map(|effect| match effect {
                Effect::Finish(finished) => (finished.id.connection_id(), finished.reason),
                _ => unreachable!("only those are taken out"),
            })
            .collect()
    }

    fn notices(&mut self) -> Vec<Notice> {
        let notices = self.effects.extract_if(.., |effect| matches!(effect, Effect::Log(_)));
        notices
            .filter_map(|effect| match effect {
                Effect::Log(notice) => Some(notice),
                _ => None,
            })
            .collect()
    }

    /// The clients whose readers go on.
    fn resumed(&mut self) -> Vec<u32> {
        let resumed = self.effects.extract_if(.., |effect| matches!(effect, Effect::Resume(_)));
        resumed
            .filter_map(|effect| match effect {
                Effect::Resume(key) => Some(key.connection_id()),
                _ => None,
            })
            .collect()
    }

    /// Whether the reader of a client has to wait.
    fn waits(&mut self, key: Key) -> bool {
        matches!(self.shard(key.connection_id()).route(key), Route::Wait)
    }
}

/// Ends the worker of a client and pairs another, and returns that.
fn crash(gateway: &mut Gateway, link: &Link, how: Gone) -> Link {
    let next = gateway.workers.join_paired("next", link.epoch() + 1);
    gateway.gone(link, how);
    next
}
