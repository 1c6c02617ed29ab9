//! Where events come from: a client, or the stub of one that is closed.
//!
//! `delivery` and `moving` treat both alike. A stub is what is left of a client until its ON_CLOSE is
//! done: it takes session writes and keeps its id from being drawn again. It answers nothing else and
//! is not listed.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::Arc;

use gatewayworker_protocol::Origin;

use super::Shard;
use super::client::LeftBehind;
use super::event_log::EventLog;
use super::event_spans;
use super::ports::{Directory, Ports};
use super::table::{Key, Table};
use super::worker_link::WorkerLink;

/// Stubs that wait for a worker, in a gateway, and their bytes.
const MAX_KEPT: usize = 100_000;
const MAX_KEPT_BYTES: usize = 64 * 1024 * 1024;

/// What is left of a closed client.
#[derive(Debug)]
pub(super) struct Stub<B> {
    pub(super) origin: Origin,
    pub(super) session: Box<[u8]>,
    pub(super) worker: Arc<WorkerLink<B>>,
    pub(super) log: Option<Box<EventLog<B>>>,
    pub(super) left_behind: LeftBehind,
    /// No worker has any of its events; the bytes that it is counted with in [`Stubs`].
    kept_bytes: Option<usize>,
}

/// The stubs of a shard.
#[derive(Debug)]
pub(super) struct Stubs<B> {
    pub(super) by_id: BTreeMap<u32, Box<Stub<B>>>,
    /// Those that wait for a worker, and their bytes.
    kept: usize,
    kept_bytes: usize,
    /// There was no room for one: that is said once.
    has_dropped: bool,
}

impl<B> Default for Stubs<B> {
    fn default() -> Self {
        Self { by_id: BTreeMap::new(), kept: 0, kept_bytes: 0, has_dropped: false }
    }
}

impl<B> Stubs<B> {
    /// Adds the stub of a client.
    pub(super) fn insert(
        &mut self,
        origin: Origin,
        session: Box<[u8]>,
        worker: Arc<WorkerLink<B>>,
        log: Option<Box<EventLog<B>>>,
        left_behind: LeftBehind,
    ) {
        let stub = Stub { origin, session, worker, log, left_behind, kept_bytes: None };
        self.by_id.insert(origin.connection_id, Box::new(stub));
    }

    /// Takes a stub out.
    pub(super) fn remove(&mut self, id: u32) -> Option<Box<Stub<B>>> {
        let stub = self.by_id.remove(&id)?;
        self.count(stub.kept_bytes, None);
        Some(stub)
    }

    fn count(&mut self, before: Option<usize>, after: Option<usize>) {
        self.kept = self.kept + usize::from(after.is_some()) - usize::from(before.is_some());
        self.kept_bytes = self.kept_bytes + after.unwrap_or_default() - before.unwrap_or_default();
    }

    /// Counts a stub as kept, or no more, as its log is now. Returns whether there is room for it.
    fn recount(&mut self, id: u32, shards: usize) -> bool {
        let Some(stub) = self.by_id.get_mut(&id) else { return true };
        let bytes = |log: &EventLog<B>| size_of::<Stub<B>>() + stub.session.len() + log.bytes();
        let after = stub.log.as_ref().filter(|log| log.given() == 0).map(|log| bytes(log));
        let before = std::mem::replace(&mut stub.kept_bytes, after);
        self.count(before, after);
        after.is_none() || (self.kept <= MAX_KEPT / shards && self.kept_bytes <= MAX_KEPT_BYTES / shards)
    }

    /// Checks that the counts are those of the stubs.
    ///
    /// # Errors
    /// With what does not agree.
    #[cfg(any(test, feature = "internals"))]
    pub(super) fn check(&self) -> Result<(), String> {
        use gatewayworker_protocol::code;
        for (id, stub) in &self.by_id {
            let log = stub.log.as_ref().ok_or_else(|| format!("stub {id} has no events"))?;
            if log.commands().filter(|cmd| *cmd == code::ON_CLOSE).count() != 1
                || log.commands().last() != Some(code::ON_CLOSE)
            {
                let commands: Vec<u8> = log.commands().collect();
                return Err(format!("stub {id} does not end with its ON_CLOSE, but has {commands:?}"));
            }
            if stub.kept_bytes.is_some() != (log.given() == 0) {
                return Err(format!("stub {id} is counted wrongly among those that wait for a worker"));
            }
        }
        let kept = self.by_id.values().filter_map(|stub| stub.kept_bytes);
        match (kept.clone().count(), kept.sum::<usize>()) == (self.kept, self.kept_bytes) {
            true => Ok(()),
            false => Err("the stubs that wait for a worker are counted wrongly".to_owned()),
        }
    }
}

/// A client or a stub, as the source of events.
pub(super) struct Source<'s, B> {
    pub(super) origin: Origin,
    pub(super) session: &'s [u8],
    pub(super) worker: &'s mut Arc<WorkerLink<B>>,
    pub(super) log: &'s mut Option<Box<EventLog<B>>>,
    pub(super) left_behind: &'s mut LeftBehind,
    /// A client's key; a stub has none.
    pub(super) key: Option<Key>,
    /// A client that is not admitted yet.
    pub(super) is_pending: bool,
}

/// Finds a client or a stub.
pub(super) fn find<'s, P: Ports>(
    table: &'s mut Table<P>,
    stubs: &'s mut Stubs<P::Buffer>,
    gateway: SocketAddrV4,
    id: u32,
) -> Option<Source<'s, P::Buffer>> {
    if let Some(key) = table.key_of(id) {
        let client = table.get(key)?;
        return Some(Source {
            origin: client.origin(gateway),
            is_pending: client.is_pending(),
            session: &client.session,
            worker: &mut client.worker,
            log: &mut client.log,
            left_behind: &mut client.left_behind,
            key: Some(key),
        });
    }
    let Stub { origin, session, worker, log, left_behind, .. } = &mut **stubs.by_id.get_mut(&id)?;
    Some(Source { origin: *origin, session, worker, log, left_behind, key: None, is_pending: false })
}

/// Closes that were given up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClosesGivenUp {
    /// No worker has heard of these.
    pub lost: usize,
    /// A worker was told of these, and has not said that it has handled them.
    pub unfinished: usize,
}

impl<P: Ports> Shard<P> {
    /// Drops a stub whose events are all finished, or that there is no room for.
    pub(super) fn tidy_stub(&mut self, id: u32) {
        let Some(stub) = self.stubs.by_id.get(&id) else { return };
        if stub.log.is_none() {
            self.stubs.remove(id);
            self.effects.signals.closes_done |= self.stubs.by_id.is_empty();
        } else if !self.stubs.recount(id, self.settings.shards) {
            self.drop_stub(id);
            self.directory.counts().count_closes_lost(1);
            if !std::mem::replace(&mut self.stubs.has_dropped, true) {
                tracing::warn!(
                    closes = MAX_KEPT,
                    bytes = MAX_KEPT_BYTES,
                    "more closes wait for a worker than the gateway keeps: on_close is lost for some clients, which \
                     status counts as closes_lost"
                );
            }
        }
    }

    /// A client that has left is refused: no handler runs for it any more, but `on_close`.
    pub(super) fn cut_stub_short(&mut self, id: u32) {
        let Some(stub) = self.stubs.by_id.get_mut(&id) else { return };
        let Some(log) = stub.log.as_mut() else { return };
        let has_spans = self.event_spans.has_open();
        let spans = has_spans.then(|| (event_spans::contexts(log), stub.worker.clone()));
        log.cut_short();
        if let Some((spans, worker)) = spans {
            self.end_spans_that_left(id, &worker, spans);
        }
        self.tidy_stub(id);
    }

    pub(super) fn drop_stub(&mut self, id: u32) {
        if let Some(stub) = self.stubs.remove(id) {
            let Stub { worker, log, .. } = *stub;
            self.drop_log(id, &worker, log);
        }
        self.effects.signals.closes_done |= self.stubs.by_id.is_empty();
    }

    /// How many clients are closed whose `on_close` is not done.
    pub fn unfinished_closes(&self) -> usize {
        self.stubs.by_id.len()
    }

    /// Gives up the closes that are not done, as the gateway ends.
    pub fn give_up_closes(&mut self) -> ClosesGivenUp {
        let mut given_up = ClosesGivenUp::default();
        while let Some((id, stub)) = self.stubs.by_id.first_key_value() {
            match stub.kept_bytes {
                Some(_) => given_up.lost += 1,
                None => given_up.unfinished += 1,
            }
            let id = *id;
            self.drop_stub(id);
        }
        self.directory.counts().count_closes_lost(given_up.lost);
        given_up
    }
}
