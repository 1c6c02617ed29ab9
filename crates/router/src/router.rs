//! The table of methods, and the handling of a request: guards, parameters, handler, answer.

use std::collections::HashMap;
use std::future::ready;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;

use futures_util::FutureExt;
use gatewayworker_businessworker::{Client, CloseReason, Message, OutMessage};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tracing::{error, warn};

use crate::answer::{Answer, Fault, Reply};
use crate::leaving::controllers;
use crate::{Failure, Handler, envelope, parameters};

/// The future of a handler, whatever its types.
type Outcome<'a> = Pin<Box<dyn Future<Output = Result<Reply, Fault>> + Send + 'a>>;

type Route<S, C> = Box<dyn for<'a> Fn(&'a S, &'a C, &Map<String, Value>) -> Outcome<'a> + Send + Sync>;

type Guard<S, C> = Box<dyn for<'a> Fn(&'a S, &'a C, String) -> Outcome<'a> + Send + Sync>;

type Leave<S, C> = Box<dyn for<'a> Fn(&'a S, &'a C, CloseReason) -> Outcome<'a> + Send + Sync>;

/// A table of methods and their handlers; the [crate] has an example.
///
/// `S` is the application's state. `C` is the caller: the [`Client`], or a type of the application
/// that implements `AsRef<Client>`, for example a client with its user.
pub struct Router<S, C = Client> {
    key: String,
    id_key: Option<String>,
    guards: Vec<Guard<S, C>>,
    routes: HashMap<String, Route<S, C>>,
    leaving: HashMap<String, Leave<S, C>>,
    answers: Box<dyn Fn(&Answer) -> OutMessage + Send + Sync>,
}

impl<S: Sync + 'static, C: Sync + 'static> Router<S, C> {
    /// A router without methods. Requests name their method under `method`; answers are encoded by
    /// [`envelope`].
    #[expect(clippy::new_without_default, reason = "one without methods is of no use")]
    pub fn new() -> Self {
        Self {
            key: "method".into(),
            id_key: None,
            guards: Vec::new(),
            routes: HashMap::new(),
            leaving: HashMap::new(),
            answers: Box::new(envelope),
        }
    }

    /// Sets the key under which requests name their method.
    #[must_use]
    pub fn method_key(self, key: impl Into<String>) -> Self {
        Self { key: key.into(), ..self }
    }

    /// Sets the key under which requests may have an id, a text or a number, which their answer repeats: clients then know
    /// which request it answers. Handlers do not see it. Default: none.
    #[must_use]
    pub fn id_key(self, key: impl Into<String>) -> Self {
        Self { id_key: Some(key.into()), ..self }
    }

    /// Sets the encoding of all answers, those of errors included.
    #[must_use]
    pub fn answers(self, answers: impl Fn(&Answer) -> OutMessage + Send + Sync + 'static) -> Self {
        Self { answers: Box::new(answers), ..self }
    }

    /// Adds a guard, which runs before every handler: an `async fn` of the state, the client and the
    /// method (as the client wrote it; empty if the request names none). It can check permissions, or
    /// how often a client asks. If it fails, its failure is the answer. Guards run in the order in
    /// which they were added.
    #[must_use]
    pub fn before<H>(mut self, guard: H) -> Self
    where
        H: for<'a> Handler<'a, S, C, String> + 'static,
    {
        self.guards.push(Box::new(move |state, client, method| finish(guard.call(state, client, method))));
        self
    }

    /// Adds the handler of a method: an `async fn` of the state, the client and the parameters, which
    /// are the request without its method.
    ///
    /// # Panics
    /// When the method, in whatever case, has a handler already.
    #[must_use]
    pub fn on<P, H>(mut self, method: &str, handler: H) -> Self
    where
        P: DeserializeOwned,
        H: for<'a> Handler<'a, S, C, P> + 'static,
    {
        let route: Route<S, C> =
            Box::new(move |state, client, request| match parameters::read::<P>(request) {
                Ok(parameters) => finish(handler.call(state, client, parameters)),
                Err(fault) => Box::pin(ready(Err(fault))),
            });
        let before = self.routes.insert(method.to_ascii_lowercase(), route);
        assert!(before.is_none(), "the method {method} has two handlers");
        self
    }

    /// Adds the handler that is called when a client leaves for which `controller` was added
    /// ([`add_controller`](crate::add_controller)).
    ///
    /// # Panics
    /// When the controller, in whatever case, has a handler already.
    #[must_use]
    pub fn on_leave<H>(mut self, controller: &str, handler: H) -> Self
    where
        H: for<'a> Handler<'a, S, C, CloseReason> + 'static,
    {
        let leave: Leave<S, C> =
            Box::new(move |state, client, reason| finish(handler.call(state, client, reason)));
        let before = self.leaving.insert(controller.to_ascii_lowercase(), leave);
        assert!(before.is_none(), "the controller {controller} has two handlers for those who leave");
        self
    }

    /// Returns the answer to a request. Nothing is sent, and an internal error is not logged.
    pub async fn ask(&self, state: &S, client: &C, request: &[u8]) -> Answer {
        let parsed = serde_json::from_slice::<Map<String, Value>>(request);
        let is_json = parsed.is_ok();
        let mut request = parsed.unwrap_or_default();
        let method = match request.remove(&self.key) {
            Some(Value::String(method)) if !method.is_empty() => Some(method),
            _ => None,
        };
        let id = self.id_key.as_deref().and_then(|key| {
            let is_id = matches!(request.get(key), Some(Value::String(_) | Value::Number(_)));
            if is_id { request.remove_entry(key) } else { None }
        });
        let outcome = async {
            for guard in &self.guards {
                guard(state, client, method.clone().unwrap_or_default()).await?;
            }
            if !is_json {
                return Err(Fault::NotJson);
            }
            let method = method.as_ref().ok_or(Fault::NoMethod)?;
            let route = self.routes.get(&method.to_ascii_lowercase()).ok_or(Fault::UnknownMethod)?;
            route(state, client, &request).await
        };
        let outcome = caught(outcome).await;
        Answer::new(method, id, request, outcome)
    }

    /// Encodes an answer for the client.
    pub fn encode(&self, answer: &Answer) -> OutMessage {
        (self.answers)(answer)
    }
}

impl<S: Sync + 'static, C: AsRef<Client> + Sync + 'static> Router<S, C> {
    /// Handles a request and sends the answer. It is called from `on_message`.
    ///
    /// # Errors
    /// When the answer cannot be sent. Errors of the request are in the answer.
    pub async fn handle(
        &self,
        state: &S,
        client: &C,
        message: &Message,
    ) -> gatewayworker_businessworker::Result {
        let answer = self.ask(state, client, message.bytes()).await;
        let to = client.as_ref();
        if let Err(Fault::Internal(error)) = &answer.outcome {
            let method = answer.method.as_deref().unwrap_or_default();
            error!(client = %to.id(), method, %error, "a request failed");
        }
        to.send(self.encode(&answer)).await?;
        Ok(())
    }

    /// Calls the handlers of the controllers that were added for a client, one after the other. It is
    /// called from `on_close`. A handler that fails is logged and does not stop the others.
    ///
    /// # Errors
    /// When the client's session, which has the controllers, cannot be read.
    pub async fn left(
        &self,
        state: &S,
        client: &C,
        reason: CloseReason,
    ) -> gatewayworker_businessworker::Result {
        let id = client.as_ref().id();
        for controller in controllers(client.as_ref())? {
            let Some(leave) = self.leaving.get(&controller.to_ascii_lowercase()) else {
                warn!(client = %id, controller, "the client's session names a controller that has no handler");
                continue;
            };
            if let Err(fault) = caught(async { leave(state, client, reason).await }).await {
                let error = match &fault {
                    Fault::Internal(error) => error.to_string(),
                    fault => fault.to_string(),
                };
                error!(client = %id, controller, error, "a controller failed when the client left");
            }
        }
        Ok(())
    }
}

/// Turns a panic into an internal error. The panic has been printed already.
async fn caught(outcome: impl Future<Output = Result<Reply, Fault>>) -> Result<Reply, Fault> {
    let panicked = |_| Err(Fault::Internal("the handler panicked".into()));
    AssertUnwindSafe(outcome).catch_unwind().await.unwrap_or_else(panicked)
}

fn finish<'a, R, E>(future: impl Future<Output = Result<R, E>> + Send + 'a) -> Outcome<'a>
where
    R: Into<Reply>,
    E: Into<Failure>,
{
    Box::pin(async move { future.await.map(Into::into).map_err(|error| error.into().0) })
}

impl<S, C> std::fmt::Debug for Router<S, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut methods: Vec<_> = self.routes.keys().collect();
        methods.sort();
        f.debug_struct("Router").field("key", &self.key).field("methods", &methods).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
