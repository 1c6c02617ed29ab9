//! What the worker tells its gateways about itself: makes a [`Report`] of its counters.
//!
//! `heartbeats` asks for it every few seconds, and sends it. It is read on that thread, which runs no handlers.

use std::sync::Weak;
use std::time::Instant;

use gatewayworker_protocol::report::{HandlersReport, MAX_LONGEST, Report};

use crate::event_queues::EventQueues;
use crate::handler_times::HandlerWindow;
use crate::{Events, clock};

/// Makes the reports of a worker.
#[derive(Debug)]
pub(crate) struct Reports<E> {
    /// Weak: a worker ends although it still reports.
    queues: Weak<EventQueues<E>>,
    started: Instant,
    window: HandlerWindow,
}

impl<E: Events> Reports<E> {
    /// The reports of a worker that starts now.
    pub(crate) fn new(queues: Weak<EventQueues<E>>) -> Self {
        Self { queues, started: Instant::now(), window: HandlerWindow::new(clock::now_ms()) }
    }

    /// Returns what is to be told of the worker, without what differs from gateway to gateway; `None` when it has ended.
    pub(crate) fn read(&mut self) -> Option<Report> {
        let queues = self.queues.upgrade()?;
        let (handler, now_ms) = (&queues.handler, clock::now_ms());
        let totals = handler.totals.read(handler.stats.events.get());
        Some(Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_ms: self.started.elapsed().as_millis() as u64,
            handlers: HandlersReport {
                running: queues.running() as u64,
                questions: handler.worker.waiting_questions() as u64,
                events: self.window.advance(totals, now_ms),
                longest: handler.running.longest(MAX_LONGEST, now_ms),
            },
            ..Report::default()
        })
    }
}
