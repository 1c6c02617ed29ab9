//! A fixed offered load (an open loop): when each message is due, which sender sends it, and the generator's own delay.
//!
//! Message k is due k/rate after the start, whatever has come back, and its latency counts from then. So a stalled
//! server pays for all messages that were due meanwhile (no coordinated omission). A generator that wakes late adds to
//! the latency too; [`DueMessages::late`] shows its part. A message for a full socket waits until there is room.
//!
//! `echo` and `fanout` take due messages; [`pace`] makes them due.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use crate::client::ClientError;
use crate::histogram::Histogram;

/// Messages that become due within this time may be sent together.
const GRAIN: Duration = Duration::from_micros(20);

/// The due times of all messages.
pub(crate) struct Schedule {
    start: Instant,
    rate: u32,
    /// The number of the next message.
    next: u64,
}

impl Schedule {
    /// A schedule of `rate` messages a second from `start` on. A rate of 0 counts as 1.
    pub(crate) fn new(start: Instant, rate: u32) -> Self {
        Schedule { start, rate: rate.max(1), next: 0 }
    }

    /// The due time of the next message.
    fn next(&self) -> Instant {
        let nanos = u128::from(self.next) * 1_000_000_000 / u128::from(self.rate);
        self.start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Takes the next message if it is due: its number and its due time.
    fn take(&mut self, now: Instant) -> Option<(u64, Instant)> {
        let at = self.next();
        (at <= now).then(|| {
            self.next += 1;
            (self.next - 1, at)
        })
    }
}

/// The due messages of each sender. The senders take turns.
pub(crate) struct DueMessages {
    senders: Vec<Sender>,
    stopped: bool,
    waiting: u64,
    /// The generator's own delay: from the due time to sending, for messages whose socket had room.
    pub(crate) late: Histogram,
}

#[derive(Default)]
struct Sender {
    due: VecDeque<Instant>,
    waker: Option<Waker>,
}

impl DueMessages {
    pub(crate) fn new(senders: usize) -> Self {
        let senders = (0..senders).map(|_| Sender::default()).collect();
        DueMessages { senders, stopped: false, waiting: 0, late: Histogram::new() }
    }

    /// Gives all messages that are due by `now` to their senders.
    fn fill(&mut self, schedule: &mut Schedule, now: Instant) {
        let count = self.senders.len() as u64;
        while let Some((number, at)) = schedule.take(now).filter(|_| !self.stopped) {
            let sender = &mut self.senders[(number % count) as usize];
            sender.due.push_back(at);
            self.waiting += 1;
            sender.waker.iter().for_each(Waker::wake_by_ref);
        }
    }

    /// Wakes the task of `cx` when a message of `sender` becomes due.
    pub(crate) fn wake(&mut self, sender: usize, cx: &Context<'_>) {
        let waker = &mut self.senders[sender].waker;
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    /// Takes a due message of `sender`, and returns its due time. `full`: its delay is the full socket's.
    pub(crate) fn take(&mut self, sender: usize, now: Instant, full: bool) -> Option<Instant> {
        let at = self.senders[sender].due.pop_front()?;
        self.waiting -= 1;
        if !full {
            self.late.record(now.saturating_duration_since(at));
        }
        Some(at)
    }

    /// How many messages are due and not sent.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Lets no more messages become due. Those that are due can still be taken.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
    }
}

/// Makes messages due, until the task is dropped. Returns only if the timer fails.
pub(crate) async fn pace(mut schedule: Schedule, dues: Rc<RefCell<DueMessages>>) -> ClientError {
    let timer = match Timer::new() {
        Ok(timer) => timer,
        Err(error) => return ClientError::Io(error),
    };
    loop {
        let now = Instant::now();
        dues.borrow_mut().fill(&mut schedule, now);
        if let Err(error) = timer.wait(schedule.next().max(now + GRAIN)).await {
            return ClientError::Io(error);
        }
    }
}

/// A timer of nanoseconds. The runtime's own timers count milliseconds, and an echo takes less.
#[cfg(target_os = "linux")]
struct Timer(tokio::io::unix::AsyncFd<Fd>);

#[cfg(target_os = "linux")]
struct Fd(nix::sys::timerfd::TimerFd);

#[cfg(target_os = "linux")]
impl std::os::fd::AsRawFd for Fd {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        use std::os::fd::AsFd;
        self.0.as_fd().as_raw_fd()
    }
}

#[cfg(target_os = "linux")]
impl Timer {
    fn new() -> std::io::Result<Self> {
        use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};
        let fd = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        // Its successor asks for the promise that the descriptor stays the same, which is plain to see here.
        #[allow(deprecated)]
        Ok(Timer(tokio::io::unix::AsyncFd::new(Fd(fd))?))
    }

    async fn wait(&self, until: Instant) -> std::io::Result<()> {
        use nix::sys::timerfd::{Expiration, TimerSetTimeFlags};
        // A time of zero would disarm the timer.
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        self.0.get_ref().0.set(Expiration::OneShot(left.into()), TimerSetTimeFlags::empty())?;
        loop {
            if let Ok(ended) = self.0.readable().await?.try_io(|fd| Ok(fd.get_ref().0.wait()?)) {
                return ended;
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
struct Timer;

#[cfg(not(target_os = "linux"))]
impl Timer {
    fn new() -> std::io::Result<Self> {
        Ok(Timer)
    }

    async fn wait(&self, until: Instant) -> std::io::Result<()> {
        tokio::time::sleep_until(until.into()).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn messages_are_due_at_even_steps_that_do_not_drift() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 3);
        let mut due = Vec::new();
        while let Some((number, at)) = schedule.take(start + Duration::from_secs(1000)) {
            due.push((number, at - start));
        }
        assert_eq!(due.len(), 3001);
        assert_eq!(due[1], (1, Duration::from_nanos(333_333_333)));
        assert_eq!(due[3000], (3000, Duration::from_secs(1000)));
    }

    #[test]
    fn a_late_send_counts_from_its_due_time() {
        let start = Instant::now();
        let (mut schedule, mut dues) = (Schedule::new(start, 1000), DueMessages::new(2));
        dues.fill(&mut schedule, start + 3 * MS);
        assert_eq!(dues.waiting(), 4);
        let now = start + 10 * MS;
        assert_eq!(dues.take(0, now, false), Some(start));
        assert_eq!(dues.take(1, now, false), Some(start + MS));
        assert_eq!(dues.take(0, now, false), Some(start + 2 * MS));
        assert_eq!(dues.take(0, now, false), None);
        assert_eq!((dues.waiting(), dues.late.max()), (1, 10_000.0));
    }

    #[test]
    fn a_full_socket_does_not_count_as_the_generators_delay() {
        let start = Instant::now();
        let (mut schedule, mut dues) = (Schedule::new(start, 1000), DueMessages::new(1));
        dues.fill(&mut schedule, start);
        assert_eq!(dues.take(0, start + 50 * MS, true), Some(start));
        assert_eq!(dues.late.max(), 0.0);
    }

    #[test]
    fn messages_due_before_a_stop_are_still_sent() {
        let start = Instant::now();
        let (mut schedule, mut dues) = (Schedule::new(start, 1000), DueMessages::new(1));
        dues.fill(&mut schedule, start + MS);
        dues.stop();
        dues.fill(&mut schedule, start + 9 * MS);
        assert_eq!(dues.waiting(), 2);
    }

    #[tokio::test]
    async fn the_timer_waits_until_the_due_time() {
        let timer = Timer::new().unwrap();
        for wait in [MS * 3, Duration::ZERO] {
            let until = Instant::now() + wait;
            timer.wait(until).await.unwrap();
            assert!(Instant::now() >= until);
        }
    }
}
