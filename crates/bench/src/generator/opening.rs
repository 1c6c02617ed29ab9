//! The job that opens clients: some at the same time and for good, or at a rate, each closed again when it is greeted.
//!
//! Plain data. A client counts as open when its greeting is there, and its time counts from when it was due.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::job::{Action, Job};
use super::protocol::Outcome;

/// How long one client may take, from when it is due to its greeting.
const OPEN_LIMIT: Duration = Duration::from_secs(20);

/// By how much the poll may wake late. That is the generator's own delay, and counts for no client.
const GRAIN: Duration = Duration::from_millis(2);

/// The most clients that are there at the same time, of those that leave again.
const MOST_PASSING: u32 = 500;

/// Clients that open.
pub(super) struct Opening {
    pace: Pace,
    /// How many clients open in all.
    total: u32,
    begun: u32,
    /// Places of clients that are not in use, for those that leave again.
    free: Vec<u32>,
    /// Clients that open, with the time when each was due.
    opening: BTreeMap<u32, Duration>,
    /// Clients that leave.
    closing: BTreeSet<u32>,
    outcome: Outcome,
}

/// When the next client opens.
enum Pace {
    /// When fewer than so many are opening.
    AtOnce(u32),
    /// Evenly, so many a second from `start` on. All leave again.
    Rate { start: Duration, per_second: f64 },
}

impl Opening {
    /// Opens clients 0 to `total`, for good.
    pub(super) fn all(total: u32, at_once: u32) -> Self {
        Self::new(Pace::AtOnce(at_once), total, Vec::new())
    }

    /// Opens clients evenly for `time`, in places from `first` on. Each leaves when it is open.
    pub(super) fn passing(first: u32, per_second: f64, time: Duration, start: Duration) -> Self {
        let total = (per_second * time.as_secs_f64()).round() as u32;
        Self::new(Pace::Rate { start, per_second }, total, (first..first + MOST_PASSING).rev().collect())
    }

    fn new(pace: Pace, total: u32, free: Vec<u32>) -> Self {
        let (opening, closing) = (BTreeMap::new(), BTreeSet::new());
        Opening { pace, total, begun: 0, free, opening, closing, outcome: Outcome::new() }
    }

    /// When client number `nth` is due.
    fn due(&self, nth: u32, now: Duration) -> Duration {
        match self.pace {
            Pace::AtOnce(_) => now,
            Pace::Rate { start, per_second } => start + Duration::from_secs_f64(f64::from(nth) / per_second),
        }
    }

    /// The place of the next client, if one may open now.
    fn place(&mut self) -> Option<u32> {
        match self.pace {
            Pace::AtOnce(most) => ((self.opening.len() as u32) < most).then_some(self.begun),
            Pace::Rate { .. } => self.free.pop(),
        }
    }

    fn is_passing(&self) -> bool {
        matches!(self.pace, Pace::Rate { .. })
    }
}

impl Job for Opening {
    fn tick(&mut self, now: Duration, actions: &mut Vec<Action>) -> Result<(), String> {
        if self.opening.values().any(|due| now.saturating_sub(*due) > OPEN_LIMIT) {
            return Err(format!("time: a client was not greeted within {} s", OPEN_LIMIT.as_secs()));
        }
        while self.begun < self.total && self.due(self.begun, now) <= now {
            let due = self.due(self.begun, now);
            let Some(client) = self.place() else { break };
            self.begun += 1;
            let late = now.saturating_sub(due);
            self.opening.insert(client, if late < GRAIN { now } else { due });
            actions.push(Action::Open { client, passing: self.is_passing() });
        }
        Ok(())
    }

    fn on_message(&mut self, client: u32, payload: &[u8], now: Duration, actions: &mut Vec<Action>) {
        if !payload.starts_with(b"{") {
            return;
        }
        let Some(due) = self.opening.remove(&client) else { return };
        self.outcome.times.record(now.saturating_sub(due));
        self.outcome.count += 1;
        if self.is_passing() {
            self.closing.insert(client);
            actions.push(Action::Close { client });
        }
    }

    fn on_ended(&mut self, client: u32) -> bool {
        let left = self.closing.remove(&client);
        if left {
            self.free.push(client);
        }
        left
    }

    fn next_deadline(&self) -> Option<Duration> {
        let next = self.due(self.begun, Duration::MAX);
        (self.is_passing() && self.begun < self.total && !self.free.is_empty()).then_some(next)
    }

    fn progress(&self) -> u64 {
        self.outcome.count
    }

    fn outcome(&mut self) -> Option<Outcome> {
        let done = self.outcome.count >= u64::from(self.total) && self.closing.is_empty();
        done.then(|| self.outcome.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREETING: &[u8] = br#"{"type":"welcome"}"#;

    fn tick(job: &mut Opening, now: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        job.tick(Duration::from_millis(now), &mut actions).unwrap();
        actions
    }

    fn greet(job: &mut Opening, client: u32, now: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        job.on_message(client, GREETING, Duration::from_millis(now), &mut actions);
        actions
    }

    #[test]
    fn a_client_opens_when_another_is_greeted() {
        let mut job = Opening::all(3, 2);
        let open = |client| Action::Open { client, passing: false };
        assert_eq!(tick(&mut job, 0), [open(0), open(1)]);
        assert_eq!(tick(&mut job, 1), []);
        assert_eq!(greet(&mut job, 1, 5), []);
        assert_eq!(tick(&mut job, 5), [open(2)]);
        assert!(job.outcome().is_none());
        greet(&mut job, 0, 6);
        greet(&mut job, 2, 7);
        let outcome = job.outcome().unwrap();
        assert_eq!((outcome.count, outcome.times.max()), (3, 6000.0));
    }

    #[test]
    fn passing_clients_are_due_evenly_and_leave() {
        let mut job = Opening::passing(100, 2.0, Duration::from_secs(1), Duration::ZERO);
        let open = |client| Action::Open { client, passing: true };
        assert_eq!(tick(&mut job, 0), [open(100)]);
        assert_eq!(job.next_deadline(), Some(Duration::from_millis(500)));
        assert_eq!(greet(&mut job, 100, 3), [Action::Close { client: 100 }]);
        assert!(job.on_ended(100) && !job.on_ended(100));
        assert_eq!(tick(&mut job, 900), [open(100)], "the place is used again");
        greet(&mut job, 100, 900);
        assert!(job.outcome().is_none(), "one has not left yet");
        job.on_ended(100);
        assert_eq!(job.outcome().unwrap().times.max(), 400_000.0, "its time counts from when it was due");
    }

    #[test]
    fn a_client_that_is_not_greeted_stops_the_job() {
        let mut job = Opening::all(1, 1);
        tick(&mut job, 0);
        let late = job.tick(Duration::from_secs(21), &mut Vec::new()).unwrap_err();
        assert!(late.starts_with("time: "), "{late}");
    }
}
