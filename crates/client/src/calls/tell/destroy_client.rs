//! The call `destroy_client`: JSON params to [`Gateway::destroy_client`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::common::CLIENT_ID;
use crate::calls::error::delivery;
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "destroy_client",
    original: Some("destoryClient"),
    summary: "Close a client's connection at once, and drop the messages on their way to it.",
    params: &[CLIENT_ID],
    answer: Answer::Delivery,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, mut params: Params) -> Result<Value, CallError> {
    delivery(gateway.destroy_client(params.client_id("client_id")?).await)
}
