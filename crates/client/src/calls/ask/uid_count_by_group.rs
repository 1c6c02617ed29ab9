//! The call `uid_count_by_group`: JSON params to [`Gateway::uid_count_by_group`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::common::GROUP;
use crate::calls::error::whole;
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "uid_count_by_group",
    original: Some("getUidCountByGroup"),
    summary: "How many uids a group's members have.",
    params: &[GROUP],
    answer: Answer::Count,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, mut params: Params) -> Result<Value, CallError> {
    whole(gateway.uid_count_by_group(params.group("group")?).await, Value::from)
}
