//! The description of HTTP push in OpenAPI 3.1, from which clients can be generated, and of the events that go the other
//! way.
//!
//! It is made once, from the table of calls and the kinds of errors; `routes` serves it at
//! `/openapi.json`.

mod webhooks;

use std::sync::LazyLock;

use axum::http::StatusCode;
use gatewayworker_client::calls::{Answer, Call, Kind, calls, unreached_clusters_schema, unreached_schema};
use serde_json::{Map, Value, json};

use crate::api::error::{self, ERROR_KINDS};

/// The error statuses that any request with a token may get.
const OF_ALL_CALLS: &[StatusCode] = &[
    StatusCode::BAD_REQUEST,
    StatusCode::UNAUTHORIZED,
    StatusCode::FORBIDDEN,
    StatusCode::REQUEST_TIMEOUT,
    StatusCode::PAYLOAD_TOO_LARGE,
    StatusCode::UNSUPPORTED_MEDIA_TYPE,
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];

/// Returns the description.
pub fn document() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(make);
    &DOCUMENT
}

fn make() -> Value {
    let mut paths: Map<_, _> =
        calls().iter().map(|call| (format!("/v1/{}", call.name), json!({"post": operation(call)}))).collect();
    paths.insert("/v1/batch".into(), json!({"post": batch()}));
    paths.insert("/v1/health".into(), json!({"get": health()}));
    paths.insert("/openapi.json".into(), json!({"get": description()}));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "GatewayWorker, HTTP push",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Every call of the Gateway API, one POST each: JSON in, JSON out.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "tags": [
            {"name": "tell", "description": "Sends and commands. Gateways do not answer them: a gateway is told when the command is handed to its link."},
            {"name": "ask", "description": "Questions, asked of all gateways that may know."},
            {"name": "more", "description": "Paths that are no calls."},
        ],
        "paths": paths,
        "webhooks": webhooks::webhooks(),
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "The worker's `http.token`."},
            },
            "responses": errors(),
        },
    })
}

fn operation(call: &Call) -> Value {
    let params = call.params_schema();
    let needs_params = call.params.iter().any(|param| param.required);
    let tells = matches!(call.answer, Answer::Delivery | Answer::Published);
    let is_of_history = matches!(call.answer, Answer::Published | Answer::History);
    let has_session =
        call.answer == Answer::Session || call.params.iter().any(|param| param.kind == Kind::Session);
    let mut statuses = OF_ALL_CALLS.to_vec();
    if !tells || is_of_history {
        statuses.push(StatusCode::BAD_GATEWAY);
    }
    if has_session {
        statuses.push(StatusCode::UNPROCESSABLE_ENTITY);
    }
    if is_of_history {
        statuses.push(StatusCode::NOT_IMPLEMENTED);
    }
    json!({
        "operationId": call.name,
        "tags": [if tells { "tell" } else { "ask" }],
        "summary": call.summary,
        "description": format!("{}.", call.origin()),
        "requestBody": {"required": needs_params, "content": json_content(params)},
        "responses": responses(call.answer.description(), call.answer.schema(), &statuses),
    })
}

fn batch() -> Value {
    let names: Vec<_> = calls().iter().map(|call| call.name).collect();
    let one = json!({
        "type": "object",
        "properties": {
            "call": {"enum": names},
            "params": {"type": ["object", "null"], "description": "As of the call alone"},
        },
        "required": ["call"],
        "additionalProperties": false,
    });
    let error = error_schema(ERROR_KINDS.iter().map(|kind| kind.code).collect(), true);
    json!({
        "operationId": "batch",
        "tags": ["more"],
        "summary": "Make several calls, one after the other.",
        "description": "A call that fails does not stop the others. At most `http.max_batch` calls, 100 unless set.",
        "requestBody": {"required": true, "content": json_content(json!({"type": "array", "items": one}))},
        "responses": responses(
            "The answer of each call, in order, as if it had been made alone",
            json!({"type": "array", "items": {"oneOf": [result_schema(json!({})), error]}}),
            OF_ALL_CALLS,
        ),
    })
}

fn health() -> Value {
    let schema = json!({
        "type": "object",
        "properties": {"gateways": {"type": "integer", "minimum": 1}},
        "required": ["gateways"],
    });
    json!({
        "operationId": "health",
        "tags": ["more"],
        "summary": "Whether a gateway is connected.",
        "security": [],
        "responses": responses(
            "How many gateways are connected",
            schema,
            &[StatusCode::FORBIDDEN, StatusCode::SERVICE_UNAVAILABLE],
        ),
    })
}

fn description() -> Value {
    json!({
        "operationId": "openapi",
        "tags": ["more"],
        "summary": "This description.",
        "security": [],
        "responses": {
            "200": {"description": "OpenAPI 3.1", "content": json_content(json!({"type": "object"}))},
            "403": reference(StatusCode::FORBIDDEN),
        },
    })
}

fn responses(description: &str, result: Value, statuses: &[StatusCode]) -> Value {
    let answer = json!({"description": description, "content": json_content(result_schema(result))});
    let errors = statuses.iter().map(|status| (status.as_str().to_owned(), reference(*status)));
    Map::from_iter([("200".to_owned(), answer)].into_iter().chain(errors)).into()
}

fn reference(status: StatusCode) -> Value {
    json!({"$ref": format!("#/components/responses/{}", name(status))})
}

fn name(status: StatusCode) -> String {
    format!("problem-{}", status.as_str())
}

/// The answers with each status that errors have.
fn errors() -> Value {
    let mut responses = Map::new();
    for status in ERROR_KINDS.iter().map(|kind| kind.status) {
        let kinds = || ERROR_KINDS.iter().filter(|kind| kind.status == status);
        let when: Vec<_> = kinds().map(|kind| format!("`{}`: {}", kind.code, kind.when)).collect();
        let codes = kinds().map(|kind| kind.code).collect();
        let mut response = json!({
            "description": when.join(" "),
            "content": json_content(error_schema(codes, status == StatusCode::BAD_GATEWAY)),
        });
        if let Some(header) = error::header_of(status) {
            response["headers"] = json!({header: {"schema": {"type": "string"}}});
        }
        responses.insert(name(status), response);
    }
    responses.into()
}

fn result_schema(result: Value) -> Value {
    json!({
        "type": "object",
        "properties": {"result": result},
        "required": ["result"],
        "additionalProperties": false,
    })
}

fn error_schema(codes: Vec<&str>, names_gateways: bool) -> Value {
    let mut properties = json!({"code": {"enum": codes}, "message": {"type": "string"}});
    if names_gateways {
        properties["missing"] = unreached_schema();
        properties["missing_clusters"] = unreached_clusters_schema();
        properties["partial"] = json!({"description": "What did come, in the form of the result"});
    }
    let error = json!({
        "type": "object",
        "properties": properties,
        "required": ["code", "message"],
        "additionalProperties": false,
    });
    json!({
        "type": "object",
        "properties": {"error": error},
        "required": ["error"],
        "additionalProperties": false,
    })
}

fn json_content(schema: Value) -> Value {
    json!({"application/json": {"schema": schema}})
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_call_is_in_it_and_nothing_else_but_three() {
        let paths = document()["paths"].as_object().unwrap();
        for call in calls() {
            assert!(paths.contains_key(&format!("/v1/{}", call.name)), "{}", call.name);
            assert!(!["batch", "health"].contains(&call.name), "a call hides the path {}", call.name);
        }
        assert_eq!(paths.len(), calls().len() + 3);
    }

    #[test]
    fn what_it_refers_to_is_there_and_used() {
        let text = document().to_string();
        let referred: BTreeSet<_> = text
            .split("\"$ref\":\"#/components/responses/")
            .skip(1)
            .filter_map(|s| s.split('"').next())
            .collect();
        let there: BTreeSet<_> =
            document()["components"]["responses"].as_object().unwrap().keys().map(String::as_str).collect();
        // What a described path does not come to, or nobody expects.
        let apart = BTreeSet::from(["problem-404", "problem-405", "problem-500"]);
        assert_eq!(referred, there.difference(&apart).copied().collect());
    }
}
