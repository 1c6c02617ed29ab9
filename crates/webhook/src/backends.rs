//! Which backend the next event goes to, and which are away: plain data, the time is an argument.
//!
//! A backend is away when it cannot be reached, or says so (502, 503, 504). Events wait then; one at a time is sent as a
//! probe, with growing pauses, and all go on when a backend answers. `delivery` asks, sends and reports.

use std::time::Duration;

use gatewayworker_net::Backoff;

/// The pause before the first probe. It doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause between two probes, unless the backend says how long it wants to be left alone.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How long the event of a failed probe leaves the next one to others, in milliseconds: it may be the event itself that
/// ends the backend.
const OTHERS_FIRST_MS: u64 = 50;

/// The backends.
#[derive(Debug)]
pub(crate) struct Backends {
    all: Vec<Option<Away>>,
    next: usize,
    answers: u64,
}

/// A backend that is away.
#[derive(Debug, Clone)]
pub(crate) struct Away {
    /// Since when.
    pub(crate) since_ms: u64,
    /// Why, as the last request has said it.
    pub(crate) why: String,
    pauses: Backoff,
    probe_at_ms: u64,
    is_probed: bool,
}

/// What an event does next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// It is sent to this backend.
    Send { backend: usize, is_probe: bool },
    /// All are away: it asks again when something was reported, or at this time.
    Wait { until_ms: Option<u64> },
}

impl Backends {
    pub(crate) fn new(count: usize) -> Self {
        Self { all: vec![None; count], next: 0, answers: 0 }
    }

    /// Chooses a backend at `now_ms`, one after the other. `failed_last` says that the event was sent before, and found its
    /// backend away.
    pub(crate) fn choose(&mut self, now_ms: u64, failed_last: bool) -> Choice {
        let patience_ms = if failed_last { OTHERS_FIRST_MS } else { 0 };
        let count = self.all.len();
        let mut until_ms: Option<u64> = None;
        for backend in (0..count).map(|n| (self.next + n) % count) {
            let is_probe = match &mut self.all[backend] {
                None => false,
                Some(away) if away.is_probed => continue,
                Some(away) => {
                    let at_ms = away.probe_at_ms.saturating_add(patience_ms);
                    if now_ms < at_ms {
                        until_ms = Some(until_ms.map_or(at_ms, |other| other.min(at_ms)));
                        continue;
                    }
                    away.is_probed = true;
                    true
                }
            };
            self.next = backend + 1;
            return Choice::Send { backend, is_probe };
        }
        Choice::Wait { until_ms }
    }

    /// Notes that a backend has answered, whatever it said. Returns since when it was away, if it was.
    pub(crate) fn note_answer(&mut self, backend: usize) -> Option<u64> {
        self.answers += 1;
        self.all[backend].take().map(|away| away.since_ms)
    }

    /// Notes at `now_ms` that a backend is away, and wants to be left alone for `retry_after`; `jitter` from 0.0 to 1.0 spreads
    /// the probes of several workers. Returns whether that is news.
    pub(crate) fn note_away(
        &mut self,
        backend: usize,
        is_probe: bool,
        now_ms: u64,
        jitter: f64,
        retry_after: Duration,
        why: String,
    ) -> bool {
        let pause_ms = |pauses: &mut Backoff| pause_ms(pauses, jitter).max(retry_after.as_millis() as u64);
        match &mut self.all[backend] {
            known @ None => {
                let mut pauses = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
                let probe_at_ms = now_ms + pause_ms(&mut pauses);
                *known = Some(Away { since_ms: now_ms, why, pauses, probe_at_ms, is_probed: false });
                true
            }
            Some(away) => {
                // Requests that were on their way when the first one failed say nothing new.
                if is_probe {
                    away.probe_at_ms = now_ms + pause_ms(&mut away.pauses);
                    away.is_probed = false;
                    away.why = why;
                }
                false
            }
        }
    }

    /// Notes that a probe was given up: nobody knows what it would have found.
    pub(crate) fn note_given_up(&mut self, backend: usize) {
        if let Some(away) = &mut self.all[backend] {
            away.is_probed = false;
        }
    }

    /// Returns how many requests were answered.
    pub(crate) fn answers(&self) -> u64 {
        self.answers
    }

    /// Returns what is away, by the backend's place.
    pub(crate) fn away(&self) -> impl Iterator<Item = (usize, &Away)> {
        self.all.iter().enumerate().filter_map(|(backend, away)| Some((backend, away.as_ref()?)))
    }
}

/// Returns the next pause: from three quarters to the whole.
fn pause_ms(pauses: &mut Backoff, jitter: f64) -> u64 {
    pauses.next_wait_at(0.5 + jitter / 2.0).as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEND: fn(usize) -> Choice = |backend| Choice::Send { backend, is_probe: false };
    const PROBE: fn(usize) -> Choice = |backend| Choice::Send { backend, is_probe: true };

    fn away(backends: &mut Backends, backend: usize, is_probe: bool, now_ms: u64) -> bool {
        away_for(backends, backend, is_probe, now_ms, 0)
    }

    fn away_for(
        backends: &mut Backends,
        backend: usize,
        is_probe: bool,
        now_ms: u64,
        retry_after_s: u64,
    ) -> bool {
        let retry_after = Duration::from_secs(retry_after_s);
        backends.note_away(backend, is_probe, now_ms, 1.0, retry_after, "refused".into())
    }

    #[test]
    fn backends_take_turns() {
        let mut backends = Backends::new(3);
        let chosen: Vec<_> = (0..4).map(|_| backends.choose(0, false)).collect();
        assert_eq!(chosen, [SEND(0), SEND(1), SEND(2), SEND(0)]);
    }

    #[test]
    fn one_that_is_away_is_left_out_but_for_its_probes() {
        let mut backends = Backends::new(2);
        assert!(away(&mut backends, 0, false, 0));
        assert!(!away(&mut backends, 0, false, 1), "it is known already");
        let chosen: Vec<_> = (0..3).map(|_| backends.choose(1, false)).collect();
        assert_eq!(chosen, [SEND(1), SEND(1), SEND(1)]);
        assert_eq!(backends.choose(100, false), PROBE(0));
        assert_eq!(backends.choose(100, false), SEND(1), "one probe at a time");
        assert_eq!(backends.note_answer(0), Some(0));
        assert_eq!([backends.choose(101, false), backends.choose(101, false)], [SEND(0), SEND(1)]);
    }

    #[test]
    fn when_all_are_away_events_wait_for_the_next_probe_and_its_end() {
        let mut backends = Backends::new(1);
        away(&mut backends, 0, false, 1_000);
        assert_eq!(backends.choose(1_000, false), Choice::Wait { until_ms: Some(1_100) });
        assert_eq!(backends.choose(1_100, false), PROBE(0));
        assert_eq!(backends.choose(1_100, false), Choice::Wait { until_ms: None });
        assert!(!away(&mut backends, 0, true, 1_200));
        assert_eq!(backends.choose(1_200, false), Choice::Wait { until_ms: Some(1_400) });
        backends.note_answer(0);
        assert_eq!(backends.choose(1_200, false), SEND(0));
        assert_eq!(backends.away().count(), 0);
    }

    #[test]
    fn pauses_between_probes_double_up_to_two_seconds() {
        let mut backends = Backends::new(1);
        away(&mut backends, 0, false, 0);
        let mut now_ms = 0;
        let mut pauses = Vec::new();
        for _ in 0..7 {
            let Choice::Wait { until_ms: Some(until_ms) } = backends.choose(now_ms, false) else { panic!() };
            pauses.push(until_ms - now_ms);
            now_ms = until_ms;
            assert_eq!(backends.choose(now_ms, false), PROBE(0));
            away(&mut backends, 0, true, now_ms);
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1_600, 2_000, 2_000]);
        let away = backends.all[0].as_mut().unwrap();
        for _ in 0..100 {
            assert_eq!([0.0, 1.0].map(|jitter| pause_ms(&mut away.pauses, jitter)), [1_500, 2_000]);
        }
    }

    #[test]
    fn a_backend_that_says_when_it_is_back_is_not_probed_before() {
        let mut backends = Backends::new(2);
        away_for(&mut backends, 0, false, 0, 7);
        assert_eq!([backends.choose(6_999, false), backends.choose(6_999, false)], [SEND(1), SEND(1)]);
        assert_eq!(backends.choose(7_000, false), PROBE(0));
        away_for(&mut backends, 0, true, 7_000, 1);
        away(&mut backends, 1, false, 7_000);
        assert_eq!(backends.choose(7_000, false), Choice::Wait { until_ms: Some(7_100) }, "the other one");
        assert_eq!(backends.choose(7_100, false), PROBE(1));
        assert_eq!(backends.choose(7_100, false), Choice::Wait { until_ms: Some(8_000) });
    }

    #[test]
    fn the_event_of_a_failed_probe_leaves_the_next_one_to_others() {
        let mut backends = Backends::new(1);
        away(&mut backends, 0, false, 0);
        assert_eq!(backends.choose(100, true), Choice::Wait { until_ms: Some(150) });
        assert_eq!(backends.choose(100, false), PROBE(0));
        backends.note_given_up(0);
        assert_eq!(backends.choose(150, true), PROBE(0), "there was nobody else");
    }
}
