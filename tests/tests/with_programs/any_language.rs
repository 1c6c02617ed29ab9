//! The backends of `examples/any-language`, each with a cluster and the stock handlers of events over HTTP.

use std::process::Stdio;

use gatewayworker::SecretKey;
use gatewayworker_businessworker::{CancellationToken, EventsConfig};
use gatewayworker_tests::process::free_port;
use gatewayworker_tests::{Cluster, EVENTS_SECRET, WsClient};
use gatewayworker_webhook::HttpEvents;
use tokio::net::TcpStream;
use tokio::process::Command;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/any-language");

pub(crate) async fn the_backend_in_python_echoes_and_checks_signatures() {
    echoes(async |port| {
        let mut command = Command::new("python3");
        command.args(["backend.py", &port.to_string()]);
        command
    })
    .await;
}

pub(crate) async fn the_backend_in_php_echoes_and_checks_signatures() {
    echoes(async |port| {
        let mut command = Command::new("php");
        command.args(["-S", &format!("127.0.0.1:{port}"), "backend.php"]);
        command
    })
    .await;
}

pub(crate) async fn the_backend_in_rust_echoes_and_checks_signatures() {
    echoes(async |port| {
        let mut command = Command::new(env!("CARGO"));
        command.args(["run", "--quiet", "-p", "any-language", "--", &port.to_string()]);
        command
    })
    .await;
}

/// Starts a backend, and a cluster that sends it events. Two clients hear each other; a worker with another key is refused.
async fn echoes(command: impl AsyncFn(u16) -> Command) {
    let port = free_port();
    let mut command = command(port).await;
    command.current_dir(FOLDER).env("GATEWAYWORKER_EVENTS_SECRET", EVENTS_SECRET);
    command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let _backend = command.spawn().unwrap();
    // A build may come first.
    tokio::time::timeout(std::time::Duration::from_secs(600), async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the backend listens");
    let config =
        |key: &str| EventsConfig::new(format!("http://127.0.0.1:{port}/events"), SecretKey::new(key));
    let start = async |key| {
        let cluster = Cluster::builder().workers(0).start().await;
        let events = HttpEvents::new(&config(key), CancellationToken::new()).unwrap();
        let worker = cluster.start_application(events);
        (cluster, worker)
    };
    let (cluster, _worker) = start(EVENTS_SECRET).await;
    let mut first = WsClient::connect(cluster.listener()).await;
    first.send("here").await;
    assert_eq!(first.text().await, "here", "it has joined");
    let mut second = WsClient::connect(cluster.listener()).await;
    second.send("hello").await;
    assert_eq!([first.text().await, second.text().await], ["hello"; 2]);

    let (cluster, _worker) = start("whsec_of_somebody_else").await;
    assert_eq!(WsClient::connect(cluster.listener()).await.close_code().await, 1013);
}
