//! The call `bind_uid`: JSON params to [`Gateway::bind_uid`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::common::{CLIENT_ID, UID};
use crate::calls::error::delivery;
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "bind_uid",
    original: Some("bindUid"),
    summary: "Bind a client to a uid instead of the one that it was bound to.",
    params: &[CLIENT_ID, UID],
    answer: Answer::Delivery,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, mut params: Params) -> Result<Value, CallError> {
    delivery(gateway.bind_uid(params.client_id("client_id")?, params.uid("uid")?).await)
}
