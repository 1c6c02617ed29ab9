//! `POST /bind`: the page has posted the client id that its socket was greeted with.
//!
//! Knowing an online client's id is what makes it one's own, once: the id is drawn at
//! random and told to nobody but its page. From then on it is bound to one user, and
//! refused to any other.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use gatewayworker::client::{Column, Where};
use gatewayworker::{ClientId, GroupId, Uid};
use serde_json::{Value, json};

use super::login::User;
use super::refusal::{NO_GATEWAY, Refusal};
use super::{Backend, as_far_as_known};
use crate::MAX_ROOMS;
use crate::fields::{self, Fields};
use crate::reply::{Reply, Speaker};
use crate::worker::{BOUND_TO, ROOMS, USER_NAME};

pub(super) async fn bind(
    State(backend): State<Arc<Backend>>,
    user: User,
    posted: Fields,
) -> Result<Json<Value>, Refusal> {
    let room = posted.room(&backend.rooms)?;
    let client = client_id(&posted)?;
    let (uid, group) = (Uid::try_from(&user.id)?, GroupId::try_from(&room.id)?);

    let is_new = match backend.who(client).await? {
        (Some(bound), _) if bound != uid => {
            return Err(Refusal::new(StatusCode::FORBIDDEN, "foreign_client", "这个连接属于另一个用户"));
        }
        // In a room without being anybody's: it speaks over the socket, for itself.
        (None, rooms) if !rooms.is_empty() => {
            return Err(Refusal::new(StatusCode::FORBIDDEN, "own_way", "这个连接已经自行进入了直播间"));
        }
        (_, rooms) if rooms.contains(&group) => false,
        (_, rooms) if rooms.len() >= MAX_ROOMS => return Err(fields::TOO_MANY_ROOMS.into()),
        _ => true,
    };
    let gateway = &backend.gateway;
    let session = json!({BOUND_TO: user.id, USER_NAME: user.name, ROOMS: {&*room.id: true}});
    for told in [
        gateway.bind_uid(client, uid).await?,
        gateway.join_group(client, group).await?,
        gateway.update_session(client, &session).await?,
    ] {
        if !told.is_complete() {
            return Err(NO_GATEWAY);
        }
    }

    let mut answer = json!({"type": "bind", "roomId": room, "userId": user.id, "userName": user.name});
    if is_new && !posted.again() {
        let who = Speaker { name: &user.name, id: Some(&user.id) };
        let delivery = gateway.send_to_group([&room.id], Reply::Join { room: &room, who }).await?;
        answer["unreached"] = backend.reached(&delivery)?.into();
        // The room goes on without: who comes in is told, and no more.
        if backend.views.add(&room.id).await.is_err() {
            answer["code"] = fields::NOT_COUNTED.code.into();
            answer["message"] = fields::NOT_COUNTED.text.into();
        }
    }
    backend.board.changed(&room.id);
    Ok(Json(answer))
}

fn client_id(posted: &Fields) -> Result<ClientId, Refusal> {
    let id = posted.text("client_id").and_then(|id| id.parse().ok());
    id.ok_or(Refusal::new(StatusCode::BAD_REQUEST, "bad_client_id", "连接编号格式错误"))
}

impl Backend {
    /// Whom a client is bound to, and which rooms it is in.
    async fn who(&self, client: ClientId) -> Result<(Option<Uid>, Vec<GroupId>), Refusal> {
        let only = Where::default().with_client_ids([client]);
        // One gateway can know; another's silence changes nothing, and its own is no answer.
        let answer = self.gateway.select([Column::Uid, Column::Groups], only).await;
        let (mut rows, is_whole) = as_far_as_known(answer)?;
        match rows.swap_remove(&client) {
            Some(row) => Ok((row.uid, row.groups)),
            None if is_whole => Err(Refusal::new(StatusCode::NOT_FOUND, "client_gone", "这个连接不在线")),
            None => Err(NO_GATEWAY),
        }
    }
}
