//! The program: its demo, its errors, and its end.

use std::process::Stdio;

use gatewayworker_tests::process::{free_port, send_signal};
use gatewayworker_tests::{WsClient, eventually, soon};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_live-room"));
    for (name, _) in std::env::vars()
        .filter(|(name, _)| name.starts_with("GATEWAYWORKER_") || name.starts_with("LIVE_ROOM_"))
    {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.kill_on_drop(true);
    command
}

/// Starts the demo and reads where its page is.
async fn demo() -> (Child, String) {
    let mut child = program(&["demo", "--port", "0", "--socket-port", "0"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let find = async {
        loop {
            let line = lines.next_line().await.unwrap().expect("the page's address before the end");
            if let Some((_, rest)) = line.split_once("http://") {
                return rest.trim_end_matches('/').to_owned();
            }
        }
    };
    let page = soon("the demo to start", find).await;
    (child, page)
}

async fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon("an answer", stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

#[tokio::test]
async fn one_command_runs_the_whole_demo_and_ctrl_c_ends_it() {
    let (mut child, page) = demo().await;
    assert!(get(&page, "/").await.contains("<title>直播间</title>"));
    let rooms = get(&page, "/rooms").await;
    let listener = rooms.split("ws://").nth(1).unwrap().split('"').next().unwrap();
    let mut client = WsClient::connect(listener.parse().unwrap()).await;
    assert_eq!(client.json().await["type"], "init");
    eventually("all to know each other", async || {
        get(&page, "/room?roomId=1").await.contains("\"people\":0")
    })
    .await;

    assert!(send_signal("INT", child.id().unwrap()));
    assert!(soon("the end", child.wait()).await.unwrap().success());
    assert!(TcpStream::connect(&page).await.is_err());
}

#[tokio::test]
async fn an_unfinished_request_does_not_delay_the_end() {
    let (mut child, page) = demo().await;
    let mut half = TcpStream::connect(&page).await.unwrap();
    half.write_all(b"POST /say HTTP/1.1\r\n").await.unwrap();
    // The connection is the backend's by then.
    get(&page, "/rooms").await;
    assert!(send_signal("INT", child.id().unwrap()));
    assert!(soon("the end", child.wait()).await.unwrap().success());
}

#[tokio::test]
async fn a_program_that_cannot_start_names_the_reason_in_one_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().port().to_string();
    for (arguments, part) in [
        (vec!["demo", "--port", &taken, "--socket-port", "0"], "--port"),
        (vec!["demo", "--port", "0", "--socket-port", &taken], "--socket-port"),
        (vec!["demo", "--redis", "nonsense"], "redis"),
        (vec!["demo", "--room", "0"], "rooms"),
        (vec!["backend", "--listen", "127.0.0.1:0", "--login-key", ""], "--login-key"),
        (vec!["backend", "--listen", &format!("127.0.0.1:{taken}")], "--listen"),
    ] {
        let output = soon("the end", program(&arguments).output()).await.unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        let last = error.lines().last().unwrap_or_default();
        assert!(
            output.status.code() == Some(1) && last.starts_with("error: ") && last.contains(part),
            "{arguments:?}: {error}"
        );
    }
}

#[tokio::test]
async fn worker_and_backend_run_as_processes_of_their_own() {
    let (register, port) = (format!("127.0.0.1:{}", free_port()), free_port());
    let _register = gatewayworker_tests::process::Process::start(&["register", "--listen", &register]);
    let _worker = program(&[
        "--register-address",
        &register,
        "--config",
        concat!(env!("CARGO_MANIFEST_DIR"), "/config/businessworker.toml"),
    ])
    .spawn()
    .unwrap();
    let page = format!("127.0.0.1:{port}");
    let _backend = program(&["backend", "--listen", &page, "--register-address", &register]).spawn().unwrap();
    let listener = format!("127.0.0.1:{}", free_port());
    let url = format!("websocket://{listener}");
    let _gateway = gatewayworker_tests::process::Process::start(&[
        "gateway",
        "--listen",
        &url,
        "--lan-port",
        "0",
        "--register-address",
        &register,
    ]);
    eventually("the backend to hear of the gateway", async || {
        TcpStream::connect(&page).await.is_ok() && get(&page, "/room?roomId=1").await.contains("\"people\":0")
    })
    .await;
    let mut client = WsClient::connect(listener.parse().unwrap()).await;
    assert_eq!(client.json().await["type"], "init");
}
