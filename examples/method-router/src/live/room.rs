//! The controller `Live.Room`: the room itself.

use gatewayworker::router::{self, NoParameters};
use serde_json::{Value, json};

use crate::store::Keys;
use crate::{State, Visitor};

/// `live.room.info`: how many there are, and how much was said.
pub(crate) async fn info(state: &State, visitor: &Visitor, _: NoParameters) -> router::Result<Value> {
    let code = &visitor.user.code;
    Ok(json!({ "code": code, "counts": state.store.counts(&Keys::of(code)).await? }))
}
