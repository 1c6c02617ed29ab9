//! The call `update_session`: JSON params to [`Gateway::update_session`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::common::{CLIENT_ID, SESSION};
use crate::calls::error::delivery;
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "update_session",
    original: Some("updateSession"),
    summary: "Put values over those of the same names in a client's session, in nested arrays too.",
    params: &[CLIENT_ID, SESSION],
    answer: Answer::Delivery,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, mut params: Params) -> Result<Value, CallError> {
    let (id, session) = (params.client_id("client_id")?, params.session("session")?);
    delivery(gateway.update_session(id, &session).await)
}
