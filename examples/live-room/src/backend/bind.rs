//! `POST /bind`: binds a client to the page's user and joins a room. The page posts the client id of its greeting.
//!
//! The client id is the proof: it is random, and only the client's page has received it. Once the client is bound to a
//! user, no other user can bind it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use gatewayworker::client::{Column, Where};
use gatewayworker::{ClientId, GroupId, Uid};
use serde_json::{Value, json};

use super::login::User;
use super::refusal::{NO_GATEWAY, Refusal};
use super::{Backend, accept_partial};
use crate::fields::{self, Fields};
use crate::reply::{Reply, Speaker};
use crate::worker::{BOUND_TO, MAX_ROOMS, ROOMS, USER_NAME};

/// Handles `POST /bind`.
pub(super) async fn bind(
    State(backend): State<Arc<Backend>>,
    user: User,
    posted: Fields,
) -> Result<Json<Value>, Refusal> {
    let room = posted.room(&backend.rooms)?;
    let client = client_id(&posted)?;
    let (uid, group) = (Uid::try_from(&user.id)?, GroupId::try_from(&room.id)?);

    let is_new = match backend.binding(client).await? {
        (Some(bound), _) if bound != uid => {
            return Err(Refusal::new(StatusCode::FORBIDDEN, "foreign_client", "这个连接属于另一个用户"));
        }
        // A client that is in a room and not bound has joined over the socket.
        (None, rooms) if !rooms.is_empty() => {
            return Err(Refusal::new(StatusCode::FORBIDDEN, "own_way", "这个连接已经自行进入了直播间"));
        }
        (_, rooms) if rooms.contains(&group) => false,
        (_, rooms) if rooms.len() >= MAX_ROOMS => return Err(fields::TOO_MANY_ROOMS.into()),
        _ => true,
    };
    let gateway = &backend.gateway;
    let session = json!({BOUND_TO: user.id, USER_NAME: user.name, ROOMS: {&*room.id: true}});
    for delivery in [gateway.bind_uid(client, uid).await?, gateway.update_session(client, &session).await?] {
        if !delivery.is_complete() {
            return Err(NO_GATEWAY);
        }
    }
    let lines = backend.lines.join(gateway, client, &room.id, posted.position()).await?.ok_or(NO_GATEWAY)?;
    for line in lines {
        gateway.send_to_client(client, line).await?;
    }

    let mut answer = json!({"type": "bind", "roomId": room, "userId": user.id, "userName": user.name});
    if is_new && !posted.again() {
        let speaker = Speaker { name: &user.name, id: Some(&user.id) };
        let delivery = gateway.send_to_group([&room.id], Reply::Join { room: &room, speaker }).await?;
        answer["unreached"] = backend.reached(&delivery)?.into();
        // A join works without the count; the answer says that it is missing.
        if backend.views.add(&room.id).await.is_err() {
            answer["code"] = fields::NOT_COUNTED.code.into();
            answer["message"] = fields::NOT_COUNTED.text.into();
        }
    }
    backend.publisher.changed(&room.id);
    Ok(Json(answer))
}

fn client_id(posted: &Fields) -> Result<ClientId, Refusal> {
    let id = posted.text("client_id").and_then(|id| id.parse().ok());
    id.ok_or(Refusal::new(StatusCode::BAD_REQUEST, "bad_client_id", "连接编号格式错误"))
}

impl Backend {
    /// Returns the user to whom a client is bound, and the client's rooms.
    async fn binding(&self, client: ClientId) -> Result<(Option<Uid>, Vec<GroupId>), Refusal> {
        let only = Where::default().with_client_ids([client]);
        // Only the client's own gateway has the row. If another one is silent, the row is there all the same.
        let answer = self.gateway.select([Column::Uid, Column::Groups], only).await;
        let (mut rows, is_whole) = accept_partial(answer)?;
        match rows.swap_remove(&client) {
            Some(row) => Ok((row.uid, row.groups)),
            None if is_whole => Err(Refusal::new(StatusCode::NOT_FOUND, "client_gone", "这个连接不在线")),
            None => Err(NO_GATEWAY),
        }
    }
}
