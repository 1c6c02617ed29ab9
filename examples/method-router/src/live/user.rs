//! The controller `Live.User`: join, say, leave, and the list of users.

use gatewayworker::CloseReason;
use gatewayworker::router::{self, Failure, NoParameters, Reply, add_controller, remove_controller};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{USER, counts, group, has_joined, notify_others, require_joined};
use crate::auth::Kind;
use crate::clock::now;
use crate::state::{State, Visitor};
use crate::store::{Keys, Member, Unavailable};
use crate::{cleanup, messages};

#[derive(Deserialize)]
pub(crate) struct Join {
    code: String,
}

/// `live.user.join`: joins the ticket's room. A second join changes nothing.
pub(crate) async fn join(state: &State, visitor: &Visitor, Join { code }: Join) -> router::Result<Reply> {
    let Visitor { client, user } = visitor;
    if code != user.code {
        return Err(Failure::new(403, "auth 不是这个房间的"));
    }
    let keys = Keys::of(&code);
    let key = keys.table(user.kind);
    let before = has_joined(visitor)?;
    // Register the cleanup first: then nothing stays behind if the worker dies in between, or if Redis writes and
    // answers too late.
    cleanup::add_close_key(client, key).await?;
    write_member(state, visitor).await?;
    add_controller(client, USER).await?;
    client.join_group(group(&code)?).await?;
    let counts = counts(state, visitor).await;
    if !before {
        let param = json!({ "user": public_info(visitor), "type": user.kind, "counts": counts });
        notify_others(visitor, "live.user.joined", "有人加入", param).await?;
    }
    let users = users(state, &keys).await?;
    let param = json!({ "client_id": client.id(), "code": code, "users": users, "counts": counts });
    Ok(Reply::new(param).info(if before { "已在房间中" } else { "加入成功" }))
}

/// Renews the visitor's membership, before every request. Without Redis, only requests that need it fail.
pub(crate) async fn renew(state: &State, visitor: &Visitor, _method: String) -> router::Result {
    if has_joined(visitor)? {
        let _ = write_member(state, visitor).await;
    }
    Ok(())
}

#[derive(Deserialize)]
pub(crate) struct Say {
    text: String,
}

/// `live.user.say`: sends a message to all in the room, also to its user. A wall may not send.
pub(crate) async fn say(state: &State, visitor: &Visitor, Say { text }: Say) -> router::Result<Value> {
    let user = &visitor.user;
    if user.kind == Kind::Wall {
        return Err(Failure::new(403, "大屏幕只能观看"));
    }
    require_joined(visitor)?;
    let text = text.trim();
    if text.is_empty() {
        return Err(Failure::parameter("text", "不能为空"));
    }
    if text.chars().count() > state.max_text {
        return Err(Failure::parameter("text", format!("最多 {} 个字", state.max_text)));
    }
    let number = state.store.count_message(&Keys::of(&user.code)).await?;
    let param = json!({ "user": public_info(visitor), "text": text, "number": number, "time": now() });
    let notice = messages::notice("live.user.said", "有人发言", param);
    visitor.client.gateway().send_to_group([group(&user.code)?], notice).await?;
    Ok(json!({ "number": number }))
}

/// `live.user.leave`: leaves the room. The connection stays.
pub(crate) async fn leave(state: &State, visitor: &Visitor, _: NoParameters) -> router::Result<Reply> {
    require_joined(visitor)?;
    let Visitor { client, user } = visitor;
    let keys = Keys::of(&user.code);
    let key = keys.table(user.kind);
    state.store.remove(key, client.id()).await?;
    client.leave_group(group(&user.code)?).await?;
    cleanup::remove_close_key(client, key)?;
    remove_controller(client, USER)?;
    notify_leaving(state, visitor).await?;
    Ok(Reply::new(()).info("已离开房间"))
}

/// `live.user.list`: returns the users in the room.
pub(crate) async fn list(state: &State, visitor: &Visitor, _: NoParameters) -> router::Result<Value> {
    let keys = Keys::of(&visitor.user.code);
    let users = users(state, &keys).await?;
    Ok(json!({ "users": users, "counts": state.store.counts(&keys).await? }))
}

/// Notifies the room when a client that has joined is closed.
pub(crate) async fn left(state: &State, visitor: &Visitor, _: CloseReason) -> router::Result {
    notify_leaving(state, visitor).await
}

async fn notify_leaving(state: &State, visitor: &Visitor) -> router::Result {
    let counts = counts(state, visitor).await;
    let param = json!({ "user": public_info(visitor), "type": visitor.user.kind, "counts": counts });
    notify_others(visitor, "live.user.left", "有人离开", param).await
}

/// Writes the visitor into the table of its room.
async fn write_member(state: &State, Visitor { client, user }: &Visitor) -> Result<(), Unavailable> {
    let member = Member { id: user.id.clone(), nickname: user.nickname.clone() };
    state.store.add(Keys::of(&user.code).table(user.kind), client.id(), &member).await
}

/// The data of a visitor that others may see.
fn public_info(visitor: &Visitor) -> Value {
    let user = &visitor.user;
    json!({ "client_id": visitor.client.id(), "id": user.id, "nickname": user.nickname })
}

async fn users(state: &State, keys: &Keys) -> router::Result<Vec<Value>> {
    let members = state.store.list(&keys.users).await?.into_iter();
    let shown = |(client_id, Member { id, nickname })| json!({ "client_id": client_id, "id": id, "nickname": nickname });
    Ok(members.map(shown).collect())
}
