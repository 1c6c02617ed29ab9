//! `POST /say`: sends a comment to a room in which its author is, or to one user in this room.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use gatewayworker::client::{Column, Where};
use gatewayworker::{GroupId, Uid};
use serde_json::{Value, json};

use super::login::User;
use super::refusal::{NO_GATEWAY, Refusal};
use super::{Backend, accept_partial};
use crate::fields::{self, Fields};
use crate::reply::{Reply, Speaker};

/// Handles `POST /say`.
pub(super) async fn say(
    State(backend): State<Arc<Backend>>,
    user: User,
    posted: Fields,
) -> Result<Json<Value>, Refusal> {
    let room = posted.room(&backend.rooms)?;
    let content = posted.content()?.ok_or(fields::NO_CONTENT)?;
    let to = posted.user_id("to")?;
    let speaker = Speaker { name: &user.name, id: Some(&user.id) };
    let say = Reply::Say { room: &room, speaker, content: &content, to: to.as_deref() };

    let author = Uid::try_from(&user.id)?;
    let reader = to.as_ref().map(Uid::try_from).transpose()?;
    let group = GroupId::try_from(&room.id)?;
    let concerned = [Some(&author), reader.as_ref()].into_iter().flatten().cloned().collect();
    let (present, is_whole) = backend.present(&group, concerned).await?;
    let absent = |uid| !present.contains(uid);
    // A missing user may be at a gateway that has not answered.
    if !is_whole && (absent(&author) || reader.as_ref().is_some_and(absent)) {
        return Err(NO_GATEWAY);
    }
    if absent(&author) {
        return Err(Refusal::because(StatusCode::FORBIDDEN, fields::NOT_IN_ROOM));
    }
    let delivery = match reader {
        None => backend.lines.say(&backend.gateway, &room.id, say).await?,
        Some(reader) if absent(&reader) => {
            return Err(Refusal::new(StatusCode::NOT_FOUND, "reader_gone", "对方不在这个直播间"));
        }
        // The author's own pages receive it too.
        Some(reader) if reader == author => backend.gateway.send_to_uid([author], say).await?,
        Some(reader) => backend.gateway.send_to_uid([reader, author], say).await?,
    };
    Ok(Json(json!({"type": "sent", "unreached": backend.reached(&delivery)?})))
}

impl Backend {
    /// Returns those of `users` who are in the room, and whether all gateways have answered.
    async fn present(&self, room: &GroupId, users: Vec<Uid>) -> Result<(Vec<Uid>, bool), Refusal> {
        let theirs = Where::default().with_uids(users);
        let answer = self.gateway.select([Column::Uid, Column::Groups], theirs).await;
        let (rows, is_whole) = accept_partial(answer)?;
        let present = rows.into_values().filter(|row| row.groups.contains(room)).filter_map(|row| row.uid);
        Ok((present.collect(), is_whole))
    }
}
