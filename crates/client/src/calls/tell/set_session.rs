//! The call `set_session`: JSON params to [`Gateway::set_session`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::common::{CLIENT_ID, SESSION};
use crate::calls::error::delivery;
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "set_session",
    original: Some("setSession"),
    summary: "Replace a client's session.",
    params: &[CLIENT_ID, SESSION],
    answer: Answer::Delivery,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, mut params: Params) -> Result<Value, CallError> {
    let (id, session) = (params.client_id("client_id")?, params.session("session")?);
    delivery(gateway.set_session(id, &session).await)
}
