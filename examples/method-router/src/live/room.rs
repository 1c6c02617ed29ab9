//! The controller `Live.Room`: the numbers of the room.

use gatewayworker::router::{self, NoParameters};
use serde_json::{Value, json};

use crate::state::{State, Visitor};
use crate::store::Keys;

/// `live.room.info`: returns how many users and walls are in the room, and how many messages it has had.
pub(crate) async fn info(state: &State, visitor: &Visitor, _: NoParameters) -> router::Result<Value> {
    let code = &visitor.user.code;
    Ok(json!({ "code": code, "counts": state.store.counts(&Keys::of(code)).await? }))
}
