//! Running an application's handler for one event: with the right session before
//! it, contained while it runs, and the session written back after it.

use std::collections::HashSet;
use std::future::poll_fn;
use std::net::SocketAddrV4;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashSet;
use foldhash::fast::RandomState;
use futures_util::FutureExt;
use gatewayworker_client::{ClientId, Delivery, Error, Gateway};
use gatewayworker_protocol::{Origin, close_code, may_close_with};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, error, warn};

use crate::lanes::{Event, What};
use crate::sessions::{Marks, Worth};
use crate::stats::HandlerStats;
use crate::{Admission, Client, CloseReason, Events, Handshake, Message, Result};

/// The close code of a refusal that names none: "policy violation".
pub(crate) const REFUSED: u16 = close_code::POLICY_VIOLATION;

/// What handlers may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Over it, a handler is logged.
    pub(crate) slow: Duration,
    /// Over it, a handler is cancelled.
    pub(crate) cancel: Option<Duration>,
}

/// Runs the handlers of an application.
#[derive(Debug)]
pub(crate) struct Handler<E> {
    pub(crate) events: E,
    pub(crate) gateway: Gateway,
    pub(crate) limits: Limits,
    pub(crate) stats: HandlerStats,
    /// Clients that were refused and may have messages under way.
    refused: DashSet<ClientId, RandomState>,
}

impl<E: Events> Handler<E> {
    pub(crate) fn new(events: E, gateway: Gateway, limits: Limits) -> Self {
        Self { events, gateway, limits, stats: HandlerStats::default(), refused: DashSet::default() }
    }

    pub(crate) async fn handle(&self, marks: &Marks, event: Event) {
        let id = event.client_id();
        let Event { origin, session, what } = event;
        self.stats.events.count();
        match what {
            What::Connect => {
                // A gateway that restarted may use the id again.
                self.forget(marks, id);
                let client = self.client(origin, session);
                let run = pin!(async { self.events.on_connect(&client).await });
                if self.contain("on_connect", id, run).await != Outcome::Broken {
                    self.write_back(marks, &client).await;
                }
            }
            _ if self.refused.contains(&id) && !matches!(what, What::Close(_)) => {}
            What::WebSocketConnect { handshake, asks } => {
                let session = self.newest(marks, id, session).await;
                let client = self.client(origin, session);
                Box::pin(self.admit(marks, &client, &handshake, asks)).await;
            }
            What::Message(payload) => {
                let session = self.newest(marks, id, session).await;
                let client = self.client(origin, session);
                let run = pin!(async { self.events.on_message(&client, Message::new(payload)).await });
                if self.contain("on_message", id, run).await != Outcome::Broken {
                    self.write_back(marks, &client).await;
                }
            }
            What::Close(reason) => {
                // The gateway no longer knows the client: there is nobody to ask.
                let session = match marks.judge(id, &session) {
                    Worth::Known(session) | Worth::Ask { otherwise: session, .. } => session,
                };
                let client = self.client(origin, session);
                let reason = CloseReason::from_wire(&reason);
                let run = pin!(async { self.events.on_close(&client, reason).await });
                self.contain("on_close", id, run).await;
                // Last, as the handler may have left a mark by writing once more.
                self.forget(marks, id);
            }
        }
    }

    /// The clients of a gateway are no longer this worker's. Those that are `busy` have
    /// events waiting, for which what is known of them still holds.
    pub(crate) fn forget_gateway(&self, marks: &Marks, gateway: SocketAddrV4, busy: &HashSet<ClientId>) {
        marks.forget_gateway(gateway, busy);
        self.refused.retain(|id| id.gateway() != gateway || busy.contains(id));
    }

    fn forget(&self, marks: &Marks, id: ClientId) {
        marks.forget(id);
        self.refused.remove(&id);
    }

    fn client(&self, origin: Origin, session: Bytes) -> Client {
        Client::new(origin, &self.gateway, session)
    }

    /// The session for a handler, given the one that came with its event.
    async fn newest(&self, marks: &Marks, id: ClientId, session: Bytes) -> Bytes {
        let (writes, otherwise) = match marks.judge(id, &session) {
            Worth::Known(session) => return session,
            Worth::Ask { writes, otherwise } => (writes, otherwise),
        };
        self.stats.sessions_asked.count();
        // Boxed, as it happens seldom and is large: every event has the place for what is awaited.
        match Box::pin(self.gateway.session_bytes(id)).await {
            Ok(Some(session)) => {
                marks.answered(id, writes, &session);
                session
            }
            // Gone meanwhile: what was last written here is the newest there is.
            Ok(None) => otherwise,
            Err(error) => {
                warn!(client = %id, %error, "could not ask for the session: going on with what is known here");
                otherwise
            }
        }
    }

    async fn write_back(&self, marks: &Marks, client: &Client) {
        let id = client.id();
        if let Some(expected) = client.session().take_merged() {
            marks.expected(id, expected);
        }
        let Some(session) = client.session().take_changes() else { return };
        if let Some(why) = lost(Box::pin(self.gateway.set_session_bytes(id, session)).await) {
            self.stats.sessions_lost.count();
            error!(client = %id, %why, "the changed session was not written");
        }
    }

    async fn admit(&self, marks: &Marks, client: &Client, handshake: &[u8], asks: bool) {
        let id = client.id();
        let mut admission = None;
        let outcome = {
            let run = pin!(async {
                let handshake = Handshake::parse(handshake)?;
                admission = Some(self.events.on_websocket_connect(client, &handshake).await?);
                Ok(())
            });
            self.contain("on_websocket_connect", id, run).await
        };
        if outcome != Outcome::Broken {
            self.write_back(marks, client).await;
        }
        let (message, code) = match admission {
            Some(Admission::Admit) => {
                if asks && let Some(why) = lost(self.gateway.admit_client(id).await) {
                    warn!(client = %id, %why, "its gateway could not be told that it is admitted");
                }
                return;
            }
            Some(Admission::Refuse { message, code }) => (message, code),
            None => (None, REFUSED),
        };
        let code = if may_close_with(code) {
            code
        } else {
            warn!(client = %id, code, "refused with a close code that may not be sent: it gets {REFUSED}");
            REFUSED
        };
        debug!(client = %id, code, "refused");
        self.stats.refused.count();
        self.refused.insert(id);
        if let Some(why) = lost(self.gateway.refuse_client(id, message, code).await) {
            warn!(client = %id, %why, "refused without its last message");
            let _ = self.gateway.refuse_client(id, None, code).await;
        }
    }

    /// Runs a handler so that it can harm nobody else, and says how it went. The
    /// future is to call the handler itself: one that is no `async fn` may panic
    /// before there is a future. It is pinned where it was made: to be moved, it would
    /// have to have a place here too.
    pub(crate) async fn contain(
        &self,
        event: &'static str,
        id: impl std::fmt::Display,
        handler: Pin<&mut impl Future<Output = Result>>,
    ) -> Outcome {
        let started = Instant::now();
        let Limits { slow, cancel } = self.limits;
        let mut handler = AssertUnwindSafe(handler).catch_unwind();
        let mut warned = false;
        let mut warn_slow = |text| {
            if !std::mem::replace(&mut warned, true) {
                self.stats.slow.count();
                warn!(client = %id, event, ms = started.elapsed().as_millis() as u64, "{text}");
            }
        };
        // Most are done at their first poll, and need no timer.
        let result = match poll_fn(|cx| Poll::Ready(handler.poll_unpin(cx))).await {
            Poll::Ready(result) => Some(result),
            Poll::Pending => {
                let first = cancel.map_or(slow, |cancel| cancel.min(slow));
                match timeout(first, &mut handler).await {
                    Ok(result) => Some(result),
                    Err(_) => {
                        if first == slow {
                            warn_slow("a handler is slow and still at it");
                        }
                        match cancel {
                            Some(cancel) => timeout_at(started + cancel, handler).await.ok(),
                            None => Some(handler.await),
                        }
                    }
                }
            }
        };
        if started.elapsed() >= slow {
            warn_slow("a handler was slow");
        }
        match result {
            Some(Ok(Ok(()))) => Outcome::Done,
            Some(Ok(Err(error))) => {
                self.stats.errors.count();
                error!(client = %id, event, error = %chain(&*error), "a handler failed");
                Outcome::Failed
            }
            Some(Err(panic)) => {
                self.stats.panics.count();
                error!(client = %id, event, panic = %text_of(&*panic), "a handler panicked");
                Outcome::Broken
            }
            None => {
                self.stats.cancelled.count();
                error!(client = %id, event, "a handler took too long and was cancelled");
                Outcome::Broken
            }
        }
    }
}

/// How a handler ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Failed,
    /// It panicked or was cancelled: what it was doing is half done.
    Broken,
}

/// Why what was told to one client's gateway has not got there, if it has not.
fn lost(told: std::result::Result<Delivery, Error>) -> Option<String> {
    match told {
        Ok(delivery) => delivery.unreached.first().map(|(_, why)| why.to_string()),
        Err(error) => Some(error.to_string()),
    }
}

/// An error with what caused it.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text")
}
