//! Daemons with a low limit on open files.

use gatewayworker_tests::process::{Process, free_port};
use gatewayworker_tests::{WsClient, eventually, soon};
use tokio::net::TcpStream;

const PING: &str = r#"{"type":"ping"}"#;

/// Says something, and hears the worker's answer.
async fn is_served(client: &mut WsClient) {
    client.send(PING).await;
    while client.json().await["type"] != "pong" {}
}

#[tokio::test]
async fn a_worker_links_even_when_clients_use_all_their_descriptors() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("gateway.log");
    let (register, inner, port) = (free_port(), free_port(), free_port());
    let register = format!("127.0.0.1:{register}");
    let (inner, url) = (inner.to_string(), format!("websocket://127.0.0.1:{port}"));
    let listener = ([127, 0, 0, 1], port).into();
    let worker = ["businessworker", "--register-address", &register];
    let gateway =
        ["gateway", "--listen", &url, "--lan-port", &inner, "--register-address", &register, "--shards", "2"];
    let _register = Process::start(&["register", "--listen", &register]);
    let first_worker = Process::start(&worker);
    let _gateway = Process::with_open_files(80, &log, &gateway);
    eventually("a client to be served", async || {
        let Ok(mut client) = WsClient::try_connect(listener, "/").await else { return false };
        client.send(PING).await;
        client.next().await.is_some()
    })
    .await;

    // Twice as many as it may have files open.
    let (mut served, mut refused) = (Vec::new(), 0);
    for n in 0..150 {
        let stream = soon("a connection", TcpStream::connect(listener)).await.unwrap();
        match WsClient::over(stream, format!("ws://{listener}/")).await {
            Ok(client) => served.push(client),
            Err(error) => {
                assert!(error.to_string().contains("503"), "client {n}: {error}");
                refused += 1;
            }
        }
    }
    assert!(served.len() >= 20 && refused >= 70, "{} served, {refused} refused", served.len());
    for client in &mut served {
        is_served(client).await;
    }

    first_worker.kill();
    let _second_worker = Process::start(&worker);
    for client in &mut served {
        is_served(client).await;
    }
    // A client that leaves makes room for another.
    served.pop().unwrap().close().await;
    eventually("a place", async || WsClient::try_connect(listener, "/").await.is_ok()).await;
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("open_files=80") && log.contains("max_connections="), "{log}");
    assert!(!log.contains("cannot accept connections"), "{log}");
}

#[tokio::test]
async fn a_gateway_without_descriptors_for_clients_does_not_start() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("gateway.log");
    let (inner, url) = (free_port().to_string(), format!("websocket://127.0.0.1:{}", free_port()));
    for limit in [16, 20, 32] {
        let arguments = ["gateway", "--listen", &url, "--lan-port", &inner];
        let mut gateway = Process::with_open_files(limit, &log, &arguments);
        assert_eq!(gateway.status().await, Some(1), "with {limit} files");
        let log = std::fs::read_to_string(&log).unwrap();
        assert!(log.contains(&format!("the limit on open files is {limit}")), "{log}");
        assert!(log.contains("raise it to"), "{log}");
        assert!(!log.contains("panicked"), "{log}");
    }
}
