//! The guide to calls over HTTP: its command lines are run with a shell and curl, and answered as it says.

use std::net::SocketAddr;

use gatewayworker::businessworker::{Config, HistoryConfig};
use gatewayworker::client::calls::calls;
use gatewayworker_tests::{Cluster, HTTP_TOKEN, WsClient, soon};
use serde_json::Value;
use tokio::process::Command;

const GUIDE: &str = include_str!("../../../docs/guide/http-push.md");

/// The ids that clients have in the guide.
const IDS: [&str; 2] = ["7f00000108fc00000001", "7f00000108fc00000002"];

/// The content of the guide's blocks, each with the language that it is in.
fn blocks() -> impl Iterator<Item = (&'static str, &'static str)> {
    let fenced = GUIDE.split("```").skip(1).step_by(2);
    fenced.map(|block| block.split_once('\n').expect("a language"))
}

/// The command lines, each with its answer.
fn examples() -> Vec<(&'static str, &'static str)> {
    let blocks: Vec<_> = blocks().collect();
    let commands = blocks.windows(2).filter(|pair| pair[0].1.starts_with("curl "));
    let example = |pair: &[(_, &'static str)]| {
        assert_eq!((pair[0].0, pair[1].0), ("sh", "json"), "{} has no answer", pair[0].1);
        (pair[0].1, pair[1].1)
    };
    commands.map(example).collect()
}

pub(crate) async fn every_call_has_an_example() {
    for call in calls() {
        let path = format!("/v1/{} -d '", call.name);
        assert!(examples().iter().any(|(command, _)| command.contains(&path)), "{path}");
    }
}

/// The epoch of a history in the guide.
const EPOCH: &str = "5f3a9c0d11223344";

/// Sets each time to that of the guide.
fn set_times(json: &mut Value) {
    match json {
        Value::Object(map) => {
            for (key, value) in map {
                match key.as_str() {
                    "time_ms" => *value = 1_764_218_000_000_u64.into(),
                    _ => set_times(value),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(set_times),
        _ => {}
    }
}

/// Runs a command line of the guide in a shell.
async fn run(command: &str, server: SocketAddr) -> Value {
    let (_, prelude) = blocks().find(|(_, text)| text.starts_with("AUTH=")).unwrap();
    let script = format!("set -e\n{prelude}{}", command.replace("127.0.0.1:8288", &server.to_string()));
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).env("GATEWAYWORKER_HTTP_TOKEN", HTTP_TOKEN).env("no_proxy", "*");
    let output = soon(command, shell.kill_on_drop(true).output()).await.unwrap();
    let answer = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{command}{answer}{error}"))
}

pub(crate) async fn the_command_lines_are_answered_as_the_guide_says() {
    let history = |config: &mut Config| config.history = HistoryConfig::at("memory:");
    let cluster = Cluster::builder().http().worker(history).start().await;
    let mut epoch = EPOCH.to_owned();
    let (mut ann, id_ann) = WsClient::greeted(cluster.listener()).await;
    let (mut other, id_other) = WsClient::greeted(cluster.listener()).await;
    let ids = [id_ann.to_string(), id_other.to_string()];
    let with_real_ids = |text: &str| text.replace(IDS[0], &ids[0]).replace(IDS[1], &ids[1]);
    for (command, answer) in examples() {
        let command = with_real_ids(command).replace(EPOCH, &epoch);
        let mut real = run(&command, cluster.http()).await;
        if let Some((_, drawn)) = real["result"]["position"].as_str().and_then(|text| text.split_once('-')) {
            epoch = drawn.to_owned();
        }
        set_times(&mut real);
        let expected: Value = serde_json::from_str(&with_real_ids(answer).replace(EPOCH, &epoch)).unwrap();
        assert_eq!(real, expected, "{command}");
    }
    // It was not just answered.
    assert_eq!(ann.text().await, "hello");
    assert_eq!(ann.json().await["text"], "hello");
    assert_eq!([ann.text().await, ann.text().await], ["to all their devices", "it rains"]);
    assert_eq!(ann.next().await.unwrap().into_data()[..], [0, 255]);
    assert_eq!(ann.text().await, "see you");
    assert_eq!(ann.close_code().await, 1000);
    assert_eq!(other.text().await, "hello");
    assert_eq!(other.next().await.unwrap().into_data()[..], [0, 255]);
    assert_eq!(other.close_code().await, 0);
}

pub(crate) async fn the_program_in_php_pushes() {
    push_with("php", "php", "-r", "hello from PHP").await;
}

pub(crate) async fn the_program_in_python_pushes() {
    push_with("python", "python3", "-c", "hello from Python").await;
}

/// Runs the guide's program in a language, and a client hears it say `hello`.
async fn push_with(language: &str, interpreter: &str, run: &str, hello: &str) {
    let cluster = Cluster::builder().http().start().await;
    let (mut client, id) = WsClient::greeted(cluster.listener()).await;
    cluster.api().await.join_group(id, "news").await.unwrap();
    let (_, program) = blocks().find(|(known, _)| *known == language).unwrap();
    let mut command = Command::new(interpreter);
    command.args([run, &program.replace("127.0.0.1:8288", &cluster.http().to_string())]);
    command.env("GATEWAYWORKER_HTTP_TOKEN", HTTP_TOKEN).env("no_proxy", "*").kill_on_drop(true);
    let output = soon(interpreter, command.output()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(client.text().await, hello);
}
