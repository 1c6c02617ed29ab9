//! The call `client_ids_of_all_groups`: JSON params to [`Gateway::client_ids_of_all_groups`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::error::whole;
use crate::calls::to_json::lists;
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "client_ids_of_all_groups",
    original: Some("getAllGroupClientIdList"),
    summary: "Each group's members.",
    params: &[],
    answer: Answer::ClientIdsByGroup,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, _: Params) -> Result<Value, CallError> {
    whole(gateway.client_ids_of_all_groups().await, lists)
}
