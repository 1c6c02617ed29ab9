//! The module `Index`: an action without effect, for heartbeats.

use gatewayworker::router::{self, Reply};
use serde::Deserialize;
use serde_json::json;

use crate::state::{State, Visitor};

#[derive(Deserialize)]
pub(crate) struct Index {
    #[serde(default)]
    name: Option<String>,
}

/// `index.index.index`: does nothing. Pages send it as a heartbeat.
pub(crate) async fn index(_: &State, _: &Visitor, Index { name }: Index) -> router::Result<Reply> {
    Ok(Reply::new(json!({ "name": name })).info("执行完成").event("success"))
}
