//! The backend of the case `webhook`: an echo, with axum. It prints `ready` and its address, and ends when its standard
//! input does.

use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("ready {}", listener.local_addr()?);
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    Ok(axum::serve(listener, Router::new().route("/", post(event))).await?)
}

async fn event(Json(event): Json<Value>) -> Json<Value> {
    let params = json!({"client_id": event["client_id"], "message": event["message"]});
    Json(json!({"calls": [{"call": "send_to_client", "params": params}]}))
}
