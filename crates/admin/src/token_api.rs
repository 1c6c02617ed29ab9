//! The answers that need the token: single clients, calls, and the warnings of the log.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::future::join_all;
use gatewayworker_client::calls::{calls, find};
use gatewayworker_client::inspect::InspectRequest;
use gatewayworker_client::{ClientId, Gateway};
use gatewayworker_http::api::error::{BAD_JSON, TIMED_OUT};
use gatewayworker_http::api::{ApiError, BodyLimits, json, read_json};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::timeout;
use tracing::info;

use crate::shared::{Shared, peer};

/// The limits of a body.
pub(crate) const BODY: BodyLimits = BodyLimits {
    max_bytes: 1024 * 1024,
    max_bytes_key: "the page's limit",
    time: Duration::from_secs(10),
    time_key: "the page's limit",
};

/// How long a call may run.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

type Answer = Result<Response, ApiError>;

/// `GET /api/warnings`: the last warnings of the log, the latest first.
pub(crate) async fn warnings(State(shared): State<Arc<Shared>>) -> Response {
    let warnings = shared.warnings.as_ref().map(|warnings| warnings.latest()).unwrap_or_default();
    json(StatusCode::OK, &json!({ "warnings": warnings }))
}

/// `POST /api/inspect`: passes an [`InspectRequest`] on to all gateways, or to one.
pub(crate) async fn inspect(State(shared): State<Arc<Shared>>, request: Request) -> Answer {
    let (gateway, request) = read_inspection(&read_json(request, BODY).await?)?;
    let gateways = match gateway {
        Some(gateway) => match shared.check_listed(&gateway) {
            Ok(()) => vec![gateway],
            Err(error) => return Ok(answers([(gateway, Err(error))])),
        },
        None => shared.inspector.listed(),
    };
    let asked = gateways.into_iter().map(async |gateway| {
        let answer = shared.inspector.ask_one(&gateway, &request).await;
        (gateway, answer.map_err(|error| error.to_string()))
    });
    Ok(answers(join_all(asked).await.into_iter().map(|(gateway, answer)| {
        (gateway, answer.map(|answer| serde_json::to_value(answer).unwrap_or_default()))
    })))
}

/// Reads the body: the request, and the gateway to ask. A request about one client is for the client's own.
///
/// # Errors
/// When it is no request that is known here.
fn read_inspection(body: &RawValue) -> Result<(Option<String>, InspectRequest), ApiError> {
    let not_one = |why: String| BAD_JSON.because(format!("the body is no request for INSPECT: {why}"));
    let mut body: Value = serde_json::from_str(body.get()).map_err(|error| not_one(error.to_string()))?;
    let gateway = body.as_object_mut().and_then(|body| body.remove("gateway"));
    let of_client = || Some(body["id"].as_str()?.parse::<ClientId>().ok()?.gateway().to_string());
    let gateway = match gateway {
        None | Some(Value::Null) => of_client(),
        Some(Value::String(gateway)) => Some(gateway),
        Some(_) => return Err(not_one("`gateway` is an address, 10.0.0.1:2300".into())),
    };
    let request = serde_json::from_value(body).map_err(|error| not_one(error.to_string()))?;
    if request == InspectRequest::Unknown {
        return Err(not_one("`about` is not known here".into()));
    }
    if matches!(request, InspectRequest::Trace { .. }) {
        return Err(not_one("a trace begins with POST /api/trace".into()));
    }
    Ok((gateway, request))
}

fn answers(answers: impl IntoIterator<Item = (String, Result<Value, String>)>) -> Response {
    let one = |(gateway, answer): (String, Result<Value, String>)| {
        let (answer, error) = (answer.as_ref().ok(), answer.as_ref().err());
        json!({"gateway": gateway, "answer": answer, "error": error})
    };
    let all: Vec<_> = answers.into_iter().map(one).collect();
    json(StatusCode::OK, &json!({ "answers": all }))
}

/// The body of `/api/call`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CallBody {
    call: String,
    params: Option<Box<RawValue>>,
}

/// `POST /api/call`: makes a call of the Gateway API. The call may have the original's name, too.
pub(crate) async fn call(State(shared): State<Arc<Shared>>, request: Request) -> Answer {
    let address = peer(&request);
    let body = read_json(request, BODY).await?;
    let CallBody { call, params } = serde_json::from_str(body.get()).map_err(|error| {
        let shape = r#"{"call": "send_to_all", "params": {"message": "hello"}}"#;
        BAD_JSON.because(format!("a call is {shape}: {error}"))
    })?;
    let by_original = || calls().iter().find(|known| known.original == Some(call.as_str()));
    let name = find(&call).or_else(by_original).map_or(call.as_str(), |call| call.name);
    if let Some(address) = address
        && let Some(known) = find(name)
    {
        info!(call = known.name, %address, "an operator makes a call from the page");
    }
    let gateway = shared.gateway.get_or_init(async || connect(&shared)).await;
    match timeout(CALL_TIMEOUT, gateway.call(name, params)).await {
        Ok(result) => Ok(json(StatusCode::OK, &json!({ "result": result? }))),
        Err(_) => {
            let seconds = CALL_TIMEOUT.as_secs();
            let why = format!("the call ran for {seconds} s, was given up, and may have taken effect");
            Err(TIMED_OUT.because(why))
        }
    }
}

fn connect(shared: &Shared) -> Gateway {
    Gateway::builder(&shared.access.registers)
        .secret_key(shared.access.secret_key.clone())
        .link_tls(shared.access.tls.clone())
        .question_timeout(shared.access.question_timeout)
        .connect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: Value) -> Result<(Option<String>, InspectRequest), u16> {
        let body = RawValue::from_string(body.to_string()).unwrap();
        read_inspection(&body).map_err(|error| error.kind().status.as_u16())
    }

    #[test]
    fn a_request_about_one_client_is_for_the_clients_own_gateway() {
        let id = "7f00000108fc00000001";
        let (gateway, request) = read(json!({"about": "client", "id": id})).unwrap();
        assert_eq!(
            (gateway.as_deref(), request),
            (Some("127.0.0.1:2300"), InspectRequest::Client { id: id.into() })
        );
        let named = json!({"about": "client", "id": id, "gateway": "10.0.0.1:2300"});
        assert_eq!(read(named).unwrap().0.as_deref(), Some("10.0.0.1:2300"));
        assert_eq!(read(json!({"about": "groups"})).unwrap(), (None, InspectRequest::Groups { limit: 20 }));
    }

    #[test]
    fn a_body_that_is_no_request_is_refused() {
        for body in [
            json!([]),
            json!({}),
            json!({"about": "weather"}),
            json!({"about": "groups", "gateway": 7}),
            json!(7),
        ] {
            assert_eq!(read(body.clone()), Err(400), "{body}");
        }
    }
}
