//! The call `is_online`: JSON params to [`Gateway::is_online`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::common::CLIENT_ID;
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "is_online",
    original: Some("isOnline"),
    summary: "Whether a client is connected.",
    params: &[CLIENT_ID],
    answer: Answer::Flag,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, mut params: Params) -> Result<Value, CallError> {
    Ok(gateway.is_online(params.client_id("client_id")?).await?.into())
}
