//! A group chat: classes have threads and members, and who is a member may talk.
//!
//! Clients say JSON with an `action` and hear JSON with an `op`. Who may do what is in
//! the database, and what is sent to a thread is the message as it was stored. Who
//! hears a thread is in the gateways: a thread is a group, so its members may be
//! connected to any gateway and served by any worker.
//!
//! Not here: who a client *is*. It says so, and the database knows whether there is
//! such a member; a log-in belongs in front (`on_websocket_connect`).

mod database;
mod limits;
mod presence;
mod reply;
mod request;
mod settings;

use gatewayworker::{BoxError, Client, CloseReason, Delivery, Events, Gateway, Message, Result};
use serde_json::Value;
use tracing::{debug, info, warn};

use crate::database::{Database, Stored};
use crate::limits::Limits;
use crate::reply::{Failure, Refusal};
use crate::request::{Place, Request, Said, What};

pub use crate::reply::{MAX_CONTENT, MAX_THREADS};
pub use crate::settings::Settings;

/// The application.
#[derive(Debug)]
pub struct GroupChat {
    database: Database,
    limits: Limits,
    history_page: u32,
}

impl GroupChat {
    /// The application; it connects to its database when there is something to ask.
    ///
    /// # Errors
    /// When a setting cannot be used.
    pub fn new(settings: &Settings) -> std::result::Result<Self, BoxError> {
        settings.validate()?;
        Ok(Self {
            database: Database::new(settings)?,
            limits: Limits::new(settings.burst, settings.requests_per_second),
            history_page: settings.history_page,
        })
    }

    /// Makes the database's schema, and the demo data where the settings want it.
    ///
    /// # Errors
    /// When the database is not there.
    pub async fn prepare(&self) -> std::result::Result<(), BoxError> {
        Ok(self.database.prepare().await?)
    }

    async fn handle(&self, client: &Client, json: &Value) -> std::result::Result<(), Failure> {
        if !self.limits.allow(client.id()) {
            return Err(Refusal::TooOften.into());
        }
        match Request::parse(json)? {
            Request::Keep => {
                client.send(reply::keep()).await?;
            }
            Request::Directory => {
                client.send(reply::directory(&self.database.directory().await?)).await?;
            }
            Request::At(place, what) => {
                if let Some(refusal) = self.database.check(&place).await? {
                    return Err(refusal.into());
                }
                self.grant(client, place, what).await?;
            }
        }
        Ok(())
    }

    /// Does what a member asks.
    async fn grant(&self, client: &Client, place: Place, what: What) -> std::result::Result<(), Failure> {
        let thread = place.thread;
        match what {
            What::Join { watch } => self.join(client, &place, watch).await,
            What::Leave => {
                presence::leave(client, thread).await?;
                client.send(reply::left(thread)).await?;
                Ok(())
            }
            What::Send(said) => {
                let stored = self.store(place, said).await?;
                client.send(reply::sent(stored.id)).await?;
                let group = presence::group(thread);
                note(client.gateway().send_to_group([group], reply::message(&stored)).await?);
                Ok(())
            }
            What::History { before } => {
                let page = self.database.page(thread, before, self.history_page).await?;
                client.send(reply::history(thread, before, &page)).await?;
                Ok(())
            }
            What::Members => {
                let members = self.members(client.gateway(), &place).await?;
                client.send(reply::members(thread, members)).await?;
                Ok(())
            }
            What::Unknown => Err(Refusal::UnknownAction.into()),
        }
    }

    /// First into the group and then to the database: what is stored after the page
    /// was read comes by the group. Something may come both ways; it has an id.
    async fn join(&self, client: &Client, place: &Place, watch: bool) -> std::result::Result<(), Failure> {
        presence::join(client, place, watch).await?;
        let answer = async {
            // Asked over the link that said to join: once it is answered, that has happened.
            let members = self.members(client.gateway(), place).await?;
            let page = self.database.page(place.thread, None, self.history_page).await?;
            Ok::<_, Failure>(reply::joined(place.thread, &page, members))
        };
        match answer.await {
            Ok(answer) => {
                client.send(answer).await?;
                Ok(())
            }
            Err(failure) => {
                presence::leave(client, place.thread).await?;
                Err(failure)
            }
        }
    }

    async fn members(&self, gateway: &Gateway, place: &Place) -> std::result::Result<Value, Failure> {
        let online = presence::online(gateway, place.thread).await?;
        let users = self.database.members(place.class).await?;
        Ok(reply::member_list(&users, |id| online.contains(&id)))
    }

    async fn store(&self, place: Place, said: Said) -> std::result::Result<Stored, Failure> {
        match said {
            Said::Stored(id) => Ok(self.database.message(&place, id).await?.ok_or(Refusal::NoMessage)?),
            Said::New(draft) => {
                let length = draft.content.chars().count();
                if !(1..=MAX_CONTENT).contains(&length) || draft.content.contains('\0') {
                    return Err(Refusal::BadContent.into());
                }
                Ok(self.database.store(place, draft).await?)
            }
            Said::Nothing => Err(Refusal::NoMessage.into()),
        }
    }
}

/// Notes which gateways were not reached. Their clients have to come back anyway, and
/// get the history then.
pub(crate) fn note(delivery: Delivery) {
    for (gateway, why) in delivery.unreached {
        warn!(%gateway, %why, "the clients of a gateway were not told");
    }
}

impl Events for GroupChat {
    async fn on_worker_start(&self, _gateway: &Gateway) -> Result {
        match self.database.prepare().await {
            Ok(()) => info!("the database is there"),
            Err(error) => warn!(%error, "going on without the database, until it is there"),
        }
        Ok(())
    }

    async fn on_connect(&self, client: &Client) -> Result {
        client.send(reply::connected()).await?;
        Ok(())
    }

    async fn on_message(&self, client: &Client, message: Message) -> Result {
        let json: Value = message.json().unwrap_or_default();
        let refusal = match self.handle(client, &json).await {
            Ok(()) => return Ok(()),
            Err(Failure::Refused(refusal)) => refusal,
            Err(Failure::Database(error)) => {
                warn!(client = %client.id(), %error, "a request was not granted");
                Refusal::Unavailable
            }
            Err(Failure::Other(error)) => {
                let _ = client.send(Refusal::Unavailable.answer(&json["action"])).await;
                return Err(error);
            }
        };
        debug!(client = %client.id(), ?refusal, "refused");
        client.send(refusal.answer(&json["action"])).await?;
        Ok(())
    }

    async fn on_close(&self, client: &Client, _reason: CloseReason) -> Result {
        presence::gone(client).await
    }
}
