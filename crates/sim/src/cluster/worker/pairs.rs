//! The pairs of links to gateways: how an epoch begins, is kept alive and ends, and when a gateway is lost.

use std::sync::PoisonError;

use bytes::Bytes;
use gatewayworker_businessworker::internals::{NextReport, Previous};
use gatewayworker_client::Unreached;
use gatewayworker_protocol::report::Report;
use gatewayworker_protocol::{ClientId, Command, Pairing, PingBody, Question};

use super::Worker;
use super::links::{Asker, Connection, Events, Read};
use crate::cluster::address;
use crate::cluster::gateway::{CALL_LINKS, EVENT_LINKS};
use crate::cluster::observer::Observer;
use crate::cluster::timing::{LINK_TIMEOUT_MS, PING_INTERVAL_MS, TICK_MS};
use crate::epochs::Life;
use crate::model::Context;
use crate::network::ProcessId;
use crate::violation::Violation;

impl Worker {
    pub(super) fn connect_calls(&mut self, gateway: ProcessId, context: &mut Context<'_>) {
        self.calls[gateway].connection = Some(Connection::new(gateway, CALL_LINKS, context));
        self.calls[gateway].retry_at_ms = None;
    }

    /// Connects an event link where there is none: events come only where what handlers say can be sent.
    pub(super) fn connect_events_if_called(&mut self, gateway: ProcessId, context: &mut Context<'_>) {
        if self.events[gateway].connection.is_none()
            && self.calls[gateway].core.connection().is_ok()
            && self.may_connect(gateway)
        {
            let connection = Connection::new(gateway, EVENT_LINKS, context);
            let deadline_ms = Some(context.now_ms + LINK_TIMEOUT_MS);
            self.events[gateway] = Events { connection: Some(connection), deadline_ms, ..Events::default() };
        }
    }

    pub(super) fn say_hello(&mut self, gateway: ProcessId, context: &mut Context<'_>) {
        let hello = self.identity.hello(self.is_draining);
        let events = &mut self.events[gateway];
        events.hear(context.now_ms);
        let Some(connection) = &mut events.connection else { return };
        connection.is_connected = true;
        let _ = connection.writer.push(|out| hello.encode(out));
        connection.writer.flush();
    }

    /// A gateway has named a pairing: its call link is attached, and the epoch begins.
    pub(super) fn pair(
        &mut self,
        gateway: ProcessId,
        pairing: Pairing,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let closed = self.pairings.closed(address(gateway), pairing.instance);
        let has_closed = !closed.is_empty();
        let ids = closed.iter().map(|id| ClientId::new(address(gateway), *id));
        observer.ledger.says_closed(self.life, Life::of_id(pairing.instance), ids);
        let attached = self.calls[gateway].core.attach(pairing.epoch, self.life.id(), closed);
        if attached.is_err() {
            self.end_pair(gateway, context);
            return Ok(());
        }
        let (epoch, previous) = self.pairings.begin(address(gateway), pairing, context.now_ms);
        context.note(|| format!("begins {epoch:?}"));
        match previous {
            Some(Previous::Superseded(previous)) => {
                observer.ledger.all_are_forgotten(Life::of_id(previous.instance()), self.life);
                self.clients.supersede(&previous);
                self.look_for_room(context);
            }
            Some(Previous::Lost(previous)) => {
                let lost = self.clients.lose(&previous);
                self.close_lost(lost, observer, context)?;
            }
            None => {}
        }
        self.events[gateway].link.paired(epoch);
        if has_closed {
            self.ask_behind_closed(gateway, context);
        }
        if self.is_draining {
            self.say_draining(gateway);
        }
        self.run_held(observer, context)
    }

    /// Asks a gateway anything behind CLOSED: its answer says that it has read that.
    fn ask_behind_closed(&mut self, gateway: ProcessId, context: &mut Context<'_>) {
        let question = Command::Ask(Question::IsOnline(0)).into_frame();
        let calls = &mut self.calls[gateway];
        let now = calls.instant(context.now_ms);
        // Where it cannot be asked, it is told again with the next pairing.
        let _ = calls.core.ask(question, Asker::Closed(gateway), now);
    }

    /// Takes the outcome of that question. It fails with its connection, so that no answer of another comes.
    pub(super) fn closed_is_heard(
        &mut self,
        gateway: ProcessId,
        outcome: &Result<Bytes, Unreached>,
        context: &mut Context<'_>,
    ) {
        let Some(epoch) = self.events[gateway].epoch().cloned() else { return };
        match outcome {
            Ok(_) => self.pairings.closed_was_heard(&epoch),
            Err(Unreached::TimedOut) => self.ask_behind_closed(gateway, context),
            Err(_) => {}
        }
    }

    fn close_lost(
        &mut self,
        lost: Vec<ClientId>,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        for id in lost {
            context.note(|| format!("the gateway of {id} is lost"));
            if let Some(event) = self.clients.close_lost(id) {
                self.start(event, observer, context)?;
            }
        }
        Ok(())
    }

    /// Pings the gateways on both links, and reports to those for which it is time.
    pub(super) fn ping(&mut self, now_ms: u64) {
        self.next_ping_ms = now_ms + PING_INTERVAL_MS;
        let ping = Command::Ping(PingBody::Empty.encode());
        for (events, calls) in self.events.iter().zip(&self.calls) {
            if events.epoch().is_none() {
                continue;
            }
            events.report(now_ms);
            let connections = events.connection.iter().chain(&calls.connection);
            for connection in connections.filter(|connection| connection.writer.waiting() == 0) {
                let _ = connection.writer.push(|out| ping.clone().encode(out));
                connection.writer.flush();
            }
        }
    }

    /// Takes the answer of a gateway to a report.
    pub(super) fn reported(&self, gateway: ProcessId, number: u32, context: &mut Context<'_>) {
        let Some(reporting) = self.events[gateway].link.reporting() else { return };
        let now_us = reporting_us(context.now_ms);
        let us = reporting.lock().unwrap_or_else(PoisonError::into_inner).answered(number, now_us);
        context.note(|| format!("gateway {gateway} has read report {number}: {us:?} µs"));
    }

    /// Gives up a gateway from which nothing has come on the event link for too long.
    pub(super) fn judge_events(
        &mut self,
        gateway: ProcessId,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let now_ms = context.now_ms;
        let events = &mut self.events[gateway];
        let Some(deadline_ms) = events.deadline_ms.filter(|deadline_ms| *deadline_ms <= now_ms) else {
            return Ok(());
        };
        // Where nothing can be read, nothing is heard.
        if events.stalled.is_some() {
            events.deadline_ms = Some(now_ms + LINK_TIMEOUT_MS);
            return Ok(());
        }
        let Some(connection) = &mut events.connection else { return Ok(()) };
        match connection.read(context) {
            Read::More => {
                events.hear(now_ms);
                return self.take_events(gateway, observer, context);
            }
            Read::End => {}
            Read::Empty if now_ms - deadline_ms > PING_INTERVAL_MS => {
                // This process was held up.
                events.deadline_ms = Some(now_ms + 2 * PING_INTERVAL_MS);
                return Ok(());
            }
            Read::Empty => context.note(|| format!("gateway {gateway} is silent")),
        }
        self.end_pair(gateway, context);
        Ok(())
    }

    /// The call link has something to do at this time: it is read once more before.
    pub(super) fn judge_calls(&mut self, gateway: ProcessId, context: &mut Context<'_>) {
        if self.calls[gateway].core.any_connection().is_some() && !self.read_calls(gateway, context) {
            return;
        }
        let calls = &mut self.calls[gateway];
        let now = calls.instant(context.now_ms);
        calls.core.handle_timeout(now);
    }

    /// Reads the call link once. Returns whether it still stands.
    pub(super) fn read_calls(&mut self, gateway: ProcessId, context: &mut Context<'_>) -> bool {
        let calls = &mut self.calls[gateway];
        match calls.read(context) {
            Read::More => {
                let was_read_out = std::mem::take(&mut calls.is_read_out);
                if let Some(epoch) = self.events[gateway].epoch() {
                    epoch.hear_call_link(context.now_ms, was_read_out);
                }
            }
            Read::Empty => calls.is_read_out = true,
            Read::End => self.end_pair(gateway, context),
        }
        self.calls[gateway].connection.is_some()
    }

    /// One of the two links is over, and with it the other one and the epoch.
    pub(super) fn end_pair(&mut self, gateway: ProcessId, context: &mut Context<'_>) {
        context.note(|| format!("the links to gateway {gateway} are over"));
        let events = std::mem::take(&mut self.events[gateway]);
        if let Some(epoch) = events.epoch() {
            epoch.end();
            self.clients.hold(epoch);
            self.look_for_room(context);
        }
        self.tell_done_at_ms[gateway] = None;
        let has_next = !self.has_ended && self.may_connect(gateway);
        self.calls[gateway].disconnect(has_next, context);
    }

    /// Looks which gateways are lost.
    pub(super) fn look_for_lost(
        &mut self,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        self.next_tick_ms = context.now_ms + TICK_MS;
        for gateway in 0..self.events.len() {
            let is_down = self.pairings.undecided(address(gateway)).is_some();
            let looks_lost = is_down && observer.registers.is_absent(gateway, context.now_ms);
            if !self.lost_for[gateway].tick(context.now_ms, looks_lost) {
                continue;
            }
            let Some(epoch) = self.pairings.lose(address(gateway)) else { continue };
            let lost = self.clients.lose(&epoch);
            let ids = lost.iter().map(|id| id.connection_id()).collect();
            self.pairings.remember_closed(address(gateway), epoch.instance(), ids);
            self.close_lost(lost, observer, context)?;
        }
        Ok(())
    }
}

impl Events {
    /// Reports to the gateway if it is time, and nothing else waits to be written.
    fn report(&self, now_ms: u64) {
        let (Some(reporting), Some(connection)) = (self.link.reporting(), &self.connection) else { return };
        if connection.writer.waiting() > 0 {
            return;
        }
        let next = reporting.lock().unwrap_or_else(PoisonError::into_inner).begin(reporting_us(now_ms));
        if let Some(NextReport { number, round_trip, unanswered_us }) = next {
            let report = Report {
                round_trip_us: round_trip.map(|round_trip| round_trip.us),
                answered: round_trip.map_or(0, |round_trip| round_trip.number),
                unanswered_ms: unanswered_us / 1000,
                ..Report::default()
            };
            let _ = connection
                .writer
                .push(|out| Command::Report { number, body: report.to_json().into() }.encode(out));
            connection.writer.flush();
        }
    }
}

/// The time for reports: it runs as much faster as the other times of the simulation are shorter.
fn reporting_us(now_ms: u64) -> u64 {
    now_ms * 1000 * 2500 / PING_INTERVAL_MS
}
