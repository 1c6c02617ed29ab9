//! The module `Index`: that somebody is there.

use gatewayworker::router::{self, Reply};
use serde::Deserialize;
use serde_json::json;

use crate::{State, Visitor};

#[derive(Deserialize)]
pub(crate) struct Index {
    #[serde(default)]
    name: Option<String>,
}

/// `index.index.index`: done. Pages say it now and then, to be known to live.
pub(crate) async fn index(_: &State, _: &Visitor, Index { name }: Index) -> router::Result<Reply> {
    Ok(Reply::new(json!({ "name": name })).info("执行完成").event("success"))
}
