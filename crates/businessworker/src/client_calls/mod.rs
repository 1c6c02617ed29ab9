//! Calls of clients: groups without an application's code.
//!
//! A message that begins with `{"gw":` is a call of the client: it joins a group, leaves it, or publishes to it, where
//! the settings allow that. [`ClientCalls`] wraps the handlers of an application: it answers calls, and passes on
//! everything else. A call goes through these files:
//!
//! - `vocabulary`: reads the call, and writes the answer,
//! - `rules`: whether the call is allowed, by the settings, the client's token, and what its gateway knows of it,
//! - this file: does it.
//!
//! `config` has the settings, and `counts` counts the answers. `vocabulary` and `rules` are plain data. How many calls a client may make in a second is
//! for its gateway to limit.
//!
//! It is a module of the worker, and no crate of its own: the worker's configuration contains its settings, and it needs
//! nothing that the worker does not need.

mod config;
mod counts;
mod rules;
mod vocabulary;

use bytes::Bytes;
use gatewayworker_client::{Column, Gateway, OutMessage, Where};
use gatewayworker_protocol::{CloseReason, EventContext};
use tracing::debug;

use crate::{Admission, Client, Events, Handshake, Message, Metrics, Result, Start};
pub use config::{ClientCallsConfig, ClientCallsConfigError, ClientCallsFlags};
use counts::CallCounts;
use rules::{Patterns, Ruling};
use vocabulary::{Answer, Call, Present, Published, Refusal, Verb};

/// The key of the session under which a gateway puts what a token allows.
const TOKEN_KEY: &str = "client_calls";

/// Handlers that answer calls of clients, and pass everything else on to the application's.
///
/// With settings that allow nothing, the default, everything is passed on, calls too.
#[derive(Debug)]
pub struct ClientCalls<E> {
    config: ClientCallsConfig,
    is_on: bool,
    /// Where the metrics are shown.
    counts: Option<CallCounts>,
    inner: E,
}

impl<E: Events> ClientCalls<E> {
    /// Wraps the handlers of an application; `config` is what clients may do.
    pub fn new(config: ClientCallsConfig, inner: E) -> Self {
        config.mark_used();
        Self { is_on: config.is_on(), config, counts: None, inner }
    }

    /// Wraps the handlers of an application as the table `[client_calls]` says, and counts calls where the worker has a
    /// `metrics_listen`: for the factory that [`main`](crate::main) is given.
    pub fn from_start<A>(start: &Start<A>, inner: E) -> Self {
        let calls = Self::new(start.client_calls.clone(), inner);
        match start.shows_metrics {
            true => calls.with_metrics(&start.metrics),
            false => calls,
        }
    }

    /// Returns the handlers, which count calls from now on and show them in `metrics`.
    #[must_use = "the handlers that count are what is returned"]
    pub fn with_metrics(mut self, metrics: &Metrics) -> Self {
        let counts = self.counts.get_or_insert_default().clone();
        metrics.with_registry(|registry| registry.register_collector(Box::new(counts)));
        self
    }

    async fn answer(&self, client: &Client, message: &[u8]) -> Result {
        let answer = match vocabulary::read(message, &self.config) {
            Err(refused) => refused,
            Ok(call) => match self.allow(client, &call).await {
                Ok(uid) => self.execute(client, &call, uid).await?,
                Err(refusal) => call.refused(refusal),
            },
        };
        if let Some(refusal) = answer.refusal() {
            debug!(client = %client.id(), call = answer.name(), error = refusal, "a call of a client was refused");
        }
        client.send(OutMessage::json(&answer)?).await?;
        if let Some(counts) = &self.counts {
            counts.count(&answer);
        }
        Ok(())
    }

    /// Decides whether a call is allowed. Returns the client's uid if it is.
    async fn allow(&self, client: &Client, call: &Call<'_>) -> std::result::Result<Option<Bytes>, Refusal> {
        let token = if self.config.from_token { token_patterns(client) } else { Patterns::default() };
        if let Some(context) = client.context() {
            match rules::rule(&self.config, &token, call, context) {
                Ruling::Allowed => return Ok(context.uid.clone()),
                Ruling::Refused(refusal) => return Err(refusal),
                Ruling::Unclear(_) => {}
            }
        }
        // What an earlier call of the client does may be too new for its context, and a gateway of the original gives
        // none.
        let asked = ask(client).await.ok_or(Refusal::Unavailable)?;
        match rules::rule(&self.config, &token, call, &asked) {
            Ruling::Allowed => Ok(asked.uid),
            Ruling::Refused(refusal) | Ruling::Unclear(refusal) => Err(refusal),
        }
    }

    async fn execute<'m>(&self, client: &Client, call: &Call<'m>, uid: Option<Bytes>) -> Result<Answer<'m>> {
        match call.verb {
            Verb::Join => {
                client.join_group(call.group.clone()).await?;
            }
            Verb::Leave => {
                client.leave_group(call.group.clone()).await?;
            }
            Verb::Publish => {
                let from = uid.as_deref().map(String::from_utf8_lossy);
                let published = Published::new(call, from.as_deref());
                client.gateway().send_to_group([call.group.clone()], OutMessage::json(&published)?).await?;
            }
            Verb::Presence => {
                return Ok(match client.gateway().presence(call.group.clone()).await {
                    Ok(presence) => call.done_with(Present::new(presence)),
                    Err(error) => {
                        debug!(client = %client.id(), %error, "who is in a group is not known");
                        call.refused(Refusal::Unavailable)
                    }
                });
            }
        }
        Ok(call.done())
    }
}

/// What the client's token allows: the gateway has put it into the session. A value of another shape allows nothing.
fn token_patterns(client: &Client) -> Patterns {
    client.session().get(TOKEN_KEY).ok().flatten().unwrap_or_default()
}

/// Asks the client's gateway for its uid and its groups; `None` where the gateway does not answer.
async fn ask(client: &Client) -> Option<EventContext> {
    let this = Where::default().with_client_ids([client.id()]);
    let rows = client.gateway().select([Column::Uid, Column::Groups], this).await.ok()?;
    let row = rows.into_values().next().unwrap_or_default();
    let groups = row.groups.iter().map(|group| group.as_bytes().clone()).collect();
    let uid = row.uid.map(|uid| uid.as_bytes().clone());
    Some(EventContext { uid, groups, ..EventContext::default() })
}

impl<E: Events> Events for ClientCalls<E> {
    fn takes_context(&self) -> bool {
        self.is_on || self.inner.takes_context()
    }

    fn on_worker_start(&self, gateway: &Gateway) -> impl Future<Output = Result> + Send {
        self.inner.on_worker_start(gateway)
    }

    fn on_connect(&self, client: &Client) -> impl Future<Output = Result> + Send {
        self.inner.on_connect(client)
    }

    fn on_websocket_connect(
        &self,
        client: &Client,
        handshake: &Handshake,
    ) -> impl Future<Output = Result<Admission>> + Send {
        self.inner.on_websocket_connect(client, handshake)
    }

    async fn on_message(&self, client: &Client, message: Message) -> Result {
        if self.is_on && vocabulary::is_call(message.bytes()) {
            // Boxed: it would make the future of each message larger.
            return Box::pin(self.answer(client, message.bytes())).await;
        }
        self.inner.on_message(client, message).await
    }

    fn on_detached(&self, client: &Client) -> impl Future<Output = Result> + Send {
        self.inner.on_detached(client)
    }

    fn on_resumed(&self, client: &Client, handshake: &Handshake) -> impl Future<Output = Result> + Send {
        self.inner.on_resumed(client, handshake)
    }

    fn on_close(&self, client: &Client, reason: CloseReason) -> impl Future<Output = Result> + Send {
        self.inner.on_close(client, reason)
    }

    fn on_worker_stop(&self, gateway: &Gateway) -> impl Future<Output = Result> + Send {
        self.inner.on_worker_stop(gateway)
    }
}

/// A message that answers one that is no call, where there is no application to take it.
pub fn unknown_call() -> OutMessage {
    let unknown = Answer::refused("error", None, Refusal::UnknownCall);
    // It has a JSON form: strings only.
    OutMessage::json(&unknown).unwrap_or_else(|_| "".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;

    impl Events for Nothing {}

    #[test]
    fn calls_are_counted_where_the_metrics_are_shown() {
        for shows_metrics in [false, true] {
            let start = Start::<()> { shows_metrics, ..Start::default() };
            assert_eq!(ClientCalls::from_start(&start, Nothing).counts.is_some(), shows_metrics);
        }
    }
}
