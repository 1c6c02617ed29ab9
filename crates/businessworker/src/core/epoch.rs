//! An epoch: one pairing of this worker's two links with one gateway process.
//!
//! Each event of a gateway that acknowledges events holds the epoch in which it came. The links write
//! it: they hear the gateway, and end the epoch. The event queues ask it before each handler, and note
//! what is done. Plain data that several threads share; the time is an argument.

use std::net::SocketAddrV4;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gatewayworker_client::worker::Fence;
use gatewayworker_protocol::Pairing;

use super::done_queue::DoneQueue;
use super::hearing::Hearing;

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
    event_link: Hearing,
    call_link: Hearing,
    /// An event waits until the gateway is heard.
    is_waited_for: AtomicBool,
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
            event_link: Hearing::new(now_ms),
            call_link: Hearing::new(now_ms),
            is_waited_for: AtomicBool::new(false),
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
        let (live, over) = (Phase::Live as u8, Phase::Over as u8);
        let ended = self.phase.compare_exchange(live, over, Ordering::AcqRel, Ordering::Acquire).is_ok();
        // In this order: an event whose calls were refused asks for its turn again, and must not begin in an
        // epoch that still seems to live.
        self.fence.end();
        ended
    }

    /// Decides what becomes of an epoch that is over.
    pub(super) fn decide(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// Returns for how long nothing has been read on the event link at `now_ms`, in milliseconds; 0 while
    /// it is not read.
    pub fn silent_ms(&self, now_ms: u64) -> u64 {
        self.event_link.silent_ms(now_ms)
    }

    /// Notes that something was read on the event link at `now_ms`; `was_read_out` says that an attempt
    /// to read has found nothing since the read before. Returns whether events wait for that: they are to
    /// be woken, and ask for their [turn](Self::turn) again.
    pub fn hear(&self, now_ms: u64, was_read_out: bool) -> bool {
        self.event_link.note(now_ms, was_read_out, self.silence_ms) && self.ends_wait()
    }

    /// Notes that something was read on the call link, as [`hear`](Self::hear) does for the event link.
    pub fn hear_call_link(&self, now_ms: u64, was_read_out: bool) -> bool {
        self.call_link.note(now_ms, was_read_out, self.silence_ms) && self.ends_wait()
    }

    /// Notes that the event link is not read for now, as there is no room for more events: it says
    /// nothing of the gateway meanwhile. The call link does, on which a silent gateway is asked for a sign
    /// of life: events go on as long as it gives one.
    pub fn pause_reading(&self) {
        self.event_link.pause();
    }

    /// Notes that there is room again, and that the event link is read again from `now_ms`.
    pub fn resume_reading(&self, now_ms: u64) {
        self.event_link.resume(now_ms);
    }

    /// Decides what to do at `now_ms` with an event of this epoch whose turn it is: its handler has not run, or
    /// has said too little, as the epoch has ended meanwhile.
    #[inline]
    pub fn turn(&self, now_ms: u64) -> Turn {
        match self.phase() {
            Phase::Live if !self.is_heard_or_waited_for(now_ms) => Turn::Wait,
            Phase::Live | Phase::Lost => Turn::Begin,
            Phase::Over => Turn::Wait,
            Phase::Superseded => Turn::Drop,
        }
    }

    /// Whether the gateway was heard lately. Either link will do: a gateway that ends the epoch closes
    /// both, so that what it has said on either says that it had not by then.
    fn is_heard(&self, now_ms: u64) -> bool {
        self.event_link.is_heard(now_ms, self.silence_ms) || self.call_link.is_heard(now_ms, self.silence_ms)
    }

    /// Whether the gateway was heard lately; if not, [`hear`](Self::hear) will say that somebody waits.
    //
    // No wake-up is lost. The one that waits stores the flag, then loads the times; the one that hears
    // stores a time, then loads the flag. All four are SeqCst, so they are in one order. If the time is
    // loaded before it is stored, then the flag is stored before it is loaded, and the wait is ended;
    // else the wait does not begin. Whoever waits asks only after it has begun to listen for the wake-up,
    // and asks again after each: the flag is lowered for all at once.
    fn is_heard_or_waited_for(&self, now_ms: u64) -> bool {
        self.is_heard(now_ms) || {
            self.is_waited_for.store(true, Ordering::SeqCst);
            self.is_heard(now_ms)
        }
    }

    /// Returns whether events wait to hear the gateway, which has just been heard.
    fn ends_wait(&self) -> bool {
        self.is_waited_for.load(Ordering::SeqCst) && self.is_waited_for.swap(false, Ordering::SeqCst)
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
    fn an_event_that_waits_is_woken_when_the_gateway_is_heard_however_short_its_silence_was() {
        let epoch = epoch();
        assert!(!epoch.hear(2_000, true), "nothing waits");
        // The clock of the waiting thread is a moment ahead of that of the reader.
        assert_eq!(epoch.turn(7_001), Turn::Wait);
        assert!(epoch.hear(7_000, true), "the event waits for that");
        assert_eq!(epoch.turn(7_001), Turn::Begin);
        assert!(!epoch.hear(7_100, true), "it is woken once");
    }

    #[test]
    fn old_bytes_wake_nothing() {
        let epoch = epoch();
        assert_eq!(epoch.turn(60_000), Turn::Wait);
        assert!(!epoch.hear(60_000, true));
        assert_eq!(epoch.turn(60_000), Turn::Wait);
        assert!(epoch.hear(60_500, true));
        assert_eq!(epoch.turn(60_500), Turn::Begin);
    }

    #[test]
    fn while_there_is_no_room_to_read_the_call_link_tells_whether_events_go_on() {
        let epoch = epoch();
        epoch.pause_reading();
        assert_eq!(epoch.turn(6_000), Turn::Begin, "it was heard five seconds ago");
        assert_eq!(epoch.turn(6_001), Turn::Wait);
        assert_eq!(epoch.silent_ms(60_000), 0, "but nothing says that the gateway is dead");
        assert!(!epoch.hear_call_link(60_000, true), "that may be old");
        assert!(epoch.hear_call_link(60_100, true));
        assert_eq!(epoch.turn(65_000), Turn::Begin);
        epoch.resume_reading(65_000);
        assert_eq!(epoch.turn(65_101), Turn::Wait);
        assert!(!epoch.hear(65_102, false), "that waited in the socket");
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
