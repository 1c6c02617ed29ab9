//! What a worker that lists `event-context` is told beside each event: the event's number, and its client's uid and groups.
//!
//! The context is made with the event and stands in front of its body, in the client's log as well as on the link. So
//! an event that is given again has the same one. `delivery` takes it off for a worker that does not ask, and adds one
//! where the event was made for such a worker. An event of which no worker asks costs the look at one flag of its
//! link.

use std::borrow::Cow;

use gatewayworker_protocol::{EventContext, FLAG_EVENT_CONTEXT, FLAG_TRACE_CONTEXT, TraceContext};

use super::Shard;
use super::ports::Ports;
use super::source;
use super::table::Key;

/// The numbers of a shard's events. Each shard of a gateway has a range of its own.
#[derive(Debug)]
pub(super) struct EventNumbers(u64);

impl EventNumbers {
    /// The numbers of the shard with this index: it stands in the first 16 bits.
    pub(super) fn of_shard(index: usize) -> Self {
        Self((index as u64) << 48)
    }

    fn draw(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

/// Puts a context, if there is one, in front of a body, and says so among the flags.
pub(super) fn join(context: Option<Vec<u8>>, flag: u8, body: &[u8]) -> (u8, Cow<'_, [u8]>) {
    match context {
        None => (flag, Cow::Borrowed(body)),
        Some(mut context) => {
            context.extend_from_slice(body);
            (flag | FLAG_EVENT_CONTEXT, Cow::Owned(context))
        }
    }
}

/// Splits the context from the body of an event that has one, and no trace context before it.
#[inline]
pub(super) fn split(flag: u8, body: &[u8]) -> (Option<&[u8]>, &[u8]) {
    if flag & FLAG_EVENT_CONTEXT == 0 {
        return (None, body);
    }
    EventContext::split(body).map_or((None, body), |(context, body)| (Some(context), body))
}

impl<P: Ports> Shard<P> {
    /// Returns the bytes of the context of a client's next event; `None` where its worker does not ask for them.
    pub(super) fn context_for_worker(&mut self, key: Key) -> Option<Vec<u8>> {
        let asks = self.table.get(key).is_some_and(|client| client.worker.features.event_context);
        asks.then(|| self.write_context(key.connection_id()))
    }

    /// [Tells](Self::tell) a client's worker an event, with its context.
    #[cold]
    pub(super) fn tell_in_context(&mut self, key: Key, cmd: u8, flag: u8, body: &[u8]) {
        let context = self.write_context(key.connection_id());
        let (flag, body) = join(Some(context), flag, body);
        self.tell(key, cmd, flag, &body);
    }

    /// Adds a context to the first event that waits in the log of a client or stub. It was made for a worker that did
    /// not ask, or for none. Nothing is known any more of a client that is gone.
    #[cold]
    pub(super) fn add_context(&mut self, id: u32) {
        let context = self.write_context(id);
        let found = source::find(&mut self.table, &mut self.stubs, self.settings.address, id);
        if let Some(log) = found.and_then(|source| source.log.as_mut()) {
            let is_traced = log.next().is_some_and(|(event, _)| event.flag & FLAG_TRACE_CONTEXT != 0);
            let behind = if is_traced { TraceContext::LEN } else { 0 };
            log.insert_into_next(FLAG_EVENT_CONTEXT, behind, &context);
        }
    }

    fn write_context(&mut self, id: u32) -> Vec<u8> {
        let number = self.event_numbers.draw();
        let mut context = Vec::new();
        match self.table.client(id) {
            Some(client) => {
                let uid = self.table.uid_of(client);
                EventContext::write(&mut context, number, uid.as_deref(), self.table.group_names(client));
            }
            None => EventContext::write(&mut context, number, None, [b""; 0]),
        }
        context
    }
}
