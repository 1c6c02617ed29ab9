//! How a worker stops: it gives back what it has not begun, finishes the rest, and waits for its gateways.

use std::collections::VecDeque;

use gatewayworker_businessworker::internals::{Event, Phase};
use gatewayworker_protocol::{Command, EventCounts};

use super::Worker;
use crate::cluster::address;
use crate::cluster::observer::Observer;
use crate::cluster::timing::DRAIN_TIMEOUT_MS;
use crate::model::Context;
use crate::network::ProcessId;
use crate::violation::Violation;

/// How long it takes until another worker takes the place of one that has drained, in ms.
const REPLACE_MS: u64 = 100;

impl Worker {
    /// Takes no new clients, and ends when it has nothing left to do.
    pub(super) fn drain(
        &mut self,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        if std::mem::replace(&mut self.is_draining, true) {
            return Ok(());
        }
        self.drain_until_ms = Some(context.now_ms + DRAIN_TIMEOUT_MS);
        for gateway in 0..self.events.len() {
            if self.events[gateway].epoch().is_some() {
                self.say_draining(gateway);
            } else if !self.may_connect(gateway) {
                // It is told nothing, as it does not know of this worker.
                self.end_pair(gateway, context);
            }
        }
        self.return_unbegun(observer, context)
    }

    /// Says whether a worker that may drain still wants this gateway: where its events and clients depend on what
    /// has become of it.
    pub(super) fn may_connect(&self, gateway: ProcessId) -> bool {
        let waits = || {
            self.pairings.undecided(address(gateway)).is_some_and(|epoch| {
                let is_its =
                    |event: &Event| event.epoch.as_ref().is_some_and(|of| of.serial() == epoch.serial());
                self.clients.has_clients_of(epoch) || self.held.iter().any(is_its)
            })
        };
        !self.is_draining || waits()
    }

    pub(super) fn say_draining(&mut self, gateway: ProcessId) {
        let events = &self.events[gateway];
        if let (Some(command), Some(connection)) = (events.link.drain(), &events.connection) {
            let _ = connection.writer.push(|out| command.encode(out));
            connection.writer.flush();
        }
    }

    /// Gives back the events that have not begun.
    pub(super) fn return_unbegun(
        &mut self,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        if !self.is_draining || self.has_ended {
            return Ok(());
        }
        for gateway in 0..self.events.len() {
            let Some(epoch) = self.events[gateway].epoch().cloned() else { continue };
            if epoch.phase() != Phase::Live {
                continue;
            }
            let counts = self.clients.return_unbegun(&epoch);
            self.tell_return(gateway, counts, context);
            let is_its = |event: &Event| event.epoch.as_ref().is_some_and(|of| of.serial() == epoch.serial());
            let mut unbegun: Vec<Event> = self.held.extract_if(.., |event| is_its(event)).collect();
            let (its, others): (VecDeque<Event>, _) =
                std::mem::take(&mut self.started).into_iter().partition(is_its);
            self.started = others;
            unbegun.extend(its);
            for event in unbegun {
                let (counts, next) = self.clients.return_started(event, &epoch);
                self.tell_return(gateway, counts, context);
                self.go_on(next, observer, context)?;
            }
            self.take_events(gateway, observer, context)?;
        }
        Ok(())
    }

    /// Tells a gateway that events are given back.
    pub(super) fn tell_return(&mut self, gateway: ProcessId, counts: EventCounts, context: &mut Context<'_>) {
        if counts.0.is_empty() {
            return;
        }
        // What is done was done before.
        self.tell_done(gateway, context);
        let Some(epoch) = self.events[gateway].epoch() else { return };
        context.note(|| format!("returns {counts:08x?} to gateway {gateway}"));
        let _ = self.calls[gateway].tell(Command::Return { epoch: epoch.number(), counts, is_begun: false });
        self.calls[gateway].connection.iter().for_each(|connection| connection.writer.flush());
    }

    /// Ends when every gateway has let it go, or its time is over.
    pub(super) fn end_if_drained(
        &mut self,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        if !self.is_draining || self.has_ended {
            return Ok(());
        }
        let is_idle = self.running.is_empty()
            && self.started.is_empty()
            && self.held.is_empty()
            && (0..self.events.len())
                .all(|gateway| self.events[gateway].connection.is_none() && !self.may_connect(gateway));
        let is_late = self.drain_until_ms.is_some_and(|until_ms| until_ms <= context.now_ms);
        if !is_idle && !is_late {
            return Ok(());
        }
        context.note(|| format!("ends, {}", if is_idle { "drained" } else { "as its time is over" }));
        self.has_ended = true;
        self.drain_until_ms = None;
        self.replaced_at_ms = (!self.is_last).then_some(context.now_ms + REPLACE_MS);
        if is_idle {
            observer.ledger.worker_has_drained(self.life)?;
        } else {
            observer.worker_ends_early(self.life, self.open_questions().collect());
            self.abandon(context);
        }
        for calls in &mut self.calls {
            calls.retry_at_ms = None;
            calls.connection.iter().for_each(|connection| connection.writer.finish());
        }
        Ok(())
    }

    /// Lets everything go that is left when the time is over: gateways give it to others.
    fn abandon(&mut self, context: &mut Context<'_>) {
        for gateway in 0..self.events.len() {
            if let Some(epoch) = self.events[gateway].epoch() {
                epoch.end();
            }
            self.events[gateway] = super::links::Events::default();
            self.calls[gateway].disconnect(false, context);
            self.tell_done_at_ms[gateway] = None;
        }
        self.running.clear();
        self.started.clear();
        self.held.clear();
        self.questions.clear();
    }
}
