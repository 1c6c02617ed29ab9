//! A process authenticates at NATS as the user that the URL names.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

use gatewayworker_client::SecretKey;
use gatewayworker_federation::{Federation, Options};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const INFO: &[u8] =
    b"INFO {\"server_id\":\"1\",\"version\":\"2.10.0\",\"proto\":1,\"headers\":true,\"max_payload\":1048576,\"auth_required\":true}\r\n";

/// Accepts one connection, and returns the line with which the client introduces itself.
fn first_line(listener: TcpListener) -> JoinHandle<String> {
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut socket = BufReader::new(socket);
        socket.write_all(INFO).await.unwrap();
        let mut line = String::new();
        socket.read_line(&mut line).await.unwrap();
        line
    })
}

#[tokio::test]
async fn the_user_and_the_password_of_a_url_are_shown_to_nats() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://me:p%40ss@{}", listener.local_addr().unwrap());
    let line = first_line(listener);
    let key = SecretKey::new("a key of sixteen");
    let _federation = Federation::join(Options::new([url], "sh-1".parse().unwrap(), key)).await.unwrap();
    let line = line.await.unwrap();
    assert!(line.starts_with("CONNECT "), "{line}");
    for part in ["\"user\":\"me\"", "\"pass\":\"p@ss\""] {
        assert!(line.contains(part), "{part} in {line}");
    }
}
