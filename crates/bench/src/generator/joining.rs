//! The job that lets each client join a group of its neighbours. Plain data.
//!
//! A client counts as a member when the echo that it sent behind its join has come back.

use std::time::Duration;

use super::job::{Action, Job, frames};
use super::protocol::Outcome;

/// The name of a group: process `generator` has group 0, 1 and so on.
pub(super) fn group_name(generator: u32, group: u32) -> String {
    format!("g{generator}.{group}")
}

/// Clients that join.
pub(super) struct Joining {
    generator: u32,
    clients: u32,
    size: u32,
    at_once: u32,
    begun: u32,
    joined: u32,
}

impl Joining {
    /// Clients 0 to `clients` join groups of `size`, `at_once` at the same time.
    pub(super) fn new(generator: u32, clients: u32, size: u32, at_once: u32) -> Self {
        Joining { generator, clients, size, at_once, begun: 0, joined: 0 }
    }
}

impl Job for Joining {
    fn tick(&mut self, _: Duration, actions: &mut Vec<Action>) -> Result<(), String> {
        while self.begun < self.clients.min(self.joined + self.at_once) {
            let client = self.begun;
            let name = group_name(self.generator, client / self.size);
            actions.push(Action::Send { client, frames: frames(&[&format!("J{name} "), "E"]) });
            self.begun += 1;
        }
        Ok(())
    }

    fn on_message(&mut self, _: u32, payload: &[u8], _: Duration, _: &mut Vec<Action>) {
        if payload == b"E" {
            self.joined += 1;
        }
    }

    fn next_deadline(&self) -> Option<Duration> {
        None
    }

    fn progress(&self) -> u64 {
        self.joined.into()
    }

    fn outcome(&mut self) -> Option<Outcome> {
        let outcome = || Outcome { count: self.joined.into(), ..Outcome::new() };
        (self.joined == self.clients).then(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_join_one_group_some_at_a_time() {
        let mut job = Joining::new(7, 3, 2, 2);
        let mut actions = Vec::new();
        job.tick(Duration::ZERO, &mut actions).unwrap();
        let join = |client, name| Action::Send { client, frames: frames(&[name, "E"]) };
        assert_eq!(actions, [join(0, "Jg7.0 "), join(1, "Jg7.0 ")]);
        actions.clear();
        job.on_message(1, b"E", Duration::ZERO, &mut actions);
        job.tick(Duration::ZERO, &mut actions).unwrap();
        assert_eq!(actions, [join(2, "Jg7.1 ")]);
        assert!(job.outcome().is_none());
        for client in [0, 2] {
            job.on_message(client, b"E", Duration::ZERO, &mut actions);
        }
        assert_eq!(job.outcome().unwrap().count, 3);
    }
}
