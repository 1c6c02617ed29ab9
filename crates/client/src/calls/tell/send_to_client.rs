//! The call `send_to_client`: JSON params to [`Gateway::send_to_client`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::common::{CLIENT_ID, MESSAGE, MESSAGE_BASE64, RAW};
use crate::calls::error::delivery;
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "send_to_client",
    original: Some("sendToClient"),
    summary: "Send a message to one client.",
    params: &[CLIENT_ID, MESSAGE, MESSAGE_BASE64, RAW],
    answer: Answer::Delivery,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, mut params: Params) -> Result<Value, CallError> {
    let (id, message) = (params.client_id("client_id")?, params.message()?);
    delivery(gateway.send_to_client(id, message).await)
}
