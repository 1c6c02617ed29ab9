//! The epochs of a worker, as its links and event queues share them: which events have to wait, and
//! what wakes them.
//!
//! `core` decides what an epoch's end means. The links begin and end epochs here, and `event_queues`
//! waits here for an event's turn.

use std::net::SocketAddrV4;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gatewayworker_client::worker::Fence;
use gatewayworker_protocol::Pairing;
use tokio::sync::Notify;

use crate::clock;
use crate::core::{Epoch, Event, Pairings, Phase, Previous, Turn};

/// The epochs of a worker.
#[derive(Debug)]
pub(crate) struct Epochs {
    pairings: Mutex<Pairings>,
    /// Wakes events that wait for their turn, and whoever waits for the end of an epoch.
    changed: Notify,
    is_draining: AtomicBool,
    fenced: Mutex<FencedCalls>,
}

/// The calls that were refused as their epoch was over.
#[derive(Debug, Default)]
struct FencedCalls {
    /// Of epochs of which nothing is left.
    before: u64,
    fences: Vec<Arc<Fence>>,
}

/// What is to be done with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NextStep {
    /// Its handler runs.
    Begin,
    /// It is dropped.
    Drop,
    /// It is given back to its gateway, as the worker drains.
    Return,
}

impl Epochs {
    /// Epochs whose gateways may be silent for `silence` before no event is begun any more.
    pub(crate) fn new(silence: Duration) -> Self {
        Self {
            pairings: Mutex::new(Pairings::new(silence)),
            changed: Notify::new(),
            is_draining: AtomicBool::new(false),
            fenced: Mutex::default(),
        }
    }

    pub(crate) fn pairings(&self) -> MutexGuard<'_, Pairings> {
        self.pairings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins an epoch; says what has become of the one before.
    pub(crate) fn begin(&self, gateway: SocketAddrV4, pairing: Pairing) -> (Arc<Epoch>, Option<Previous>) {
        let (epoch, previous) = self.pairings().begin(gateway, pairing, clock::now_ms());
        self.fenced_calls();
        self.fenced().fences.push(epoch.fence().clone());
        (epoch, previous)
    }

    /// Ends an epoch, so that no event of it begins and no handler of it says anything more. False
    /// where it is over already.
    pub(crate) fn end(&self, epoch: &Epoch) -> bool {
        let ended = epoch.end();
        if ended {
            self.wake();
        }
        ended
    }

    /// Ends all epochs, as the worker does not wait any longer. Returns their gateways.
    pub(crate) fn end_all(&self) -> Vec<SocketAddrV4> {
        let live: Vec<_> = self.pairings().live().cloned().collect();
        live.iter().filter(|epoch| self.end(epoch)).map(|epoch| epoch.gateway()).collect()
    }

    /// Whether it is not known what has become of the gateway.
    pub(crate) fn is_undecided(&self, gateway: SocketAddrV4) -> bool {
        self.pairings().undecided(gateway).is_some()
    }

    /// Returns the epochs of gateways that are not heard: a link has ended, or nothing comes on it.
    pub(crate) fn missing(&self) -> Vec<Arc<Epoch>> {
        let (pairings, now_ms) = (self.pairings(), clock::now_ms());
        let silent = pairings.live().filter(|epoch| epoch.turn(now_ms) == Turn::Wait);
        pairings.all_undecided().chain(silent).cloned().collect()
    }

    /// Lets events of gateways that acknowledge them be returned from now on, instead of begun.
    pub(crate) fn drain(&self) {
        self.is_draining.store(true, Ordering::SeqCst);
        self.wake();
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::SeqCst)
    }

    /// Lets events that wait for their turn look again.
    pub(crate) fn wake(&self) {
        self.changed.notify_waiters();
    }

    /// Returns what is to be done with an event whose turn it is; `None` where it has to wait.
    #[inline]
    pub(crate) fn next_step(&self, event: &Event) -> Option<NextStep> {
        match &event.epoch {
            None => Some(NextStep::Begin),
            Some(epoch) => self.next_step_in(epoch),
        }
    }

    fn next_step_in(&self, epoch: &Epoch) -> Option<NextStep> {
        if self.is_draining.load(Ordering::Relaxed) && epoch.phase() == Phase::Live {
            return Some(NextStep::Return);
        }
        match epoch.turn(clock::now_ms()) {
            Turn::Begin => Some(NextStep::Begin),
            Turn::Drop => Some(NextStep::Drop),
            Turn::Wait => None,
        }
    }

    /// Waits until something is to be done with an event.
    ///
    /// Cancel safe.
    pub(crate) async fn turn(&self, event: &Event) {
        self.until(|| self.next_step(event).is_some()).await;
    }

    /// Waits until an epoch is over. Cancel safe.
    pub(crate) async fn over(&self, epoch: &Epoch) {
        self.until(|| epoch.phase() != Phase::Live).await;
    }

    /// Waits until it is known what has become of the gateway. Cancel safe.
    pub(crate) async fn decided(&self, gateway: SocketAddrV4) {
        self.until(|| !self.is_undecided(gateway)).await;
    }

    async fn until(&self, condition: impl Fn() -> bool) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            // It may have changed before this began to listen.
            if condition() {
                return;
            }
            changed.await;
        }
    }

    fn fenced(&self) -> MutexGuard<'_, FencedCalls> {
        self.fenced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many calls of handlers were refused, as the epochs of their events were over.
    pub(crate) fn fenced_calls(&self) -> u64 {
        let FencedCalls { before, fences } = &mut *self.fenced();
        fences.retain(|fence| {
            let is_used = Arc::strong_count(fence) > 1;
            *before += if is_used { 0 } else { fence.refused() };
            is_used
        });
        *before + fences.iter().map(|fence| fence.refused()).sum::<u64>()
    }
}
