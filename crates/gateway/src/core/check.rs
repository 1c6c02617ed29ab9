//! What holds between two inputs of a shard, for tests and the simulation.

use std::collections::BTreeSet;
use std::sync::Arc;

use gatewayworker_protocol::command::code;

use super::Shard;
use super::client::{Client, Waits};
use super::event_log::EventLog;
use super::event_spans;
use super::moving::Sweep;
use super::ports::Ports;
use super::worker_link::WorkerLink;

/// A connection id, the worker of its client or stub, and the log.
type LogOf<'s, B> = (u32, &'s Arc<WorkerLink<B>>, &'s EventLog<B>);

/// What one shard's clients and stubs have unfinished on a link.
#[derive(Debug)]
pub struct Unfinished<B> {
    /// The link.
    pub link: Arc<WorkerLink<B>>,
    /// Events.
    pub events: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Moves that hold the link, if it drains.
    pub held: usize,
}

impl<P: Ports> Shard<P> {
    /// Checks that the shard's books agree with its clients.
    ///
    /// # Errors
    /// With what does not agree.
    pub fn check(&self) -> Result<(), String> {
        self.table.check()?;
        let blocked = self.table.clients().filter(|client| client.queue.is_blocked());
        let blocked_bytes: usize = blocked.map(|client| client.queue.bytes()).sum();
        if blocked_bytes != self.blocked_bytes {
            return Err(format!("{} blocked bytes are counted, {blocked_bytes} wait", self.blocked_bytes));
        }
        for client in self.table.clients() {
            let key = self.table.key_of(client.connection_id);
            let is_listed = self.admissions.iter().any(|(_, listed)| Some(*listed) == key);
            if client.is_pending() && !is_listed {
                return Err(format!("client {} waits for ever to be admitted", client.connection_id));
            }
        }
        for client in self.table.clients() {
            let is_traced = self.traces.connection_ids().any(|id| id == client.connection_id);
            if client.queue.is_traced() != is_traced {
                return Err(format!("client {} is marked wrongly as traced", client.connection_id));
            }
        }
        if let Some(id) = self.traces.connection_ids().find(|id| !self.table.contains(*id)) {
            return Err(format!("client {id} is traced, and is closed"));
        }
        if !self.pending_close.is_empty() {
            return Err(format!("{} clients are not closed that are to be", self.pending_close.len()));
        }
        self.stubs.check()?;
        if let Some(id) = self.stubs.by_id.keys().find(|id| self.table.contains(**id)) {
            return Err(format!("client {id} is there, and is closed"));
        }
        for (id, worker, log) in self.logs() {
            log.check().map_err(|error| format!("client {id}: {error}"))?;
            if log.given() > 0 && !worker.acknowledges() {
                return Err(format!("client {id} has events with a worker that does not acknowledge"));
            }
        }
        self.check_waits()?;
        self.check_spans()?;
        self.check_resumption()?;
        self.check_counters()
    }

    /// Checks that nobody waits for ever.
    fn check_waits(&self) -> Result<(), String> {
        let is_seen_to = self.is_starved || self.sweep.is_some();
        for client in self.table.clients() {
            let log = client.log.as_ref();
            let may_go_on = client.worker.is_open()
                && log.is_none_or(|log| {
                    !log.has_waiting() && log.is_window_half_empty(&self.settings.delivery)
                });
            if client.waits == Waits::ForTurn && may_go_on && !is_seen_to {
                return Err(format!("the reader of client {} waits for nothing", client.connection_id));
            }
        }
        for (id, worker, log) in self.logs() {
            let is_listed = log.is_suspect_waiting && self.waiting_suspects.contains(&id);
            let is_settled_later = (log.given() > 0 && !worker.is_open()) || log.is_returned || is_listed;
            // One that is not admitted is closed when the shard hears of its worker's end.
            let is_pending = self.table.client(id).is_some_and(Client::is_pending);
            if log.has_waiting() && !is_seen_to && !is_settled_later && !is_pending {
                return Err(format!("an event of client {id} waits for nothing"));
            }
        }
        Ok(())
    }

    /// Checks that the spans that are open are those of the events in the logs.
    fn check_spans(&self) -> Result<(), String> {
        let in_logs = self.logs().flat_map(|(_, _, log)| event_spans::contexts(log));
        let in_logs: BTreeSet<u64> = in_logs.map(|context| context.span_id).collect();
        match self.event_spans.open_spans() == &in_logs {
            true => Ok(()),
            false => Err(format!("open spans: {:?}, in logs: {in_logs:?}", self.event_spans.open_spans())),
        }
    }

    /// Checks the counters of links, which are right for one shard only where no other has its share.
    fn check_counters(&self) -> Result<(), String> {
        if self.settings.shards > 1 {
            return Ok(());
        }
        for Unfinished { link, events, bytes, held } in self.unfinished() {
            if (events, bytes) != (link.unfinished(), link.unfinished_bytes()) {
                let counted = (link.unfinished(), link.unfinished_bytes());
                return Err(format!("{} has {events} events, {bytes} bytes: {counted:?}", link.key()));
            }
            if !link.is_over() && held > link.adopting() {
                return Err(format!("{held} moves hold {}, {} are counted", link.key(), link.adopting()));
            }
        }
        Ok(())
    }

    /// The logs of clients and stubs.
    fn logs(&self) -> impl Iterator<Item = LogOf<'_, P::Buffer>> {
        let clients = self.table.clients();
        let clients = clients.filter_map(|c| Some((c.connection_id, &c.worker, &**c.log.as_ref()?)));
        let stubs = self.stubs.by_id.iter();
        clients.chain(stubs.filter_map(|(id, stub)| Some((*id, &stub.worker, &**stub.log.as_ref()?))))
    }

    /// What this shard's clients and stubs have unfinished on each link, in no order.
    pub fn unfinished(&self) -> Vec<Unfinished<P::Buffer>> {
        let mut all: Vec<Unfinished<P::Buffer>> = Vec::new();
        let mut add = |link: &Arc<WorkerLink<P::Buffer>>, events, bytes, held| {
            let known = all.iter().position(|one| Arc::ptr_eq(&one.link, link)).unwrap_or_else(|| {
                all.push(Unfinished { link: link.clone(), events: 0, bytes: 0, held: 0 });
                all.len() - 1
            });
            let known = &mut all[known];
            known.events += events;
            known.bytes += bytes;
            known.held += held;
        };
        for (_, worker, log) in self.logs() {
            add(worker, log.given(), log.counted(), 0);
            if let Some(from) = &log.moved_from {
                add(from, 0, 0, 1);
            }
        }
        for link in self.sweep.iter().flat_map(Sweep::drained) {
            add(link, 0, 0, 1);
        }
        self.table.clients().for_each(|client| add(&client.worker, 0, 0, 0));
        all
    }

    /// The clients whose workers know that they are their own: nothing that tells them so is unfinished. A
    /// client that moves is its former worker's until the next one has taken it.
    pub fn owners(&self) -> impl Iterator<Item = (u32, &Arc<WorkerLink<P::Buffer>>)> {
        let owned = self.table.clients().filter_map(|client| Some((client.connection_id, owner(client)?)));
        owned.filter(|(_, worker)| worker.is_open() || worker.is_draining() && !worker.is_let_go())
    }

    /// Checks that nothing is left of the clients that were here.
    ///
    /// # Errors
    /// With what is left.
    pub fn check_empty(&self) -> Result<(), String> {
        self.check()?;
        let left = [
            ("clients", self.table.len()),
            ("clients that count as pending", self.admissions.len()),
            ("groups", self.table.groups().count()),
            ("blocked bytes", self.blocked_bytes),
            ("clients to flush", self.urgent.len() + self.bulk.len()),
            ("links to flush", self.links.len()),
            ("effects", self.effects.list.len()),
            ("closes that are not done", self.stubs.by_id.len()),
            ("sweeps", usize::from(self.sweep.is_some() || self.gives_suspects)),
            ("timers", usize::from(self.timers.next_ms().is_some())),
        ];
        match left.into_iter().chain(self.left_of_resumption()).find(|(_, count)| *count > 0) {
            None => Ok(()),
            Some((what, count)) => Err(format!("{count} {what} are left")),
        }
    }

    /// The worker of each client, in no order.
    pub fn workers(&self) -> impl Iterator<Item = &Arc<WorkerLink<P::Buffer>>> {
        self.table.clients().map(|client| &client.worker)
    }

    /// Whether there is no client.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many clients there are, admitted or not.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Bytes that wait for clients whose sockets are full.
    pub fn blocked_bytes(&self) -> usize {
        self.blocked_bytes
    }
}

/// The worker that knows that a client is its own.
fn owner<P: Ports>(client: &Client<P>) -> Option<&Arc<WorkerLink<P::Buffer>>> {
    let first = client.log.as_ref().and_then(|log| log.first());
    match first.map(|event| event.cmd) {
        Some(code::ON_CONNECT) => None,
        Some(code::ADOPT) => client.log.as_ref().and_then(|log| log.moved_from.as_ref()),
        _ => Some(&client.worker),
    }
}
