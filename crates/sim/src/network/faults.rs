//! What goes wrong in the network: cuts, resets, and processes that are gone.

use super::{Network, Path, ProcessId, SocketId};

impl Network {
    /// Stops what is under way on a path, until [`heal`](Self::heal).
    pub(crate) fn cut(&mut self, path: Path) {
        match path.port {
            None => self.cut[path.from * self.processes + path.to] = true,
            Some(_) => self.cut_ports.push(path),
        }
    }

    /// Ends a cut.
    pub(crate) fn heal(&mut self, path: Path) {
        match path.port {
            None => self.cut[path.from * self.processes + path.to] = false,
            Some(_) => self.cut_ports.retain(|cut| *cut != path),
        }
        self.go_on(path);
    }

    /// Ends all cuts.
    pub(crate) fn heal_all(&mut self) {
        let cut = (0..self.cut.len()).filter(|pair| self.cut[*pair]);
        let cut = cut.map(|pair| Path::all(pair / self.processes, pair % self.processes));
        let cut: Vec<Path> = cut.chain(self.cut_ports.iter().copied()).collect();
        cut.into_iter().for_each(|path| self.heal(path));
    }

    /// Lets what was stopped on a path go on.
    fn go_on(&mut self, path: Path) {
        for id in self.ids() {
            if self.is_cut(id) {
                continue;
            }
            if self.is_on(id, path) {
                self.schedule(id);
            }
            // The news of room for what the peer writes comes along.
            let peer = id.peer();
            if self.is_on(id, path)
                && let Some(pipe) = self.pipe(peer)
                && pipe.wants_room
                && pipe.room() > 0
            {
                pipe.wants_room = false;
                self.schedule_room(peer);
            }
        }
    }

    /// Says whether what the end `id` writes takes a path.
    fn is_on(&mut self, id: SocketId, path: Path) -> bool {
        let Some(connection) = self.connection(id) else { return false };
        let (port, pipe) = (connection.port, &connection.pipes[usize::from(id.side)]);
        (pipe.from, pipe.to) == (path.from, path.to) && path.port.is_none_or(|only| only == port)
    }

    /// Resets the connections that have this path in either direction; both ends hear of it.
    pub(crate) fn reset_on(&mut self, path: Path) {
        for id in self.ids() {
            if self.is_on(id, path) {
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
