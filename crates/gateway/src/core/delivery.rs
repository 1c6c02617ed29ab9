//! Interim.

use std::sync::Arc;

use super::Shard;
use super::ports::Ports;
use super::worker_link::{Gone, WorkerLink};

/// Which clients of an isolated gateway are closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolated {
    /// Those that came from a worker of which merely nothing was heard.
    TakenOver,
    /// All.
    All,
}

impl<P: Ports> Shard<P> {
    pub(super) fn end_events(&mut self, _connection_id: u32, _epoch: u32, _events: u32) {}

    pub(super) fn take_back_events(&mut self, _connection_id: u32, _epoch: u32, _events: u32) {}

    pub(super) fn close_lost(&mut self, _connection_id: u32) {}

    /// A worker drains: its clients move to others, each when it has nothing unfinished there.
    pub fn worker_drains(&mut self, link: &Arc<WorkerLink<P::Buffer>>) {
        link.release();
    }

    /// A link with acknowledged events is over: what its worker has not finished is given to others.
    pub fn worker_gone(&mut self, _link: &Arc<WorkerLink<P::Buffer>>, _how: Gone) {
        self.close_orphans();
    }

    /// The gateway has neither a register nor a worker: closes these clients with 1012.
    pub fn close_isolated(&mut self, _which: Isolated) {}
}
