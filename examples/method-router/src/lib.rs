//! A live room whose requests name a method: `{"method":"live.user.say","text":"hi"}`.
//!
//! - [`auth`]: the ticket that a client shows in its handshake,
//! - `index`, `live`: the modules, with a function for each action,
//! - `cleanup`: removes a client from the store when it leaves,
//! - `store`: the members of each room, in Redis or in memory,
//! - `limiter`: the rate limit of a client,
//! - `messages`: the form of answers and notices.
//!
//! [`App`] puts them together: the function `router` lists all methods. The worker calls it for each event.

pub mod auth;
mod cleanup;
mod clock;
mod index;
mod limiter;
mod live;
mod messages;
pub mod settings;
mod state;
mod store;

use std::sync::Arc;

use gatewayworker::router::{self, Failure};
use gatewayworker::{
    Admission, Client, CloseReason, Events, Gateway, Handshake, Message, Result, Router, Uid,
};
use tracing::{debug, info};

use crate::auth::{Key, TicketError};
use crate::cleanup::Cleaner;
use crate::clock::now;
use crate::limiter::Limiter;
use crate::settings::Settings;
use crate::state::{State, Visitor};
use crate::store::Store;

/// The application of the worker.
pub struct App {
    state: State,
    router: Router<State, Visitor>,
}

/// All methods, and the checks before them.
fn router() -> Router<State, Visitor> {
    Router::new()
        .answers(messages::answer)
        .before(check_rate)
        .before(live::user::renew)
        .on("index.index.index", index::index)
        .on("live.user.join", live::user::join)
        .on("live.user.say", live::user::say)
        .on("live.user.leave", live::user::leave)
        .on("live.user.list", live::user::list)
        .on("live.room.info", live::room::info)
        .on_leave(live::USER, live::user::left)
}

/// Refuses a request over the rate limit.
async fn check_rate(state: &State, visitor: &Visitor, _method: String) -> router::Result {
    if state.limiter.take(visitor.client.id()) {
        Ok(())
    } else {
        Err(Failure::new(429, "操作太频繁，请稍后再试"))
    }
}

impl App {
    /// Returns the application with these settings.
    ///
    /// # Errors
    /// A setting is invalid.
    pub fn new(settings: &Settings) -> anyhow::Result<Self> {
        Self::with_key(settings, settings.key()?)
    }

    /// Returns the application with another key than the settings': the demo's.
    ///
    /// # Errors
    /// A setting is invalid.
    pub fn with_key(settings: &Settings, key: Key) -> anyhow::Result<Self> {
        settings.validate()?;
        let state = State {
            key,
            max_age: settings.max_age(),
            max_text: settings.max_text,
            limiter: Limiter::new(settings.burst, settings.per_second),
            cleaner: Cleaner::new(),
            store: Arc::new(Store::open(settings)?),
        };
        Ok(Self { state, router: router() })
    }

    /// Returns the client with its ticket, if its handshake was admitted.
    fn visitor(client: &Client) -> Result<Option<Visitor>> {
        let user = client.session().get("user")?;
        Ok(user.map(|user| Visitor { client: client.clone(), user }))
    }
}

impl Events for App {
    async fn on_worker_start(&self, _: &Gateway) -> Result {
        self.state.cleaner.start(self.state.store.clone());
        Ok(())
    }

    async fn on_websocket_connect(&self, client: &Client, handshake: &Handshake) -> Result<Admission> {
        let State { key, max_age, .. } = &self.state;
        match key.verify(handshake.get("auth"), now(), *max_age) {
            Ok(user) => {
                client.session().insert("user", &user)?;
                client.bind_uid(Uid::try_from(format!("user:{}", user.id))?).await?;
                debug!(client = %client.id(), user = user.id, code = user.code, "a client was admitted");
                Ok(Admission::Admit)
            }
            Err(refused) => {
                info!(client = %client.id(), %refused, "a client was refused");
                Ok(Admission::refuse_with(messages::refused(refused)))
            }
        }
    }

    async fn on_message(&self, client: &Client, message: Message) -> Result {
        match Self::visitor(client)? {
            Some(visitor) => self.router.handle(&self.state, &visitor, &message).await,
            // The client is on a listener without a handshake.
            None => {
                client.close_with(messages::refused(TicketError::Missing)).await?;
                Ok(())
            }
        }
    }

    async fn on_close(&self, client: &Client, reason: CloseReason) -> Result {
        self.state.limiter.remove(client.id());
        let Some(visitor) = Self::visitor(client)? else { return Ok(()) };
        self.state.cleaner.clean(&self.state.store, client).await?;
        self.router.left(&self.state, &visitor, reason).await
    }
}
