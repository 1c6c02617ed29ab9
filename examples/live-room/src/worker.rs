//! The worker's application: greets clients with their id, and handles `join` and `say` over the socket.
//!
//! The worker calls [`LiveRoom`] for each event. Requests of pages go to `backend` instead.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use gatewayworker::{BoxError, Client, ClientId, CloseReason, Delivery, Events, Gateway, Message, Result};
use tracing::debug;

use crate::fields::{self, Fields, UserError};
use crate::limiter::{BURST, Limiter, PER_SECOND};
use crate::lines::Lines;
use crate::numbers::NumbersPublisher;
use crate::reply::{Reply, Speaker};
use crate::settings::{Rooms, Settings};
use crate::views::Views;

/// The session's key for the rooms that a client is in.
pub(crate) const ROOMS: &str = "rooms";
/// The session's key for the name that a client has joined with.
pub(crate) const USER_NAME: &str = "userName";
/// The session's key for the user to whom the backend has bound a client.
pub(crate) const BOUND_TO: &str = "uid";

/// The application of the worker.
#[derive(Debug)]
pub struct LiveRoom {
    rooms: Rooms,
    views: Views,
    lines: Lines,
    one_way: bool,
    limiter: Limiter<ClientId>,
    publisher: OnceLock<NumbersPublisher>,
}

/// The error of a client's message.
enum MessageError {
    /// The client's own: it receives the error.
    User(UserError),
    /// A failure between worker and gateway: the worker logs it.
    Failed(BoxError),
}

impl From<UserError> for MessageError {
    fn from(error: UserError) -> Self {
        Self::User(error)
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for MessageError {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// The most rooms that a client may be in.
pub(crate) const MAX_ROOMS: usize = 8;

/// The comment of a `say` without content.
const DEFAULT_CONTENT: &str = "default content";

type Handled = std::result::Result<(), MessageError>;

impl LiveRoom {
    /// Returns the application. It counts page views in `views`, and keeps the last comments in `lines`, or in the history of
    /// the worker's file.
    pub fn new(settings: &Settings, views: Views, lines: Lines) -> Self {
        Self {
            rooms: settings.rooms.clone(),
            views,
            lines,
            one_way: settings.one_way,
            limiter: Limiter::new(BURST, PER_SECOND),
            publisher: OnceLock::new(),
        }
    }
}

impl Events for LiveRoom {
    async fn on_worker_start(&self, gateway: &Gateway) -> Result {
        self.publisher.get_or_init(|| NumbersPublisher::start(gateway, &self.views, &self.rooms));
        Ok(())
    }

    async fn on_connect(&self, client: &Client) -> Result {
        client.send(Reply::Init { client_id: client.id() }).await?;
        Ok(())
    }

    async fn on_message(&self, client: &Client, message: Message) -> Result {
        match self.handle_message(client, &message).await {
            Ok(()) => Ok(()),
            Err(MessageError::User(error)) => {
                debug!(client = %client.id(), error = error.code, "a request was refused");
                client.send(Reply::Error(error)).await?;
                Ok(())
            }
            Err(MessageError::Failed(error)) => Err(error),
        }
    }

    async fn on_close(&self, client: &Client, reason: CloseReason) -> Result {
        debug!(client = %client.id(), %reason, "a client has left");
        for room in rooms_of(client)?.keys() {
            self.changed(room);
        }
        Ok(())
    }
}

impl LiveRoom {
    /// Parses and handles a message.
    async fn handle_message(&self, client: &Client, message: &Message) -> Handled {
        let fields = Fields::read(message.bytes());
        if fields.as_ref().is_ok_and(|fields| fields.kind() == "pong") {
            return Ok(());
        }
        if !self.limiter.take(client.id()) {
            return Err(fields::TOO_OFTEN.into());
        }
        let fields = fields?;
        match fields.kind() {
            // The backend has verified this client's user, so the client may not name another one here.
            "join" | "say" if self.one_way || client.session().get::<String>(BOUND_TO)?.is_some() => {
                Err(UserError::new("use_website", "请通过网站发表评论").into())
            }
            "join" => self.join(client, &fields).await,
            "say" => self.say(client, &fields).await,
            _ => Err(UserError::new("unknown_type", "未知消息类型").into()),
        }
    }

    async fn join(&self, client: &Client, fields: &Fields) -> Handled {
        let room = fields.room(&self.rooms)?;
        let name = fields.name()?;
        // Without a login, this is a random number of the page. It is checked and not used.
        fields.user_id("userId")?;
        let mut rooms = rooms_of(client)?;
        let is_new = rooms.insert(room.id.clone(), true).is_none();
        if rooms.len() > MAX_ROOMS {
            return Err(fields::TOO_MANY_ROOMS.into());
        }
        let gateway = client.gateway();
        let joined =
            self.lines.or_of(gateway).join(gateway, client.id(), &room.id, fields.position()).await?;
        let lines = joined.ok_or(UserError::new("not_entered", "暂时无法进入直播间，请稍后再试"))?;
        client.session().insert(ROOMS, rooms)?;
        client.session().insert(USER_NAME, &name)?;

        for line in lines {
            client.send(line).await?;
        }
        let join = Reply::Join { room: &room, speaker: Speaker { name: &name, id: None } };
        if !is_new || fields.again() {
            client.send(join).await?;
            self.changed(&room.id);
            return Ok(());
        }
        let delivery = client.gateway().send_to_group([&room.id], join).await?;
        let counted = self.views.add(&room.id).await;
        self.changed(&room.id);
        counted.map_err(|_| fields::NOT_COUNTED)?;
        reached(&delivery)
    }

    async fn say(&self, client: &Client, fields: &Fields) -> Handled {
        let room = fields.room(&self.rooms)?;
        let content = fields.content()?.unwrap_or_else(|| DEFAULT_CONTENT.to_owned());
        fields.user_id("userId")?;
        let joined_as = client.session().get::<String>(USER_NAME)?;
        let name = fields.optional_name()?.or(joined_as).ok_or(fields::NOT_IN_ROOM)?;
        if !rooms_of(client)?.contains_key(&room.id) {
            return Err(fields::NOT_IN_ROOM.into());
        }
        let speaker = Speaker { name: &name, id: None };
        let say = Reply::Say { room: &room, speaker, content: &content, to: None };
        let gateway = client.gateway();
        reached(&self.lines.or_of(gateway).say(gateway, &room.id, say).await?)
    }

    fn changed(&self, room: &str) {
        if let Some(publisher) = self.publisher.get() {
            publisher.changed(room);
        }
    }
}

/// The client's rooms. In the session they are the keys of a PHP array, so that a backend can merge a room in.
fn rooms_of(client: &Client) -> std::result::Result<BTreeMap<String, bool>, gatewayworker::SessionError> {
    Ok(client.session().get(ROOMS)?.unwrap_or_default())
}

fn reached(delivery: &Delivery) -> Handled {
    if delivery.is_complete() { Ok(()) } else { Err(fields::PARTLY_UNREACHED.into()) }
}
