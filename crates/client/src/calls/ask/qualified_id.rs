//! The call `qualified_id`: JSON params to [`Gateway::qualified_id`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::common::CLIENT_ID;
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "qualified_id",
    original: None,
    summary: "The id of a client that is valid in all clusters of a federation.",
    params: &[CLIENT_ID],
    answer: Answer::ClientId,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, mut params: Params) -> Result<Value, CallError> {
    let id = params.client_id("client_id")?;
    gateway.links().ready().await;
    Ok(gateway.qualified_id(id).to_string().into())
}
