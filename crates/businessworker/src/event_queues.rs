//! The event queues: run the events of one client one after the other, those of different
//! clients side by side.
//!
//! `link` makes room for an event and enqueues it. A future runs each client's queue as
//! long as there is anything in it: a task, unless it is done at its first poll. A client
//! without events has neither. Which event is next, and what is known of the client, is the
//! business of `core`; what happens to one event that of `handler`; which events have to wait for
//! their gateway, that of `epochs`.

use std::future::poll_fn;
use std::net::SocketAddrV4;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use gatewayworker_client::ClientId;
use gatewayworker_net::Transport;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::task::TaskTracker;
use tracing::error;

use crate::Events;
use crate::client_map::ClientMap;
use crate::core::{Clients, Enqueued, Epoch, Event};
use crate::done::DoneTeller;
use crate::epochs::{Epochs, NextStep};
use crate::handler::{Ending, HandlerRunner};
use crate::inline_queue::InlineQueue;
use crate::room::{Counted, Room};

/// The budget of all events that wait or run, in bytes, roughly.
pub(crate) const BUDGET: usize = 64 * 1024 * 1024;

/// The event queues of a worker's clients.
#[derive(Debug)]
pub(crate) struct EventQueues<E> {
    pub(crate) clients: Arc<Clients<ClientMap>>,
    pub(crate) handler: HandlerRunner<E>,
    pub(crate) epochs: Epochs,
    pub(crate) done: DoneTeller,
    /// A permit for each handler that runs, of so many in all.
    running: Semaphore,
    concurrency: usize,
    /// Links that wait for room.
    room: Room,
    pub(crate) tasks: TaskTracker,
    /// The number of gateways that events come from now.
    gateways: AtomicUsize,
    /// Those of them whose event link is a Unix socket.
    gateways_unix: AtomicUsize,
    /// The application's runtime.
    pub(crate) runtime: Handle,
}

impl<E: Events> EventQueues<E> {
    /// Event queues of which at most `concurrency` run at once, on the runtime that this
    /// is called on.
    pub(crate) fn new(
        clients: Arc<Clients<ClientMap>>,
        handler: HandlerRunner<E>,
        concurrency: usize,
        link_timeout: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            clients,
            done: DoneTeller::new(handler.worker.clone(), link_timeout),
            // Before the gateway takes this worker for dead, and gives the events to another.
            epochs: Epochs::new(link_timeout / 2),
            handler,
            running: Semaphore::new(concurrency.min(Semaphore::MAX_PERMITS)),
            concurrency: concurrency.min(Semaphore::MAX_PERMITS),
            room: Room::default(),
            tasks: TaskTracker::new(),
            gateways: AtomicUsize::new(0),
            gateways_unix: AtomicUsize::new(0),
            runtime: Handle::current(),
        })
    }

    /// Counts one more gateway that events come from, until what is returned is dropped.
    pub(crate) fn linked(&self, transport: Transport) -> (Counted<'_>, Option<Counted<'_>>) {
        let unix = (transport == Transport::Unix).then(|| Counted::new(&self.gateways_unix));
        (Counted::new(&self.gateways), unix)
    }

    /// Returns the number of gateways that events come from.
    pub(crate) fn gateways(&self) -> usize {
        self.gateways.load(Ordering::Relaxed)
    }

    /// Returns the number of handlers that run.
    pub(crate) fn running(&self) -> usize {
        self.concurrency - self.running.available_permits()
    }

    /// Returns the counters for the operator.
    pub(crate) fn stats(&self) -> Vec<(&'static str, u64)> {
        let stats = &self.handler.stats;
        vec![
            ("gateways", self.gateways() as u64),
            ("gateways_unix", self.gateways_unix.load(Ordering::Relaxed) as u64),
            ("events", stats.events.get()),
            ("events_redelivered", stats.redelivered.get()),
            ("errors", stats.errors.get() + stats.panics.get()),
            ("fenced", self.epochs.fenced_calls()),
        ]
    }

    /// Whether there is room for an event: its budget is reserved then.
    pub(crate) fn has_room(&self, event: &Event) -> bool {
        self.clients.try_reserve(event)
    }

    /// Reserves the budget for an event, which then is [enqueued](Self::enqueue), and waits
    /// for it where it is used up. No event is ever
    /// dropped: a link that waits here reads no more, and its gateway notices.
    ///
    /// Cancel safe: nothing is reserved then. Not fair: a small event may overtake a
    /// large one.
    pub(crate) async fn make_room(&self, event: &Event) {
        if !self.clients.try_reserve(event) {
            self.room.wait(|| self.clients.try_reserve(event)).await;
        }
    }

    /// Wakes the links that wait for room. The budget was given back before.
    #[inline]
    pub(crate) fn wake_for_room(&self) {
        self.room.wake();
    }

    /// Puts an event, for which there is [room](Self::make_room), into its client's queue. Returns it
    /// where it is its client's only one: the caller runs the queue, in a task ([`spawn`](Self::spawn)) or
    /// [inline](Self::run_inline).
    #[must_use = "the queue has to run"]
    pub(crate) fn enqueue(&self, event: Event) -> Option<Event> {
        let id = event.client_id();
        match self.clients.enqueue(event) {
            Enqueued::Start(event) => Some(event),
            Enqueued::Queued => None,
            Enqueued::Returned(epoch) => {
                self.wake_for_room();
                self.tell_returned(&epoch, id);
                None
            }
        }
    }

    /// Runs a queue in the caller, as far as it goes without waiting: mostly to its end, and then no task
    /// is needed at all, nor a thread woken for it. Otherwise it goes on in a task. This never waits: its
    /// time is the handlers'.
    ///
    /// Not cancel safe: the event is lost.
    pub(crate) async fn run_inline(
        &self,
        queue: &mut InlineQueue<impl Future<Output = ()> + Send + 'static>,
    ) {
        let first_poll = poll_fn(|cx| Poll::Ready(queue.poll(&self.runtime, cx)));
        if first_poll.await.is_pending()
            && let Some(queue) = queue.take()
        {
            self.tasks.spawn_on(queue, &self.runtime);
        }
    }

    /// Runs a client's events, from the one that is started, in a task.
    pub(crate) fn spawn(self: &Arc<Self>, started: Event) {
        self.tasks.spawn_on(self.clone().run(started), &self.runtime);
    }

    /// Runs one client's events until there are none.
    pub(crate) async fn run(self: Arc<Self>, first: Event) {
        let id = first.client_id();
        let mut next = Some(first);
        while let Some(event) = next {
            let (step, permit) = self.turn(&event).await;
            next = match step {
                NextStep::Drop => self.clients.drop_started(id),
                NextStep::Return => self.return_started(event),
                NextStep::Begin => {
                    let epoch = event.epoch.clone();
                    // Handlers are contained, but not all that is theirs: what they held may panic
                    // when they are cancelled, an error when it is shown. The queue has to go on, or
                    // its client would be mute for ever.
                    let handling = pin!(self.handler.handle(&self.clients, event));
                    let ending = AssertUnwindSafe(handling).catch_unwind().await;
                    self.handled(id, epoch.as_ref(), ending).or_else(|| self.clients.finish(id))
                }
            };
            drop(permit);
            self.wake_for_room();
        }
    }

    /// Waits until something is to be done with an event, and for a permit to do it.
    async fn turn(&self, event: &Event) -> (NextStep, SemaphorePermit<'_>) {
        loop {
            let permit = match self.running.try_acquire() {
                Ok(permit) => permit,
                // The semaphore is never closed.
                Err(_) => match self.running.acquire().await {
                    Ok(permit) => permit,
                    Err(_) => std::future::pending().await,
                },
            };
            if let Some(step) = self.epochs.next_step(event) {
                return (step, permit);
            }
            // An event that waits for its gateway keeps nobody else from running.
            drop(permit);
            Box::pin(self.epochs.turn(event)).await;
        }
    }

    /// Notes how the handler of an event has ended; returns the event where it is not finished by that.
    fn handled(
        &self,
        id: ClientId,
        epoch: Option<&Arc<Epoch>>,
        ending: std::thread::Result<Ending>,
    ) -> Option<Event> {
        let client = match ending {
            Ok(Ending::Done(client)) => client,
            Ok(Ending::Waits(event)) => return Some(event),
            Ok(Ending::NotBegun(event)) => {
                if let Some(epoch) = epoch {
                    self.end_epoch(epoch);
                }
                return Some(event);
            }
            Err(_) => {
                self.handler.stats.panics.count();
                error!(client = %id, "a value that a handler left behind panicked when it was dropped or shown");
                None
            }
        };
        if let Some(epoch) = epoch {
            let calls = client.as_ref().and_then(|client| client.session().calls());
            self.done.done(epoch, id.connection_id(), calls);
        }
        None
    }

    /// Ends an epoch: no event of it begins, no handler of it says anything more, and its call link is
    /// closed, which ends the event link.
    pub(crate) fn end_epoch(&self, epoch: &Epoch) {
        self.epochs.end(epoch);
        self.handler.worker.end_call_link(epoch.gateway(), epoch.number());
    }

    /// Forgets the clients of a gateway that does not acknowledge events, which are no longer this
    /// worker's. Events of theirs that have come are still handled.
    pub(crate) fn forget_gateway(&self, gateway: SocketAddrV4) {
        self.clients.forget_gateway(gateway);
    }

    /// Waits until every queue is empty. Events must not come any more.
    pub(crate) async fn drained(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use bytes::Bytes;
    use gatewayworker_client::worker::{SessionObserver, WorkerHandle};
    use gatewayworker_protocol::{Command, Origin, Payload};
    use tokio::sync::watch;

    use super::*;
    use crate::core::{EVENT_COST, EventKind};
    use crate::handler::Limits;
    use crate::{Client, CloseReason, Message, Result};

    const TIMEOUT: Duration = Duration::from_secs(10);

    /// Counts messages, and holds them up as long as it has no permits.
    struct Gate {
        permits: Semaphore,
        messages: AtomicUsize,
    }

    impl Events for Gate {
        async fn on_message(&self, _: &Client, _: Message) -> Result {
            self.permits.acquire().await?.forget();
            self.messages.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
    }

    fn clients(budget: usize) -> Arc<Clients<ClientMap>> {
        Arc::new(Clients::new(ClientMap::default(), budget))
    }

    fn queues(concurrency: usize, budget: usize) -> (Arc<EventQueues<Arc<Gate>>>, Arc<Gate>) {
        let gate = Arc::new(Gate { permits: Semaphore::new(0), messages: AtomicUsize::new(0) });
        (EventQueues::new(clients(budget), handler(gate.clone()), concurrency, TIMEOUT), gate)
    }

    fn handler<E: Events>(events: E) -> HandlerRunner<E> {
        let worker = WorkerHandle::builder(watch::channel(Vec::new()).1).connect();
        HandlerRunner::new(events, worker, Limits { slow: Duration::MAX, cancel: None })
    }

    fn message(connection_id: u32, len: usize) -> Event {
        let address = std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 1);
        let origin = Origin { gateway: address, client: address, connection_id, gateway_port: 0 };
        let (session, message) = (Bytes::new(), Payload::plain(vec![b'x'; len]));
        Event::from_command(Command::OnMessage { origin, session, message }).unwrap()
    }

    async fn enqueue<E: Events>(queues: &Arc<EventQueues<E>>, event: Event, inline: bool) {
        queues.make_room(&event).await;
        begin(queues, event, inline).await;
    }

    async fn begin<E: Events>(queues: &Arc<EventQueues<E>>, event: Event, inline: bool) {
        let Some(event) = queues.enqueue(event) else { return };
        if !inline {
            return queues.spawn(event);
        }
        let mut queue = InlineQueue::new();
        queue.place(queues.clone().run(event));
        queues.run_inline(&mut queue).await;
    }

    #[tokio::test]
    async fn too_many_events_wait_and_none_is_dropped() {
        let (queues, gate) = queues(1, 10 * EVENT_COST);
        for connection in 0..10 {
            let event = message(connection % 3, 0);
            assert!(queues.has_room(&event));
            begin(&queues, event, false).await;
        }
        let eleventh = message(7, 0);
        let mut room = Box::pin(queues.make_room(&eleventh));
        assert!(room.as_mut().now_or_never().is_none(), "there is no room");
        gate.permits.add_permits(1);
        room.await;
        begin(&queues, eleventh, false).await;
        gate.permits.add_permits(10);
        queues.drained().await;
        assert_eq!(gate.messages.load(Ordering::SeqCst), 11);
    }

    #[tokio::test]
    async fn an_event_larger_than_the_budget_has_it_for_itself() {
        let (queues, gate) = queues(1, 10 * EVENT_COST);
        enqueue(&queues, message(1, 100_000), false).now_or_never().expect("there is room");
        assert!(queues.make_room(&message(1, 0)).now_or_never().is_none(), "there is no room");
        gate.permits.add_permits(1);
        queues.drained().await;
    }

    /// Never ends, and panics when it is cancelled.
    struct Unwilling;

    impl Drop for Unwilling {
        fn drop(&mut self) {
            panic!("as asked");
        }
    }

    struct Forever;

    impl Events for Forever {
        async fn on_message(&self, _: &Client, _: Message) -> Result {
            let _held = Unwilling;
            std::future::pending().await
        }
    }

    #[tokio::test]
    async fn a_panic_outside_the_handler_does_not_end_the_queue() {
        let mut handler = handler(Forever);
        handler.limits.cancel = Some(Duration::from_millis(1));
        let queues = EventQueues::new(clients(BUDGET), handler, 1, TIMEOUT);
        for _ in 0..3 {
            enqueue(&queues, message(1, 0), true).await;
        }
        queues.drained().await;
        assert_eq!(queues.handler.stats.panics.to_string(), "3");
        assert!(queues.clients.budget().is_whole());
    }

    /// Writes the session of a client that is gone.
    struct TooLate(Arc<Clients<ClientMap>>);

    impl Events for TooLate {
        async fn on_close(&self, client: &Client, _: CloseReason) -> Result {
            self.0.session_replaced(client.id(), b"a:0:{}");
            Ok(())
        }
    }

    #[tokio::test]
    async fn nothing_is_kept_of_a_closed_client_though_on_close_writes_its_session() {
        let clients = clients(BUDGET);
        let queues = EventQueues::new(clients.clone(), handler(TooLate(clients.clone())), 1, TIMEOUT);
        let mut event = message(1, 0);
        event.kind = EventKind::Close(Bytes::new());
        let id = event.client_id();
        enqueue(&queues, event, true).await;
        queues.drained().await;
        assert!(!clients.table().has_written_session(id));
    }

    #[tokio::test]
    async fn a_queue_that_begins_inline_is_done_at_once_or_goes_on_in_a_task() {
        let (queues, gate) = queues(8, BUDGET);
        gate.permits.add_permits(1);
        enqueue(&queues, message(1, 0), true).await;
        assert_eq!(gate.messages.load(Ordering::SeqCst), 1);
        assert!(queues.tasks.is_empty());
        enqueue(&queues, message(1, 0), true).await;
        enqueue(&queues, message(2, 0), true).await;
        assert_eq!((gate.messages.load(Ordering::SeqCst), queues.tasks.len()), (1, 2));
        gate.permits.add_permits(2);
        queues.drained().await;
        assert_eq!(gate.messages.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn of_a_client_whose_queue_is_empty_nothing_is_kept() {
        let (queues, gate) = queues(8, BUDGET);
        gate.permits.add_permits(100);
        for n in 0..100 {
            enqueue(&queues, message(n % 10, 0), n % 2 == 0).await;
        }
        queues.drained().await;
        assert!(queues.clients.table().is_empty());
        assert!(queues.clients.budget().is_whole());
    }
}
