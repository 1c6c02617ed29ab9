//! What holds between two inputs of a shard, for tests and the simulation.

use std::sync::Arc;

use super::Shard;
use super::ports::Ports;
use super::worker_link::WorkerLink;

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
        if !self.pending_close.is_empty() {
            return Err(format!("{} clients are not closed that are to be", self.pending_close.len()));
        }
        Ok(())
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
            ("timers", usize::from(self.timers.next_ms().is_some())),
        ];
        match left.iter().find(|(_, count)| *count > 0) {
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
