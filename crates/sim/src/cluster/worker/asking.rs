//! The questions of a simulated application: a handler asks all gateways, and ends when it has the answer.

use std::sync::Arc;

use bytes::Bytes;
use gatewayworker_businessworker::internals::{Epoch, Turn};
use gatewayworker_client::Unreached;
use gatewayworker_client::internals::Answers;
use gatewayworker_protocol::php::{self, Value};
use gatewayworker_protocol::{ClientId, Command, Question as Ask};

use super::application::{group_name, uid};
use super::links::{Asker, Settled};
use super::{Running, Worker};
use crate::cluster::observer::{Fact, Observer};
use crate::model::Context;
use crate::violation::Violation;

/// A question of the application to all gateways.
pub(super) struct Question {
    client: ClientId,
    fact: Fact,
    since: u64,
    missing: usize,
    /// By the gateway.
    outcomes: Vec<Option<Result<Bytes, Unreached>>>,
}

impl Worker {
    /// Carries out what the call links ask for.
    pub(super) fn settle_calls(
        &mut self,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        // An outcome may end a handler, which may ask anew.
        loop {
            let mut all: Settled = Vec::new();
            for gateway in 0..self.calls.len() {
                let called_for = self.calls[gateway].carry_out();
                all.extend(called_for.settled);
                if called_for.is_closed {
                    self.end_pair(gateway, context);
                }
                if called_for.is_proven {
                    self.connect_events_if_called(gateway, context);
                }
            }
            if all.is_empty() {
                return Ok(());
            }
            for (asker, outcome) in all {
                match asker {
                    Asker::Session(id) => self.take_session(id, outcome, observer, context)?,
                    Asker::Application(number) => self.take_answer(number, outcome, observer, context)?,
                    Asker::Closed(gateway) => self.closed_is_heard(gateway, &outcome, context),
                }
            }
        }
    }

    /// Takes the answer to a question for a client's session.
    fn take_session(
        &mut self,
        id: ClientId,
        outcome: Result<Bytes, Unreached>,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let Some(Running::Asks(question, event)) = self.running.remove(&id) else {
            // It has ended early, as it drained for too long.
            return Ok(());
        };
        let answer = match outcome {
            Ok(answer) => answer,
            // It is asked again.
            Err(Unreached::TimedOut) => {
                context.note(|| format!("{id} has no answer in time"));
                self.held.push(event);
                return self.run_held(observer, context);
            }
            Err(why) => {
                context.note(|| format!("{id} has no answer, {why}: its event waits"));
                self.hold_unasked(event, context);
                return self.run_held(observer, context);
            }
        };
        let is_over = |epoch: &Arc<Epoch>| epoch.turn(context.now_ms) != Turn::Begin;
        if event.epoch.as_ref().is_some_and(is_over) {
            // The answer may be as old as the question: this process may have stood still since.
            self.held.push(event);
            return self.run_held(observer, context);
        }
        let session = self.clients.answered(id, question, read_session(&answer));
        self.handle(id, event, session, observer, context)
    }

    /// Asks all gateways a question, for a client's handler.
    pub(super) fn ask(
        &mut self,
        client: ClientId,
        name: u8,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let (ask, fact) = match context.rng.below(3) {
            0 => (Ask::AllSessions, Fact::Listed),
            1 => (Ask::SessionsByGroup(group_name(name)), Fact::Group(name)),
            _ => (Ask::ConnectionsByUid(uid(name)), Fact::Uid(name)),
        };
        let gateways = self.calls.len();
        let number = observer.questions.asked(gateways);
        context.note(|| format!("question {number}: {ask:?}"));
        let question = Question {
            client,
            fact,
            since: observer.now(),
            missing: gateways,
            outcomes: vec![None; gateways],
        };
        self.questions.insert(number, question);
        for gateway in 0..gateways {
            let calls = &mut self.calls[gateway];
            let now = calls.instant(context.now_ms);
            let asker = Asker::Application(number * gateways as u64 + gateway as u64);
            if let Err(why) = calls.core.ask(Command::Ask(ask.clone()).into_frame(), asker, now) {
                self.take_answer(number * gateways as u64 + gateway as u64, Err(why), observer, context)?;
            }
        }
        Ok(())
    }

    /// Takes one gateway's outcome; `asker` says of which question and gateway.
    fn take_answer(
        &mut self,
        asker: u64,
        outcome: Result<Bytes, Unreached>,
        observer: &mut Observer,
        context: &mut Context<'_>,
    ) -> Result<(), Violation> {
        let gateways = self.calls.len() as u64;
        let (number, gateway) = (asker / gateways, (asker % gateways) as usize);
        let again = || Violation::new("answered-once", format!("question {number}, gateway {gateway}"));
        if self.has_ended {
            return Ok(());
        }
        let question = self.questions.get_mut(&number).ok_or_else(again)?;
        if question.outcomes[gateway].replace(outcome).is_some() {
            return Err(again());
        }
        question.missing -= 1;
        if question.missing > 0 {
            return Ok(());
        }
        let Some(Question { client, fact, since, outcomes, .. }) = self.questions.remove(&number) else {
            return Ok(());
        };
        let outcomes = outcomes.into_iter().flatten().enumerate();
        let outcomes =
            outcomes.map(|(gateway, outcome)| (crate::cluster::address(gateway), outcome)).collect();
        let add = |all: &mut (usize, Vec<ClientId>), part: Vec<ClientId>| {
            all.0 += 1;
            all.1.extend(part);
        };
        let read = |gateway, answer: Bytes| {
            let ids: Vec<u32> = match php::unserialize(&answer).ok()? {
                Value::Array(array) if fact_is_list(fact) => {
                    array.values().filter_map(|id| id.as_int()).map(|id| id as u32).collect()
                }
                Value::Array(array) => array.keys().filter_map(id_of).collect(),
                _ => return None,
            };
            Some(ids.into_iter().map(|id| ClientId::new(gateway, id)).collect())
        };
        match Answers::new(outcomes).gather(read, add) {
            Ok((parts, listed)) => {
                context.note(|| format!("question {number} is answered"));
                observer.questions.answered(number, parts)?;
                observer.is_answered(fact, since, &listed)?;
            }
            Err(_) => {
                context.note(|| format!("question {number} fails"));
                observer.questions.failed(number)?;
            }
        }
        self.end_handler(client, observer, context)
    }
}

/// Reads a session out of a gateway's answer.
fn read_session(answer: &[u8]) -> Option<Bytes> {
    match php::unserialize(answer).ok()? {
        Value::String(session) => Some(session),
        _ => None,
    }
}

fn fact_is_list(fact: Fact) -> bool {
    matches!(fact, Fact::Uid(_))
}

fn id_of(key: &php::Key) -> Option<u32> {
    match key {
        php::Key::Int(id) => u32::try_from(*id).ok(),
        php::Key::String(_) => None,
    }
}
