//! The way of an event to its handler, and behind it: the cycle of the worker's core.

use std::sync::Arc;

use gatewayworker_businessworker::internals::{Begin, Enqueued, Epoch, Event, Received, Turn};
use gatewayworker_protocol::{ClientId, Command, EventCounts, Frame, MAX_LARGE_FRAME_LEN, Question};

use super::links::{Asker, Events, Read};
use super::{Running, Worker, application};
use crate::cluster::observer::Observer;
use crate::cluster::process_of;
use crate::epochs::Life;
use crate::model::Context;
use crate::network::ProcessId;
use crate::violation::Violation;

impl Worker {
    pub(super) fn read_events(
        &mut self,
        gateway: ProcessId,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let events = &mut self.events[gateway];
        if events.stalled.is_some() {
            return Ok(());
        }
        let Some(connection) = &mut events.connection else { return Ok(()) };
        let read = connection.read(context);
        match read {
            Read::More => events.hear(context.now_ms),
            Read::Empty => events.is_read_out = true,
            Read::End => {}
        }
        if read == Read::End {
            self.end_pair(gateway, context);
            return Ok(());
        }
        self.take_events(gateway, observer, context)?;
        self.run_held(observer, context)
    }

    /// Takes what has come from a gateway, as far as there is room for it.
    pub(super) fn take_events(
        &mut self,
        gateway: ProcessId,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        loop {
            if self.has_aborted {
                return Ok(());
            }
            let events = &mut self.events[gateway];
            let event = match events.stalled.take() {
                Some(event) => event,
                None => {
                    let Some(connection) = &mut events.connection else { return Ok(()) };
                    let frame = Frame::parse(&mut connection.received, MAX_LARGE_FRAME_LEN);
                    let frame =
                        frame.map_err(|error| Violation::new("frames-are-whole", error.to_string()))?;
                    let Some(frame) = frame else { return Ok(()) };
                    let received = events.link.receive(frame);
                    match received.map_err(|error| Violation::new("frames-are-whole", error.to_string()))? {
                        Received::Event(event) => event,
                        other => {
                            self.take_other(gateway, other, observer, context)?;
                            continue;
                        }
                    }
                }
            };
            if self.is_draining
                && let Some(epoch) = &event.epoch
            {
                context.note(|| format!("returns {:?} of {}", event.kind, event.client_id()));
                let epoch = epoch.clone();
                self.note_taken(&event, observer);
                debug_assert!(Some(epoch.serial()) == self.events[gateway].epoch().map(|of| of.serial()));
                self.tell_return(gateway, EventCounts(vec![(event.origin.connection_id, 1)]), context);
                if let Some(event) = self.clients.return_arrived(event, &epoch) {
                    self.start(event, observer, context)?;
                }
                continue;
            }
            if !self.clients.try_reserve(&event) {
                self.events[gateway].stalled = Some(event);
                return Ok(());
            }
            self.note_taken(&event, observer);
            let connection_id = event.origin.connection_id;
            match self.clients.enqueue(event) {
                Enqueued::Start(event) => self.start(event, observer, context)?,
                Enqueued::Queued => {}
                Enqueued::Returned(_) => {
                    self.tell_return(gateway, EventCounts(vec![(connection_id, 1)]), context);
                }
            }
        }
    }

    fn take_other(
        &mut self,
        gateway: ProcessId,
        received: Received,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let epoch = self.events[gateway].link.epoch().cloned();
        match (received, epoch) {
            (Received::Welcome { pairing: Some(pairing), .. }, _) => {
                self.pair(gateway, pairing, observer, context)?;
            }
            (Received::Adopt { origin, session }, Some(epoch)) => {
                context.note(|| format!("adopts {:08x}", origin.connection_id));
                let start = self.clients.adopt(&origin, &session, &epoch);
                self.plan_done(gateway, context);
                if let Some(event) = start {
                    self.start(event, observer, context)?;
                }
            }
            (Received::Forget(ids), Some(epoch)) => {
                context.note(|| format!("forgets {ids:08x?}"));
                for id in &ids {
                    observer.ledger.is_forgotten(ClientId::new(epoch.gateway(), *id), self.life);
                }
                self.clients.forget(&epoch, &ids);
            }
            (Received::Reported(number), _) => self.reported(gateway, number, context),
            (Received::Drained, Some(epoch)) => {
                context.note(|| format!("is let go by gateway {gateway}"));
                epoch.end();
                observer.ledger.all_are_forgotten(Life::of_id(epoch.instance()), self.life);
                self.clients.supersede(&epoch);
                self.end_pair(gateway, context);
            }
            _ => {}
        }
        Ok(())
    }

    /// Begins with a started event, now or when a handler has ended.
    pub(super) fn start(
        &mut self,
        event: Event,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        if self.has_aborted {
            return Ok(());
        }
        if self.running.len() >= self.options.concurrency {
            self.started.push_back(event);
            return Ok(());
        }
        let id = event.client_id();
        match event.epoch.as_ref().map_or(Turn::Begin, |epoch| epoch.turn(context.now_ms)) {
            Turn::Begin => {}
            Turn::Wait => {
                context.note(|| format!("holds {:?} of {id}", event.kind));
                self.held.push(event);
                return Ok(());
            }
            Turn::Drop => {
                context.note(|| format!("drops {:?} of {id}", event.kind));
                return self.drop_started(id, observer, context);
            }
        }
        match self.clients.begin(id, &event.kind, event.session.clone()) {
            Begin::Skip => self.finish(id, &event, None, observer, context),
            Begin::Run(session) => self.handle(id, event, session, observer, context),
            // There is nobody to ask.
            Begin::Ask(question) if event.has_lost_gateway() => {
                let session = self.clients.answered(id, question, None);
                self.handle(id, event, session, observer, context)
            }
            Begin::Ask(question) => {
                let calls = &mut self.calls[process_of(id.gateway())];
                let now = calls.instant(context.now_ms);
                let ask = Command::Ask(Question::Session(id.connection_id()));
                context.note(|| format!("asks for the session of {id}"));
                match calls.core.ask(ask.into_frame(), Asker::Session(id), now) {
                    Ok(_) => drop(self.running.insert(id, Running::Asks(question, event))),
                    Err(_) => self.hold_unasked(event, context),
                }
                Ok(())
            }
        }
    }

    /// Reports an event that it has from a gateway that acknowledges events.
    fn note_taken(&self, event: &Event, observer: &mut Observer) {
        if event.epoch.is_some()
            && let Some(what) = application::client_event(event)
        {
            observer.ledger.takes(event.client_id(), what, self.life);
        }
    }

    /// Holds an event whose handler does not run, as the call link to its gateway has ended and cannot say the
    /// session. The epoch ends with the link: the event waits until it is known what became of the gateway.
    pub(super) fn hold_unasked(&mut self, event: Event, context: &mut Context<'_>) {
        let gateway = process_of(event.origin.gateway);
        if let (Some(of), Some(last)) = (&event.epoch, self.events[gateway].epoch())
            && Arc::ptr_eq(of, last)
        {
            self.end_pair(gateway, context);
        }
        self.held.push(event);
    }

    /// Looks again at started events that wait for their gateways.
    pub(super) fn run_held(
        &mut self,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let can_go_on =
            |event: &Event| event.epoch.as_ref().is_none_or(|epoch| epoch.turn(context.now_ms) != Turn::Wait);
        let (ready, held): (Vec<Event>, _) = std::mem::take(&mut self.held).into_iter().partition(can_go_on);
        self.held = held;
        for event in ready {
            self.start(event, observer, context)?;
        }
        Ok(())
    }

    /// Ends a client's started event, and begins with those that can run now.
    pub(super) fn finish(
        &mut self,
        id: ClientId,
        event: &Event,
        said: Option<super::done::Said>,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        if let Some(epoch) = &event.epoch {
            self.note_done(id, epoch, said, context);
        }
        let next = self.clients.finish(id);
        self.go_on(next, observer, context)
    }

    /// Ends a started event for which no handler is to run here.
    pub(super) fn drop_started(
        &mut self,
        id: ClientId,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let next = self.clients.drop_started(id);
        self.go_on(next, observer, context)
    }

    /// There may be room: the gateways that are not read for want of it are looked at soon.
    pub(super) fn look_for_room(&mut self, context: &mut Context<'_>) {
        for gateway in 0..self.events.len() {
            if self.events[gateway].stalled.is_some() {
                let delay_ms = context.rng.below(2);
                context.turn_after(delay_ms, gateway as u32);
            }
        }
    }

    pub(super) fn go_on(
        &mut self,
        next: Option<Event>,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        self.started.extend(next);
        self.look_for_room(context);
        match self.started.pop_front() {
            Some(event) => self.start(event, observer, context),
            None => Ok(()),
        }
    }
}

impl Events {
    /// The gateway is heard.
    pub(super) fn hear(&mut self, now_ms: u64) {
        if let Some(deadline_ms) = &mut self.deadline_ms {
            *deadline_ms = now_ms + crate::cluster::timing::LINK_TIMEOUT_MS;
        }
        let was_read_out = std::mem::take(&mut self.is_read_out);
        if let Some(epoch) = self.link.epoch() {
            epoch.hear(now_ms, was_read_out);
        }
    }

    /// Returns the epoch, once the links are a pair.
    pub(super) fn epoch(&self) -> Option<&Arc<Epoch>> {
        self.link.epoch()
    }
}
