//! Logs of daemons and clusters: their lines, and a log that no process reads, which must not block a daemon.

use std::fs::{self, File};
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use gatewayworker_tests::process::{FullPipe, Process, binary, free_port, send_signal};
use gatewayworker_tests::{WsClient, eventually, soon};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A client that the chat has greeted.
async fn arrive(port: u16) -> WsClient {
    let address = ([127, 0, 0, 1], port).into();
    let mut arrived = None;
    eventually("a client to be greeted", async || {
        let Ok(mut client) = WsClient::try_connect(address, "/").await else { return false };
        assert_eq!(client.json().await["type"], "system");
        arrived = Some(client);
        true
    })
    .await;
    arrived.unwrap()
}

/// Asserts that a daemon drains at SIGTERM.
async fn ends(mut daemon: Process) {
    daemon.signal("TERM");
    assert_eq!(daemon.status().await, Some(0));
}

#[tokio::test]
async fn daemons_with_a_blocked_log_serve_clients_and_stop() {
    let pipe = FullPipe::new();
    let [register, inner, listener] = [(); 3].map(|()| free_port());
    let at = format!("127.0.0.1:{register}");
    let (inner, listen) = (inner.to_string(), format!("websocket://127.0.0.1:{listener}"));
    let register = Process::logging_into(&pipe, &["register", "--listen", &at]);
    let gateway = Process::logging_into(
        &pipe,
        &["gateway", "--register-address", &at, "--lan-port", &inner, "--listen", &listen],
    );
    let worker = Process::logging_into(&pipe, &["businessworker", "--register-address", &at]);
    let mut client = arrive(listener).await;
    for _ in 0..100 {
        client.send_json(json!({"type": "ping"})).await;
        assert_eq!(client.json().await["type"], "pong");
    }
    ends(gateway).await;
    assert_eq!(client.close_code().await, 1001, "it has drained");
    ends(worker).await;
    ends(register).await;
}

#[tokio::test]
async fn a_cluster_with_a_blocked_log_serves_clients_and_stops() {
    let pipe = FullPipe::new();
    let directory = tempfile::tempdir().unwrap();
    let listener = configure(&directory);
    let config_dir = directory.path().to_str().unwrap();
    let supervisor = Process::logging_into(&pipe, &["start", "--config-dir", config_dir]);
    let mut client = arrive(listener).await;
    client.send_json(json!({"type": "ping"})).await;
    assert_eq!(client.json().await["type"], "pong");
    ends(supervisor).await;
}

#[tokio::test]
async fn an_error_ends_a_daemon_with_a_blocked_log() {
    let pipe = FullPipe::new();
    for arguments in [["register", "--listen", "192.0.2.1:1"], ["start", "--config-dir", "/nowhere"]] {
        let mut daemon = Process::logging_into(&pipe, &arguments);
        assert_eq!(daemon.status().await, Some(1));
    }
}

#[tokio::test]
async fn dropped_lines_are_counted_and_the_last_lines_are_not_lost() {
    let pipe = FullPipe::new();
    let at = format!("127.0.0.1:{}", free_port());
    let daemon = Process::logging_into(&pipe, &["register", "--listen", &at]);
    eventually("the register", async || TcpStream::connect(&at).await.is_ok()).await;
    // Each is two lines with an address, which may be long, and some more. The answer comes
    // after the first of them.
    let announce = json!({"event": "gateway_connect", "address": "x".repeat(299), "secret_key": ""});
    let ask = json!({"event": "worker_connect", "secret_key": ""});
    for _ in 0..5000 {
        let mut peer = soon("a connection", TcpStream::connect(&at)).await.unwrap();
        peer.write_all(format!("{announce}\n{ask}\n").as_bytes()).await.unwrap();
        assert!(soon("the list", peer.read(&mut [0; 4096])).await.unwrap() > 0);
    }
    let mut reader = pipe.into_reader();
    let log = Arc::new(Mutex::new(String::new()));
    let read = log.clone();
    let reading = std::thread::spawn(move || {
        let mut piece = [0; 64 * 1024];
        while let Ok(length @ 1..) = reader.read(&mut piece) {
            read.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..length]));
        }
    });
    let notice = " log lines were dropped: nobody read them, or the disk was full\n";
    eventually("the lines to be counted", async || log.lock().unwrap().contains(notice)).await;
    ends(daemon).await;
    reading.join().unwrap();
    let log = log.lock().unwrap();
    assert!(log.contains("the register stops"), "the last line is not lost");
    assert!(log.len() < 4 * 1024 * 1024, "what waits is bounded: {} bytes", log.len());
}

/// Writes a cluster's configuration, and returns the port for clients.
fn configure(directory: &tempfile::TempDir) -> u16 {
    let write = |name: &str, text: String| fs::write(directory.path().join(name), text).unwrap();
    let [register, inner, listener] = [(); 3].map(|()| free_port());
    let at = format!("register_address = '127.0.0.1:{register}'\n");
    write("register.toml", format!("listen = '127.0.0.1:{register}'"));
    write("businessworker.toml", at.clone());
    write("gateway.toml", format!("{at}lan_port = {inner}\nlisten = 'websocket://127.0.0.1:{listener}'"));
    listener
}

/// Runs a cluster with a JSON log until `meanwhile` has returned; returns its lines.
async fn json_log(
    directory: &tempfile::TempDir,
    more: &[&str],
    meanwhile: impl AsyncFnOnce(&mut Child),
) -> Vec<Value> {
    let path = directory.path().join("log");
    let log = File::create(&path).unwrap();
    let mut command = Command::new(binary());
    command.args(["start", "--log-format", "json", "--config-dir"]).arg(directory.path()).args(more);
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let mut supervisor = command.spawn().unwrap();
    meanwhile(&mut supervisor).await;
    send_signal("TERM", supervisor.id());
    eventually("the cluster to end", async || supervisor.try_wait().unwrap().is_some()).await;
    let log = fs::read_to_string(path).unwrap();
    log.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("this is no JSON: {line}")))
        .inspect(|line: &Value| {
            let has = |key: &str| line[key].is_string();
            assert!(has("timestamp") && has("level") && has("daemon"), "{line}");
        })
        .collect()
}

fn said<'a>(log: &'a [Value], daemon: &str, message: &str) -> &'a Value {
    let said = |line: &&Value| {
        line["daemon"] == daemon && line["message"].as_str().is_some_and(|said| said.contains(message))
    };
    log.iter().find(said).unwrap_or_else(|| panic!("the {daemon} has not said {message}: {log:?}"))
}

#[tokio::test]
async fn every_json_log_line_of_a_cluster_names_its_daemon() {
    let directory = tempfile::tempdir().unwrap();
    let listener = configure(&directory);
    let worker = directory.path().join("worker");
    let script = format!(
        "#!/bin/sh\ncase $* in *check-config*) ;; *) echo 'plain \"text\"'; echo oh >&2; echo '{{\"of\":\"mine\"}}';; esac\n\
         exec {} businessworker \"$@\"\n",
        binary().display()
    );
    fs::write(&worker, script).unwrap();
    fs::set_permissions(&worker, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let log = json_log(&directory, &["--businessworker", worker.to_str().unwrap()], async |_| {
        drop(arrive(listener).await);
        let log = directory.path().join("log");
        let is_running = || fs::read_to_string(&log).unwrap().contains("GatewayWorker is running");
        eventually("the cluster to say that it runs", async || is_running()).await;
        let mut reload = Command::new(binary());
        assert!(reload.arg("reload").arg("--config-dir").arg(directory.path()).status().unwrap().success());
    })
    .await;
    said(&log, "register", "the register listens");
    said(&log, "gateway", "the gateway listens");
    said(&log, "businessworker", "the worker has started");
    said(&log, "businessworker", "plain \"text\"");
    said(&log, "businessworker", "oh");
    assert!(log.iter().any(|line| line["of"] == "mine"), "an application's own JSON stays as it is");
    assert_eq!(
        said(&log, "gatewayworker", "GatewayWorker is running")["listens"],
        format!("ws://127.0.0.1:{listener}")
    );
    said(&log, "gatewayworker", "takes the businessworker's place");
    said(&log, "gatewayworker", "SIGTERM");
}

#[tokio::test]
async fn a_cluster_that_cannot_start_logs_the_reason_in_json() {
    let directory = tempfile::tempdir().unwrap();
    let listener = configure(&directory);
    let _taken = std::net::TcpListener::bind(("127.0.0.1", listener)).unwrap();
    let log = json_log(&directory, &[], async |supervisor| {
        eventually("it to give up", async || supervisor.try_wait().unwrap().is_some()).await;
    })
    .await;
    for daemon in ["gateway", "gatewayworker"] {
        let error = said(&log, daemon, "address already in use");
        assert_eq!((&error["level"], &error["fatal"]), (&json!("ERROR"), &json!(true)));
    }
}
