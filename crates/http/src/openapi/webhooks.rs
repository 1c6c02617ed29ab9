//! The other direction: the events that a worker sends to a backend (`events.url`), as OpenAPI's `webhooks`.
//!
//! `gatewayworker-webhook` writes these requests and reads these answers; its tests hold them against this description.

use gatewayworker_client::calls::{Answer, calls};
use serde_json::{Map, Value, json};

use super::json_content;

/// The description of each event, by its name.
pub(super) fn webhooks() -> Value {
    let text = || json!({"type": "string"});
    let events = [
        ("open", "A client has connected, whatever its protocol. Only where `events.send` names it.", vec![]),
        (
            "connect",
            "The handshake of a WebSocket client. The answer admits or refuses it.",
            vec![("handshake", handshake())],
        ),
        (
            "message",
            "A client's message: text in `message`, other bytes in `message_base64`.",
            vec![
                ("message", text()),
                ("message_base64", base64()),
                (
                    "binary",
                    json!({"type": "boolean", "description": "Whether the client marked it as binary"}),
                ),
            ],
        ),
        (
            "close",
            "A client is gone.",
            vec![
                (
                    "reason",
                    json!({"type": "string", "description": "Why: `client-left`, `timed-out` and others"}),
                ),
                (
                    "close",
                    json!({
                        "type": "object",
                        "properties": {"code": {"type": "integer"}, "reason": text()},
                        "required": ["code", "reason"],
                        "description": "What the client said in its close frame, if it sent one",
                    }),
                ),
            ],
        ),
        (
            "detached",
            "A client that may come back (`gw.1`) is cut off, and online all the same. Only where `events.send` names it.",
            vec![],
        ),
        (
            "resumed",
            "It has come back, with this handshake. Only where `events.send` names it.",
            vec![("handshake", handshake())],
        ),
    ];
    let webhook = |(name, summary, own): (&str, &str, Vec<(&str, Value)>)| {
        (name.to_owned(), json!({"post": operation(name, summary, own)}))
    };
    events.into_iter().map(webhook).collect::<Map<_, _>>().into()
}

fn handshake() -> Value {
    json!({
        "type": "object",
        "properties": {
            "path": {"type": "string"},
            "query": {"type": "object", "description": "As PHP's $_GET: `b[]=1` is a list"},
            "headers": {"type": "object", "additionalProperties": {"type": "string"}, "description": "By names in lowercase"},
            "cookies": {"type": "object"},
            "address": {"type": ["string", "null"], "description": "The client's address and port"},
        },
        "required": ["path", "query", "headers", "cookies", "address"],
    })
}

fn operation(name: &str, summary: &str, own: Vec<(&str, Value)>) -> Value {
    let header = |name: &str, description: &str| json!({"name": name, "in": "header", "schema": {"type": "string"}, "description": description});
    let answer = |description: &str| json!({"description": description});
    json!({
        "operationId": format!("event_{name}"),
        "summary": summary,
        "security": [],
        "parameters": [
            header(
                "GatewayWorker-Signature",
                "`t=<seconds since 1970>,v1=<HMAC-SHA256 of \"t.body\" in hexadecimal digits>`, with a second `v1` while the key is changed",
            ),
            header("GatewayWorker-Event-Id", "The event's `id`"),
        ],
        "requestBody": {"required": true, "content": json_content(event(name, own))},
        "responses": {
            "200": {"description": "What is to be done, in this order: session, calls, admission", "content": json_content(answer_schema())},
            "204": answer("Nothing is to be done; a client is admitted"),
            "429": answer("Sent again, not before `Retry-After`"),
            "500": answer("Sent again, up to `events.max_deliveries` times"),
            "503": answer("The backend is away, as with 502 and 504: events wait until it answers"),
            "default": answer("The event has failed: `events.on_failure` says what becomes of the client"),
        },
    })
}

/// The schema of the body of a request.
fn event(name: &str, own: Vec<(&str, Value)>) -> Value {
    let mut required = vec!["event", "id", "client_id", "session", "redelivered", "gateway_port", "try"];
    match name {
        "connect" | "resumed" => required.push("handshake"),
        "message" => required.push("binary"),
        "close" => required.push("reason"),
        _ => {}
    }
    let mut schema = json!({
        "type": "object",
        "properties": {
            "event": {"const": name},
            "id": {"type": "string", "description": "The same whenever the event is sent: handle it once"},
            "client_id": {"type": "string", "pattern": "^[0-9a-fA-F]{20}$"},
            "uid": {"type": ["string", "null"], "description": "The uid that the client was bound to before the event"},
            "uid_base64": base64(),
            "groups": {
                "type": "array",
                "items": {"type": "string"},
                "description": "The groups that the client was in before the event",
            },
            "groups_base64": {"type": "array", "items": base64()},
            "groups_cut": {"type": "boolean", "description": "There are more groups than are named"},
            "session": {"type": ["object", "null"]},
            "session_error": {"type": "string", "description": "Why the session has no JSON form; it is null then"},
            "redelivered": {"type": "boolean", "description": "Whether a worker may have handled the event before"},
            "gateway_port": {"type": "integer"},
            "try": {"type": "integer", "minimum": 1},
        },
        "required": required,
        "additionalProperties": false,
    });
    for (key, value) in own {
        schema["properties"][key] = value;
    }
    if name == "message" {
        schema["oneOf"] = json!([{"required": ["message"]}, {"required": ["message_base64"]}]);
    }
    schema
}

/// The schema of the body of an answer. Keys that are not known are passed over.
fn answer_schema() -> Value {
    let tells = calls().iter().filter(|call| matches!(call.answer, Answer::Delivery | Answer::Published));
    let one = tells.map(|call| {
        let mut params = call.params_schema();
        // The event's own client is meant where none is named.
        if let Some(required) = params["required"].as_array_mut() {
            required.retain(|name| name != "client_id");
        }
        json!({
            "type": "object",
            "properties": {"call": {"const": call.name}, "params": params},
            "required": ["call"],
            "description": call.summary,
        })
    });
    json!({
        "type": "object",
        "properties": {
            "admission": {
                "type": ["object", "null"],
                "properties": {
                    "admit": {"type": "boolean"},
                    "code": {"type": ["integer", "null"], "description": "The close code of a refusal, 1008 unless set"},
                    "message": {"description": "A last message: a string is sent as it is, any other JSON value as its JSON text"},
                },
                "required": ["admit"],
                "description": "Whether the client of a connect event may come in; it may where this is missing",
            },
            "session": {
                "type": ["object", "null"],
                "description": "Values that are put into the session; null takes one out",
            },
            "calls": {
                "type": ["array", "null"],
                "items": {"oneOf": one.collect::<Vec<_>>()},
                "description": "Calls to make, one after the other; about the event's own client where `client_id` is missing",
            },
        },
    })
}

fn base64() -> Value {
    json!({"type": "string", "contentEncoding": "base64", "description": "In place of the key without `_base64`, where the bytes are not UTF-8"})
}
