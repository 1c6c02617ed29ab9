//! The job that waits until each client of this process has a broadcast, which one process sends. Plain data.
//!
//! The message has the time of its sending, by the clock that all processes share, so that each delivery has a time.

use std::time::Duration;

use super::job::{Action, Job, frames, number_after};
use super::protocol::Outcome;

/// How long the job waits for a delivery after the last one, before it counts the rest as lost.
const LIMIT: Duration = Duration::from_secs(50);

/// A broadcast that is expected.
pub(super) struct Broadcast {
    head: Vec<u8>,
    /// Whether each client has it.
    received: Vec<bool>,
    last_delivery: Duration,
    given_up: bool,
    outcome: Outcome,
}

impl Broadcast {
    /// Broadcast `number` to clients 0 to `clients`.
    pub(super) fn expect(number: u32, clients: u32, now: Duration) -> Self {
        let received = vec![false; clients as usize];
        Broadcast {
            head: head(number).into(),
            received,
            last_delivery: now,
            given_up: false,
            outcome: Outcome::new(),
        }
    }
}

/// The frame of broadcast `number`, sent at `now`.
pub(super) fn message(number: u32, bytes: u32, now: Duration) -> Vec<u8> {
    let text = format!("{}{} ", head(number), now.as_nanos());
    frames(&[&format!("{text:x<0$}", bytes as usize)])
}

fn head(number: u32) -> String {
    format!("B{number} ")
}

impl Job for Broadcast {
    fn tick(&mut self, now: Duration, _: &mut Vec<Action>) -> Result<(), String> {
        if now.saturating_sub(self.last_delivery) > LIMIT {
            self.given_up = true;
            self.outcome.missing += self.received.iter().filter(|received| !**received).count() as u64;
            self.received.fill(true);
        }
        Ok(())
    }

    fn on_message(&mut self, client: u32, payload: &[u8], now: Duration, _: &mut Vec<Action>) {
        if payload.first() != Some(&b'B') {
            return;
        }
        let sent = number_after(payload, &self.head).map(Duration::from_nanos);
        match (sent, self.received.get_mut(client as usize)) {
            (Some(sent), Some(received @ false)) => {
                *received = true;
                self.last_delivery = now;
                self.outcome.deliveries += 1;
                self.outcome.times.record(now.saturating_sub(sent));
            }
            _ => self.outcome.unexpected += 1,
        }
    }

    fn next_deadline(&self) -> Option<Duration> {
        Some(self.last_delivery + LIMIT)
    }

    fn progress(&self) -> u64 {
        self.outcome.deliveries
    }

    fn outcome(&mut self) -> Option<Outcome> {
        let done = self.given_up || self.outcome.deliveries == self.received.len() as u64;
        done.then(|| self.outcome.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deliver(job: &mut Broadcast, client: u32, text: &str, nanos: u64) {
        job.on_message(client, text.as_bytes(), Duration::from_nanos(nanos), &mut Vec::new());
    }

    #[test]
    fn a_broadcast_is_done_when_each_client_has_it_once() {
        let mut job = Broadcast::expect(3, 2, Duration::ZERO);
        deliver(&mut job, 0, "B3 1000 xx", 3000);
        deliver(&mut job, 0, "B3 1000 xx", 3000);
        deliver(&mut job, 1, "B2 1000 xx", 3000);
        assert!(job.outcome().is_none());
        assert_eq!(job.outcome.unexpected, 2, "one is there twice, and one is of an older broadcast");
        deliver(&mut job, 1, "B3 1000 xx", 6000);
        let outcome = job.outcome().unwrap();
        assert_eq!((outcome.deliveries, outcome.times.max()), (2, 5.0));
    }

    #[test]
    fn what_does_not_arrive_is_counted_as_lost() {
        let mut job = Broadcast::expect(1, 3, Duration::ZERO);
        deliver(&mut job, 2, "B1 0 xx", 10);
        job.tick(LIMIT, &mut Vec::new()).unwrap();
        assert!(job.outcome().is_none());
        job.tick(LIMIT + Duration::from_secs(1), &mut Vec::new()).unwrap();
        assert_eq!(job.outcome().unwrap().missing, 2);
    }

    #[test]
    fn a_broadcast_has_its_size_and_its_time() {
        let frame = message(3, 64, Duration::from_nanos(1000));
        assert_eq!(frame.len(), 64 + 6, "with header and mask");
    }
}
