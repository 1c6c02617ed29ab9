//! What becomes of an event after a try: plain data, the time is not looked at.
//!
//! `request` makes a [`Received`] of each try; [`Received::judge`] says what it means, and [`Tries`] whether the event is
//! sent again.

use std::time::Duration;

use bytes::Bytes;
use gatewayworker_net::Backoff;

use crate::answer::Answer;

/// The longest pause before an event is sent again.
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// How often an event may find its backend away while the backend answers others between: then the event itself is taken
/// to end the backend. One that waits through a deploy does not come near: a backend that is away answers nobody.
const MAX_AWAYS_AMONG_ANSWERS: u32 = 20;

/// What came of a request.
#[derive(Debug)]
pub(crate) enum Received {
    /// A whole answer, with how long the backend wants to be left alone.
    Answer { status: u16, retry_after: Duration, body: Bytes },
    /// No connection: refused, no such host, no TLS.
    Unreachable(String),
    /// The connection ended before an answer.
    Reset(String),
    /// The answer did not come within the time limit, or not to its end.
    TimedOut,
    /// The connection ended within the answer.
    Cut(String),
    /// The body of the answer is longer than it may be.
    TooLarge,
    /// What came is not HTTP.
    NotHttp(String),
}

/// What an answer, or none, means for its event.
#[derive(Debug)]
pub(crate) enum Meaning {
    /// The event is done, and this is to be done for it.
    Answered(Answer),
    /// The backend is away: the event waits. No request is to come before `retry_after` is over.
    Away { why: String, retry_after: Duration },
    /// The connection has ended without an answer: kept ones do that, and a backend that ends.
    Reset(String),
    /// The event is sent again, if it may; not before `retry_after` is over.
    Again { why: String, retry_after: Duration },
    /// It makes no sense to send it again.
    Failed(String),
}

/// How many ways a request ends, each with its name in the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answered,
    Away,
    Error,
    TimedOut,
    Rejected,
    Invalid,
}

impl Outcome {
    pub(crate) const ALL: [(Self, &'static str); 6] = [
        (Self::Answered, "answered"),
        (Self::Away, "away"),
        (Self::Error, "error"),
        (Self::TimedOut, "timed_out"),
        (Self::Rejected, "rejected"),
        (Self::Invalid, "invalid"),
    ];
}

impl Received {
    /// Returns what it means for an event of `client_id`. An answer may have `max_calls` calls.
    pub(crate) fn judge(self, max_calls: usize, client_id: &str) -> (Outcome, Meaning) {
        let again = |why: String| Meaning::Again { why, retry_after: Duration::ZERO };
        match self {
            Self::Answer { status: 200..=299, body, .. } => match Answer::read(&body, max_calls, client_id) {
                Ok(answer) => (Outcome::Answered, Meaning::Answered(answer)),
                Err(error) => (Outcome::Invalid, Meaning::Failed(error.to_string())),
            },
            Self::Answer { status: status @ 502..=504, retry_after, .. } => {
                (Outcome::Away, Meaning::Away { why: format!("status {status}"), retry_after })
            }
            Self::Answer { status: 429, retry_after, .. } => {
                (Outcome::Error, Meaning::Again { why: "status 429".into(), retry_after })
            }
            Self::Answer { status: status @ 500.., .. } => {
                (Outcome::Error, again(format!("status {status}")))
            }
            Self::Answer { status: status @ 300..=399, .. } => (
                Outcome::Rejected,
                Meaning::Failed(format!(
                    "status {status}: redirects are not followed, write its target into events.url"
                )),
            ),
            Self::Answer { status, .. } => (Outcome::Rejected, Meaning::Failed(format!("status {status}"))),
            Self::Unreachable(why) => (Outcome::Away, Meaning::Away { why, retry_after: Duration::ZERO }),
            Self::Reset(why) => (Outcome::Away, Meaning::Reset(why)),
            Self::TimedOut => (Outcome::TimedOut, again("no whole answer within events.timeout_ms".into())),
            Self::Cut(why) => (Outcome::Error, again(format!("the answer was cut off: {why}"))),
            Self::TooLarge => {
                let why = "the answer is longer than events.max_response_bytes".to_owned();
                (Outcome::Invalid, Meaning::Failed(why))
            }
            Self::NotHttp(why) => {
                (Outcome::Invalid, Meaning::Failed(format!("the answer is not HTTP: {why}")))
            }
        }
    }
}

impl Meaning {
    /// Returns what was wrong; `None` where the event is done.
    pub(crate) fn why(&self) -> Option<&str> {
        match self {
            Self::Answered(_) => None,
            Self::Reset(why) | Self::Failed(why) | Self::Away { why, .. } | Self::Again { why, .. } => {
                Some(why)
            }
        }
    }

    /// Returns how long the backend wants to be left alone.
    pub(crate) fn retry_after(&self) -> Duration {
        match self {
            Self::Away { retry_after, .. } | Self::Again { retry_after, .. } => *retry_after,
            Self::Answered(_) | Self::Reset(_) | Self::Failed(_) => Duration::ZERO,
        }
    }
}

/// The tries of one event.
#[derive(Debug)]
pub(crate) struct Tries {
    /// The number of the try that is made now, from 1.
    number: u32,
    max: u32,
    /// The pauses behind tries.
    pauses: Backoff,
    /// The pauses of an event that a busy backend turns away.
    busy_pauses: Backoff,
    had_reset: bool,
    /// How many requests the backends had answered when this event last found one away.
    answers_at_away: Option<u64>,
    aways_among_answers: u32,
}

/// What an event does after a try.
#[derive(Debug)]
pub(crate) enum Next {
    /// It is done.
    Done(Answer),
    /// It is sent again after a pause.
    Pause { ms: u64 },
    /// It is sent again when a backend is there; this one is away.
    Wait,
    /// It is sent again at once: a kept connection has ended under it.
    AtOnce,
    /// It has failed.
    Fail(String),
}

impl Next {
    fn pause(pause: Duration) -> Self {
        Self::Pause { ms: pause.as_millis() as u64 }
    }
}

impl Tries {
    /// An event that may be sent `max` times.
    pub(crate) fn new(max: u32, retry_delay_ms: u64) -> Self {
        let first = Duration::from_millis(retry_delay_ms);
        let pauses = Backoff::new(first, LONGEST_DELAY.max(first));
        Self {
            number: 1,
            max,
            busy_pauses: pauses.clone(),
            pauses,
            had_reset: false,
            answers_at_away: None,
            aways_among_answers: 0,
        }
    }

    /// Returns the number of the try, from 1. Tries that found the backend away do not count.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Returns what the event does now. The backends have answered `answers` requests by now; `jitter` from 0.0 to 1.0
    /// spreads the pauses.
    pub(crate) fn next(&mut self, meaning: Meaning, answers: u64, jitter: f64) -> Next {
        match meaning {
            Meaning::Answered(answer) => Next::Done(answer),
            Meaning::Failed(why) => Next::Fail(why),
            Meaning::Reset(_) if !std::mem::replace(&mut self.had_reset, true) => Next::AtOnce,
            Meaning::Reset(ref why) | Meaning::Away { ref why, .. } => {
                let before = self.answers_at_away.replace(answers);
                self.aways_among_answers += u32::from(before.is_some_and(|before| before < answers));
                if self.aways_among_answers >= MAX_AWAYS_AMONG_ANSWERS {
                    return Next::Fail(format!(
                        "the backend answers other events and not this one, {MAX_AWAYS_AMONG_ANSWERS} times: {why}"
                    ));
                }
                match (&meaning, self.aways_among_answers) {
                    // A backend that answers some and turns others away is busy: it is not asked again at once.
                    (Meaning::Away { retry_after, .. }, 1..) => {
                        Next::pause(self.busy_pauses.next_wait_at(jitter).max(*retry_after))
                    }
                    _ => Next::Wait,
                }
            }
            Meaning::Again { why, .. } if self.number >= self.max => {
                Next::Fail(format!("{why}, the last of events.max_deliveries = {} tries", self.max))
            }
            Meaning::Again { retry_after, .. } => {
                self.number += 1;
                Next::pause(self.pauses.next_wait_at(jitter).max(retry_after))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16) -> Received {
        status_after(status, 0)
    }

    fn status_after(status: u16, retry_after_s: u64) -> Received {
        Received::Answer { status, retry_after: Duration::from_secs(retry_after_s), body: Bytes::new() }
    }

    fn meaning(received: Received) -> Meaning {
        received.judge(100, "7f00000108fc00000001").1
    }

    #[test]
    fn each_status_has_its_meaning() {
        for done in [200, 201, 204] {
            assert!(matches!(meaning(status(done)), Meaning::Answered(_)), "{done}");
        }
        for away in [502, 503, 504] {
            assert!(matches!(meaning(status(away)), Meaning::Away { .. }), "{away}");
        }
        for again in [429, 500, 501, 505, 599] {
            assert!(matches!(meaning(status(again)), Meaning::Again { .. }), "{again}");
        }
        for failed in [301, 302, 307, 308, 400, 401, 403, 404, 413, 422] {
            assert!(matches!(meaning(status(failed)), Meaning::Failed(_)), "{failed}");
        }
    }

    #[test]
    fn an_answer_that_makes_no_sense_is_not_asked_for_again() {
        let body = Bytes::from_static(b"<html>");
        let garbage = Received::Answer { status: 200, retry_after: Duration::ZERO, body };
        for received in [garbage, Received::TooLarge, Received::NotHttp("junk".into())] {
            assert!(matches!(
                received.judge(100, "7f00000108fc00000001"),
                (Outcome::Invalid, Meaning::Failed(_))
            ));
        }
    }

    #[test]
    fn an_event_is_sent_again_with_growing_pauses_until_it_was_sent_often_enough() {
        let mut tries = Tries::new(5, 200);
        let mut pauses = Vec::new();
        let failed = loop {
            match tries.next(meaning(status(500)), 0, 1.0) {
                Next::Pause { ms } => pauses.push(ms),
                Next::Fail(why) => break why,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!((pauses, tries.number()), (vec![200, 400, 800, 1_600], 5));
        assert!(failed.starts_with("status 500, the last of"), "{failed}");
        let mut tries = Tries::new(u32::MAX, 200);
        let pauses: Vec<_> = (0..40)
            .map(|_| match tries.next(meaning(Received::TimedOut), 0, 0.0) {
                Next::Pause { ms } => ms,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            (pauses.iter().max(), pauses.iter().min()),
            (Some(&2_500), Some(&100)),
            "half of it, up to 5 seconds"
        );
    }

    #[test]
    fn a_backend_says_when_it_wants_the_event_again() {
        let pause = |retry_after_s| match Tries::new(5, 200).next(
            meaning(status_after(429, retry_after_s)),
            0,
            1.0,
        ) {
            Next::Pause { ms } => ms,
            other => panic!("{other:?}"),
        };
        assert_eq!((pause(0), pause(7)), (200, 7_000));
    }

    #[test]
    fn a_busy_backend_says_when_it_wants_the_event_again() {
        let mut tries = Tries::new(5, 200);
        let mut next = |answers| tries.next(meaning(status_after(503, 7)), answers, 1.0);
        // The backend is away for all: `backends` waits so long.
        assert!(matches!(next(0), Next::Wait));
        // It answers others.
        assert!(matches!(next(1), Next::Pause { ms: 7_000 }));
    }

    #[test]
    fn while_the_backend_is_away_nothing_counts_as_a_try() {
        let mut tries = Tries::new(2, 200);
        for _ in 0..1_000 {
            assert!(matches!(tries.next(meaning(status(503)), 7, 1.0), Next::Wait));
        }
        assert_eq!(tries.number(), 1);
    }

    #[test]
    fn an_event_that_is_turned_away_while_others_are_answered_comes_again_after_longer_and_longer_pauses() {
        let mut tries = Tries::new(2, 200);
        let mut next = |answers| match tries.next(meaning(status(503)), answers, 1.0) {
            Next::Wait => 0,
            Next::Pause { ms } => ms,
            other => panic!("{other:?}"),
        };
        let pauses: Vec<_> = (0..8).map(&mut next).collect();
        assert_eq!(pauses, [0, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
    }

    #[test]
    fn the_first_connection_that_ends_without_an_answer_does_not_mean_that_the_backend_is_away() {
        let mut tries = Tries::new(5, 200);
        assert!(matches!(tries.next(meaning(Received::Reset("reset".into())), 0, 1.0), Next::AtOnce));
        assert!(matches!(tries.next(meaning(Received::Reset("reset".into())), 0, 1.0), Next::Wait));
    }

    #[test]
    fn an_event_that_ends_the_backend_each_time_fails_at_last() {
        let mut tries = Tries::new(5, 200);
        let ended = (0..100).position(|n| {
            // Between, the backend has answered others.
            matches!(tries.next(meaning(Received::Unreachable("refused".into())), n, 1.0), Next::Fail(_))
        });
        assert_eq!(ended, Some(20));
    }
}
