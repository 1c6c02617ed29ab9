//! The directory of workers, which all shards and links share.
//!
//! The core's [`WorkerTable`] chooses the worker of a client; here it is behind a lock. This file
//! adds what needs a runtime: the wait for a worker, the notice of changes, and the links' buffers.
//! Links join and leave, shards choose through [`Directory`], and `server` pings.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use gatewayworker_net::{LinkWriter, PushError};
use gatewayworker_protocol::Command;
use tokio::sync::watch;
use tracing::warn;

use crate::core::delivery_counts::DeliveryCounts;
use crate::core::link_buffer::{LinkBuffer, LinkClosed};
use crate::core::ports::Directory;
use crate::core::worker_link::{self, Peer};
use crate::core::worker_table::{Joined, Routing, WorkerTable};

/// A worker's event link.
pub(crate) type WorkerLink = worker_link::WorkerLink<Arc<LinkWriter>>;

/// The directory.
#[derive(Debug)]
pub(crate) struct Workers {
    table: Mutex<WorkerTable<Arc<LinkWriter>>>,
    counts: DeliveryCounts,
    /// The number of linked workers; new clients wait for it to be more than 0.
    linked: watch::Sender<usize>,
    /// Published events that a slow worker has missed.
    missed: AtomicU64,
}

impl Workers {
    pub(crate) fn new(routing: Routing) -> Self {
        let table = Mutex::new(WorkerTable::new(routing, rand::random()));
        Self {
            table,
            counts: DeliveryCounts::default(),
            linked: watch::Sender::new(0),
            missed: AtomicU64::new(0),
        }
    }

    fn table(&self) -> MutexGuard<'_, WorkerTable<Arc<LinkWriter>>> {
        // Every change of the table is complete when a panic could poison the lock.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a worker's link. An older link with the same key is closed.
    #[cfg(any(test, feature = "internals"))]
    pub(crate) fn join(&self, key: &str, writer: Arc<LinkWriter>, peer: impl Into<Peer>) -> Arc<WorkerLink> {
        self.join_pair(key, writer, peer.into()).link
    }

    /// Adds the link of a worker, and returns the older one that had its key, too.
    pub(crate) fn join_pair(
        &self,
        key: &str,
        writer: Arc<LinkWriter>,
        peer: Peer,
    ) -> Joined<Arc<LinkWriter>> {
        let mut table = self.table();
        let joined = table.join(key, writer, peer);
        self.linked.send_replace(table.len());
        joined
    }

    /// Takes a link out: it is over.
    pub(crate) fn leave(&self, link: &Arc<WorkerLink>) {
        let mut table = self.table();
        table.leave(link);
        self.linked.send_replace(table.len());
    }

    /// The worker of a link stops. Returns whether every shard is to be told, with `worker_drains`.
    pub(crate) fn drain(&self, link: &Arc<WorkerLink>, shards: usize) -> bool {
        let mut table = self.table();
        let are_told = table.drain(link, shards);
        self.linked.send_replace(table.len());
        are_told
    }

    /// Waits until a worker is linked.
    ///
    /// Cancel safe.
    pub(crate) async fn wait_for_one(&self) {
        // It fails only where the sender is dropped, and `self` holds it.
        let _ = self.linked.subscribe().wait_for(|n| *n > 0).await;
    }

    /// Returns a receiver that changes when a worker has joined or left.
    pub(crate) fn changes(&self) -> watch::Receiver<usize> {
        self.linked.subscribe()
    }

    /// Returns how many workers are linked.
    pub(crate) fn len(&self) -> usize {
        *self.linked.borrow()
    }

    /// Returns whether no worker takes events, and the last one may link again.
    pub(crate) fn is_one_missing(&self) -> bool {
        self.table().is_one_missing()
    }

    /// Returns whether a worker is there, or may link again.
    pub(crate) fn expects_one(&self) -> bool {
        self.table().expects_worker()
    }

    /// Returns the links of all workers.
    pub(crate) fn all(&self) -> Vec<Arc<WorkerLink>> {
        self.table().links().cloned().collect()
    }

    /// Returns how many events the workers have not finished, of those that acknowledge them.
    pub(crate) fn unfinished(&self) -> usize {
        self.table().links().map(|link| link.unfinished()).sum()
    }

    /// Sends a published event to all workers with the feature `channel`. A worker whose link is full
    /// misses it: nothing waits for a slow worker.
    pub(crate) fn publish(&self, event: Command) {
        let mut frame = BytesMut::new();
        event.encode(&mut frame);
        for link in self.all().iter().filter(|link| link.features.channel) {
            match link.buffer.push(|out| out.extend_from_slice(&frame)) {
                Ok(()) => link.buffer.flush_soon(),
                Err(PushError::Full) => {
                    let missed = self.missed.fetch_add(1, Ordering::Relaxed) + 1;
                    if missed.is_power_of_two() {
                        warn!(worker = %link.key(), missed, "a worker has missed published events: it reads its link too slowly");
                    }
                }
                Err(PushError::Closed) => {}
            }
        }
    }

    /// Waits until a link has room for another client, or something else has changed.
    ///
    /// Cancel safe.
    pub(crate) async fn wait_for_room(&self, link: &WorkerLink) {
        let mut changes = self.linked.subscribe();
        if !link.acknowledges() {
            link.buffer.wait_for_room().await;
        } else if link.want_room() && link.is_open() {
            // It fails only where the sender is dropped, and `self` holds it.
            let _ = changes.changed().await;
        }
    }
}

impl Directory for Arc<Workers> {
    type Buffer = Arc<LinkWriter>;

    fn choose(&self, before: Option<&str>, ours_first: bool) -> Option<Arc<WorkerLink>> {
        self.table().choose(before, ours_first)
    }

    fn close(&self, link: &Arc<WorkerLink>) {
        let mut table = self.table();
        table.close(link);
        self.linked.send_replace(table.len());
    }

    fn notify(&self) {
        self.linked.send_modify(|_| {});
    }

    fn begin_suspect(&self, is_last_try: bool) -> bool {
        self.table().suspects.begin(is_last_try)
    }

    fn end_suspect(&self) {
        let is_awaited = self.table().suspects.end();
        if is_awaited {
            self.notify();
        }
    }

    fn counts(&self) -> &DeliveryCounts {
        &self.counts
    }
}

impl LinkBuffer for Arc<LinkWriter> {
    fn append(&self, write: impl FnOnce(&mut BytesMut)) -> Result<(), LinkClosed> {
        self.push_over(write).map_err(|_| LinkClosed)
    }

    fn limit(&self) -> usize {
        LinkWriter::limit(self)
    }

    fn is_full(&self) -> bool {
        LinkWriter::is_full(self)
    }

    fn is_closed(&self) -> bool {
        LinkWriter::is_closed(self)
    }

    fn flush(&self) {
        LinkWriter::flush(self);
    }

    fn flush_soon(&self) {
        LinkWriter::flush_soon(self);
    }

    fn finish(&self) {
        LinkWriter::finish(self);
    }
}

#[cfg(test)]
mod tests {
    use gatewayworker_protocol::Features;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    fn workers(routing: Routing) -> Arc<Workers> {
        Arc::new(Workers::new(routing))
    }

    async fn writer() -> Arc<LinkWriter> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        Arc::new(LinkWriter::new(stream.into_split().1, 1000))
    }

    #[tokio::test]
    async fn a_client_goes_to_the_worker_with_the_fewest_clients() {
        let workers = workers(Routing::LeastConnections);
        workers.join("a", writer().await, Features::default());
        workers.join("b", writer().await, Features::default());
        let mut counts = std::collections::HashMap::<String, usize>::new();
        for _ in 0..10 {
            let link = workers.choose(None, false).unwrap();
            link.bind();
            *counts.entry(link.key().to_string()).or_default() += 1;
        }
        assert_eq!((counts["a"], counts["b"]), (5, 5));
    }

    #[tokio::test]
    async fn round_robin_takes_the_workers_in_turn() {
        let workers = workers(Routing::RoundRobin);
        for key in ["a", "b", "c"] {
            workers.join(key, writer().await, Features::default());
        }
        let turns: Vec<_> = (0..6).map(|_| workers.choose(None, false).unwrap().key().to_string()).collect();
        assert_eq!(turns, ["a", "b", "c", "a", "b", "c"]);
    }

    #[tokio::test]
    async fn a_link_that_replaces_another_keeps_its_clients_and_stays_when_the_old_one_leaves() {
        let workers = workers(Routing::LeastConnections);
        let older = workers.join("a", writer().await, Features::default());
        older.bind();
        let newer = workers.join("a", writer().await, Features::default());
        workers.leave(&older);
        assert!(!older.is_open());
        assert!(Arc::ptr_eq(&workers.choose(Some("a"), false).unwrap(), &newer));
        assert_eq!(newer.clients(), 1);
        workers.join("b", writer().await, Features::default());
        assert_eq!(workers.choose(None, false).unwrap().key().as_ref(), "b");
    }

    #[tokio::test]
    async fn a_worker_that_links_again_still_has_its_clients_counted() {
        let workers = workers(Routing::LeastConnections);
        let gone = workers.join("a", writer().await, Features::default());
        gone.bind();
        workers.leave(&gone);
        let back = workers.join("a", writer().await, Features::default());
        assert_eq!(back.clients(), 1);
    }

    #[tokio::test]
    async fn a_worker_that_does_not_read_gets_new_clients_only_where_no_worker_reads() {
        let workers = workers(Routing::LeastConnections);
        let full = workers.join("a", writer().await, Features::default());
        full.buffer.push(|out| out.resize(1000, 0)).unwrap();
        assert_eq!(workers.choose(None, false).unwrap().key().as_ref(), "a");
        workers.join("b", writer().await, Features::default()).bind();
        assert_eq!(workers.choose(None, false).unwrap().key().as_ref(), "b");
    }

    #[tokio::test]
    async fn a_published_event_goes_to_workers_with_the_feature_and_slow_ones_miss_it() {
        let workers = workers(Routing::Random);
        let knows = Features { channel: true, ..Features::default() };
        let slow = workers.join("slow", writer().await, knows);
        let php = workers.join("php", writer().await, Features::default());
        let quick = workers.join("quick", writer().await, knows);
        slow.buffer.push(|out| out.resize(1000, 0)).unwrap();
        workers.publish(Command::Publish { topic: "topic".into(), payload: vec![0; 1000].into() });
        assert_eq!([&slow, &php, &quick].map(|link| link.buffer.is_full()), [true, false, true]);
        assert_eq!(workers.missed.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn no_worker_is_chosen_where_none_is_linked() {
        let workers = workers(Routing::Random);
        assert!(workers.choose(None, false).is_none());
        let link = workers.join("a", writer().await, Features::default());
        workers.wait_for_one().await;
        workers.leave(&link);
        assert!(workers.choose(Some("a"), false).is_none());
    }
}
