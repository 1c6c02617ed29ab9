//! The call `presence`: JSON params to [`Gateway::presence`].

use serde_json::{Value, json};

use crate::calls::common::GROUP;
use crate::calls::error::whole;
use crate::calls::to_json::text;
use crate::calls::{Answer, Call, CallError, Params};
use crate::{Gateway, Presence};

pub(super) const CALL: Call = Call {
    name: "presence",
    original: None,
    summary: "The uids that are in a group, with what others may see of them.",
    params: &[GROUP],
    answer: Answer::Presence,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, mut params: Params) -> Result<Value, CallError> {
    whole(gateway.presence(params.group("group")?).await, |Presence { members, total }| {
        let member = |one: crate::PresentUid| json!({"uid": text(one.uid), "data": one.data});
        json!({"members": members.into_iter().map(member).collect::<Vec<_>>(), "total": total})
    })
}
