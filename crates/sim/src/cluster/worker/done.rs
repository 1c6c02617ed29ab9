//! What a gateway is told of events: that they are done, when all that their handlers said is written.

use std::collections::BTreeMap;

use gatewayworker_businessworker::internals::{Epoch, Phase, Tell};
use gatewayworker_protocol::{ClientId, Command, EventCounts};

use super::Worker;
use crate::cluster::observer::Observer;
use crate::cluster::process_of;
use crate::cluster::timing::LINK_TIMEOUT_MS;
use crate::link_buffer::LinkBuffer;
use crate::model::Context;
use crate::network::ProcessId;

/// How late the gateway is told, in ms.
const MOST_LATE_MS: u64 = 5;

/// What a handler has said to other gateways than its client's.
#[derive(Debug, Clone, Default)]
pub(super) struct Said {
    /// The links that have it, and up to which byte.
    written: Vec<(ProcessId, LinkBuffer, u64)>,
    /// Gateways whose links were dead.
    dead: Vec<ProcessId>,
}

impl Said {
    /// Something was said to another gateway, or could not be.
    pub(super) fn note(&mut self, gateway: ProcessId, link: Option<&LinkBuffer>) {
        match link {
            Some(link) => self.written.push((gateway, link.clone(), link.pushed())),
            None => self.dead.push(gateway),
        }
    }
}

/// Marks on links: what is to be written before an event is done.
#[derive(Debug, Default)]
pub(super) struct Marks {
    next: u64,
    open: BTreeMap<u64, Mark>,
}

#[derive(Debug)]
struct Mark {
    said: Said,
    /// When the event is done though a link has died, once one has.
    until_ms: Option<u64>,
}

impl Marks {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }
}

impl Worker {
    /// Notes that an event is done.
    pub(super) fn note_done(
        &mut self,
        id: ClientId,
        epoch: &Epoch,
        said: Option<Said>,
        context: &mut Context<'_>,
    ) {
        if epoch.phase() != Phase::Live {
            return;
        }
        let said = said.unwrap_or_default();
        let is_written = said.written.iter().all(|(_, link, up_to)| link.written() >= *up_to);
        let hold = (!is_written || !said.dead.is_empty()).then(|| {
            self.marks.next += 1;
            self.marks.open.insert(self.marks.next, Mark { said, until_ms: None });
            self.marks.next
        });
        let gateway = process_of(id.gateway());
        match epoch.done().push(id.connection_id(), hold) {
            Tell::Now => self.tell_done(gateway, context),
            Tell::Soon | Tell::Attended => self.plan_done(gateway, context),
        }
    }

    /// Plans to tell a gateway what is done.
    pub(super) fn plan_done(&mut self, gateway: ProcessId, context: &mut Context<'_>) {
        let at_ms = context.now_ms + context.rng.below(MOST_LATE_MS + 1);
        self.tell_done_at_ms[gateway].get_or_insert(at_ms);
    }

    /// Tells a gateway what is done.
    pub(super) fn tell_done(&mut self, gateway: ProcessId, context: &mut Context<'_>) {
        self.tell_done_at_ms[gateway] = None;
        let Some(epoch) = self.events[gateway].epoch().filter(|epoch| epoch.phase() == Phase::Live) else {
            return;
        };
        let mut counts = Vec::new();
        epoch.done().take(|done| counts.extend_from_slice(done));
        if counts.is_empty() {
            return;
        }
        let counts = EventCounts(counts);
        context.note(|| format!("tells gateway {gateway} that {counts:08x?} are done"));
        // Where the link has failed, the epoch ends, and the events come again.
        let _ = self.calls[gateway].tell(Command::Done { epoch: epoch.number(), counts });
        self.calls[gateway].connection.iter().for_each(|connection| connection.writer.flush());
    }

    /// Looks which events need not be held any more.
    pub(super) fn release_done(&mut self, observer: &Observer, context: &mut Context<'_>) {
        let now_ms = context.now_ms;
        let is_back = |gateway: ProcessId, calls: &[super::links::Calls]| {
            calls[gateway].core.connection().is_ok() || observer.registers.is_absent(gateway, now_ms)
        };
        for mark in self.marks.open.values_mut() {
            let lost = mark
                .said
                .written
                .extract_if(.., |(_, link, up_to)| link.written() < *up_to && link.is_let_go());
            mark.said.dead.extend(lost.map(|(gateway, ..)| gateway));
            if !mark.said.dead.is_empty() {
                mark.until_ms.get_or_insert(now_ms + 2 * LINK_TIMEOUT_MS);
            }
        }
        let calls = &self.calls;
        self.marks.open.retain(|_, mark| {
            let is_written = mark.said.written.iter().all(|(_, link, up_to)| link.written() >= *up_to);
            let are_back = mark.said.dead.iter().all(|gateway| is_back(*gateway, calls));
            !(is_written && are_back || mark.until_ms.is_some_and(|until_ms| until_ms <= now_ms))
        });
        let (open, mut ready) = (&self.marks.open, Vec::new());
        let held = self.pairings.live().filter(|epoch| epoch.done().has_held());
        let held: Vec<_> = held.cloned().collect();
        for epoch in held {
            epoch.done().release(|mark| !open.contains_key(&mark));
            ready.push(process_of(epoch.gateway()));
        }
        for gateway in ready {
            self.plan_done(gateway, context);
        }
    }
}
