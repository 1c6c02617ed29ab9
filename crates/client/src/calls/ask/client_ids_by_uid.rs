//! The call `client_ids_by_uid`: JSON params to [`Gateway::client_ids_by_uid`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::common::UID;
use crate::calls::error::whole;
use crate::calls::to_json::list;
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "client_ids_by_uid",
    original: Some("getClientIdByUid"),
    summary: "The clients that are bound to a uid.",
    params: &[UID],
    answer: Answer::ClientIds,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, mut params: Params) -> Result<Value, CallError> {
    whole(gateway.client_ids_by_uid(params.uid("uid")?).await, list)
}
