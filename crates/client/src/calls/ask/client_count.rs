//! The call `client_count`: JSON params to [`Gateway::client_count`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::error::whole;
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "client_count",
    original: Some("getAllClientIdCount"),
    summary: "How many clients there are.",
    params: &[],
    answer: Answer::Count,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, _: Params) -> Result<Value, CallError> {
    whole(gateway.client_count().await, Value::from)
}
