//! `trace`, `closes` and `connections --outbox`: an operator reads along, from a shell.

use std::process::Stdio;
use std::time::Duration;

use gatewayworker::ClientId;
use gatewayworker_tests::process::send_signal;
use gatewayworker_tests::{Cluster, WsClient, eventually, soon};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use super::inspecting_shell::{build, command, json_of, tool};

/// `trace` of a client, as a process.
struct Tracing {
    child: Child,
    output: Lines<BufReader<ChildStdout>>,
}

impl Tracing {
    /// Starts it, and waits until it shows frames.
    async fn start(cluster: &Cluster, client: &mut WsClient, id: ClientId, flags: &[&str]) -> Self {
        let (register, id) = (cluster.register.to_string(), id.to_string());
        let arguments = [&["trace", &id, "--register", &register], flags].concat();
        let mut command = Command::from(command(&arguments));
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut tracing = Self { child, output };
        // It says nothing in a pipe when it has begun.
        let limit = Duration::from_millis(50);
        loop {
            client.send("begin").await;
            client.text().await;
            if let Ok(line) = timeout(limit, tracing.output.next_line()).await {
                line.unwrap().expect("a line");
                break;
            }
        }
        tracing
    }

    /// The next line that has nothing to do with the beginning.
    async fn line(&mut self) -> String {
        loop {
            let line = soon("a line", self.output.next_line()).await.unwrap().expect("a line");
            if !line.contains("begin") {
                return line;
            }
        }
    }

    async fn status(mut self) -> Option<i32> {
        soon("its end", self.child.wait()).await.unwrap().code()
    }
}

#[tokio::test]
async fn a_shell_reads_along_until_the_client_leaves() {
    let cluster = Cluster::builder().secret_key("k").start().await;
    let (mut client, id) = WsClient::greeted(cluster.listener()).await;
    let mut tracing = Tracing::start(&cluster, &mut client, id, &["--payloads"]).await;
    client.send("hi\x1b[2J\nyou").await;
    client.text().await;
    let (said, sent) = (tracing.line().await, tracing.line().await);
    assert_eq!(&said[12..], "  in   text         10 B  hi\u{fffd}[2J\u{fffd}you", "{said}");
    assert_eq!(&sent[12..], "  out  text         10 B  hi\u{fffd}[2J\u{fffd}you", "{sent}");
    client.close().await;
    let (theirs, ours) = (tracing.line().await, tracing.line().await);
    assert!(theirs.contains("in   close") && ours.contains("out  close"), "{theirs} {ours}");
    assert_eq!(tracing.line().await, "(client closed: client-left)");
    assert_eq!(tracing.status().await, Some(0));
}

#[tokio::test]
async fn a_trace_in_json_ends_with_ctrl_c_or_when_nobody_reads_it_and_both_are_no_failure() {
    let cluster = Cluster::builder().secret_key("k").start().await;
    let (mut client, id) = WsClient::greeted(cluster.listener()).await;
    let mut tracing = Tracing::start(&cluster, &mut client, id, &["--json"]).await;
    client.send("end").await;
    let frame =
        async |tracing: &mut Tracing| -> Value { serde_json::from_str(&tracing.line().await).unwrap() };
    let found = loop {
        let line = frame(&mut tracing).await;
        if line["bytes"] == 3 {
            break line;
        }
    };
    assert_eq!((&found["direction"], &found["kind"]), (&json!("in"), &json!("text")));
    assert_eq!(
        (&found["payload"], &found["payload_base64"], &found["cut"]),
        (&json!(null), &json!(null), &json!(false))
    );
    assert!(send_signal("INT", tracing.child.id().unwrap()));
    assert_eq!(tracing.status().await, Some(0));

    let Tracing { mut child, output } = Tracing::start(&cluster, &mut client, id, &[]).await;
    drop(output);
    eventually("its end", async || {
        client.send("more").await;
        child.try_wait().unwrap().is_some()
    })
    .await;
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_trace_that_cannot_begin_says_why() {
    let cluster = Cluster::builder().secret_key("k").start().await;
    let (_client, id) = WsClient::greeted(cluster.listener()).await;
    let nobody = ClientId::new(cluster.gateways[0].inner, 1).to_string();
    let (status, output, error) = tool(&cluster, &["trace", &nobody]).await;
    assert_eq!((status, &*output), (Some(1), ""));
    let words = format!("error: the client {nobody} cannot be traced: ");
    assert!(error.starts_with(&words) && error.contains("not connected"), "{error}");
    let (status, _, error) = tool(&cluster, &["trace", &id.to_string(), "--secret-key", "x"]).await;
    assert!(status == Some(1) && error.contains("secret_key"), "{error}");
    assert_eq!(tool(&cluster, &["trace", "nobody"]).await.0, Some(2));
    assert_eq!(tool(&cluster, &["trace", &nobody, "--seconds", "301"]).await.0, Some(2));
}

#[tokio::test]
async fn a_shell_shows_who_closed_whom_and_what_waits_for_a_client() {
    build().await;
    let cluster =
        Cluster::builder().secret_key("k").gateway(|config| config.outbox_bytes = 64 << 20).start().await;
    let api = cluster.api().await;
    let (_kicked, id) = WsClient::greeted(cluster.listener()).await;
    api.close_client(id).await.unwrap();
    let closes = async || json_of(&tool(&cluster, &["closes", "--json"]).await)["closes"].clone();
    eventually("the close", async || closes().await[0]["id"] == json!(id.to_string())).await;
    let close = closes().await[0].clone();
    assert_eq!(close["reason"], json!("kicked"));
    assert_eq!((&close["closed_by"], &close["code"]), (&json!("worker"), &json!(1000)));
    let (status, output, error) = tool(&cluster, &["closes"]).await;
    assert_eq!((status, &*error), (Some(0), ""));
    let lines: Vec<&str> = output.lines().collect();
    assert!(lines[0].starts_with("AGO"), "{output}");
    let id_text = id.to_string();
    let cells: Vec<&str> = lines[1].split_whitespace().skip_while(|cell| *cell != id_text).take(5).collect();
    assert_eq!(cells[..4], [&*id_text, "kicked", "1000", "worker"], "{output}");
    assert!(cells[4].starts_with("127.0.0.1:BusinessWorker:"), "{output}");

    let (_slow, id) = WsClient::greeted(cluster.listener()).await;
    let id_text = id.to_string();
    let outbox = ["connections", "--id", &id_text, "--outbox"];
    let (status, output, _) = tool(&cluster, &outbox).await;
    assert_eq!((status, &*output), (Some(0), "0 B wait in 0 frames, the socket is not full\n"));
    eventually("a full socket", async || {
        api.send_to_client(id, "x".repeat(4_000_000)).await.unwrap();
        json_of(&tool(&cluster, &[&outbox[..], &["--json"]].concat()).await)["is_blocked"] == json!(true)
    })
    .await;
    api.send_to_client(id, "hi\x1b").await.unwrap();
    let with_payloads = [&outbox[..], &["--payloads"]].concat();
    eventually("the last message", async || {
        tool(&cluster, &with_payloads).await.1.contains("  hi\u{fffd}\n")
    })
    .await;
    let (_, output, _) = tool(&cluster, &outbox).await;
    assert!(output.contains("the socket is full") && !output.contains("PAYLOAD"), "{output}");
    let nobody = ClientId::new(cluster.gateways[0].inner, 1).to_string();
    let (status, _, error) = tool(&cluster, &["connections", "--id", &nobody, "--outbox"]).await;
    assert!(status == Some(1) && error.contains("is not connected"), "{error}");
    assert_eq!(tool(&cluster, &["connections", "--outbox"]).await.0, Some(2));
    assert_eq!(tool(&cluster, &["connections", "--id", &nobody, "--payloads"]).await.0, Some(2));
}
