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
use gatewayworker_protocol::{Command, Origin, Payload};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::Events;
use crate::handler::Handler;
use crate::sessions::Marks;

/// What an event costs beyond its own bytes, so that small ones are bounded in
/// number too.
const EVENT_COST: usize = 256;

/// What all events that wait or run may cost together.
const BUDGET: usize = 64 * 1024 * 1024;

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
    pub(crate) fn cost(&self) -> u32 {
        let body = match &self.what {
            What::Connect => 0,
            What::WebSocketConnect(body) | What::Close(body) => body.len(),
            What::Message(payload) => match &payload.body {
                gatewayworker_protocol::Body::Plain(body) | gatewayworker_protocol::Body::Php(body) => {
                    body.len()
                }
            },
        };
        u32::try_from((EVENT_COST + self.session.len() + body).min(BUDGET)).unwrap_or(u32::MAX)
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
    tasks: TaskTracker,
}

impl<E: Events> Lanes<E> {
    /// Lanes of which at most `concurrency` run at once.
    pub(crate) fn new(clients: Arc<Clients>, handler: Handler<E>, concurrency: usize) -> Arc<Self> {
        Arc::new(Self {
            clients,
            handler,
            running: Semaphore::new(concurrency.min(Semaphore::MAX_PERMITS)),
            budget: Semaphore::new(BUDGET),
            tasks: TaskTracker::new(),
        })
    }

    /// Puts an event into its client's lane, and waits before that while too much is
    /// waiting already. Nothing is ever dropped: a reader that waits here reads no
    /// more, and its gateway finds out.
    ///
    /// Not cancel safe: the event is gone.
    pub(crate) async fn put(self: &Arc<Self>, event: Event) {
        let cost = event.cost();
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

    /// Runs one client's events until there are none.
    async fn run(self: Arc<Self>, id: ClientId, first: Event) {
        let mut next = Some(first);
        while let Some(event) = next {
            let cost = event.cost() as usize;
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
