//! Runs the application's handler for one event: chooses the session that the handler sees,
//! catches the handler's panics, limits its time, and sends the result to the client's
//! gateway.
//!
//! `event_queues` calls [`HandlerRunner::handle`], never for two events of one client at
//! once. `core` decides what to do; this module asks, waits and sends.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use gatewayworker_client::worker::WorkerHandle;
use gatewayworker_client::{ClientId, Delivery, Error, OutMessage, Unreached};
use gatewayworker_daemon::error_chain;
use gatewayworker_protocol::Payload;
use tokio::time::{sleep, timeout};
use tracing::{debug, error, warn};

use crate::client::Given;
use crate::client_map::ClientMap;
use crate::core::{
    Admission, Begin, Clients, Epoch, Event, EventKind, Handled, HandlerOutcome, Phase, Reply,
    SessionChanges, SessionQuestion, Turn, Verdict,
};
use crate::handler_times::HandlerTotals;
use crate::running_handlers::{LONG, Noted, RunningHandlers};
use crate::session_retries::SessionRetries;
#[cfg(feature = "otel")]
use crate::spans::note_failure;
use crate::stats::HandlerStats;
use crate::timings::{Handler, Timings};
use crate::{Client, CloseReason, Events, Handshake, Message, Result, clock};

/// How long handlers may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// From this time on a handler is logged as slow.
    pub(crate) slow: Duration,
    /// After this time a handler is cancelled, at its next `.await`; a handler that blocks
    /// its thread cannot be cancelled. `None`: never.
    pub(crate) cancel: Option<Duration>,
}

/// The pause before a gateway that has not answered in time is asked again for a session.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// What became of an event.
#[derive(Debug)]
pub(crate) enum Ending {
    /// It is done. The client has what its handler said; `None` where none ran.
    Done(Option<Client>),
    /// The event waits for its turn again. Its handler did not run, as its gateway was not heard for a while, or
    /// its epoch is over; or calls of the handler were refused, as its epoch was over.
    Waits(Event),
    /// Its handler did not run, as the call link to its gateway has ended.
    NotBegun(Event),
}

/// Why a gateway was not asked for a session to the end.
enum NotAsked {
    /// It is not the event's turn any more.
    NotItsTurn(SessionQuestion),
    /// The call link has ended.
    LinkEnded(SessionQuestion),
}

/// Runs the handlers of an application.
#[derive(Debug)]
pub(crate) struct HandlerRunner<E> {
    pub(crate) events: E,
    pub(crate) worker: WorkerHandle,
    pub(crate) limits: Limits,
    pub(crate) stats: HandlerStats,
    /// For the reports to gateways.
    pub(crate) totals: HandlerTotals,
    pub(crate) running: RunningHandlers,
    /// Where somebody asks for times.
    pub(crate) timings: Option<Arc<Timings>>,
    /// Makes spans of traced events.
    #[cfg(feature = "otel")]
    pub(crate) spans: Option<crate::spans::HandlerSpans>,
    session_retries: SessionRetries,
}

impl<E: Events> HandlerRunner<E> {
    pub(crate) fn new(events: E, worker: WorkerHandle, limits: Limits) -> Self {
        Self {
            events,
            worker,
            limits,
            stats: HandlerStats::default(),
            totals: HandlerTotals::default(),
            running: RunningHandlers::new(),
            timings: None,
            #[cfg(feature = "otel")]
            spans: None,
            session_retries: SessionRetries::default(),
        }
    }

    /// Returns the runner, which notes times from now on.
    pub(crate) fn with_timings(mut self, timings: Option<Arc<Timings>>) -> Self {
        self.timings = timings;
        self
    }

    /// Handles an event, within a span where it is traced.
    #[cfg(feature = "otel")]
    pub(crate) async fn handle(&self, clients: &Clients<ClientMap>, mut event: Event) -> Ending {
        let span = match &self.spans {
            Some(spans) if event.trace.is_some() => spans.begin(&mut event, &self.worker),
            _ => None,
        };
        match span {
            None => self.handle_event(clients, event).await,
            // Boxed: few events are traced, and every future would be larger.
            Some(span) => {
                let runs_again = |ending: &Ending| !matches!(ending, Ending::Done(_));
                Box::pin(span.run(self.handle_event(clients, event), runs_again)).await
            }
        }
    }

    /// Handles an event.
    #[cfg(not(feature = "otel"))]
    #[inline]
    pub(crate) fn handle(
        &self,
        clients: &Clients<ClientMap>,
        event: Event,
    ) -> impl Future<Output = Ending> + Send {
        self.handle_event(clients, event)
    }

    /// Handles an event: chooses its session, runs its handler, and replies to its gateway.
    async fn handle_event(&self, clients: &Clients<ClientMap>, mut event: Event) -> Ending {
        let id = event.client_id();
        let (has_lost_gateway, redelivered) = (event.has_lost_gateway(), event.is_redelivered());
        let session = match clients.begin(id, &event.kind, std::mem::take(&mut event.session)) {
            Begin::Skip => return Ending::Done(None),
            Begin::Run(session) => session,
            Begin::Ask(question) if has_lost_gateway => clients.answered(id, question, None),
            // Boxed: this is rare and its future is large. Unboxed, the future of every event
            // would have to reserve that space.
            Begin::Ask(question) => {
                let epoch = event.epoch.as_deref();
                match Box::pin(self.ask_session(clients, id, question, epoch)).await {
                    Ok(session) => session,
                    Err(NotAsked::NotItsTurn(question)) => {
                        event.session = question.into_session_of_event();
                        return Ending::Waits(event);
                    }
                    Err(NotAsked::LinkEnded(question)) => {
                        event.session = question.into_session_of_event();
                        return Ending::NotBegun(event);
                    }
                }
            }
        };
        self.stats.events.count();
        if redelivered {
            self.stats.redelivered.count();
        }
        // Of an event that runs again, the first wait counts.
        let received_ms = std::mem::take(&mut event.received_ms);
        // It is kept in the event, in case the handler has to run again.
        let context = event.context.clone();
        let given = Given { epoch: event.epoch.as_ref(), redelivered, has_lost_gateway, context };
        let mut client = Client::new(event.origin, &self.worker, session, given);
        let (outcome, admission) = match &mut event.kind {
            EventKind::Connect => {
                let run = pin!(async { self.events.on_connect(&client).await });
                (self.contain(Handler::Connect, Some(id), received_ms, run).await, None)
            }
            EventKind::WebSocketConnect { handshake, .. } => {
                Box::pin(self.on_websocket_connect(&client, handshake, received_ms)).await
            }
            EventKind::Message(payload) => {
                let message = Message::new(match &event.epoch {
                    // Kept as well, in case the handler has to run again. It costs a reference.
                    Some(_) => payload.clone(),
                    None => std::mem::replace(payload, Payload::plain(Bytes::new())),
                });
                let run = pin!(async { self.events.on_message(&client, message).await });
                (self.contain(Handler::Message, Some(id), received_ms, run).await, None)
            }
            EventKind::Detached => {
                let run = pin!(async { self.events.on_detached(&client).await });
                (self.contain(Handler::Detached, Some(id), received_ms, run).await, None)
            }
            EventKind::Resumed(handshake) => {
                // Boxed: it is rare, and every future would be larger.
                (Box::pin(self.on_resumed(&client, handshake, received_ms)).await, None)
            }
            EventKind::Close(body) => {
                let reason = CloseReason::from_wire(body);
                client.read_close_frame(body);
                let run = pin!(async { self.events.on_close(&client, reason).await });
                (self.contain(Handler::Close, Some(id), received_ms, run).await, None)
            }
        };
        if client.was_fenced() {
            // It has not said all. What it has not written of the session is not kept either: the handler that
            // runs next for the event, here or elsewhere, makes these changes again.
            event.session = client.session().take_stored();
            event.redelivered |= client.was_given_back_begun();
            return Ending::Waits(event);
        }
        let handled = match event.kind {
            EventKind::Connect | EventKind::Message(_) | EventKind::Detached | EventKind::Resumed(_) => {
                Handled::Event { outcome, changes: changes_of(&client) }
            }
            EventKind::WebSocketConnect { gateway_asks, .. } => {
                Handled::WebSocketConnect { outcome, changes: changes_of(&client), admission, gateway_asks }
            }
            EventKind::Close(_) => Handled::Close,
        };
        let epoch = event.epoch;
        let reply = clients.complete(id, handled, epoch.as_deref());
        if reply == Reply::default() {
            return Ending::Done(Some(client));
        }
        match epoch.map(|epoch| epoch.phase()) {
            None | Some(Phase::Live) if !has_lost_gateway => Box::pin(self.reply(clients, id, reply)).await,
            // The same gateway has given the client to another worker, or tells its session anew.
            Some(Phase::Superseded) => {}
            // There is nobody to tell. Where the gateway is lost, or proves to be, the client's next events
            // are handled here, and see what was changed.
            _ => {
                if let Some(session) = reply.session {
                    clients.note_write(id, &session);
                }
            }
        }
        Ending::Done(Some(client))
    }

    /// Asks a gateway for a client's session. Returns the question where the handler may not run now: the
    /// gateway is silent, and the event waits, or the link to it has ended, and the event comes again.
    /// Events of a gateway that does not acknowledge them get the newest session known here.
    async fn ask_session(
        &self,
        clients: &Clients<ClientMap>,
        id: ClientId,
        question: SessionQuestion,
        epoch: Option<&Epoch>,
    ) -> std::result::Result<Bytes, NotAsked> {
        self.stats.sessions_asked.count();
        // A process that was stopped meanwhile must not go on with what others were given. A gateway that
        // was only cut off for a moment is asked again when it is heard.
        let has_lost_its_turn = || epoch.is_some_and(|epoch| epoch.turn(clock::now_ms()) != Turn::Begin);
        let mut retry = None;
        loop {
            let error = match self.worker.gateway().session_bytes(id).await {
                // An answer that another link brought knows nothing of what was said on the one before.
                _ if has_lost_its_turn() => return Err(NotAsked::NotItsTurn(question)),
                Ok(answer) => return Ok(clients.answered(id, question, answer)),
                Err(error) => error,
            };
            match (&error, epoch) {
                (Error::Unreached { why: Unreached::TimedOut | Unreached::Overloaded, .. }, Some(_)) => {
                    retry.get_or_insert_with(|| self.session_retries.begin(id, &error)).count();
                    sleep(ASK_AGAIN).await;
                }
                (Error::Unreached { why: Unreached::BadAnswer, .. }, _) | (_, None) => {
                    warn!(
                        client = %id, %error,
                        "the gateway did not answer with the client's session: the handler gets the newest one known here"
                    );
                    return Ok(clients.answered(id, question, None));
                }
                _ => return Err(NotAsked::LinkEnded(question)),
            }
        }
    }

    async fn on_websocket_connect(
        &self,
        client: &Client,
        handshake: &[u8],
        received_ms: u64,
    ) -> (HandlerOutcome, Option<Admission>) {
        let mut admission = None;
        let outcome = {
            let run = pin!(async {
                let handshake = Handshake::parse(handshake)?;
                admission = Some(self.events.on_websocket_connect(client, &handshake).await?);
                Ok(())
            });
            self.contain(Handler::WebSocketConnect, Some(client.id()), received_ms, run).await
        };
        (outcome, admission)
    }

    async fn on_resumed(&self, client: &Client, handshake: &[u8], received_ms: u64) -> HandlerOutcome {
        let run = pin!(async {
            // Another gateway leaves a very long one out.
            let handshake = match handshake {
                [] => Handshake::default(),
                bytes => Handshake::parse(bytes)?,
            };
            self.events.on_resumed(client, &handshake).await
        });
        self.contain(Handler::Resumed, Some(client.id()), received_ms, run).await
    }

    async fn reply(&self, clients: &Clients<ClientMap>, id: ClientId, reply: Reply) {
        if let Some(session) = reply.session
            && let Some(why) = undelivered(self.worker.gateway().set_session_bytes(id, session.clone()).await)
        {
            // The link may have ended just now, and the gateway be lost.
            clients.note_write(id, &session);
            self.stats.sessions_lost.count();
            error!(client = %id, %why, "the session that a handler changed was not written");
        }
        match reply.verdict {
            None => {}
            Some(Verdict::Admit) => {
                if let Some(why) = undelivered(self.worker.admit_client(id).await) {
                    warn!(client = %id, %why, "the gateway could not be told that the client is admitted");
                }
            }
            Some(Verdict::Refuse { message, code, invalid_code }) => {
                if let Some(invalid) = invalid_code {
                    warn!(
                        client = %id, code = invalid,
                        "the application refused a client with a close code that may not be sent: the client gets {code} instead"
                    );
                }
                self.refuse(id, message, code).await;
            }
        }
    }

    async fn refuse(&self, id: ClientId, message: Option<OutMessage>, code: u16) {
        debug!(client = %id, code, "the application refused a client");
        self.stats.refused.count();
        let has_message = message.is_some();
        let Some(mut why) = undelivered(self.worker.refuse_client(id, message, code).await) else { return };
        if has_message {
            // The command may be too large with the message, and small enough without it.
            match undelivered(self.worker.refuse_client(id, None, code).await) {
                None => {
                    warn!(client = %id, %why, "a client was refused without its last message");
                    return;
                }
                Some(again) => why = again,
            }
        }
        warn!(client = %id, %why, "the gateway could not be told that the client is refused");
    }

    /// Runs a handler, catches its panic, cancels it after the time limit, and returns how it
    /// ended. Its event came at `received_ms`; 0 where nobody asks for that.
    ///
    /// `handler` must be an `async` block that calls the handler inside: a handler that is
    /// not an `async fn` can panic in the call itself, before it returns a future. The caller
    /// pins the future: moving it in here would make this function's own future larger by
    /// its size.
    pub(crate) async fn contain(
        &self,
        which: Handler,
        id: Option<ClientId>,
        received_ms: u64,
        handler: Pin<&mut impl Future<Output = Result>>,
    ) -> HandlerOutcome {
        let (event, started_ms) = (which.name(), clock::now_ms());
        self.totals.begun(which);
        let mark = self.running.mark(which, id, started_ms);
        let id = ClientName(id);
        let elapsed = || Duration::from_millis(clock::now_ms().saturating_sub(started_ms));
        let Limits { slow, cancel } = self.limits;
        let mut handler = Noted::new(AssertUnwindSafe(handler).catch_unwind(), mark);
        let mut warned = false;
        let mut warn_slow = |text| {
            if !std::mem::replace(&mut warned, true) {
                self.stats.slow.count();
                warn!(client = %id, event, ms = elapsed().as_millis() as u64, "{text}");
            }
        };
        // Both limits count from here: a first poll that blocks is part of the time.
        let left = |limit: Duration| limit.saturating_sub(elapsed());
        // Most handlers finish at their first poll and need no timer.
        let result = match poll_fn(|cx| Poll::Ready(handler.poll_unpin(cx))).await {
            Poll::Ready(result) => Some(result),
            Poll::Pending => {
                let until_first_limit = cancel.map_or(slow, |cancel| cancel.min(slow));
                match timeout(left(until_first_limit.min(LONG)), &mut handler).await {
                    Ok(result) => Some(result),
                    Err(_) => {
                        let _listed = self.running.list(mark);
                        match timeout(left(until_first_limit), &mut handler).await {
                            Ok(result) => Some(result),
                            Err(_) => {
                                if until_first_limit == slow {
                                    warn_slow("a handler is slow and still runs");
                                }
                                match cancel {
                                    Some(cancel) => timeout(left(cancel), handler).await.ok(),
                                    None => Some(handler.await),
                                }
                            }
                        }
                    }
                }
            }
        };
        let took = elapsed();
        if took >= slow {
            warn_slow("a handler was slow");
        }
        self.totals.ended(which, took);
        if let Some(timings) = &self.timings {
            let waited_ms = (received_ms > 0).then(|| started_ms.saturating_sub(received_ms));
            timings.handler_ran(which, waited_ms, took.as_millis() as u64);
        }
        match result {
            Some(Ok(Ok(()))) => HandlerOutcome::Done,
            Some(Ok(Err(error))) => {
                self.stats.errors.count();
                note_failure("the handler failed");
                error!(client = %id, event, error = %error_chain(&*error), "a handler failed");
                HandlerOutcome::Failed
            }
            Some(Err(panic)) => {
                self.stats.panics.count();
                note_failure("the handler panicked");
                error!(client = %id, event, panic = %text_of(&*panic), "a handler panicked");
                HandlerOutcome::Interrupted
            }
            None => {
                self.stats.cancelled.count();
                note_failure("the handler ran longer than handler_timeout_ms");
                error!(client = %id, event, "a handler ran longer than handler_timeout_ms and was cancelled");
                HandlerOutcome::Interrupted
            }
        }
    }
}

/// Nothing is traced.
#[cfg(not(feature = "otel"))]
fn note_failure(_: &'static str) {}

/// A client in a log line; a handler that is no event's has none.
struct ClientName(Option<ClientId>);

impl std::fmt::Display for ClientName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(id) => id.fmt(f),
            None => f.write_str("none"),
        }
    }
}

/// Takes, out of the client, the changes that a handler made to its session.
fn changes_of(client: &Client) -> SessionChanges {
    let session = client.session();
    SessionChanges { merged: session.take_merged(), changed: session.take_changes() }
}

/// Returns why a command did not reach the client's gateway, or `None` if it did.
fn undelivered(result: std::result::Result<Delivery, Error>) -> Option<String> {
    match result {
        Ok(delivery) => delivery.unreached.first().map(|(_, why)| why.to_string()),
        Err(error) => Some(error.to_string()),
    }
}

/// Returns the text of a panic.
fn text_of(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text")
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::net::SocketAddrV4;

    use tokio::sync::watch;
    use tokio::time::{Instant, advance};

    use super::*;

    struct NoEvents;

    impl Events for NoEvents {}

    #[tokio::test(start_paused = true)]
    async fn the_first_poll_counts_towards_the_time_limit() {
        let worker = WorkerHandle::builder(watch::channel(Vec::new()).1).connect();
        let second = Duration::from_secs(1);
        for slow in [4 * second, 20 * second, Duration::MAX] {
            let runner =
                HandlerRunner::new(NoEvents, worker.clone(), Limits { slow, cancel: Some(10 * second) });
            let started = Instant::now();
            let handler = pin!(async {
                // Its first poll takes six seconds.
                advance(6 * second).now_or_never();
                pending().await
            });
            let outcome = runner.contain(Handler::Message, None, 0, handler).await;
            assert_eq!(outcome, HandlerOutcome::Interrupted);
            assert!(started.elapsed() < 11 * second, "cancelled after {:?}", started.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_waits_is_listed_after_a_second_and_until_it_ends() {
        let worker = WorkerHandle::builder(watch::channel(Vec::new()).1).connect();
        let id = ClientId::new(SocketAddrV4::new([127, 0, 0, 1].into(), 2300), 7);
        let second = Duration::from_secs(1);
        for (slow, cancel) in [(Duration::MAX, None), (second, Some(10 * second)), (2 * second, None)] {
            let runner = HandlerRunner::new(NoEvents, worker.clone(), Limits { slow, cancel });
            let handler = pin!(async {
                tokio::time::sleep(5 * second).await;
                Ok(())
            });
            let handled = runner.contain(Handler::Message, Some(id), 0, handler);
            let look = async {
                tokio::time::sleep(second / 2).await;
                assert_eq!(runner.running.longest(5, clock::now_ms()), []);
                tokio::time::sleep(second).await;
                let longest = runner.running.longest(5, clock::now_ms());
                assert_eq!(longest.len(), 1, "{slow:?} {cancel:?}");
                assert_eq!(longest[0].client, Some(id.to_string()));
                assert!((1400..1600).contains(&longest[0].ms), "{longest:?}");
            };
            let (outcome, ()) = tokio::join!(handled, look);
            assert_eq!(outcome, HandlerOutcome::Done);
            assert_eq!(runner.running.longest(5, clock::now_ms()), []);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_below_a_second_is_kept() {
        let worker = WorkerHandle::builder(watch::channel(Vec::new()).1).connect();
        let cancel = Some(Duration::from_millis(20));
        let runner = HandlerRunner::new(NoEvents, worker, Limits { slow: Duration::MAX, cancel });
        let started = Instant::now();
        let outcome = runner.contain(Handler::Message, None, 0, pin!(pending())).await;
        assert_eq!(outcome, HandlerOutcome::Interrupted);
        assert!(started.elapsed() < Duration::from_millis(100), "cancelled after {:?}", started.elapsed());
    }
}
