//! A group chat: classes have threads and members, and members of a class talk in its threads.
//!
//! Clients send JSON with an `action` and receive JSON with an `op` (see `request` and `reply`). The
//! database decides what a member may do, and a message is sent to a thread as it was stored. A
//! thread is a group of the gateways: its clients may be connected to any gateway and served by any
//! worker (`presence`).
//!
//! There is no login. A client says its user, and the database only knows whether there is such a
//! member. An application that must know more checks it in `on_websocket_connect`.

mod database;
mod error;
mod limits;
mod presence;
mod refusal;
mod reply;
mod request;
mod settings;

use gatewayworker::{BoxError, Client, CloseReason, Events, Gateway, Message, Result};
use serde_json::Value;
use tracing::{debug, info, warn};

use crate::database::{Database, StoredMessage};
use crate::error::RequestError;
use crate::limits::Limits;
use crate::refusal::Refusal;
use crate::request::{Content, Membership, Request, ThreadAction};

pub use crate::limits::{MAX_CONTENT, MAX_THREADS};
pub use crate::settings::Settings;

/// The application, one per worker.
#[derive(Debug)]
pub struct GroupChat {
    database: Database,
    limits: Limits,
    history_page: u32,
}

impl GroupChat {
    /// Returns the application. It connects to its database with the first request.
    ///
    /// # Errors
    /// A setting is invalid.
    pub fn new(settings: &Settings) -> std::result::Result<Self, BoxError> {
        settings.validate()?;
        Ok(Self {
            database: Database::new(settings)?,
            limits: Limits::new(settings.burst, settings.requests_per_second),
            history_page: settings.history_page,
        })
    }

    /// Makes the database's schema, and the demo data if the settings say so.
    ///
    /// # Errors
    /// The database cannot be reached, or refuses the schema.
    pub async fn prepare(&self) -> std::result::Result<(), BoxError> {
        Ok(self.database.prepare().await?)
    }

    /// Parses, checks and carries out a request.
    async fn handle(&self, client: &Client, json: &Value) -> std::result::Result<(), RequestError> {
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
            Request::InThread(membership, action) => {
                if let Some(refusal) = self.database.check(&membership).await? {
                    return Err(refusal.into());
                }
                self.perform(client, membership, action).await?;
            }
        }
        Ok(())
    }

    /// Carries out an action of a verified member.
    async fn perform(
        &self,
        client: &Client,
        membership: Membership,
        action: ThreadAction,
    ) -> std::result::Result<(), RequestError> {
        let thread = membership.thread;
        match action {
            ThreadAction::Join { watch } => self.join(client, &membership, watch).await,
            ThreadAction::Leave => {
                presence::leave(client, thread).await?;
                client.send(reply::left(thread)).await?;
                Ok(())
            }
            ThreadAction::Send(content) => {
                let stored = self.store(membership, content).await?;
                client.send(reply::sent(stored.id)).await?;
                let group = presence::group(thread);
                presence::log_unreached(
                    client.gateway().send_to_group([group], reply::message(&stored)).await?,
                );
                Ok(())
            }
            ThreadAction::History { before } => {
                let page = self.database.page(thread, before, self.history_page).await?;
                client.send(reply::history(thread, before, &page)).await?;
                Ok(())
            }
            ThreadAction::Members => {
                let members = self.members(client.gateway(), &membership).await?;
                client.send(reply::members(thread, members)).await?;
                Ok(())
            }
            ThreadAction::Unknown => Err(Refusal::UnknownAction.into()),
        }
    }

    /// Joins the thread's group first and reads the database then: a message that is stored after
    /// this reading arrives through the group. A client may get a message both ways, with the same id.
    async fn join(
        &self,
        client: &Client,
        membership: &Membership,
        watch: bool,
    ) -> std::result::Result<(), RequestError> {
        presence::join(client, membership, watch).await?;
        let answer = async {
            // The question follows the join on the same link, so its answer includes this client.
            let members = self.members(client.gateway(), membership).await?;
            let page = self.database.page(membership.thread, None, self.history_page).await?;
            Ok::<_, RequestError>(reply::joined(membership.thread, &page, members))
        };
        match answer.await {
            Ok(answer) => {
                client.send(answer).await?;
                Ok(())
            }
            Err(failure) => {
                presence::leave(client, membership.thread).await?;
                Err(failure)
            }
        }
    }

    /// Returns the members of a class, with who is online in the thread.
    async fn members(
        &self,
        gateway: &Gateway,
        membership: &Membership,
    ) -> std::result::Result<Value, RequestError> {
        let online = presence::online(gateway, membership.thread).await?;
        let users = self.database.members(membership.class).await?;
        Ok(reply::member_list(&users, |id| online.contains(&id)))
    }

    /// Stores a new message, or finds a stored one.
    async fn store(
        &self,
        membership: Membership,
        content: Content,
    ) -> std::result::Result<StoredMessage, RequestError> {
        match content {
            Content::Stored(id) => {
                Ok(self.database.message(&membership, id).await?.ok_or(Refusal::NoMessage)?)
            }
            Content::New(draft) => {
                let length = draft.content.chars().count();
                if !(1..=MAX_CONTENT).contains(&length) || draft.content.contains('\0') {
                    return Err(Refusal::BadContent.into());
                }
                Ok(self.database.store(membership, draft).await?)
            }
            Content::Missing => Err(Refusal::NoMessage.into()),
        }
    }
}

impl Events for GroupChat {
    async fn on_worker_start(&self, _gateway: &Gateway) -> Result {
        match self.database.prepare().await {
            Ok(()) => info!("the database is ready"),
            Err(error) => warn!(%error, "the database is not ready; each request tries again"),
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
            Err(RequestError::Refused(refusal)) => refusal,
            Err(RequestError::Database(error)) => {
                warn!(client = %client.id(), %error, "a request failed in the database");
                Refusal::Unavailable
            }
            Err(RequestError::Other(error)) => {
                let _ = client.send(reply::refused(Refusal::Unavailable, &json["action"])).await;
                return Err(error);
            }
        };
        debug!(client = %client.id(), ?refusal, "a request was refused");
        client.send(reply::refused(refusal, &json["action"])).await?;
        Ok(())
    }

    async fn on_close(&self, client: &Client, _reason: CloseReason) -> Result {
        presence::closed(client).await
    }
}
