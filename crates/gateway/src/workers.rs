//! Which workers are linked, and which of them a client goes to.
//!
//! The directory is shared by all shards; it is looked at when a client comes
//! and when its worker is gone, not for each message.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::{Bytes, BytesMut};
use dashmap::DashMap;
use gatewayworker_net::{LinkWriter, PushError};
use gatewayworker_protocol::Command;
pub(crate) use gatewayworker_protocol::Features;
use rand::seq::IteratorRandom;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::warn;

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

/// A worker's event link.
#[derive(Debug)]
pub(crate) struct WorkerLink {
    key: Arc<str>,
    pub(crate) writer: Arc<LinkWriter>,
    pub(crate) features: Features,
    open: AtomicBool,
    /// It stops, and goes on with what it has got.
    draining: AtomicBool,
    /// Clients that go to the worker with this key: shared with the links that
    /// had the key before, so that the count stays true when a link comes back.
    clients: Arc<AtomicUsize>,
}

impl WorkerLink {
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// It has said that it stops: that it is not open then does not mean it has died.
    pub(crate) fn drains(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// It may still say what has become of a client that it was told of.
    pub(crate) fn may_answer(&self) -> bool {
        self.is_open() || self.draining.load(Ordering::Acquire)
    }

    /// It can take another client: less urgent than an event of one that it has.
    fn has_room(&self) -> bool {
        self.is_open() && !self.writer.is_full()
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// A client goes to this worker from now on.
    pub(crate) fn bind(&self) {
        self.clients.fetch_add(1, Ordering::Relaxed);
    }

    /// It does no more.
    pub(crate) fn unbind(&self) {
        self.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The directory.
#[derive(Debug)]
pub(crate) struct Workers {
    routing: Routing,
    by_key: DashMap<Arc<str>, Arc<WorkerLink>>,
    /// How many clients go to a key, for as long as any does.
    clients: DashMap<Arc<str>, Weak<AtomicUsize>>,
    next: AtomicUsize,
    /// How many are linked; waited on by clients that came too early.
    linked: watch::Sender<usize>,
    unsent: Mutex<Unsent>,
    /// Published events that a worker was too slow for.
    missed: AtomicU64,
}

/// Closes that no worker was there to hear of.
#[derive(Debug, Default)]
struct Unsent {
    frames: VecDeque<Bytes>,
    bytes: usize,
    dropped: u64,
}

/// Closes kept for the next worker, and their bytes. A frame is a header and a session.
const UNSENT_FRAMES: usize = 100_000;
const UNSENT_BYTES: usize = 64 * 1024 * 1024;

impl Workers {
    pub(crate) fn new(routing: Routing) -> Self {
        Self {
            routing,
            by_key: DashMap::new(),
            clients: DashMap::new(),
            next: AtomicUsize::new(0),
            linked: watch::Sender::new(0),
            unsent: Mutex::default(),
            missed: AtomicU64::new(0),
        }
    }

    /// Takes a link in. An older one with the same key is closed.
    pub(crate) fn join(&self, key: &str, writer: Arc<LinkWriter>, features: Features) -> Arc<WorkerLink> {
        let key: Arc<str> = key.into();
        self.clients.retain(|_, clients| clients.strong_count() > 0);
        let clients = {
            let mut known = self.clients.entry(key.clone()).or_default();
            let clients = known.upgrade().unwrap_or_default();
            *known = Arc::downgrade(&clients);
            clients
        };
        let link = Arc::new(WorkerLink {
            key: key.clone(),
            writer,
            features,
            open: AtomicBool::new(true),
            draining: AtomicBool::new(false),
            clients,
        });
        if let Some(older) = self.by_key.insert(key, link.clone()) {
            warn!(worker = link.key(), "another worker has the same name and id: the older link is closed");
            older.open.store(false, Ordering::Release);
            older.writer.finish();
        }
        // Only now: a close that comes this moment finds either the link or the list.
        for frame in self.take_unsent() {
            // A link that fails at once loses what it was given; nobody can tell.
            let _ = link.writer.push_over(|out| out.extend_from_slice(&frame));
        }
        link.writer.flush_soon();
        self.count_linked();
        link
    }

    /// Takes a link out, unless a newer one has its place already.
    pub(crate) fn leave(&self, link: &Arc<WorkerLink>) {
        link.open.store(false, Ordering::Release);
        self.by_key.remove_if(&link.key, |_, current| Arc::ptr_eq(current, link));
        self.count_linked();
    }

    /// Counted under the watch's lock: of two threads that link and unlink at the
    /// same time, the one that publishes last has seen what both did.
    fn count_linked(&self) {
        self.linked.send_modify(|linked| *linked = self.by_key.len());
    }

    /// The worker for a client that had `before`, or none when none is linked.
    /// A worker that came back under its old key gets its clients back; one that
    /// does not read what it is sent is chosen only where all are so.
    pub(crate) fn choose(&self, before: Option<&str>) -> Option<Arc<WorkerLink>> {
        if let Some(link) = before.and_then(|key| self.by_key.get(key)) {
            return Some(link.clone());
        }
        self.choose_of(WorkerLink::has_room).or_else(|| self.choose_of(WorkerLink::is_open))
    }

    fn choose_of(&self, may: impl Fn(&WorkerLink) -> bool) -> Option<Arc<WorkerLink>> {
        let links = self.by_key.iter().filter(|link| may(link));
        match self.routing {
            Routing::LeastConnections => links.min_by_key(|link| link.clients.load(Ordering::Relaxed)),
            Routing::Random => links.choose(&mut rand::rng()),
            Routing::RoundRobin => {
                let mut links: Vec<_> = links.collect();
                // The map's order is stable only while nobody comes or goes.
                links.sort_unstable_by(|a, b| a.key.cmp(&b.key));
                (!links.is_empty()).then(|| {
                    let at = self.next.fetch_add(1, Ordering::Relaxed);
                    links.swap_remove(at % links.len())
                })
            }
        }
        .map(|link| link.clone())
    }

    /// Waits until a worker is linked.
    ///
    /// Cancel safe.
    pub(crate) async fn wait_for_one(&self) {
        // Fails only when the sender is gone, and we have it.
        let _ = self.linked.subscribe().wait_for(|n| *n > 0).await;
    }

    /// Tells when a worker has come or gone.
    pub(crate) fn changes(&self) -> watch::Receiver<usize> {
        self.linked.subscribe()
    }

    /// How many are linked.
    pub(crate) fn len(&self) -> usize {
        *self.linked.borrow()
    }

    /// All links, to be told something.
    pub(crate) fn all(&self) -> Vec<Arc<WorkerLink>> {
        self.by_key.iter().map(|link| link.clone()).collect()
    }

    /// Passes an event on to all workers that know what it is. One that does not read
    /// what it is sent misses it: nothing waits for a slow one.
    pub(crate) fn publish(&self, topic: Bytes, payload: Bytes) {
        let mut frame = BytesMut::new();
        Command::Publish { topic, payload }.encode(&mut frame);
        for link in self.by_key.iter().filter(|link| link.features.channel) {
            match link.writer.push(|out| out.extend_from_slice(&frame)) {
                Ok(()) => link.writer.flush_soon(),
                Err(PushError::Full) => {
                    let missed = self.missed.fetch_add(1, Ordering::Relaxed) + 1;
                    if missed.is_power_of_two() {
                        warn!(worker = %link.key(), missed, "a worker reads too slowly for what is published");
                    }
                }
                Err(PushError::Closed) => {}
            }
        }
    }

    /// Keeps a close for the next worker, or gives it to one that has just come.
    pub(crate) fn keep_close(&self, write: impl Fn(&mut BytesMut)) {
        let mut unsent = self.unsent();
        while let Some(link) = self.choose(None) {
            if link.writer.push_over(&write).is_ok() {
                return link.writer.flush_soon();
            }
            self.leave(&link);
        }
        let mut frame = BytesMut::new();
        write(&mut frame);
        if unsent.frames.len() < UNSENT_FRAMES && unsent.bytes + frame.len() <= UNSENT_BYTES {
            unsent.bytes += frame.len();
            unsent.frames.push_back(frame.freeze());
        } else {
            if unsent.dropped == 0 {
                warn!(
                    kept = unsent.frames.len(),
                    "no worker is linked and no more closes can be kept for one: on_close is lost for some clients"
                );
            }
            unsent.dropped += 1;
        }
    }

    /// Gives up the closes that are kept, and says how many were, with those that there was
    /// no room for.
    pub(crate) fn drop_unsent(&self) -> u64 {
        let unsent = std::mem::take(&mut *self.unsent());
        unsent.frames.len() as u64 + unsent.dropped
    }

    fn take_unsent(&self) -> VecDeque<Bytes> {
        let Unsent { frames, dropped, .. } = std::mem::take(&mut *self.unsent());
        if dropped > 0 {
            warn!(closes = dropped, "on_close is lost for clients that left while no worker was linked");
        }
        frames
    }

    fn unsent(&self) -> MutexGuard<'_, Unsent> {
        self.unsent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn writer() -> Arc<LinkWriter> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        Arc::new(LinkWriter::new(stream.into_split().1, 1000))
    }

    #[tokio::test]
    async fn a_client_goes_to_the_worker_with_the_fewest() {
        let workers = Workers::new(Routing::LeastConnections);
        workers.join("a", writer().await, Features::default());
        workers.join("b", writer().await, Features::default());
        let mut counts = std::collections::HashMap::<String, usize>::new();
        for _ in 0..10 {
            let link = workers.choose(None).unwrap();
            link.bind();
            *counts.entry(link.key().into()).or_default() += 1;
        }
        assert_eq!((counts["a"], counts["b"]), (5, 5));
    }

    #[tokio::test]
    async fn round_robin_takes_turns() {
        let workers = Workers::new(Routing::RoundRobin);
        for key in ["a", "b", "c"] {
            workers.join(key, writer().await, Features::default());
        }
        let turns: Vec<_> = (0..6).map(|_| workers.choose(None).unwrap().key().to_owned()).collect();
        assert_eq!(turns, ["a", "b", "c", "a", "b", "c"]);
    }

    #[tokio::test]
    async fn a_link_that_replaces_another_keeps_its_clients_and_outlives_its_leaving() {
        let workers = Workers::new(Routing::LeastConnections);
        let older = workers.join("a", writer().await, Features::default());
        older.bind();
        let newer = workers.join("a", writer().await, Features::default());
        workers.leave(&older);
        assert!(!older.is_open());
        assert!(Arc::ptr_eq(&workers.choose(Some("a")).unwrap(), &newer));
        assert_eq!(newer.clients.load(Ordering::Relaxed), 1);
        workers.join("b", writer().await, Features::default());
        assert_eq!(workers.choose(None).unwrap().key(), "b");
    }

    #[tokio::test]
    async fn a_worker_that_comes_back_finds_its_clients_counted() {
        let workers = Workers::new(Routing::LeastConnections);
        let gone = workers.join("a", writer().await, Features::default());
        gone.bind();
        workers.leave(&gone);
        let back = workers.join("a", writer().await, Features::default());
        assert_eq!(back.clients.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_worker_that_does_not_read_gets_new_clients_only_where_all_are_so() {
        let workers = Workers::new(Routing::LeastConnections);
        let full = workers.join("a", writer().await, Features::default());
        full.writer.push(|out| out.resize(1000, 0)).unwrap();
        assert_eq!(workers.choose(None).unwrap().key(), "a");
        workers.join("b", writer().await, Features::default()).bind();
        assert_eq!(workers.choose(None).unwrap().key(), "b");
    }

    #[tokio::test]
    async fn closes_are_kept_for_the_next_worker_within_a_limit_in_bytes() {
        let workers = Workers::new(Routing::LeastConnections);
        let large = UNSENT_BYTES / 4;
        for _ in 0..6 {
            workers.keep_close(|out| out.resize(large, b'x'));
        }
        let kept = workers.take_unsent();
        assert_eq!(kept.iter().map(Bytes::len).collect::<Vec<_>>(), [large; 4]);
        workers.keep_close(|out| out.resize(large, b'x'));
        assert_eq!(workers.take_unsent().len(), 1);
        for _ in 0..6 {
            workers.keep_close(|out| out.resize(large, b'x'));
        }
        assert_eq!(workers.drop_unsent(), 6);
        assert_eq!(workers.drop_unsent(), 0);
    }

    #[tokio::test]
    async fn a_close_goes_to_a_worker_that_stands_though_another_has_failed() {
        let workers = Workers::new(Routing::LeastConnections);
        let failed = workers.join("a", writer().await, Features::default());
        workers.join("b", writer().await, Features::default()).bind();
        failed.writer.close(std::io::ErrorKind::ConnectionReset);
        workers.keep_close(|out| out.extend_from_slice(b"close"));
        assert!(workers.take_unsent().is_empty());
        assert_eq!(workers.choose(None).unwrap().key(), "b");
    }

    #[tokio::test]
    async fn what_is_published_goes_to_those_who_know_it_and_passes_over_the_slow() {
        let workers = Workers::new(Routing::Random);
        let knows = Features { channel: true, ..Features::default() };
        let slow = workers.join("slow", writer().await, knows);
        let php = workers.join("php", writer().await, Features::default());
        let quick = workers.join("quick", writer().await, knows);
        slow.writer.push(|out| out.resize(1000, 0)).unwrap();
        workers.publish("topic".into(), vec![0; 1000].into());
        assert_eq!([&slow, &php, &quick].map(|link| link.writer.is_full()), [true, false, true]);
        assert_eq!(workers.missed.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn nobody_is_chosen_where_nobody_is_linked() {
        let workers = Workers::new(Routing::Random);
        assert!(workers.choose(None).is_none());
        let link = workers.join("a", writer().await, Features::default());
        workers.wait_for_one().await;
        workers.leave(&link);
        assert!(workers.choose(Some("a")).is_none());
    }
}
