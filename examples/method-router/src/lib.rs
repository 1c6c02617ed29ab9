//! A live room whose requests name a method: `{"method":"live.user.say","text":"hi"}`.
//!
//! - [`auth`]: who may enter, and with what,
//! - `index`, `live`: the modules, a function for each action,
//! - `leaving`: what is cleared away when a client goes,
//! - `store`: who is in which room, in Redis or in memory,
//! - `limiter`: how often a client may ask,
//! - `words`: how answers and news look.
//!
//! This file puts them together: `router` is the list of all methods.

pub mod auth;
mod index;
mod leaving;
mod limiter;
mod live;
pub mod settings;
mod store;
mod words;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use gatewayworker::router::{self, Failure};
use gatewayworker::{
    Admission, Client, CloseReason, Events, Gateway, Handshake, Message, Result, Router, Uid,
};
use tracing::{debug, info};

use crate::auth::{Key, Refused, Ticket};
use crate::leaving::Cleaner;
use crate::limiter::Limiter;
use crate::settings::Settings;
use crate::store::Store;

/// The application.
pub struct App {
    state: State,
    router: Router<State, Visitor>,
}

/// What all requests share.
pub(crate) struct State {
    key: Key,
    max_age: i64,
    max_text: usize,
    limiter: Limiter,
    cleaner: Cleaner,
    store: Arc<Store>,
}

/// Who asks.
pub(crate) struct Visitor {
    client: Client,
    user: Ticket,
}

impl AsRef<Client> for Visitor {
    fn as_ref(&self) -> &Client {
        &self.client
    }
}

/// Every method there is.
fn router() -> Router<State, Visitor> {
    Router::new()
        .answers(words::answer)
        .before(not_too_often)
        .before(live::user::stay)
        .on("index.index.index", index::index)
        .on("live.user.join", live::user::join)
        .on("live.user.say", live::user::say)
        .on("live.user.leave", live::user::leave)
        .on("live.user.list", live::user::list)
        .on("live.room.info", live::room::info)
        .on_leave(live::USER, live::user::left)
}

async fn not_too_often(state: &State, visitor: &Visitor, _method: String) -> router::Result {
    if state.limiter.take(visitor.client.id()) {
        Ok(())
    } else {
        Err(Failure::new(429, "操作太频繁，请稍后再试"))
    }
}

impl App {
    /// The application with these settings.
    ///
    /// # Errors
    /// When a setting cannot be used.
    pub fn new(settings: &Settings) -> anyhow::Result<Self> {
        Self::with_key(settings, settings.key()?)
    }

    /// The same with any key: the demo's.
    ///
    /// # Errors
    /// When another setting cannot be used.
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

    /// The visitor that a client is, if it has entered.
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
                debug!(client = %client.id(), user = user.id, code = user.code, "entered");
                Ok(Admission::Admit)
            }
            Err(refused) => {
                info!(client = %client.id(), %refused, "not let in");
                Ok(Admission::refuse_with(words::not_let_in(refused)))
            }
        }
    }

    async fn on_message(&self, client: &Client, message: Message) -> Result {
        match Self::visitor(client)? {
            Some(visitor) => self.router.handle(&self.state, &visitor, &message).await,
            // It came by a listener that has no handshake.
            None => {
                client.close_with(words::not_let_in(Refused::Missing)).await?;
                Ok(())
            }
        }
    }

    async fn on_close(&self, client: &Client, reason: CloseReason) -> Result {
        self.state.limiter.forget(client.id());
        let Some(visitor) = Self::visitor(client)? else { return Ok(()) };
        self.state.cleaner.clean(&self.state.store, client).await?;
        self.router.left(&self.state, &visitor, reason).await
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}
