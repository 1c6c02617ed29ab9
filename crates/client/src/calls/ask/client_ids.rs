//! The call `client_ids`: JSON params to [`Gateway::client_ids`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::error::whole;
use crate::calls::to_json::list;
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "client_ids",
    original: Some("getAllClientIdList"),
    summary: "All clients.",
    params: &[],
    answer: Answer::ClientIds,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, _: Params) -> Result<Value, CallError> {
    whole(gateway.client_ids().await, list)
}
