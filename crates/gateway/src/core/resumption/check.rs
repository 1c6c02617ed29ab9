//! What holds between two inputs of a shard with clients that may come back, for tests and the simulation.

use std::collections::BTreeSet;

use super::super::Shard;
use super::super::ports::Ports;

impl<P: Ports> Shard<P> {
    /// Checks that the books of what is kept agree with the clients, and that no client has more than it may.
    ///
    /// # Errors
    /// With what does not agree.
    pub(in crate::core) fn check_resumption(&self) -> Result<(), String> {
        let (mut kept, mut detached) = (0, BTreeSet::new());
        for client in self.table.clients() {
            let Some(resumable) = &client.resumable else { continue };
            let (id, bytes, limit) =
                (client.connection_id, resumable.kept.bytes(), resumable.policy.resume_bytes);
            if bytes > limit {
                return Err(format!("{bytes} bytes are kept for client {id}, which may have {limit}"));
            }
            kept += bytes;
            if let Some(cut) = resumable.detached {
                detached.extend(resumable.given_up_ms().map(|until_ms| (until_ms, id)));
                if !cut.is_dated && !self.resumption.undated.contains(&id) {
                    return Err(format!("client {id} is detached for ever"));
                }
                if client.queue.frames().next().is_some() {
                    return Err(format!("client {id} is detached, and something waits to be written"));
                }
            }
        }
        if detached != self.resumption.detached {
            return Err(format!("{detached:?} are detached, {:?} are listed", self.resumption.detached));
        }
        if kept > self.settings.outbox_budget {
            return Err(format!("{kept} bytes are kept, with a budget of {}", self.settings.outbox_budget));
        }
        let (_, of_closed) = self.resumption.closed.sizes();
        match kept + of_closed == self.resumption.bytes {
            true => Ok(()),
            false => Err(format!(
                "{} kept bytes are counted, {kept} and {of_closed} are there",
                self.resumption.bytes
            )),
        }
    }

    /// What is left: kept bytes, detached clients, and closed ones that may come back.
    pub(in crate::core) fn left_of_resumption(&self) -> [(&'static str, usize); 3] {
        let Self { resumption, .. } = self;
        [
            ("kept bytes", resumption.bytes),
            ("detached clients", resumption.detached.len()),
            ("closed clients that may come back", resumption.closed.sizes().0),
        ]
    }
}
