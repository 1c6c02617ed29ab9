//! The call `group_ids`: JSON params to [`Gateway::group_ids`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::error::whole;
use crate::calls::to_json::list;
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "group_ids",
    original: Some("getAllGroupIdList"),
    summary: "All groups that have members.",
    params: &[],
    answer: Answer::Groups,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, _: Params) -> Result<Value, CallError> {
    whole(gateway.group_ids().await, list)
}
