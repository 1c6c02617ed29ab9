//! The call `client_ids_by_group`: JSON params to [`Gateway::client_ids_by_group`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::common::GROUP;
use crate::calls::error::whole;
use crate::calls::to_json::list;
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "client_ids_by_group",
    original: Some("getClientIdListByGroup"),
    summary: "A group's members.",
    params: &[GROUP],
    answer: Answer::ClientIds,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, mut params: Params) -> Result<Value, CallError> {
    whole(gateway.client_ids_by_group(params.group("group")?).await, list)
}
