//! [`HttpEvents`]: the handlers that send each event to a backend, and do what it answers.
//!
//! The worker calls them as those of any application. `delivery` sends; here the answer takes effect: changes to the
//! session, then the calls in order, then the admission. Or the event has failed, and `on_failure` says what becomes of
//! the client.

use std::sync::Arc;
use std::time::Duration;

use gatewayworker_businessworker::{
    Admission, Client, CloseReason, EventName, Events, EventsConfig, EventsConfigError, Handshake, Message,
    Metrics, OnFailure, Problems, Result, Start,
};
use gatewayworker_client::calls::CallError;
use gatewayworker_daemon::ClientTlsError;
use gatewayworker_protocol::close_code::TRY_AGAIN_LATER;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::answer::Answer;
use crate::delivery::{Delivered, Delivery};
use crate::event::{About, Event, Kind};
use crate::stats::{Scraped, Stats, names};

/// The pause before an event is given back. The worker begins to drain in that time; before, it would only get the event
/// again.
const BEFORE_GIVEN_BACK: Duration = Duration::from_millis(20);

/// Why events cannot be sent over HTTP.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// A setting cannot work.
    #[error(transparent)]
    Config(#[from] EventsConfigError),
    /// No URL is set.
    #[error("events.url: must be set to send events over HTTP")]
    NoUrl,
    /// A URL cannot be used.
    #[error("events.url: \"{0}\" is no URL of HTTP: write https://host/path")]
    Url(String),
    /// TLS cannot be used, as the system has no certificates, or `ca_file` has none that can be used.
    #[error("events.{key}: {error}", key = tls_key(.error))]
    Tls {
        /// Why.
        #[from]
        error: ClientTlsError,
    },
    /// There is no client for HTTP.
    #[error("events.url: no HTTP client: {0}")]
    Client(reqwest::Error),
}

/// Sends the events of clients to a backend over HTTP, and does what it answers. See `docs/guide/events-over-http.md`.
#[derive(Debug)]
pub struct HttpEvents {
    delivery: Arc<Delivery>,
    stats: Arc<Stats>,
    send: Vec<EventName>,
    on_failure: OnFailure,
}

/// What the answer to an event has come to.
enum Effect {
    /// The answer had its effect; this is the admission in it.
    Done(Option<Admission>),
    /// The event has failed.
    Failed,
    /// The event is not handled: it is handled once more, here or elsewhere.
    NotHandled,
}

/// The setting that has to be changed where TLS cannot be used.
fn tls_key(error: &ClientTlsError) -> &'static str {
    match error {
        ClientTlsError::File { .. } => "ca_file",
        _ => "url",
    }
}

impl HttpEvents {
    /// Events over HTTP as `config` says. When `shutdown` is cancelled, events that wait are given back to their gateways.
    ///
    /// # Errors
    /// When a setting cannot work, or a URL is `https` and there are no certificates to trust.
    pub fn new(config: &EventsConfig, shutdown: CancellationToken) -> std::result::Result<Self, SetupError> {
        config.mark_used();
        config.validate()?;
        if !config.is_on() {
            return Err(SetupError::NoUrl);
        }
        let stats = Arc::new(Stats::default());
        let delivery = Arc::new(Delivery::new(config, stats.clone(), shutdown)?);
        for url in config.urls_in_the_clear() {
            warn!(
                url = url.split('?').next(),
                "events.url is not encrypted: others on the network can read events, sessions and tokens. Use https"
            );
        }
        info!(backends = config.url.len(), send = names(&config.send), "events are sent over HTTP");
        Ok(Self { delivery, stats, send: config.send.clone(), on_failure: config.on_failure })
    }

    /// Events over HTTP as the table `[events]` says, with their metrics at the worker's `metrics_listen` and their
    /// problems in `status`: for the factory that [`main`](gatewayworker_businessworker::main) is given.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn from_start<A>(start: &Start<A>) -> std::result::Result<Self, SetupError> {
        let events = Self::new(&start.events, start.shutdown.clone())?;
        events.register(&start.metrics, &start.problems);
        Ok(events)
    }

    /// Shows the metrics and the problems.
    pub fn register(&self, metrics: &Metrics, problems: &Problems) {
        let scraped = Scraped(self.stats.clone());
        metrics.with_registry(|registry| registry.register_collector(Box::new(scraped)));
        let delivery = self.delivery.clone();
        problems.provide(move || delivery.problem().into_iter().collect());
    }

    /// Sends an event, and does what the backend answers.
    async fn handle(&self, client: &Client, kind: Kind<'_>) -> Result<Effect> {
        if !self.send.contains(&kind.name()) {
            return Ok(Effect::Done(None));
        }
        let event = Event::new(About::of(client), &kind, rand::random())?;
        let mut may_stop = true;
        loop {
            match self.delivery.deliver(&event, may_stop).await {
                Delivered::Answered(answer) => return Ok(self.apply(client, &event, answer).await),
                // Somebody else sends it, and may have better luck.
                Delivered::Failed(_) if client.check_fence().is_err() => return Ok(Effect::NotHandled),
                Delivered::Failed(why) => {
                    self.log_failure(client, &event, &why);
                    return Ok(Effect::Failed);
                }
                Delivered::Stopped { was_sent } => {
                    sleep(BEFORE_GIVEN_BACK).await;
                    // A backend that may have received it is told so by `redelivered`.
                    let is_given_back = if was_sent { client.give_back_begun() } else { client.give_back() };
                    if is_given_back {
                        return Ok(Effect::NotHandled);
                    }
                    may_stop = false;
                }
            }
        }
    }

    /// Does what an answer says, unless the event was given to another worker meanwhile: then nothing of it.
    async fn apply(&self, client: &Client, event: &Event, answer: Answer) -> Effect {
        if client.check_fence().is_err() {
            self.stats.discarded.count();
            return Effect::NotHandled;
        }
        for (key, value) in answer.session {
            let changed = match value.is_null() {
                true => client.session().remove(&key).map(drop),
                false => client.session().insert(&key, value),
            };
            if let Err(error) = changed {
                self.log_failure(client, event, &format!("the session is not changed: {error}"));
                return Effect::Failed;
            }
        }
        for call in answer.calls {
            let name = call.name();
            let Err(error) = call.run(client.gateway()).await else { continue };
            match error {
                // The worker handles the event once more, here or elsewhere.
                CallError::Fenced(_) => return Effect::NotHandled,
                CallError::BadParams(_) | CallError::TooLarge(_) => {
                    self.stats.failed_calls.count();
                    self.log_failure(client, event, &format!("the call {name}: {error}"));
                    return Effect::Failed;
                }
                // As in a batch over HTTP push, the others are made.
                _ => {
                    if self.stats.failed_calls.count().is_power_of_two() {
                        let times = self.stats.failed_calls.get();
                        warn!(client = %client.id(), call = name, %error, times, "a call in the answer to an event failed");
                    }
                }
            }
        }
        Effect::Done(answer.admission)
    }

    fn log_failure(&self, client: &Client, event: &Event, why: &str) {
        let Stats { closed, dropped, refused, .. } = &*self.stats;
        let times = closed.get() + dropped.get() + refused.get() + 1;
        // A broken backend fails each event: the counters say how many.
        if times.is_power_of_two() {
            let (id, name) = (&event.id, event.name.as_str());
            error!(client = %client.id(), event = name, id, why, times, "an event over HTTP failed");
        }
    }

    /// Does what `on_failure` says for an event other than a connect.
    async fn fail(&self, client: &Client, name: EventName) -> Result {
        // A client that only came or went has done nothing that it could do again.
        let is_notice = matches!(name, EventName::Close | EventName::Detached | EventName::Resumed);
        if self.on_failure == OnFailure::Drop || is_notice {
            self.stats.dropped.count();
            return Ok(());
        }
        // Fenced, the event is handled once more.
        let delivery = client.close_with_code(TRY_AGAIN_LATER).await?;
        match delivery.unreached.is_empty() {
            true => self.stats.closed.count(),
            // A gateway of the original that is not linked now.
            false => self.stats.dropped.count(),
        };
        Ok(())
    }

    /// Handles an event other than a connect.
    async fn handle_or_fail(&self, client: &Client, kind: Kind<'_>) -> Result {
        let name = kind.name();
        match self.handle(client, kind).await? {
            Effect::Failed => self.fail(client, name).await,
            Effect::Done(_) | Effect::NotHandled => Ok(()),
        }
    }
}

impl Events for HttpEvents {
    fn takes_context(&self) -> bool {
        true
    }

    async fn on_connect(&self, client: &Client) -> Result {
        self.handle_or_fail(client, Kind::Open).await
    }

    async fn on_websocket_connect(&self, client: &Client, handshake: &Handshake) -> Result<Admission> {
        match self.handle(client, Kind::Connect(handshake)).await? {
            Effect::Done(admission) => Ok(admission.unwrap_or(Admission::Admit)),
            // What is returned for an event that is not handled is not looked at.
            Effect::NotHandled => Ok(Admission::Admit),
            Effect::Failed => {
                self.stats.refused.count();
                Ok(Admission::refuse().with_code(TRY_AGAIN_LATER))
            }
        }
    }

    async fn on_message(&self, client: &Client, message: Message) -> Result {
        self.handle_or_fail(client, Kind::Message(message.bytes(), message.is_binary())).await
    }

    async fn on_detached(&self, client: &Client) -> Result {
        self.handle_or_fail(client, Kind::Detached).await
    }

    async fn on_resumed(&self, client: &Client, handshake: &Handshake) -> Result {
        self.handle_or_fail(client, Kind::Resumed(handshake)).await
    }

    async fn on_close(&self, client: &Client, reason: CloseReason) -> Result {
        self.handle_or_fail(client, Kind::Close(reason)).await
    }
}
