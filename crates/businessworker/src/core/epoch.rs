//! An epoch: one pairing of this worker's two links with one gateway process.
//!
//! Each event of a gateway that acknowledges events holds the epoch in which it came. The links write
//! it: they hear the gateway, and end the epoch. The event queues ask it before each handler, and note
//! what is done. Plain data that several threads share; the time is an argument.

use std::net::SocketAddrV4;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gatewayworker_client::worker::Fence;
use gatewayworker_protocol::Pairing;

use super::done_queue::DoneQueue;

/// One pairing of this worker with one gateway process.
#[derive(Debug)]
pub struct Epoch {
    gateway: SocketAddrV4,
    pairing: Pairing,
    /// The worker's own number: no two epochs of a worker have the same, whatever the gateway.
    serial: NonZeroU32,
    phase: AtomicU8,
    /// Refuses the calls of the handlers of this epoch's events when it is over.
    fence: Arc<Fence>,
    /// When something was read last.
    read_ms: AtomicU64,
    /// When something was read last that had just come.
    heard_ms: AtomicU64,
    /// What is read may have come long ago, while this process was held up.
    is_behind: AtomicBool,
    /// How long the gateway may be silent before no event is begun any more.
    silence_ms: u64,
    done: Mutex<DoneQueue>,
}

/// How far an epoch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Both links stand.
    Live,
    /// A link has ended. Whether the gateway lives is not known: its events are held.
    Over,
    /// The same gateway process is back, and has given the events to others, or gives them anew.
    Superseded,
    /// The gateway is lost: the events are this worker's to handle.
    Lost,
}

/// What is to be done with an event whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Its handler runs.
    Begin,
    /// It waits: ask again when the gateway was heard, or the phase has changed.
    Wait,
    /// It is dropped, as nobody waits for it here.
    Drop,
}

/// The time at which a gateway counts as heard while nothing can be read.
const ALWAYS: u64 = u64::MAX;

impl Epoch {
    /// An epoch that begins at `now_ms`, as the gateway has been heard. Events are begun while the
    /// gateway was heard within `silence`.
    pub fn new(
        gateway: SocketAddrV4,
        pairing: Pairing,
        serial: NonZeroU32,
        silence: Duration,
        now_ms: u64,
    ) -> Self {
        Self {
            gateway,
            pairing,
            serial,
            phase: AtomicU8::new(Phase::Live as u8),
            fence: Arc::new(Fence::new()),
            read_ms: AtomicU64::new(now_ms),
            heard_ms: AtomicU64::new(now_ms),
            is_behind: AtomicBool::new(false),
            silence_ms: silence.as_millis().try_into().unwrap_or(u64::MAX),
            done: Mutex::default(),
        }
    }

    /// Returns the gateway's address.
    pub fn gateway(&self) -> SocketAddrV4 {
        self.gateway
    }

    /// Returns the gateway's own number of the epoch.
    pub fn number(&self) -> u32 {
        self.pairing.epoch
    }

    /// Returns the id of the gateway's process.
    pub fn instance(&self) -> u64 {
        self.pairing.instance
    }

    /// Returns the worker's number of the epoch.
    pub fn serial(&self) -> NonZeroU32 {
        self.serial
    }

    /// Returns how far the epoch has come.
    pub fn phase(&self) -> Phase {
        const PHASES: [Phase; 4] = [Phase::Live, Phase::Over, Phase::Superseded, Phase::Lost];
        PHASES[usize::from(self.phase.load(Ordering::Acquire)) % PHASES.len()]
    }

    /// Returns the fence that the handles of this epoch's events have.
    pub fn fence(&self) -> &Arc<Fence> {
        &self.fence
    }

    /// Ends the epoch, and with it the calls of its handlers. Once; false where it is over already.
    pub fn end(&self) -> bool {
        self.fence.end();
        let (live, over) = (Phase::Live as u8, Phase::Over as u8);
        self.phase.compare_exchange(live, over, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Decides what becomes of an epoch that is over.
    pub(super) fn decide(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// Returns for how long nothing has been read of the gateway at `now_ms`, in milliseconds.
    pub fn silent_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.read_ms.load(Ordering::Relaxed))
    }

    /// Notes that something of the gateway was read at `now_ms`; `had_to_wait` says that there was
    /// nothing to read just before. Returns whether events may have waited for that.
    ///
    /// After a long silence the first bytes say nothing: this process may have been stopped, and they may
    /// have come long ago, with the end of the link behind them. The gateway is heard when bytes come
    /// after all that has been read.
    pub fn hear(&self, now_ms: u64, had_to_wait: bool) -> bool {
        self.read_ms.store(now_ms, Ordering::Relaxed);
        let before = self.heard_ms.load(Ordering::Relaxed);
        if before == now_ms {
            return false;
        }
        let was_silent = now_ms.saturating_sub(before) > self.silence_ms;
        if was_silent {
            let was_behind = self.is_behind.swap(true, Ordering::Relaxed);
            if !(was_behind && had_to_wait) {
                return false;
            }
            self.is_behind.store(false, Ordering::Relaxed);
        }
        self.heard_ms.store(now_ms, Ordering::Relaxed);
        was_silent
    }

    /// Notes that nothing can be read for now, as there is no room for more events. The gateway is not
    /// silent then, as far as is known here, and events have to go on, or there would never be room. The
    /// call link tells if the gateway is dead.
    pub fn cannot_hear(&self) {
        self.read_ms.store(ALWAYS, Ordering::Relaxed);
        self.heard_ms.store(ALWAYS, Ordering::Relaxed);
    }

    /// Notes that there is room again, and that reading goes on at `now_ms`.
    pub fn can_hear(&self, now_ms: u64) {
        self.read_ms.store(now_ms, Ordering::Relaxed);
        self.heard_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Decides what to do at `now_ms` with an event of this epoch whose turn it is.
    #[inline]
    pub fn turn(&self, now_ms: u64) -> Turn {
        match self.phase() {
            Phase::Live if !self.is_heard(now_ms) => Turn::Wait,
            Phase::Live | Phase::Lost => Turn::Begin,
            Phase::Over => Turn::Wait,
            Phase::Superseded => Turn::Drop,
        }
    }

    fn is_heard(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.heard_ms.load(Ordering::Relaxed)) <= self.silence_ms
    }

    /// Returns what is done and not told yet.
    pub fn done(&self) -> MutexGuard<'_, DoneQueue> {
        // A panic elsewhere leaves no list half changed.
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch() -> Epoch {
        let gateway = SocketAddrV4::new([10, 0, 0, 1].into(), 2300);
        Epoch::new(gateway, Pairing { instance: 7, epoch: 3 }, NonZeroU32::MIN, Duration::from_secs(5), 1_000)
    }

    #[test]
    fn events_begin_while_the_gateway_is_heard() {
        let epoch = epoch();
        assert!(!epoch.hear(4_000, true));
        assert!(!epoch.hear(8_000, false), "more has come than is read at once");
        assert_eq!(epoch.turn(13_000), Turn::Begin);
        assert_eq!(epoch.turn(13_001), Turn::Wait);
    }

    #[test]
    fn bytes_from_before_this_process_was_stopped_are_no_sign_of_life() {
        let epoch = epoch();
        assert!(!epoch.hear(60_000, true), "it waited for them before it was stopped");
        assert_eq!(epoch.turn(60_000), Turn::Wait);
        assert_eq!(epoch.silent_ms(60_000), 0, "but nothing says that the gateway is dead");
        assert!(!epoch.hear(60_001, false), "they had come, too");
        assert_eq!(epoch.turn(60_001), Turn::Wait);
        assert!(epoch.hear(60_500, true), "events have waited for that");
        assert_eq!(epoch.turn(60_500), Turn::Begin);
    }

    #[test]
    fn while_there_is_no_room_to_read_events_go_on() {
        let epoch = epoch();
        epoch.cannot_hear();
        assert_eq!(epoch.turn(60_000), Turn::Begin);
        assert_eq!(epoch.silent_ms(60_000), 0);
        epoch.can_hear(60_000);
        assert_eq!(epoch.turn(66_000), Turn::Wait);
    }

    #[test]
    fn events_of_an_epoch_that_is_over_wait_until_it_is_known_what_became_of_the_gateway() {
        let epoch = epoch();
        assert!(epoch.end());
        assert!(epoch.fence().is_over());
        assert!(!epoch.end(), "once");
        assert_eq!(epoch.turn(1_000), Turn::Wait);
        epoch.decide(Phase::Superseded);
        assert_eq!(epoch.turn(1_000), Turn::Drop);
        epoch.decide(Phase::Lost);
        assert_eq!(epoch.turn(1_000), Turn::Begin);
    }
}
