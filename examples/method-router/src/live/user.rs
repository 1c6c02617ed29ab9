//! The controller `Live.User`: coming, talking, going.

use gatewayworker::CloseReason;
use gatewayworker::router::{self, Failure, NoParameters, Reply, add_controller, remove_controller};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{USER, counts, group, is_in, must_be_in, tell_others};
use crate::auth::Kind;
use crate::store::{Keys, Member, Unavailable};
use crate::{State, Visitor, leaving, now, words};

#[derive(Deserialize)]
pub(crate) struct Join {
    code: String,
}

/// `live.user.join`: into the room that the ticket is for. Again is as good as once.
pub(crate) async fn join(state: &State, visitor: &Visitor, Join { code }: Join) -> router::Result<Reply> {
    let Visitor { client, user } = visitor;
    if code != user.code {
        return Err(Failure::new(403, "auth 不是这个房间的"));
    }
    let keys = Keys::of(&code);
    let key = keys.table(user.kind);
    let before = is_in(visitor)?;
    // First what undoes it: a worker that dies in between leaves nothing behind, and neither
    // does a Redis that answers too late.
    leaving::add_close_key(client, key).await?;
    write_down(state, visitor).await?;
    add_controller(client, USER).await?;
    client.join_group(group(&code)?).await?;
    let counts = counts(state, visitor).await;
    if !before {
        let param = json!({ "user": public(visitor), "type": user.kind, "counts": counts });
        tell_others(visitor, "live.user.joined", "有人加入", param).await?;
    }
    let users = users(state, &keys).await?;
    let param = json!({ "client_id": client.id(), "code": code, "users": users, "counts": counts });
    Ok(Reply::new(param).info(if before { "已在房间中" } else { "加入成功" }))
}

/// Before every request: whoever is in a room is so for a while more. That Redis is away
/// concerns those who need it.
pub(crate) async fn stay(state: &State, visitor: &Visitor, _method: String) -> router::Result {
    if is_in(visitor)? {
        let _ = write_down(state, visitor).await;
    }
    Ok(())
}

#[derive(Deserialize)]
pub(crate) struct Say {
    text: String,
}

/// `live.user.say`: to everybody in the room, oneself too. Walls have no mouth.
pub(crate) async fn say(state: &State, visitor: &Visitor, Say { text }: Say) -> router::Result<Value> {
    let user = &visitor.user;
    if user.kind == Kind::Wall {
        return Err(Failure::new(403, "大屏幕只能观看"));
    }
    must_be_in(visitor)?;
    let text = text.trim();
    if text.is_empty() {
        return Err(Failure::parameter("text", "不能为空"));
    }
    if text.chars().count() > state.max_text {
        return Err(Failure::parameter("text", format!("最多 {} 个字", state.max_text)));
    }
    let number = state.store.said(&Keys::of(&user.code)).await?;
    let param = json!({ "user": public(visitor), "text": text, "number": number, "time": now() });
    let news = words::news("live.user.said", "有人发言", param);
    visitor.client.gateway().send_to_group([group(&user.code)?], news).await?;
    Ok(json!({ "number": number }))
}

/// `live.user.leave`: out of the room. The connection stays.
pub(crate) async fn leave(state: &State, visitor: &Visitor, _: NoParameters) -> router::Result<Reply> {
    must_be_in(visitor)?;
    let Visitor { client, user } = visitor;
    let keys = Keys::of(&user.code);
    let key = keys.table(user.kind);
    state.store.remove(key, client.id()).await?;
    client.leave_group(group(&user.code)?).await?;
    leaving::remove_close_key(client, key)?;
    remove_controller(client, USER)?;
    tell_of_leaving(state, visitor).await?;
    Ok(Reply::new(()).info("已离开房间"))
}

/// `live.user.list`: who takes part.
pub(crate) async fn list(state: &State, visitor: &Visitor, _: NoParameters) -> router::Result<Value> {
    let keys = Keys::of(&visitor.user.code);
    let users = users(state, &keys).await?;
    Ok(json!({ "users": users, "counts": state.store.counts(&keys).await? }))
}

/// A client that had joined is gone.
pub(crate) async fn left(state: &State, visitor: &Visitor, _: CloseReason) -> router::Result {
    tell_of_leaving(state, visitor).await
}

async fn tell_of_leaving(state: &State, visitor: &Visitor) -> router::Result {
    let counts = counts(state, visitor).await;
    let param = json!({ "user": public(visitor), "type": visitor.user.kind, "counts": counts });
    tell_others(visitor, "live.user.left", "有人离开", param).await
}

/// Into the table of those who are there.
async fn write_down(state: &State, Visitor { client, user }: &Visitor) -> Result<(), Unavailable> {
    let member = Member { id: user.id.clone(), nickname: user.nickname.clone() };
    state.store.add(Keys::of(&user.code).table(user.kind), client.id(), &member).await
}

/// What others may know of a visitor.
fn public(visitor: &Visitor) -> Value {
    let user = &visitor.user;
    json!({ "client_id": visitor.client.id(), "id": user.id, "nickname": user.nickname })
}

async fn users(state: &State, keys: &Keys) -> router::Result<Vec<Value>> {
    let members = state.store.list(&keys.users).await?.into_iter();
    let shown = |(client_id, Member { id, nickname })| json!({ "client_id": client_id, "id": id, "nickname": nickname });
    Ok(members.map(shown).collect())
}
