//! The call `unbind_uid`: JSON params to [`Gateway::unbind_uid`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::common::{CLIENT_ID, UID};
use crate::calls::error::delivery;
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "unbind_uid",
    original: Some("unbindUid"),
    summary: "Unbind a client from its uid.",
    params: &[CLIENT_ID, UID],
    answer: Answer::Delivery,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, mut params: Params) -> Result<Value, CallError> {
    delivery(gateway.unbind_uid(params.client_id("client_id")?, params.uid("uid")?).await)
}
