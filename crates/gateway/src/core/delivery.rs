//! Giving events to workers, and taking note of those that are finished.
//!
//! A worker of ours acknowledges events: it says DONE behind all that their handlers said. Until then
//! an event stands in its client's log (`event_log`) and counts on the worker's link. Events that
//! cannot be given at once wait there, too: no worker is linked, or the client's worker takes no more
//! (`moving`). A worker that does not acknowledge is given an event and has finished it at once.
//!
//! `events`, `admission` and the close of a client call [`tell`](Shard::tell); the commands DONE and
//! RETURN call the rest.

use std::sync::Arc;

use gatewayworker_protocol::command::code;
use gatewayworker_protocol::frame::{FLAG_ASKS, FLAG_REDELIVERED};
use gatewayworker_protocol::{
    ClientId, CloseReason, Command, FLAG_EVENT_CONTEXT, FLAG_TRACE_CONTEXT, Features, Frame, HEADER_LEN,
    Origin, TraceContext,
};

use super::Shard;
use super::client::{LeftBehind, Waits};
use super::effects::{Effect, Notice};
use super::event_contexts;
use super::event_log::{Ended, EventLog};
use super::event_spans::{self, SpanEnd};
use super::link_buffer::LinkBuffer;
use super::ports::{Directory, Ports};
use super::resumption::told::is_of_connection;
use super::source::{self, Source};
use super::table::Key;
use super::worker_link::WorkerLink;

/// What became of the first event that waits in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Given {
    /// It was given, or dropped: the next one may be tried.
    Yes,
    /// The link has failed: another may take it.
    LinkFailed,
    /// No event waits, or it has to wait longer.
    No,
}

impl<P: Ports> Shard<P> {
    /// Tells a client's worker an event, at once where that is possible.
    pub(super) fn tell(&mut self, key: Key, cmd: u8, flag: u8, body: &[u8]) {
        if self.event_spans.is_on() {
            return self.tell_sampled(key, cmd, flag, body);
        }
        self.tell_event(key, cmd, flag, body);
    }

    /// Tells a client's worker an event of which it is decided whether it is traced.
    #[inline]
    pub(super) fn tell_event(&mut self, key: Key, cmd: u8, flag: u8, body: &[u8]) {
        let Some(client) = self.table.get(key) else { return };
        let link = &client.worker;
        if link.features.event_context && flag & FLAG_EVENT_CONTEXT == 0 {
            return self.tell_in_context(key, cmd, flag, body);
        }
        let len = HEADER_LEN + client.session.len() + body.len();
        // The usual case: nothing waits before it.
        if link.is_open()
            && client.log.as_ref().is_none_or(|log| !log.has_waiting())
            && len <= link.features.max_frame_len()
        {
            let frame = Frame { flag, ..client.origin(self.settings.address).frame(cmd) };
            let acknowledges = link.acknowledges();
            if acknowledges {
                link.begin_event(len);
            }
            if link.buffer.append(|out| frame.encode_with(out, &client.session, body)).is_ok() {
                if acknowledges {
                    self.free_logs.log(&mut client.log, self.now_ms).push_given(cmd, flag, body, len);
                }
                self.effects.signals.flush = true;
                list_link(&mut self.links, &client.worker);
                return;
            }
            if acknowledges {
                link.end_events(1, len);
            }
            self.directory.close(&client.worker);
        }
        self.free_logs.log(&mut client.log, self.now_ms).push(cmd, flag, body);
        self.go_on(key.connection_id());
    }

    /// Goes on with the events of a client or stub: moves it to another worker where its own takes none
    /// and has none of them, gives what waits, and lets the client's reader go on.
    pub(super) fn go_on(&mut self, id: u32) {
        while self.has_open_worker(id) {
            match self.give_next(id) {
                Given::Yes | Given::LinkFailed => {}
                Given::No => break,
            }
        }
        if let Some(source) = source::find(&mut self.table, &mut self.stubs, self.settings.address, id) {
            self.free_logs.recycle(source.log);
        }
        self.tidy_stub(id);
        self.wake(id);
    }

    /// Gives the first event that waits to the worker, which is open.
    fn give_next(&mut self, id: u32) -> Given {
        let found = source::find(&mut self.table, &mut self.stubs, self.settings.address, id);
        let Some(Source { origin, session, worker: link, log, left_behind, key, is_pending }) = found else {
            return Given::No;
        };
        let Some(log) = log.as_mut().filter(|log| !log.is_returned) else { return Given::No };
        let Some((event, body)) = log.next() else { return Given::No };
        let (cmd, acknowledges) = (event.cmd, link.acknowledges());
        if is_of_connection(cmd) && !link.features.detached_events {
            // It was made for a worker that is told such.
            let (trace, _) = event_spans::split(event.flag, body);
            let dropped = trace.map(|trace| (trace, link.clone()));
            log.remove_next();
            if let Some((trace, link)) = dropped {
                self.end_span(trace, &link, SpanEnd::Dropped, false);
            }
            return Given::Yes;
        }
        if link.features.event_context && event.flag & FLAG_EVENT_CONTEXT == 0 && cmd != code::ADOPT {
            self.add_context(id);
            return self.give_next(id);
        }
        let mut flag = event.flag;
        if cmd == code::ON_WEBSOCKET_CONNECT && link.features.admission {
            flag |= FLAG_ASKS;
        }
        if cmd == code::ON_CLOSE && *left_behind == LeftBehind::PerhapsClosed {
            flag |= FLAG_REDELIVERED;
        }
        if !acknowledges {
            flag &= !FLAG_REDELIVERED;
        }
        let (trace, body) = event_spans::split(flag, body);
        let (context, body) = event_contexts::split(flag, body);
        let body = if cmd == code::ON_CLOSE { close_body(link.features, body) } else { body };
        let limit = link.features.max_frame_len();
        let joined_body;
        let body = if trace.is_none() && context.is_none() {
            body
        } else {
            let room = limit.saturating_sub(HEADER_LEN + session.len() + body.len());
            let (contexts, joined) = join_contexts(link.features, room, trace, context, body);
            flag = flag & !(FLAG_TRACE_CONTEXT | FLAG_EVENT_CONTEXT) | contexts;
            joined_body = joined;
            &joined_body
        };
        let (bytes, len) = (body.len(), HEADER_LEN + session.len() + body.len());
        if len > limit {
            // It was told to a worker that takes longer frames, or to none.
            log.remove_next();
            let dropped = trace.map(|trace| (trace, link.clone()));
            let (client, worker) = (client_id(&origin), link.key().to_string());
            let mut moved_from = None;
            self.effects.list.extend(match cmd {
                // The close that follows says it.
                code::ADOPT => {
                    moved_from = log.moved_from.take();
                    None
                }
                code::ON_CLOSE => {
                    self.directory.counts().count_closes_lost(1);
                    Some(Effect::Log(Notice::CloseTooLarge { client, bytes: len, worker, limit }))
                }
                _ => Some(Effect::Log(Notice::MessageTooLarge { client, bytes, worker, limit })),
            });
            self.pending_close.extend(key.map(|key| (key, CloseReason::TooLarge)));
            if let Some(from) = moved_from {
                self.end_move(id, &from);
            }
            if let Some((trace, link)) = dropped {
                self.end_span(trace, &link, SpanEnd::Dropped, false);
            }
            return Given::Yes;
        }
        let is_suspect = acknowledges && event.tries > 0;
        if is_suspect
            && !self.directory.begin_suspect(event.tries + 1 >= self.settings.delivery.max_deliveries)
        {
            if !std::mem::replace(&mut log.is_suspect_waiting, true) {
                self.waiting_suspects.push_back(id);
            }
            return Given::No;
        }
        let frame = Frame { flag, ..origin.frame(cmd) };
        if acknowledges {
            link.begin_event(len);
        }
        if link.buffer.append(|out| frame.encode_with(out, session, body)).is_err() {
            if acknowledges {
                link.end_events(1, len);
            }
            if is_suspect {
                self.directory.end_suspect();
            }
            self.directory.close(link);
            return Given::LinkFailed;
        }
        if acknowledges {
            log.give_next(len);
            log.is_suspect_given |= is_suspect;
        } else {
            log.remove_next();
        }
        self.appended += len;
        self.effects.signals.flush = true;
        list_link(&mut self.links, link);
        let given_for_good = trace.filter(|_| !acknowledges).map(|trace| (trace, link.clone()));
        let asks = link.features.admission;
        if let Some(key) = key.filter(|_| cmd == code::ON_WEBSOCKET_CONNECT) {
            match asks {
                // One that was asked before may have answered already.
                true if flag & FLAG_REDELIVERED == 0 => self.table.begin_admission(key),
                false if is_pending => self.admit(id),
                _ => {}
            }
        }
        if let Some((trace, link)) = given_for_good {
            self.end_span(trace, &link, SpanEnd::Given, false);
        }
        Given::Yes
    }

    /// DONE: a worker has finished events of clients, the first ones that it has of each.
    pub(super) fn end_events(&mut self, epoch: u32, counts: &[(u32, u32)]) {
        let mut together = EndedTogether::default();
        if self.event_spans.has_open() {
            for (id, events) in counts {
                self.end_spans_of(*id, epoch, *events);
                self.end_events_of(*id, epoch, *events, &mut together);
            }
        } else {
            for (id, events) in counts {
                self.end_events_of(*id, epoch, *events, &mut together);
            }
        }
        if let Some(link) = together.link
            && link.end_events(together.events, together.bytes)
        {
            self.directory.notify();
        }
    }

    fn end_events_of(&mut self, id: u32, epoch: u32, events: u32, together: &mut EndedTogether<P::Buffer>) {
        let (worker, log, waits) = match self.table.by_id(id) {
            Some(client) => (&client.worker, &mut client.log, client.waits != Waits::No),
            None => match self.stubs.by_id.get_mut(&id) {
                Some(stub) => (&stub.worker, &mut stub.log, true),
                // It was closed as its `on_close` had run elsewhere.
                None => return,
            },
        };
        if worker.epoch() != epoch {
            return;
        }
        let leaving = hold_if_leaving(worker);
        let ended = log.as_mut().map_or_else(Ended::default, |log| log.finish(events as usize));
        let has_room = if leaving.is_none() {
            together.add(worker, ended);
            false
        } else {
            worker.end_events(ended.events, ended.bytes)
        };
        let moved_from =
            if ended.is_adopted { log.as_mut().and_then(|log| log.moved_from.take()) } else { None };
        self.free_logs.recycle(log);
        if let Some(log) = log
            && ended.events > 0
        {
            log.restart(self.now_ms);
        }
        if ended.events < events as usize {
            self.note_miscount(id, events as usize - ended.events);
        }
        if let Some(from) = moved_from {
            self.end_move(id, &from);
        }
        self.after_ended(ended, has_room);
        if waits || leaving.is_some() {
            self.go_on(id);
        }
        if let Some(leaving) = leaving {
            leaving.release();
        }
    }

    /// RETURN: a worker that drains gives back events of a client that it has not finished, the last ones
    /// that it has. `is_begun` says that the first of them may have been handled in part.
    pub(super) fn take_back_events(&mut self, id: u32, epoch: u32, events: u32, is_begun: bool) {
        let found = source::find(&mut self.table, &mut self.stubs, self.settings.address, id);
        let Some(Source { worker, log, .. }) = found else { return };
        if worker.epoch() != epoch {
            return;
        }
        let leaving = hold_if_leaving(worker);
        let has_spans = self.event_spans.has_open();
        let spans = log.as_deref().filter(|_| has_spans).map(event_spans::contexts);
        let ended = log.as_mut().map_or_else(Ended::default, |log| log.take_back(events as usize, is_begun));
        self.directory.counts().count_redelivered(usize::from(is_begun && ended.events > 0));
        let spans = spans.map(|spans| (spans, worker.clone()));
        if let Some(log) = log {
            log.is_returned = leaving.is_none() && log.has_waiting();
        }
        let has_room = worker.end_events(ended.events, ended.bytes);
        if let Some((spans, worker)) = spans {
            self.end_spans_that_left(id, &worker, spans);
        }
        if ended.events < events as usize {
            self.note_miscount(id, events as usize - ended.events);
        }
        self.after_ended(ended, has_room);
        match leaving {
            // That it drains is about to be read on its other link. It would return them again.
            None => self.tidy_stub(id),
            Some(leaving) => {
                self.go_on(id);
                leaving.release();
            }
        }
    }

    /// Does what follows for others when events have left a worker's hands.
    pub(super) fn after_ended(&mut self, ended: Ended, has_room: bool) {
        if has_room {
            self.directory.notify();
        }
        if ended.was_suspect {
            self.directory.end_suspect();
        }
    }

    fn note_miscount(&mut self, id: u32, events: usize) {
        let found = source::find(&mut self.table, &mut self.stubs, self.settings.address, id);
        let Some(Source { origin, worker, .. }) = found else { return };
        let (client, worker) = (client_id(&origin), worker.key().to_string());
        self.effects.list.push_back(Effect::Log(Notice::EventsMiscounted { client, worker, events }));
    }

    /// Drops what is left of a log that nobody will finish.
    pub(super) fn drop_log(
        &mut self,
        id: u32,
        worker: &Arc<WorkerLink<P::Buffer>>,
        log: Option<Box<EventLog<P::Buffer>>>,
    ) {
        let Some(mut log) = log else { return };
        self.end_spans_of_log(&log, worker);
        let ended = log.finish(log.given());
        let has_room = worker.end_events(ended.events, ended.bytes);
        if let Some(from) = log.moved_from.take() {
            self.end_move(id, &from);
        }
        self.after_ended(ended, has_room);
    }

    /// Tells a worker that a client is its own no more, where the worker keeps books of its clients and
    /// its link is there.
    pub(super) fn forget(&mut self, id: u32, link: &Arc<WorkerLink<P::Buffer>>) {
        if !link.acknowledges() {
            return;
        }
        let forget = Command::Forget(vec![id]);
        let is_there = link.is_open() || link.is_draining();
        if is_there && link.buffer.append(|out| forget.encode(out)).is_ok() {
            self.flush_link(link);
        } else {
            self.leave_behind(id, link);
        }
    }

    /// Has a link flushed at the end of this turn.
    fn flush_link(&mut self, link: &Arc<WorkerLink<P::Buffer>>) {
        self.effects.signals.flush = true;
        list_link(&mut self.links, link);
    }

    /// Lets the reader of a client go on that waited for its turn.
    pub(super) fn wake(&mut self, id: u32) {
        let settings = &self.settings.delivery;
        let Some(key) = self.table.key_of(id) else { return };
        if let Some(client) = self.table.get(key)
            && client.waits == Waits::ForTurn
            && client.worker.is_open()
            && client.log.as_ref().is_none_or(|log| !log.has_waiting() && log.is_window_half_empty(settings))
        {
            client.waits = Waits::No;
            self.effects.list.push_back(Effect::Resume(key));
        }
    }

    /// Lets the readers go on that waited for room on their worker's link.
    pub(super) fn wake_for_room(&mut self) {
        for key in std::mem::take(&mut self.wait_for_room) {
            if let Some(client) = self.table.get(key)
                && client.waits == Waits::ForRoom
            {
                client.waits = Waits::No;
                self.effects.list.push_back(Effect::Resume(key));
            }
        }
    }
}

/// The events of an open link that one DONE has finished, to be counted on the link at once: all shards
/// change its counters, and each change takes them away from the others' processors.
struct EndedTogether<B> {
    link: Option<Arc<WorkerLink<B>>>,
    events: usize,
    bytes: usize,
}

impl<B> Default for EndedTogether<B> {
    fn default() -> Self {
        Self { link: None, events: 0, bytes: 0 }
    }
}

impl<B> EndedTogether<B> {
    /// Adds events of the link, which is that of the DONE's epoch each time.
    fn add(&mut self, link: &Arc<WorkerLink<B>>, ended: Ended) {
        self.link.get_or_insert_with(|| link.clone());
        self.events += ended.events;
        self.bytes += ended.bytes;
    }
}

pub(super) fn client_id(origin: &Origin) -> ClientId {
    ClientId::new(origin.gateway, origin.connection_id)
}

/// Puts those of an event's contexts in front of its body that a worker with these features reads, and that there is
/// room for in the frame. Returns their flags, too.
#[cold]
fn join_contexts(
    features: Features,
    room: usize,
    trace: Option<TraceContext>,
    context: Option<&[u8]>,
    body: &[u8],
) -> (u8, Vec<u8>) {
    let context = context.filter(|context| features.event_context && context.len() <= room);
    let room = room - context.map_or(0, <[u8]>::len);
    let trace = trace.filter(|_| features.trace_context && TraceContext::LEN <= room);
    let flags = trace.map_or(0, |_| FLAG_TRACE_CONTEXT) | context.map_or(0, |_| FLAG_EVENT_CONTEXT);
    let trace = trace.map(TraceContext::to_bytes);
    let trace = trace.as_ref().map_or(&[][..], |trace| trace);
    (flags, [trace, context.unwrap_or_default(), body].concat())
}

/// As much of the body of an ON_CLOSE, a reason and perhaps the client's close frame, as a worker with
/// these features reads.
fn close_body(features: Features, body: &[u8]) -> &[u8] {
    match features {
        Features { close_reason: false, .. } => &[],
        Features { close_detail: false, .. } => CloseReason::from_wire(body).as_str().as_bytes(),
        _ => body,
    }
}

/// Holds a link that is not open, until the client whose events have ended there has moved: it could be
/// the last one.
#[inline]
fn hold_if_leaving<B: LinkBuffer>(link: &Arc<WorkerLink<B>>) -> Option<Arc<WorkerLink<B>>> {
    if link.is_open() {
        return None;
    }
    link.hold();
    Some(link.clone())
}

/// Puts a link on the list of those to be flushed.
#[inline]
fn list_link<B>(links: &mut Vec<Arc<WorkerLink<B>>>, link: &Arc<WorkerLink<B>>) {
    // There are a handful of workers, and mostly one at a time.
    if !links.iter().any(|known| Arc::ptr_eq(known, link)) {
        links.push(link.clone());
    }
}
