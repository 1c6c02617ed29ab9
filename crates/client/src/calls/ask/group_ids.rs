//! The call `group_ids`: JSON params to [`Gateway::group_ids`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::answers::list;
use crate::calls::error::whole;
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "group_ids",
    original: Some("getAllGroupIdList"),
    summary: "All groups with anybody in them.",
    params: &[],
    answer: Answer::Groups,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, _: Params) -> Result<Value, CallError> {
    whole(gateway.group_ids().await, list)
}
