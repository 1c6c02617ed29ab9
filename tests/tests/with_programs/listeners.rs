//! Programs for people on a text listener: telnet and netcat.

use std::net::SocketAddr;
use std::process::Stdio;

use gatewayworker::ClientId;
use gatewayworker_tests::{Cluster, TcpClient, soon};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

/// Says something with `program`, which has it back and somebody else hears it.
async fn chat_with(program: &str) {
    let cluster =
        Cluster::builder().listen("listen = ['websocket://127.0.0.1:0', 'text://127.0.0.1:0']").start().await;
    let text: SocketAddr = cluster.gateways[0].listeners[1];
    let mut other = TcpClient::connect(text).await;
    other.line().await;

    let mut child = Command::new(program)
        .args([text.ip().to_string(), text.port().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut line = async || soon("a line", output.next_line()).await.unwrap().expect("a line");
    // Connected, once the worker has greeted it.
    while line().await.parse::<ClientId>().is_err() {}
    input.write_all("broadcast 大家好\n".as_bytes()).await.unwrap();
    assert_eq!(line().await, "broadcast 大家好");
    assert_eq!(other.line().await, "broadcast 大家好");
}

pub(crate) async fn telnet_chats_on_a_text_listener() {
    chat_with("telnet").await;
}

pub(crate) async fn netcat_chats_on_a_text_listener() {
    chat_with("nc").await;
}
