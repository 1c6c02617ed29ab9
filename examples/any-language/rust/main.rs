//! A backend for events over HTTP: an echo to everybody in one room.
use axum::{Json, Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode, routing::post};
use data_encoding::HEXLOWER;
use ring::hmac::{HMAC_SHA256, Key, verify};
use serde_json::{Value, json};
use std::time::SystemTime;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let key = Key::new(HMAC_SHA256, std::env::var("GATEWAYWORKER_EVENTS_SECRET")?.as_bytes());
    let port = std::env::args().nth(1).unwrap_or("8000".into());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    Ok(axum::serve(listener, Router::new().route("/events", post(event)).with_state(key)).await?)
}

async fn event(State(key): State<Key>, headers: HeaderMap, body: Bytes) -> Result<Json<Value>, StatusCode> {
    let signature = headers.get("gatewayworker-signature").and_then(|value| value.to_str().ok());
    if !is_ours(&key, signature.unwrap_or_default(), &body) {
        return Err(StatusCode::UNAUTHORIZED);
    }
    let event: Value = serde_json::from_slice(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
    let to_room = json!({"group": "room", "message": event["message"]});
    Ok(Json(match event["event"].as_str() {
        Some("connect") => json!({"calls": [{"call": "join_group", "params": {"group": "room"}}]}),
        Some("message") => json!({"calls": [{"call": "send_to_group", "params": to_room}]}),
        _ => json!({}),
    }))
}

/// Whether one of the signatures is ours, and not older than five minutes.
fn is_ours(key: &Key, signature: &str, body: &[u8]) -> bool {
    let mut parts = signature.split(',').filter_map(|part| part.split_once('='));
    let at = parts.clone().find(|(name, _)| *name == "t").and_then(|(_, at)| at.parse().ok()).unwrap_or(0u64);
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
    let is_fresh = now.abs_diff(at) < 300;
    let signed = [at.to_string().as_bytes(), b".", body].concat();
    let decoded = |code: &str| HEXLOWER.decode(code.as_bytes()).unwrap_or_default();
    is_fresh && parts.any(|(name, code)| name == "v1" && verify(key, &signed, &decoded(code)).is_ok())
}
