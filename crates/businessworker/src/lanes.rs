//! Lanes: the events of one client one after the other, those of different clients
//! side by side.
//!
//! A lane is a queue, and a task that runs it as long as there is anything in it. A
//! client that says nothing has neither. What an event does is the `handler`'s
//! business.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use dashmap::{DashMap, Entry};
use foldhash::fast::RandomState;
use gatewayworker_client::{ClientId, SessionObserver, php};
use gatewayworker_protocol::{Body, Command, Origin, Payload};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::Events;
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
    WebSocketConnect(Bytes),
    Message(Payload),
    Close(Bytes),
}

impl Event {
    /// The event that a gateway tells, if it is one.
    pub(crate) fn of(command: Command) -> Result<Self, Command> {
        let (origin, session, what) = match command {
            Command::OnConnect { origin, session } => (origin, session, What::Connect),
            Command::OnWebSocketConnect { origin, session, handshake } => {
                (origin, session, What::WebSocketConnect(handshake))
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
            What::WebSocketConnect(body) | What::Close(body) => body.len(),
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
    budget: Semaphore,
    /// What a single one may cost at most, so that it has room at all.
    most: u32,
    tasks: TaskTracker,
}

impl<E: Events> Lanes<E> {
    /// Lanes of which at most `concurrency` run at once, with events that cost at
    /// most `budget` together.
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
            budget: Semaphore::new(budget),
            most: u32::try_from(budget).unwrap_or(u32::MAX),
            tasks: TaskTracker::new(),
        })
    }

    /// Puts an event into its client's lane, and waits before that while too much is
    /// waiting already. Nothing is ever dropped: a reader that waits here reads no
    /// more, and its gateway finds out.
    ///
    /// Not cancel safe: the event is gone.
    pub(crate) async fn put(self: &Arc<Self>, event: Event) {
        let cost = self.cost(&event);
        // A semaphore that is never closed has no errors.
        if let Ok(permit) = self.budget.acquire_many(cost).await {
            permit.forget();
        }
        let id = event.client_id();
        match self.clients.queues.entry(id) {
            Entry::Occupied(mut queue) => queue.get_mut().push_back(event),
            Entry::Vacant(place) => {
                drop(place.insert(VecDeque::new()));
                self.tasks.spawn(self.clone().run(id, event));
            }
        }
    }

    fn cost(&self, event: &Event) -> u32 {
        u32::try_from(event.cost()).unwrap_or(u32::MAX).min(self.most)
    }

    /// Runs one client's events until there are none.
    async fn run(self: Arc<Self>, id: ClientId, first: Event) {
        let mut next = Some(first);
        while let Some(event) = next {
            let cost = self.cost(&event) as usize;
            let permit = self.running.acquire().await;
            self.handler.handle(&self.clients.marks, event).await;
            drop(permit);
            self.budget.add_permits(cost);
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

    use futures_util::FutureExt;
    use gatewayworker_client::Gateway;
    use tokio::sync::watch;

    use super::*;
    use crate::handler::Limits;
    use crate::{Client, Message, Result};

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
        let gateway = Gateway::following(watch::channel(Vec::new()).1).connect();
        let limits = Limits { slow: Duration::MAX, cancel: None };
        let handler = Handler::new(gate.clone(), gateway, limits);
        (Lanes::new(Arc::default(), handler, concurrency, budget), gate)
    }

    fn message(connection_id: u32, len: usize) -> Event {
        let address = std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 1);
        let origin = Origin { gateway: address, client: address, connection_id, gateway_port: 0 };
        Event { origin, session: Bytes::new(), what: What::Message(Payload::plain(vec![b'x'; len])) }
    }

    #[tokio::test]
    async fn too_many_events_are_waited_with_and_none_is_dropped() {
        let (lanes, gate) = lanes(1, 10 * EVENT_COST);
        for connection in 0..10 {
            lanes.put(message(connection % 3, 0)).now_or_never().expect("there is room");
        }
        let eleventh = lanes.put(message(7, 0));
        tokio::pin!(eleventh);
        assert!(eleventh.as_mut().now_or_never().is_none(), "there is no room");
        gate.permits.add_permits(1);
        eleventh.await;
        gate.permits.add_permits(10);
        lanes.drained().await;
        assert_eq!(gate.messages.load(Ordering::SeqCst), 11);
    }

    #[tokio::test]
    async fn an_event_that_is_larger_than_the_budget_has_it_for_itself() {
        let (lanes, gate) = lanes(1, 10 * EVENT_COST);
        lanes.put(message(1, 100_000)).now_or_never().expect("there is room");
        assert!(lanes.put(message(1, 0)).now_or_never().is_none(), "there is no room");
        gate.permits.add_permits(1);
        lanes.drained().await;
    }

    #[tokio::test]
    async fn a_lane_is_gone_once_it_is_empty() {
        let (lanes, gate) = lanes(8, BUDGET);
        gate.permits.add_permits(100);
        for n in 0..100 {
            lanes.put(message(n % 10, 0)).await;
        }
        lanes.drained().await;
        assert!(lanes.clients.queues.is_empty());
        assert_eq!(lanes.budget.available_permits(), BUDGET);
    }
}
