//! The call `uid_by_client_id`: JSON params to [`Gateway::uid_by_client_id`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::common::CLIENT_ID;
use crate::calls::to_json::text;
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "uid_by_client_id",
    original: Some("getUidByClientId"),
    summary: "The uid that a client is bound to.",
    params: &[CLIENT_ID],
    answer: Answer::Uid,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, mut params: Params) -> Result<Value, CallError> {
    let uid = gateway.uid_by_client_id(params.client_id("client_id")?).await?;
    Ok(uid.map_or(Value::Null, text))
}
