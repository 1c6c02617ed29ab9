//! The program: its demo, the tool that signs tickets, and a worker without a key.

use std::process::{Output, Stdio};

use crate::support::{Guest, KEY, now};
use gatewayworker_tests::soon;
use method_router::auth::{Key, Kind};
use method_router::settings::DEMO_KEY;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_method-router"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("METHOD_ROUTER_")) {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

async fn run(mut command: Command) -> Output {
    soon("the program's end", command.output()).await.unwrap()
}

const AUTH: [&str; 9] =
    ["auth", "--id", "7", "--type", "wechatUser", "--code", "room1", "--nickname", "小明"];

#[tokio::test]
async fn the_version_is_the_applications_and_the_librarys() {
    let said = String::from_utf8(run(program(&["--version"])).await.stdout).unwrap();
    assert!(
        said.starts_with(&format!("method-router {}, GatewayWorker ", env!("CARGO_PKG_VERSION"))),
        "{said}"
    );
}

#[tokio::test]
async fn the_demo_prints_links_with_valid_tickets() {
    let mut demo = program(&["demo", "--listen", "127.0.0.1:0"]);
    let mut demo = demo.env("RUST_LOG", "info").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut links = Vec::new();
    while links.len() < 3 {
        let line = soon("a line", lines.next_line()).await.unwrap().expect("three links");
        links.extend(line.split_once("file://").map(|(_, link)| link.to_owned()));
    }
    for (link, kind) in links.iter().zip(["wechatUser", "wechatUser", "wall"]) {
        let part = |name: &str| {
            let (_, rest) = link.split_once(&format!("{name}=")).unwrap();
            rest.split('&').next().unwrap().to_owned()
        };
        assert!(std::path::Path::new(link.split('?').next().unwrap()).is_file(), "{link}");
        let listener = part("url").strip_prefix("ws://").unwrap().parse().unwrap();
        let mut guest = Guest::enter(listener, &part("auth")).await;
        let answer = guest.ask(json!({"method": "live.user.join", "code": "room1"})).await;
        assert_eq!(answer["status"], 200, "{kind}: {answer}");
        let said = guest.ask(json!({"method": "live.user.say", "text": "hi"})).await;
        assert_eq!(said["status"] == 403, kind == "wall", "{said}");
    }
    demo.start_kill().unwrap();
    let log = soon("the demo's end", demo.wait_with_output()).await.unwrap().stderr;
    assert!(!log.is_empty() && !log.contains(&b'\x1b'), "colours are for terminals");
}

#[tokio::test]
async fn a_demo_with_its_port_in_use_names_it_in_one_line() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(program(&["demo", "--listen", &address])).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains(&address) && said.contains("already in use"), "{said}");
}

#[tokio::test]
async fn the_tool_signs_tickets_that_the_application_accepts() {
    let signed = |output: &Output, key: &str| {
        let auth = String::from_utf8(output.stdout.clone()).unwrap();
        Key::new(key).unwrap().verify(Some(auth.trim()), now(), 60).unwrap()
    };
    let mut own = program(&AUTH);
    own.env("METHOD_ROUTER_AUTH_KEY", KEY);
    let ticket = signed(&run(own).await, KEY);
    assert_eq!((ticket.id.as_str(), ticket.kind), ("7", Kind::WechatUser));
    assert_eq!((ticket.code.as_str(), ticket.nickname.as_str()), ("room1", "小明"));

    let output = run(program(&AUTH)).await;
    signed(&output, DEMO_KEY);
    assert!(String::from_utf8_lossy(&output.stderr).contains("the demo's key"));

    let mut nameless = AUTH;
    nameless[8] = " ";
    assert_eq!(run(program(&nameless)).await.status.code(), Some(1));
}

#[tokio::test]
async fn a_worker_does_not_start_without_a_key_of_its_own() {
    for (key, why) in [("", "is not set"), (DEMO_KEY, "is the demo's"), ("short", "at least 16 bytes")] {
        let mut worker = program(&["--register-address", "127.0.0.1:1"]);
        worker.env("METHOD_ROUTER_AUTH_KEY", key);
        let output = run(worker).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("auth_key: ") && said.contains(why), "{said}");
    }
}
