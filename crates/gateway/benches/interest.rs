//! What a gateway does for a join: holding its name, announcing a new one, and taking the answers of subscribers.

#![allow(missing_docs)]

use gatewayworker_gateway::internals::{Interest, InterestEffect, InterestSettings, SubscriberId};
use gatewayworker_microbench::Suite;
use gatewayworker_protocol::interest::{InterestReport, InterestUpdate, Name};

/// Names that a filter has room for: it is made anew after so many.
const ROOM: usize = 1_000_000;

/// Each join is so much later than the one before, in ms: none waits for the next announcement.
const STEP_MS: u64 = 3;

fn main() {
    let mut suite = Suite::default();
    let mut known = Joins::new(1);
    let name = known.next_name();
    known.join(name);
    suite.add("join/known name", move || known.join(name));
    for (case, subscribers) in [
        ("join/new name, no subscriber", 0),
        ("join/new name, 1 subscriber", 1),
        ("join/new name, 20 subscribers", 20),
    ] {
        let mut joins = Joins::new(subscribers);
        suite.add(case, move || {
            let name = joins.next_name();
            joins.join(name);
        });
    }
    suite.measure();
}

/// A gateway's interest, and subscribers that answer at once.
struct Joins {
    interest: Interest,
    subscribers: Vec<SubscriberId>,
    now_ms: u64,
    number: u64,
}

impl Joins {
    fn new(subscribers: usize) -> Self {
        let mut interest = Interest::new(InterestSettings::default(), 0);
        let subscribers = (0..subscribers).map(|_| interest.subscribe(0)).collect();
        let mut joins = Self { interest, subscribers, now_ms: 0, number: 0 };
        joins.make_room();
        joins
    }

    fn next_name(&mut self) -> Name {
        self.number += 1;
        if (self.number as usize).is_multiple_of(ROOM) {
            self.make_room();
        }
        Name::uid(&self.number.to_le_bytes())
    }

    fn make_room(&mut self) {
        self.interest.begin_remake(ROOM);
        self.interest.finish_remake(self.now_ms);
        self.answer();
        self.renew();
    }

    fn renew(&mut self) {
        for id in self.subscribers.clone() {
            self.interest.receive(id, InterestReport::Renew(self.now_ms), self.now_ms);
        }
        self.answer();
    }

    /// Does what a link does with one join.
    fn join(&mut self, name: Name) {
        self.now_ms += STEP_MS;
        // Each second, as subscribers do.
        if self.now_ms.is_multiple_of(999) {
            self.renew();
        }
        let hold = self.interest.hold(vec![name], self.now_ms);
        self.answer();
        assert!(self.interest.is_settled(hold));
        self.interest.release(hold);
    }

    /// Lets each subscriber apply what it is told.
    fn answer(&mut self) {
        while let Some(effect) = self.interest.next_effect() {
            let InterestEffect::Tell(id, update) = effect else { continue };
            let applied = match update {
                InterestUpdate::Names { version, .. } => version,
                InterestUpdate::Filter(piece)
                    if piece.offset as usize + piece.bits.len() == piece.len as usize =>
                {
                    piece.version
                }
                InterestUpdate::Filter(_) | InterestUpdate::Grant { .. } => continue,
            };
            self.interest.receive(id, InterestReport::Applied(applied), self.now_ms);
        }
    }
}
