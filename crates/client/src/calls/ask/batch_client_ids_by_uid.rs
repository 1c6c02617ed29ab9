//! The call `batch_client_ids_by_uid`: JSON params to [`Gateway::batch_client_ids_by_uid`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::common::UIDS;
use crate::calls::error::whole;
use crate::calls::to_json::lists;
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "batch_client_ids_by_uid",
    original: Some("batchGetClientIdByUid"),
    summary: "The clients that are bound to each of these uids.",
    params: &[UIDS],
    answer: Answer::ClientIdsByUid,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, mut params: Params) -> Result<Value, CallError> {
    whole(gateway.batch_client_ids_by_uid(params.uids("uids")?).await, lists)
}
