//! The handle against gateways that are played by the test.

#![allow(missing_docs, clippy::unwrap_used)]

mod clusters;
mod emulated;
#[path = "../fake/mod.rs"]
mod fake;
mod frozen;
mod interest;
mod links;
mod qualified;
mod questions;
mod sends;
mod worker;

use std::net::SocketAddrV4;
use std::time::Duration;

use fake::listed;
use gatewayworker_client::Gateway;
use gatewayworker_protocol::Payload;
use tokio::net::TcpListener;

/// An address where nobody listens.
async fn nobody() -> SocketAddrV4 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string().parse().unwrap()
}

fn handle(gateways: &[SocketAddrV4]) -> Gateway {
    Gateway::following(listed(gateways).1).question_timeout(Duration::from_secs(3)).connect()
}

fn text(text: &'static str) -> Payload {
    Payload::plain(text)
}
