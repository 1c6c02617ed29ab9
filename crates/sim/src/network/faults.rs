//! What goes wrong in the network: cuts, resets, and processes that are gone.

use super::{Network, ProcessId};

impl Network {
    /// Stops all that is under way from one process to another, until [`heal`](Self::heal).
    pub(crate) fn cut(&mut self, from: ProcessId, to: ProcessId) {
        self.cut[from * self.processes + to] = true;
    }

    /// Ends a cut.
    pub(crate) fn heal(&mut self, from: ProcessId, to: ProcessId) {
        if !std::mem::take(&mut self.cut[from * self.processes + to]) {
            return;
        }
        for id in self.ids() {
            let Some(pipe) = self.pipe(id) else { continue };
            if (pipe.from, pipe.to) == (from, to) {
                self.schedule(id);
            } else if (pipe.from, pipe.to) == (to, from) && pipe.wants_room && pipe.room() > 0 {
                pipe.wants_room = false;
                self.schedule_room(id);
            }
        }
    }

    /// Resets all connections between two processes; both ends hear of it.
    pub(crate) fn reset_between(&mut self, a: ProcessId, b: ProcessId) {
        for id in self.ids() {
            if self
                .pipe(id)
                .is_some_and(|pipe| (pipe.from, pipe.to) == (a, b) || (pipe.from, pipe.to) == (b, a))
            {
                self.reset(id);
            }
        }
    }

    /// Resets all connections of a process that is gone; it keeps no socket.
    pub(crate) fn crash(&mut self, process: ProcessId) {
        for id in self.ids() {
            let Some(connection) = self.connection(id) else { continue };
            let side = usize::from(id.side);
            if connection.pipes[side].from == process && std::mem::take(&mut connection.open[side]) {
                connection.pipes[side].reset();
                self.schedule(id);
                self.free_if_over(id);
            }
        }
    }
}
