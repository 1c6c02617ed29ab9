//! Tells gateways which events are done.
//!
//! The gateway forgets an event when it hears so: then its handler has returned, and what that said to
//! any gateway is in the sockets. What it said to the event's own gateway stands before DONE on the same
//! link. `event_queues` notes here what is done; the reader of a link tells at the end of its turn,
//! together with what leaves then anyway, and a task tells for handlers that end at other times.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gatewayworker_client::worker::{EventCalls, WorkerHandle, Written, WrittenMark};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::core::{DoneQueue, Epoch, Phase, Tell};

/// How late the gateway is told at most of a handler that did not end within the turn of a reader.
const LATE: Duration = Duration::from_millis(5);

/// The longest pause between two looks at events that are held.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Tells gateways which events are done.
#[derive(Debug)]
pub(crate) struct DoneTeller {
    worker: WorkerHandle,
    holds: Mutex<Holds>,
    /// Epochs with something to tell that no reader tells.
    late: Mutex<Vec<Arc<Epoch>>>,
    is_late: Notify,
    /// How long an event is not told whose handler's words met a dead link, from when that was found.
    dead_link_hold: Duration,
}

/// What has to happen before events are told.
#[derive(Debug, Default)]
struct Holds {
    last: u64,
    by_number: BTreeMap<u64, Hold>,
    dead: DeadLinks,
}

#[derive(Debug)]
enum Hold {
    /// What the handler said has to be written.
    Unwritten(WrittenMark),
    /// Its words to these gateways met dead links. If this worker is about to die, link after link, the
    /// event has to come again at another one. If it is the gateway that is gone, nothing helps.
    DeadLinks(Vec<SocketAddrV4>),
}

/// When links were found dead: first, and last. So a gateway that stays away delays what is done for a while,
/// and not each event anew.
#[derive(Debug, Default)]
struct DeadLinks(BTreeMap<SocketAddrV4, (Instant, Instant)>);

impl DeadLinks {
    /// Notes that a link is dead; returns whether that was found less than `limit` ago.
    fn is_recent(&mut self, gateway: SocketAddrV4, limit: Duration) -> bool {
        let now = Instant::now();
        let (first, last) = self.0.entry(gateway).or_insert((now, now));
        if now - *last > limit {
            // It may have stood meanwhile.
            *first = now;
        }
        *last = now;
        now - *first < limit
    }
}

impl DoneTeller {
    /// `link_timeout` is how long a link may be silent.
    pub(crate) fn new(worker: WorkerHandle, link_timeout: Duration) -> Self {
        Self {
            worker,
            holds: Mutex::default(),
            late: Mutex::default(),
            is_late: Notify::new(),
            dead_link_hold: 2 * link_timeout,
        }
    }

    /// Notes that an event is done. `calls` has what its handler said to other gateways.
    pub(crate) fn done(&self, epoch: &Arc<Epoch>, connection_id: u32, calls: Option<&EventCalls>) {
        let hold = calls.and_then(EventCalls::take_mark).and_then(|mark| self.hold(mark));
        let tell = epoch.done().push(connection_id, hold);
        match tell {
            Tell::Attended => {}
            Tell::Now => self.tell_ready(&mut epoch.done(), epoch),
            Tell::Soon => self.tell_late(epoch),
        }
    }

    /// Returns the number of a hold, unless everything is written.
    fn hold(&self, mark: WrittenMark) -> Option<u64> {
        let mut hold = Hold::Unwritten(mark);
        let mut holds = self.holds();
        if self.is_over(&mut hold, &mut holds.dead) {
            return None;
        }
        holds.last += 1;
        let number = holds.last;
        holds.by_number.insert(number, hold);
        Some(number)
    }

    fn is_over(&self, hold: &mut Hold, dead: &mut DeadLinks) -> bool {
        if let Hold::Unwritten(mark) = hold {
            match mark.state() {
                Written::Written => return true,
                Written::Waiting => return false,
                Written::Dead(gateways) => *hold = Hold::DeadLinks(gateways),
            }
        }
        let Hold::DeadLinks(gateways) = hold else { return false };
        !gateways
            .iter()
            .any(|gateway| self.is_dead(*gateway) && dead.is_recent(*gateway, self.dead_link_hold))
    }

    /// Whether a gateway that is listed is not connected.
    fn is_dead(&self, gateway: SocketAddrV4) -> bool {
        self.worker.has_link(gateway) && !self.worker.is_connected(gateway)
    }

    /// Notes that the caller is about to handle events of the epoch, and [tells](Self::tell) afterwards.
    pub(crate) fn attend(&self, epoch: &Epoch) {
        epoch.done().attend();
    }

    /// Tells a gateway what is done by now, as the last that the caller does for a while.
    pub(crate) fn tell(&self, epoch: &Arc<Epoch>) {
        if self.tell_and_leave(epoch) {
            self.tell_late(epoch);
        }
    }

    /// Returns whether events are held.
    fn tell_and_leave(&self, epoch: &Epoch) -> bool {
        let mut done = epoch.done();
        self.tell_ready(&mut done, epoch);
        done.leave();
        done.has_held()
    }

    fn tell_ready(&self, done: &mut DoneQueue, epoch: &Epoch) {
        done.take(|counts| {
            // Where the call link has ended, the gateway gives the events again.
            let _ = self.worker.tell_done(epoch.gateway(), epoch.number(), counts);
        });
    }

    fn tell_late(&self, epoch: &Arc<Epoch>) {
        self.add_late(epoch);
        self.is_late.notify_one();
    }

    fn add_late(&self, epoch: &Arc<Epoch>) {
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        if !late.iter().any(|known| Arc::ptr_eq(known, epoch)) {
            late.push(epoch.clone());
        }
    }

    /// Tells what no reader tells. Never returns.
    pub(crate) async fn run(&self) {
        let mut pause = LATE;
        let mut has_holds = false;
        loop {
            tokio::select! {
                () = self.is_late.notified() => sleep(LATE).await,
                // As long as something is held, it is looked at less and less often.
                () = sleep(pause), if has_holds => pause = (2 * pause).min(LONGEST_PAUSE),
            }
            has_holds = self.tell_all();
            if !has_holds {
                pause = LATE;
            }
        }
    }

    /// Tells what can be told by now; returns whether there are holds.
    fn tell_all(&self) -> bool {
        let mut holds = self.holds();
        let Holds { by_number, dead, .. } = &mut *holds;
        dead.0.retain(|gateway, _| self.is_dead(*gateway));
        by_number.retain(|_, hold| !self.is_over(hold, dead));
        let late = std::mem::take(&mut *self.late.lock().unwrap_or_else(PoisonError::into_inner));
        for epoch in late {
            // What is done in an epoch that is over comes again anyway.
            if epoch.phase() != Phase::Live {
                continue;
            }
            epoch.done().release(|hold| !holds.by_number.contains_key(&hold));
            if self.tell_and_leave(&epoch) {
                self.add_late(&epoch);
            }
        }
        !holds.by_number.is_empty()
    }

    fn holds(&self) -> MutexGuard<'_, Holds> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
