//! The worker: greets clients with their id, and does what they say over the socket.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use gatewayworker::{BoxError, Client, ClientId, CloseReason, Delivery, Events, Gateway, Message, Result};
use tracing::debug;

use crate::board::Board;
use crate::fields::{self, Complaint, Fields};
use crate::limiter::Limiter;
use crate::reply::{Reply, Speaker};
use crate::{BURST, MAX_ROOMS, PER_SECOND, Rooms, Settings, Views};

/// What a client's session has: the rooms that it is in,
pub(crate) const ROOMS: &str = "rooms";
/// the name that it came in with,
pub(crate) const USER_NAME: &str = "userName";
/// and the user that the backend has bound it to, if it has.
pub(crate) const BOUND_TO: &str = "uid";

/// The rooms, seen from their clients' sockets.
#[derive(Debug)]
pub struct LiveRoom {
    rooms: Rooms,
    views: Views,
    one_way: bool,
    limiter: Limiter<ClientId>,
    board: OnceLock<Board>,
}

/// Why a client does not get what it wants: its own doing, or not.
enum NotDone {
    Wrong(Complaint),
    Failed(BoxError),
}

impl From<Complaint> for NotDone {
    fn from(complaint: Complaint) -> Self {
        Self::Wrong(complaint)
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for NotDone {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// What is said by who says nothing: a `say` without content.
const DEFAULT_CONTENT: &str = "default content";

type Done = std::result::Result<(), NotDone>;

impl LiveRoom {
    /// These rooms; page views are counted in `views`.
    pub fn new(settings: &Settings, views: Views) -> Self {
        Self {
            rooms: settings.rooms.clone(),
            views,
            one_way: settings.one_way,
            limiter: Limiter::new(BURST, PER_SECOND),
            board: OnceLock::new(),
        }
    }
}

impl Events for LiveRoom {
    async fn on_worker_start(&self, gateway: &Gateway) -> Result {
        self.board.get_or_init(|| Board::start(gateway, &self.views, &self.rooms));
        Ok(())
    }

    async fn on_connect(&self, client: &Client) -> Result {
        client.send(Reply::Init { client_id: client.id() }).await?;
        Ok(())
    }

    async fn on_message(&self, client: &Client, message: Message) -> Result {
        match self.understand(client, &message).await {
            Ok(()) => Ok(()),
            Err(NotDone::Wrong(complaint)) => {
                debug!(client = %client.id(), complaint = complaint.code, "complained");
                client.send(Reply::Error(complaint)).await?;
                Ok(())
            }
            Err(NotDone::Failed(error)) => Err(error),
        }
    }

    async fn on_close(&self, client: &Client, reason: CloseReason) -> Result {
        debug!(client = %client.id(), %reason, "gone");
        for room in rooms_of(client)?.keys() {
            self.changed(room);
        }
        Ok(())
    }
}

impl LiveRoom {
    async fn understand(&self, client: &Client, message: &Message) -> Done {
        let said = Fields::read(message.bytes());
        if said.as_ref().is_ok_and(|said| said.kind() == "pong") {
            return Ok(());
        }
        if !self.limiter.take(client.id()) {
            return Err(fields::TOO_OFTEN.into());
        }
        let said = said?;
        match said.kind() {
            // The backend has checked who that is; nobody says otherwise here.
            "join" | "say" if self.one_way || client.session().get::<String>(BOUND_TO)?.is_some() => {
                Err(Complaint::new("use_website", "请通过网站发表评论").into())
            }
            "join" => self.join(client, &said).await,
            "say" => self.say(client, &said).await,
            _ => Err(Complaint::new("unknown_type", "未知消息类型").into()),
        }
    }

    async fn join(&self, client: &Client, said: &Fields) -> Done {
        let room = said.room(&self.rooms)?;
        let name = said.name()?;
        // Where nobody logs in this is a number that the page drew; nothing hangs on it.
        said.user_id("userId")?;
        let mut rooms = rooms_of(client)?;
        let is_new = rooms.insert(room.id.clone(), true).is_none();
        if rooms.len() > MAX_ROOMS {
            return Err(fields::TOO_MANY_ROOMS.into());
        }
        let delivery = client.join_group(&room.id).await?;
        if !delivery.is_complete() {
            return Err(Complaint::new("not_entered", "暂时无法进入直播间，请稍后再试").into());
        }
        client.session().insert(ROOMS, rooms)?;
        client.session().insert(USER_NAME, &name)?;

        let join = Reply::Join { room: &room, who: Speaker { name: &name, id: None } };
        if !is_new || said.again() {
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

    async fn say(&self, client: &Client, said: &Fields) -> Done {
        let room = said.room(&self.rooms)?;
        let content = said.content()?.unwrap_or_else(|| DEFAULT_CONTENT.to_owned());
        said.user_id("userId")?;
        let joined_as = client.session().get::<String>(USER_NAME)?;
        let name = said.optional_name()?.or(joined_as).ok_or(fields::NOT_IN_ROOM)?;
        if !rooms_of(client)?.contains_key(&room.id) {
            return Err(fields::NOT_IN_ROOM.into());
        }
        let who = Speaker { name: &name, id: None };
        let say = Reply::Say { room: &room, who, content: &content, to: None };
        reached(&client.gateway().send_to_group([&room.id], say).await?)
    }

    fn changed(&self, room: &str) {
        if let Some(board) = self.board.get() {
            board.changed(room);
        }
    }
}

/// A PHP array whose keys are the rooms, so that a backend can merge one in.
fn rooms_of(client: &Client) -> std::result::Result<BTreeMap<String, bool>, gatewayworker::SessionError> {
    Ok(client.session().get(ROOMS)?.unwrap_or_default())
}

fn reached(delivery: &Delivery) -> Done {
    if delivery.is_complete() { Ok(()) } else { Err(fields::PARTLY_UNREACHED.into()) }
}
