//! Whether the peer of a link is alive, by when it was last heard.
//!
//! Plain data: the time is an argument, in milliseconds of any clock that the caller keeps to. Each of
//! a worker's two links has a [`Liveness`] of its own, as a network may swallow what comes on one of
//! them and not on the other. `link::keepalive` has the sockets and the timer. It must try to read
//! after the deadline and before it asks [`is_over`](Liveness::is_over): what came while this
//! process was held up counts.

/// How often both ends of a link ping, and how long one counts as alive that is not heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkTiming {
    /// `link_ping_interval_ms`.
    pub ping_interval_ms: u64,
    /// `link_timeout_ms`: twice the interval at least.
    pub timeout_ms: u64,
}

/// Whether a peer is alive.
#[derive(Debug, Clone, Copy)]
pub struct Liveness {
    timing: LinkTiming,
    heard_ms: u64,
    /// The peer is over when it is not heard until then.
    deadline_ms: u64,
}

impl Liveness {
    /// The liveness of a peer that is heard now.
    pub fn new(timing: LinkTiming, now_ms: u64) -> Self {
        Self { timing, heard_ms: now_ms, deadline_ms: now_ms.saturating_add(timing.timeout_ms) }
    }

    /// Notes that something has come from the peer.
    pub fn heard(&mut self, now_ms: u64) {
        *self = Self::new(self.timing, now_ms);
    }

    /// When to try to read once more, and then to ask [`is_over`](Self::is_over).
    pub fn deadline_ms(&self) -> u64 {
        self.deadline_ms
    }

    /// Returns how long the peer has not been heard, in milliseconds.
    pub fn silent_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.heard_ms)
    }

    /// Returns whether the peer is to be given up, though a read after the deadline has found nothing.
    ///
    /// Where the caller comes later than a ping interval after the deadline, this process, or its host
    /// with all that is on it, was held up. Then the silence says nothing about the peer, and it gets
    /// the time of two more pings.
    pub fn is_over(&mut self, now_ms: u64) -> bool {
        if now_ms < self.deadline_ms {
            return false;
        }
        let late_ms = now_ms - self.deadline_ms;
        if late_ms > self.timing.ping_interval_ms {
            self.deadline_ms = now_ms.saturating_add(2 * self.timing.ping_interval_ms);
            return false;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: LinkTiming = LinkTiming { ping_interval_ms: 2500, timeout_ms: 10_000 };

    #[test]
    fn a_peer_is_over_when_it_was_not_heard_for_the_timeout() {
        let mut peer = Liveness::new(TIMING, 1000);
        assert_eq!(peer.deadline_ms(), 11_000);
        assert!(!peer.is_over(10_999));
        assert!(peer.is_over(11_000));
        assert_eq!(peer.silent_ms(11_000), 10_000);
    }

    #[test]
    fn a_peer_that_is_heard_has_the_whole_timeout_again() {
        let mut peer = Liveness::new(TIMING, 0);
        peer.heard(9999);
        assert!(!peer.is_over(10_000));
        assert_eq!(peer.deadline_ms(), 19_999);
        assert!(peer.is_over(19_999));
    }

    #[test]
    fn the_delay_of_this_process_is_not_held_against_the_peer() {
        let mut peer = Liveness::new(TIMING, 0);
        // This process slept for a minute.
        assert!(!peer.is_over(60_000));
        assert_eq!(peer.deadline_ms(), 65_000);
        assert!(!peer.is_over(64_999));
        assert!(peer.is_over(65_000), "a peer that stays silent");
        assert_eq!(peer.silent_ms(65_000), 65_000);
    }
}
