//! The answers that need no token: numbers of the cluster, and the calls that there are. Nothing of a client is in them.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use gatewayworker_client::calls::{self, Answer, Call, Kind};
use gatewayworker_http::api::json;
use serde_json::{Value, json};

use crate::guard::TokenState;
use crate::shared::Shared;

/// `GET /api/cluster`: what the last look has shown.
pub(crate) async fn cluster(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let mut cluster = shared.monitor().to_json();
    cluster["served_by"] = shared.served_by.into();
    cluster["address"] = shared.address.to_string().into();
    cluster["version"] = env!("CARGO_PKG_VERSION").into();
    cluster["token"] = TokenState::of(&shared, &request).name().into();
    cluster["warnings"] =
        shared.warnings.as_ref().map_or(Value::Null, |warnings| json!({"count": warnings.count()}));
    json(StatusCode::OK, &cluster)
}

/// `GET /api/history`: the numbers of the last hour; with `?after=MS`, those behind that time.
pub(crate) async fn history(State(shared): State<Arc<Shared>>, uri: Uri) -> Response {
    let pairs = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let mut after = pairs.filter(|(name, _)| *name == "after");
    let after = after.next().and_then(|(_, ms)| ms.parse().ok()).unwrap_or_default();
    let history = {
        let monitor = shared.monitor();
        monitor.history().to_json(after, monitor.at_ms())
    };
    json(StatusCode::OK, &history)
}

/// `GET /api/calls`: the calls of the Gateway API, for a form.
pub(crate) async fn calls() -> Response {
    json(StatusCode::OK, &calls::calls().iter().map(describe).collect())
}

fn describe(call: &Call) -> Value {
    let params = call.params.iter().map(|param| {
        json!({
            "name": param.name,
            "kind": kind_name(param.kind),
            "required": param.required,
            "about": param.help,
        })
    });
    json!({
        "name": call.name,
        "original": call.original,
        "title": call.summary,
        "params": params.collect::<Value>(),
        "answers": if matches!(call.answer, Answer::Delivery | Answer::Published) { "nothing" } else { "json" },
    })
}

/// Returns the name of a kind for programs.
fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Message => "message",
        Kind::Base64 => "base64",
        Kind::Flag => "flag",
        Kind::ClientId => "client_id",
        Kind::ClientIds => "client_ids",
        Kind::Uid => "uid",
        Kind::Uids => "uids",
        Kind::Group => "group",
        Kind::Groups => "groups",
        Kind::Session => "session",
        Kind::Fields => "fields",
        Kind::Position => "position",
        Kind::Limit => "limit",
        Kind::Where => "where",
        _ => "json",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_described_with_all_its_params() {
        for call in calls::calls() {
            let described = describe(call);
            let params = described["params"].as_array().unwrap();
            assert_eq!(params.len(), call.params.len(), "{}", call.name);
            assert!(params.iter().all(|param| param["kind"] != "json"), "{}", call.name);
        }
    }
}
