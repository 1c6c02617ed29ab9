//! The call `uid_count`: JSON params to [`Gateway::uid_count`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::error::whole;
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "uid_count",
    original: Some("getAllUidCount"),
    summary: "How many uids clients are bound to.",
    params: &[],
    answer: Answer::Count,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, _: Params) -> Result<Value, CallError> {
    whole(gateway.uid_count().await, Value::from)
}
