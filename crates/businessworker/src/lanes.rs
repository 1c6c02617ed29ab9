//! Lanes: the events of one client one after the other, those of different clients
//! side by side.
//!
//! A lane is a queue, and a future that runs it as long as there is anything in it: a
//! task, unless it is done at once. A client that says nothing has neither. What an
//! event does is the `handler`'s business.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddrV4;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use bytes::Bytes;
use dashmap::{DashMap, Entry};
use foldhash::fast::RandomState;
use futures_util::FutureExt;
use gatewayworker_client::worker::SessionObserver;
use gatewayworker_client::{ClientId, php};
use gatewayworker_protocol::{Body, Command, Origin, Payload};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::coop::unconstrained;
use tokio_util::task::TaskTracker;
use tracing::error;

use crate::Events;
use crate::budget::Budget;
use crate::handler::Handler;
use crate::sessions::Marks;

/// What an event costs beyond its own bytes, so that small ones are bounded in
/// number too.
const EVENT_COST: usize = 256;

/// What all events that wait or run may cost together: bytes, roughly.
pub(crate) const BUDGET: usize = 64 * 1024 * 1024;

/// Something that happened to a client.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) origin: Origin,
    /// As it was when the event left the gateway.
    pub(crate) session: Bytes,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    Connect,
    /// A handshake, and whether the gateway waits for what comes of it.
    WebSocketConnect {
        handshake: Bytes,
        asks: bool,
    },
    Message(Payload),
    Close(Bytes),
}

impl Event {
    /// The event that a gateway tells, if it is one.
    pub(crate) fn of(command: Command) -> Result<Self, Command> {
        let (origin, session, what) = match command {
            Command::OnConnect { origin, session } => (origin, session, What::Connect),
            Command::OnWebSocketConnect { origin, session, handshake, asks } => {
                (origin, session, What::WebSocketConnect { handshake, asks })
            }
            Command::OnMessage { origin, session, message } => (origin, session, What::Message(message)),
            Command::OnClose { origin, session, reason } => (origin, session, What::Close(reason)),
            other => return Err(other),
        };
        Ok(Self { origin, session, what })
    }

    pub(crate) fn client_id(&self) -> ClientId {
        ClientId::new(self.origin.gateway, self.origin.connection_id)
    }

    /// How much of the budget it takes.
    fn cost(&self) -> usize {
        let body = match &self.what {
            What::Connect => 0,
            What::WebSocketConnect { handshake: body, .. } | What::Close(body) => body.len(),
            What::Message(Payload { body: Body::Plain(body) | Body::Php(body), .. }) => body.len(),
        };
        EVENT_COST + self.session.len() + body
    }
}

/// The clients that have something going on, and the sessions that were written here.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    /// What waits behind the event that runs. A client without a lane is not in here.
    queues: DashMap<ClientId, VecDeque<Event>, RandomState>,
    pub(crate) marks: Marks,
}

/// Writes count that are made while the client has an event: those of its own
/// handlers. (Its session written from elsewhere, or another worker's client's, would
/// leave marks that nobody takes away.)
impl SessionObserver for Clients {
    fn session_replaced(&self, id: ClientId, bytes: &[u8]) {
        if self.queues.contains_key(&id) || self.marks.contains(id) {
            self.marks.written(id, bytes);
        }
    }

    fn session_merged(&self, id: ClientId, with: &php::Array) {
        if self.queues.contains_key(&id) || self.marks.contains(id) {
            self.marks.merged(id, with);
        }
    }
}

/// All lanes of a worker.
#[derive(Debug)]
pub(crate) struct Lanes<E> {
    pub(crate) clients: Arc<Clients>,
    pub(crate) handler: Handler<E>,
    /// Who holds a permit may run.
    running: Semaphore,
    /// What events may still cost.
    budget: Budget,
    /// What a single one may cost at most, so that it has room at all.
    most: usize,
    tasks: TaskTracker,
    /// Gateways that events come from now.
    gateways: AtomicUsize,
    /// Where the application runs.
    runtime: Handle,
}

/// Counts a gateway as long as it lives.
#[derive(Debug)]
pub(crate) struct Linked<'a>(&'a AtomicUsize);

impl Drop for Linked<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<E: Events> Lanes<E> {
    /// Lanes of which at most `concurrency` run at once, with events that cost at
    /// most `budget` together, and which run on the runtime that this is called on.
    pub(crate) fn new(
        clients: Arc<Clients>,
        handler: Handler<E>,
        concurrency: usize,
        budget: usize,
    ) -> Arc<Self> {
        Arc::new(Self {
            clients,
            handler,
            running: Semaphore::new(concurrency.min(Semaphore::MAX_PERMITS)),
            budget: Budget::new(budget),
            most: budget,
            tasks: TaskTracker::new(),
            gateways: AtomicUsize::new(0),
            runtime: Handle::current(),
        })
    }

    /// Events come from one more gateway, until what is returned is dropped.
    pub(crate) fn linked(&self) -> Linked<'_> {
        self.gateways.fetch_add(1, Ordering::Relaxed);
        Linked(&self.gateways)
    }

    /// How many gateways events come from.
    pub(crate) fn gateways(&self) -> usize {
        self.gateways.load(Ordering::Relaxed)
    }

    /// How it goes, for the operator.
    pub(crate) fn figures(&self) -> Vec<(&'static str, u64)> {
        let stats = &self.handler.stats;
        vec![
            ("gateways", self.gateways() as u64),
            ("events", stats.events.get()),
            ("errors", stats.errors.get() + stats.panics.get()),
        ]
    }

    /// Waits while too much is waiting already, and takes the room that an event needs,
    /// which then is [put](Self::put). Returns whether it had to wait. Nothing is ever
    /// dropped: a reader that waits here reads no more, and its gateway finds out.
    ///
    /// Cancel safe: no room is taken then.
    pub(crate) async fn make_room(&self, event: &Event) -> bool {
        self.budget.take(self.cost(event)).await
    }

    /// Puts an event, for which there is [room](Self::make_room), into its client's lane.
    ///
    /// A new lane is begun `here`, by the caller, or else in a task of its own. Most
    /// handlers are done at their first poll, and then no task is needed at all, nor a
    /// thread woken for it. Nothing is waited for: how long this takes is how long the
    /// handler held up the caller.
    ///
    /// Not cancel safe: the event is gone.
    pub(crate) async fn put(self: &Arc<Self>, event: Event, here: bool) {
        let id = event.client_id();
        match self.clients.queues.entry(id) {
            Entry::Occupied(mut queue) => return queue.get_mut().push_back(event),
            Entry::Vacant(place) => drop(place.insert(VecDeque::new())),
        }
        let lane = self.clone().run(id, event);
        if !here {
            self.tasks.spawn_on(lane, &self.runtime);
            return;
        }
        let mut lane = Box::pin(lane);
        // The reader's own budget of the cooperative scheduler is not for handlers: it
        // would be used up after a hundred, and all others look unfinished.
        let first_poll = poll_fn(|cx| {
            let _entered = self.runtime.enter();
            Poll::Ready(pin!(unconstrained(lane.as_mut())).poll(cx))
        });
        if first_poll.await.is_pending() {
            self.tasks.spawn_on(lane, &self.runtime);
        }
    }

    fn cost(&self, event: &Event) -> usize {
        event.cost().min(self.most)
    }

    /// Runs one client's events until there are none.
    async fn run(self: Arc<Self>, id: ClientId, first: Event) {
        let mut next = Some(first);
        while let Some(event) = next {
            let cost = self.cost(&event);
            let permit = match self.running.try_acquire() {
                Ok(permit) => Ok(permit),
                Err(_) => self.running.acquire().await,
            };
            // Handlers are contained, but not all that is theirs: what they held may panic
            // when they are cancelled, an error when it is shown. The lane has to go on, or
            // its client would be mute for ever.
            let handle = pin!(self.handler.handle(&self.clients.marks, event));
            if AssertUnwindSafe(handle).catch_unwind().await.is_err() {
                self.handler.stats.panics.count();
                error!(client = %id, "what a handler left behind panicked");
            }
            drop(permit);
            self.budget.give_back(cost);
            next = self.next(id);
        }
    }

    /// What waits next; where nothing does, the lane is gone.
    fn next(&self, id: ClientId) -> Option<Event> {
        match self.clients.queues.entry(id) {
            Entry::Occupied(mut queue) => {
                let event = queue.get_mut().pop_front();
                if event.is_none() {
                    queue.remove();
                }
                event
            }
            Entry::Vacant(_) => None,
        }
    }

    /// The clients of a gateway are no longer this worker's. Events of theirs that have
    /// come are still handled.
    pub(crate) fn forget_gateway(&self, gateway: SocketAddrV4) {
        let own = self.clients.queues.iter().map(|queue| *queue.key()).filter(|id| id.gateway() == gateway);
        let busy = own.collect();
        self.handler.forget_gateway(&self.clients.marks, gateway, &busy);
    }

    /// Waits until every lane is gone. Events must not come any more.
    pub(crate) async fn drained(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use gatewayworker_client::worker::WorkerHandle;
    use tokio::sync::watch;

    use super::*;
    use crate::handler::Limits;
    use crate::{Client, CloseReason, Message, Result};

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

    fn lanes(concurrency: usize, budget: usize) -> (Arc<Lanes<Arc<Gate>>>, Arc<Gate>) {
        let gate = Arc::new(Gate { permits: Semaphore::new(0), messages: AtomicUsize::new(0) });
        (Lanes::new(Arc::default(), handler(gate.clone()), concurrency, budget), gate)
    }

    fn handler<E: Events>(events: E) -> Handler<E> {
        let worker = WorkerHandle::builder(watch::channel(Vec::new()).1).connect();
        Handler::new(events, worker, Limits { slow: Duration::MAX, cancel: None })
    }

    fn message(connection_id: u32, len: usize) -> Event {
        let address = std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 1);
        let origin = Origin { gateway: address, client: address, connection_id, gateway_port: 0 };
        Event { origin, session: Bytes::new(), what: What::Message(Payload::plain(vec![b'x'; len])) }
    }

    async fn put<E: Events>(lanes: &Arc<Lanes<E>>, event: Event, here: bool) {
        lanes.make_room(&event).await;
        lanes.put(event, here).await;
    }

    #[tokio::test]
    async fn too_many_events_are_waited_with_and_none_is_dropped() {
        let (lanes, gate) = lanes(1, 10 * EVENT_COST);
        for connection in 0..10 {
            let event = message(connection % 3, 0);
            assert!(!lanes.make_room(&event).now_or_never().expect("there is room"));
            lanes.put(event, false).await;
        }
        let eleventh = message(7, 0);
        let mut room = Box::pin(lanes.make_room(&eleventh));
        assert!(room.as_mut().now_or_never().is_none(), "there is no room");
        gate.permits.add_permits(1);
        assert!(room.await, "it had to wait");
        lanes.put(eleventh, false).await;
        gate.permits.add_permits(10);
        lanes.drained().await;
        assert_eq!(gate.messages.load(Ordering::SeqCst), 11);
    }

    #[tokio::test]
    async fn an_event_that_is_larger_than_the_budget_has_it_for_itself() {
        let (lanes, gate) = lanes(1, 10 * EVENT_COST);
        put(&lanes, message(1, 100_000), false).now_or_never().expect("there is room");
        assert!(lanes.make_room(&message(1, 0)).now_or_never().is_none(), "there is no room");
        gate.permits.add_permits(1);
        lanes.drained().await;
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
    async fn a_panic_outside_the_handler_does_not_end_the_lane() {
        let mut handler = handler(Forever);
        handler.limits.cancel = Some(Duration::from_millis(1));
        let lanes = Lanes::new(Arc::default(), handler, 1, BUDGET);
        for _ in 0..3 {
            put(&lanes, message(1, 0), true).await;
        }
        lanes.drained().await;
        assert_eq!(lanes.handler.stats.panics.to_string(), "3");
        assert_eq!(lanes.budget.left(), BUDGET);
    }

    /// Writes the session of a client that is gone.
    struct TooLate(Arc<Clients>);

    impl Events for TooLate {
        async fn on_close(&self, client: &Client, _: CloseReason) -> Result {
            self.0.session_replaced(client.id(), b"a:0:{}");
            Ok(())
        }
    }

    #[tokio::test]
    async fn of_a_client_that_is_gone_nothing_is_kept_though_on_close_writes_its_session() {
        let clients = Arc::<Clients>::default();
        let lanes = Lanes::new(clients.clone(), handler(TooLate(clients.clone())), 1, BUDGET);
        let event = Event { what: What::Close(Bytes::new()), ..message(1, 0) };
        let id = event.client_id();
        put(&lanes, event, true).await;
        lanes.drained().await;
        assert!(!clients.marks.contains(id));
    }

    #[tokio::test]
    async fn a_lane_that_is_begun_here_is_done_at_once_or_goes_on_in_a_task() {
        let (lanes, gate) = lanes(8, BUDGET);
        gate.permits.add_permits(1);
        put(&lanes, message(1, 0), true).await;
        assert_eq!(gate.messages.load(Ordering::SeqCst), 1);
        assert!(lanes.tasks.is_empty());
        put(&lanes, message(1, 0), true).await;
        put(&lanes, message(2, 0), true).await;
        assert_eq!((gate.messages.load(Ordering::SeqCst), lanes.tasks.len()), (1, 2));
        gate.permits.add_permits(2);
        lanes.drained().await;
        assert_eq!(gate.messages.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn a_lane_is_gone_once_it_is_empty() {
        let (lanes, gate) = lanes(8, BUDGET);
        gate.permits.add_permits(100);
        for n in 0..100 {
            put(&lanes, message(n % 10, 0), n % 2 == 0).await;
        }
        lanes.drained().await;
        assert!(lanes.clients.queues.is_empty());
        assert_eq!(lanes.budget.left(), BUDGET);
    }
}
