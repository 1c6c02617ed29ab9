//! The reader of an event link: takes the gateway's frames to the event queues, and runs handlers
//! within its time slice.
//!
//! `link` calls it for each connection. What a frame means is decided by `core`.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddrV4;
use std::pin::pin;
use std::sync::{Arc, PoisonError};

use bytes::BytesMut;
use gatewayworker_protocol::{Features, Frame, MAX_LARGE_FRAME_LEN, Pairing};
use tokio::io::AsyncReadExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::note_features;
use crate::core::{Epoch, Event, EventLink, Received};
use crate::event_queues::EventQueues;
use crate::inline_queue::InlineQueue;
use crate::inline_slice::{InlineTimeSlice, preemptions};
use crate::{Events, clock};

/// The size of the chunks that are read into, in bytes: many small events together.
const CHUNK: usize = 64 * 1024;

/// The least that is read at once, in bytes. Events share the chunk that they were
/// read into, so it is used up before there is another: one that waits shall not keep
/// a chunk for itself, which the budget of events does not count.
const MIN_READ: usize = 4 * 1024;

/// The reader of one connection.
pub(super) struct Reader<'a, E> {
    pub(super) queues: &'a Arc<EventQueues<E>>,
    pub(super) address: SocketAddrV4,
    pub(super) link: &'a EventLink,
    /// This side has closed the connection.
    pub(super) closed: &'a CancellationToken,
}

impl<E: Events> Reader<'_, E> {
    /// Reads events until the gateway lets the worker go, which drains; fails when the connection ends
    /// before. `pair` is called when the gateway names a pairing.
    pub(super) async fn read(
        &self,
        reading: &mut (impl AsyncReadExt + Unpin),
        pair: impl Fn(Pairing) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut buffer = BytesMut::new();
        let mut slice = InlineTimeSlice::new(Instant::now());
        let mut inline_queue = InlineQueue::new();
        // More has come than the buffer had room for.
        let mut more = false;
        // Events have come that are not acknowledged.
        let mut is_unpaired = false;
        loop {
            let mut inline = slice.begin(Instant::now(), preemptions());
            // Of all events of one read: those behind the first wait for the handlers of others.
            let received_ms = if self.queues.handler.timings.is_some() { clock::now_ms() } else { 0 };
            #[cfg_attr(not(feature = "otel"), allow(unused_mut, reason = "a trace is taken off it"))]
            while let Some(mut frame) =
                Frame::parse(&mut buffer, MAX_LARGE_FRAME_LEN).map_err(io::Error::other)?
            {
                #[cfg(feature = "otel")]
                let trace = crate::spans::take_context(&mut frame);
                let received = match self.link.receive(frame) {
                    Ok(received) => received,
                    Err(error) => {
                        debug!(gateway = %self.address, %error, "ignored a frame that cannot be decoded");
                        continue;
                    }
                };
                match received {
                    Received::Event(mut event) => {
                        event.received_ms = received_ms;
                        #[cfg(feature = "otel")]
                        {
                            event.trace = trace;
                        }
                        if event.epoch.is_none() && !std::mem::replace(&mut is_unpaired, true) {
                            self.queues.replaced(self.address);
                        }
                        if let Some(epoch) = self.returns_to(&event) {
                            self.queues.return_arrived(event, epoch);
                            continue;
                        }
                        if !self.queues.has_room(&event) {
                            self.make_room(&event).await?;
                            // That was no handler's time, and others had the thread.
                            inline = slice.begin(Instant::now(), preemptions());
                        }
                        match self.queues.enqueue(event) {
                            Some(event) if inline => {
                                inline_queue.place(self.queues.clone().run(event));
                                self.queues.run_inline(&mut inline_queue).await;
                            }
                            Some(event) => self.queues.spawn(event),
                            None => {}
                        }
                        inline = inline && slice.handler_ran(Instant::now(), preemptions);
                    }
                    Received::Adopt { origin, session } => {
                        let Some(epoch) = self.link.epoch() else { continue };
                        if let Some(event) = self.queues.clients.adopt(&origin, &session, epoch) {
                            self.queues.spawn(event);
                        }
                    }
                    Received::Forget(connection_ids) => {
                        if let Some(epoch) = self.link.epoch() {
                            self.queues.clients.forget(epoch, &connection_ids);
                        }
                    }
                    Received::Welcome { features, pairing } => {
                        self.welcome(features);
                        if let Some(pairing) = pairing {
                            pair(pairing)?;
                        }
                    }
                    Received::Published { topic, payload } => {
                        self.queues.handler.worker.deliver_published(&topic, &payload);
                    }
                    Received::Drained => return Ok(()),
                    Received::Heartbeat => {}
                    Received::Reported(number) => self.reported(number),
                    Received::Unexpected(command) => {
                        debug!(gateway = %self.address, ?command, "ignored a command that is not for a worker");
                    }
                }
            }
            if let Some(epoch) = self.link.epoch() {
                self.queues.done.tell(epoch);
            }
            if more {
                // The other links share this thread, and have to write what handlers said.
                tokio::task::yield_now().await;
            }
            if buffer.capacity() - buffer.len() < MIN_READ {
                buffer.reserve(CHUNK);
            }
            let room = buffer.capacity() - buffer.len();
            let mut was_read_out = false;
            let read = {
                let mut read = pin!(reading.read_buf(&mut buffer));
                poll_fn(|cx| {
                    let polled = read.as_mut().poll(cx);
                    was_read_out |= polled.is_pending();
                    polled
                })
                .await?
            };
            if read == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the gateway"));
            }
            more = read == room;
            self.heard(was_read_out);
        }
    }

    /// Notes that the gateway lives, and that what is done of its events is told at the end of the turn.
    fn heard(&self, was_read_out: bool) {
        let Some(epoch) = self.link.epoch() else { return };
        if epoch.hear(clock::now_ms(), was_read_out) {
            self.queues.epochs.wake();
        }
        self.queues.done.attend(epoch);
    }

    /// Takes the answer to a report.
    fn reported(&self, number: u32) {
        let Some(reporting) = self.link.reporting() else { return };
        let answered =
            reporting.lock().unwrap_or_else(PoisonError::into_inner).answered(number, clock::now_us());
        if let (Some(us), Some(timings)) = (answered, &self.queues.handler.timings) {
            timings.round_trip.observe_us(us);
        }
    }

    fn welcome(&self, features: Features) {
        note_features(&self.queues.handler.worker, self.address, features);
        debug!(gateway = %self.address, ?features, "the gateway has listed its features");
    }

    /// The epoch of an event that is given back at once, as it comes while the worker drains.
    fn returns_to(&self, event: &Event) -> Option<&Arc<Epoch>> {
        let is_given_back = event.epoch.is_some() && self.queues.epochs.is_draining();
        self.link.epoch().filter(|_| is_given_back)
    }

    /// Waits until there is room for an event. Fails when this side closes the connection: events of an
    /// epoch that is over may have taken the room, and wait for the next connection.
    async fn make_room(&self, event: &Event) -> io::Result<()> {
        let epoch = self.link.epoch();
        if let Some(epoch) = epoch {
            // What handlers have done is told, or the gateway would wait for it, too.
            self.queues.done.tell(epoch);
            epoch.pause_reading();
        }
        tokio::select! {
            () = self.queues.make_room(event) => {}
            () = self.closed.cancelled() => return Err(io::ErrorKind::ConnectionAborted.into()),
        }
        if let Some(epoch) = epoch {
            epoch.resume_reading(clock::now_ms());
            self.queues.done.attend(epoch);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use gatewayworker_client::worker::WorkerHandle;
    use gatewayworker_protocol::{Command, Origin, Payload};
    use tokio::sync::{Semaphore, watch};
    use tokio::task::Id;
    use tokio::time::timeout;

    use super::*;
    use crate::client_map::ClientMap;
    use crate::core::{Clients, Turn};
    use crate::handler::{HandlerRunner, Limits};
    use crate::{Client, Message, Result};

    /// Notes in which task each message is handled, and takes a second for the first.
    struct Where(Mutex<Vec<Option<Id>>>);

    impl Events for Where {
        async fn on_message(&self, _: &Client, _: Message) -> Result {
            let handled = {
                let mut tasks = self.0.lock().unwrap();
                tasks.push(tokio::task::try_id());
                tasks.len()
            };
            if handled == 1 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_for_room_is_not_held_against_the_handler_behind_it() {
        let worker = WorkerHandle::builder(watch::channel(Vec::new()).1).connect();
        let events = Arc::new(Where(Mutex::default()));
        let handler =
            HandlerRunner::new(events.clone(), worker, Limits { slow: Duration::MAX, cancel: None });
        // Each event takes all the room there is.
        let clients = Arc::new(Clients::new(ClientMap::default(), 1));
        let queues = EventQueues::new(clients, handler, 8, Duration::from_secs(10));
        let address = SocketAddrV4::new([127, 0, 0, 1].into(), 2300);
        let mut sent = BytesMut::new();
        for connection_id in 1..=3 {
            let origin = Origin { gateway: address, client: address, connection_id, gateway_port: 0 };
            let (session, message) = (bytes::Bytes::new(), Payload::plain("hi"));
            Command::OnMessage { origin, session, message }.encode(&mut sent);
        }
        let started = Instant::now();
        let (link, closed) = (EventLink::default(), CancellationToken::new());
        let reader = Reader { queues: &queues, address, link: &link, closed: &closed };
        let read = reader.read(&mut &sent[..], |_| Ok(())).await;
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(started.elapsed(), Duration::from_secs(1), "it waited for room");
        queues.drained().await;
        // The reader is this test, which is no task.
        assert_eq!(*events.0.lock().unwrap(), [None, None, None]);
    }

    /// Counts messages; the first is handled until there is a permit.
    struct Held(Semaphore, AtomicUsize);

    impl Events for Held {
        async fn on_message(&self, _: &Client, _: Message) -> Result {
            if self.1.fetch_add(1, Ordering::SeqCst) == 0 {
                self.0.acquire().await?.forget();
            }
            Ok(())
        }
    }

    #[tokio::test]
    async fn while_there_is_no_room_events_of_a_silent_gateway_do_not_begin_and_the_call_link_tells() {
        let worker = WorkerHandle::builder(watch::channel(Vec::new()).1).connect();
        let events = Arc::new(Held(Semaphore::new(0), AtomicUsize::new(0)));
        let handler =
            HandlerRunner::new(events.clone(), worker, Limits { slow: Duration::MAX, cancel: None });
        // Each event takes all the room there is.
        let clients = Arc::new(Clients::new(ClientMap::default(), 1));
        let queues = EventQueues::new(clients, handler, 8, Duration::from_millis(400));
        let gateway = SocketAddrV4::new([127, 0, 0, 1].into(), 2300);
        let (epoch, _) = queues.epochs.begin(gateway, Pairing { instance: 7, epoch: 1 });
        let (link, closed) = (EventLink::default(), CancellationToken::new());
        link.paired(epoch.clone());
        let mut sent = BytesMut::new();
        for connection_id in 1..=2 {
            let origin = Origin { gateway, client: gateway, connection_id, gateway_port: 0 };
            let (session, message) = (bytes::Bytes::new(), Payload::plain("hi"));
            Command::OnMessage { origin, session, message }.encode(&mut sent);
        }
        let reader = Reader { queues: &queues, address: gateway, link: &link, closed: &closed };
        let falls_silent = async {
            // The reader waits for room meanwhile.
            while epoch.turn(clock::now_ms()) == Turn::Begin {
                tokio::task::yield_now().await;
            }
            events.0.add_permits(1);
        };
        let mut sent = &sent[..];
        let both = async { tokio::join!(reader.read(&mut sent, |_| Ok(())), falls_silent) };
        let (read, ()) = timeout(Duration::from_secs(10), both).await.unwrap();
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(events.1.load(Ordering::SeqCst), 1, "nothing was heard of the gateway");
        while !epoch.hear_call_link(clock::now_ms(), true) {
            tokio::task::yield_now().await;
        }
        queues.epochs.wake();
        queues.drained().await;
        assert_eq!(events.1.load(Ordering::SeqCst), 2);
    }
}
