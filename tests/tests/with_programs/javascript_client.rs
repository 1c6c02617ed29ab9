//! The library for JavaScript (`clients/js`) in Node, with real gateways.

use std::path::Path;
use std::process::Command;

use gatewayworker_tests::{Cable, Cluster, Happened, NodeProgram, eventually, programs};
use serde_json::{Value, json};

/// The library against a gateway's state machine, over ten thousand cuts; and that `dist/` is of `src/`.
pub(crate) async fn the_librarys_own_tests_pass() {
    let mut command = Command::new("node");
    command.current_dir(programs::clients_js()).arg("--test");
    let files = ["test/walk.test.mjs", "test/dist.test.mjs", "test/tokens.test.mjs"];
    let output = command.args(files).output().expect("node starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

pub(crate) async fn over_hundreds_of_cuts_at_any_byte_everything_arrives_once_and_in_order() {
    let cluster = Cluster::builder().gateway(|config| config.resume = true).start().await;
    let cable = Cable::lay(cluster.listener(), 17).await;
    let module = NodeProgram::module("programs/over-cuts.mjs");
    let mut program = NodeProgram::start(&module, &[&format!("ws://{}", cable.address)]);
    let greeting = program.line().await;
    let id = greeting.strip_prefix("open ").expect("it is in").parse().unwrap();
    let api = cluster.api().await;
    eventually("the admission", async || api.is_online(id).await.unwrap()).await;
    cable.cut_at_random(3000);
    let mut pushed = 0;
    for hundreds in 1..=3 {
        eventually("a hundred cuts", async || {
            api.send_to_client(id, format!("push {pushed}")).await.unwrap();
            pushed += 1;
            cable.cuts() >= 100 * hundreds
        })
        .await;
    }
    cable.plug();
    program.say(&format!("stop {pushed}"));
    let seen: Value = serde_json::from_str(&program.line().await).unwrap();
    assert_eq!((&seen["echoes"], &seen["pushes"]), (&json!(true), &json!(true)), "{seen}");
    assert_eq!((&seen["events"]["open"], &seen["events"]["lost"]), (&json!(1), &json!(null)), "{seen}");
    assert!(seen["events"]["resumed"].as_u64() > Some(50), "{seen}");
    assert!(seen["sent"].as_u64() > Some(100), "{seen}");

    let mut messages = 0;
    loop {
        match cluster.events().next().await {
            Happened::Connect(client) => assert_eq!((client, messages), (id, 0)),
            Happened::Message(..) => messages += 1,
            Happened::Detached(client) | Happened::Resumed(client, _) => assert_eq!(client, id),
            Happened::Close(client, _) => break assert_eq!(client, id),
        }
    }
    assert_eq!(json!(messages), seen["sent"], "nothing twice");
    program.ends().await;
}

pub(crate) async fn the_packed_package_is_installed_imported_and_used() {
    let directory = tempfile::tempdir().unwrap();
    let npm = |arguments: &[&str], folder: &Path| {
        let mut command = Command::new("npm");
        let output = command.args(arguments).current_dir(folder).output().expect("npm starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let path = directory.path().to_str().unwrap();
    npm(&["pack", "--silent", "--pack-destination", path], &programs::clients_js());
    let packed = std::fs::read_dir(path).unwrap().next().unwrap().unwrap().path();
    std::fs::write(directory.path().join("package.json"), "{}").unwrap();
    npm(&["install", "--offline", "--no-audit", "--no-fund", packed.to_str().unwrap()], directory.path());
    let installed = directory.path().join("node_modules/gatewayworker-client");
    for file in ["README.md", "LICENSE", "dist/index.d.ts", "dist/gatewayworker-client.min.js"] {
        assert!(installed.join(file).is_file(), "{file}");
    }
    assert!(!installed.join("test").exists() && !installed.join("src").exists(), "only what is used");

    let cluster = Cluster::builder().gateway(|config| config.resume = true).start().await;
    let copy = directory.path().join("from-package.mjs");
    std::fs::copy(NodeProgram::module("programs/from-package.mjs"), &copy).unwrap();
    let socket = NodeProgram::module("reference/socket.mjs").canonicalize().unwrap();
    let url = format!("ws://{}", cluster.listener());
    let mut program = NodeProgram::start(&copy, &[&url, socket.to_str().unwrap()]);
    assert_eq!(program.line().await.len(), 20, "a client id");
    program.say("hello");
    assert_eq!(program.line().await, "hello");
    program.ends().await;
}
