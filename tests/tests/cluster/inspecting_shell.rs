//! `connections`, `groups` and `status --register-address`: an operator's look into a cluster, from a shell.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use gatewayworker_tests::process::{binary, send_signal};
use gatewayworker_tests::{Cluster, WsClient, eventually, register_as_gateway};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The end of a command: its status, standard output and standard error.
pub(super) type Ended = (Option<i32>, String, String);

pub(super) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("GATEWAYWORKER_")) {
        command.env_remove(name);
    }
    command.args(arguments).env("GATEWAYWORKER_SECRET_KEY", "k").stdin(Stdio::null());
    command
}

/// Runs the tool with these arguments, to its end.
async fn run(arguments: &[&str]) -> Ended {
    let mut command = command(arguments);
    // The first run may build the binary.
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Builds the tool where nothing has built it yet, so that no time limit of a test contains that.
pub(super) async fn build() {
    assert_eq!(run(&["--version"]).await.0, Some(0));
}

/// Runs the tool on a cluster, with a short limit on answers.
pub(super) async fn tool(cluster: &Cluster, arguments: &[&str]) -> Ended {
    let register = cluster.register.to_string();
    let limit = ["--register", &register, "--question-timeout-ms", "700"];
    run(&[arguments, &limit].concat()).await
}

pub(super) fn json_of(ended: &Ended) -> Value {
    serde_json::from_str(&ended.1).unwrap_or_else(|_| panic!("{ended:?}"))
}

#[tokio::test]
async fn a_shell_lists_clients_and_shows_one_in_full() {
    build().await;
    let cluster = Cluster::builder().gateways(2).secret_key("k").start().await;
    let api = cluster.api().await;
    let (mut ann, id) = WsClient::greeted(cluster.gateways[0].listener).await;
    let (_bob, _) = WsClient::greeted(cluster.gateways[1].listener).await;
    ann.send("hello").await;
    api.bind_uid(id, "小明\x1b[2J").await.unwrap();
    api.join_group(id, "room").await.unwrap();
    let most = ["connections", "--sort", "messages", "--limit", "1", "--json"];
    eventually("the message and the uid", async || {
        let first = &json_of(&tool(&cluster, &most).await)["clients"][0];
        (&first["messages"], &first["uid"]) == (&json!(1), &json!("小明\x1b[2J"))
    })
    .await;
    let listed = json_of(&tool(&cluster, &most).await);
    assert_eq!((&listed["total"], &listed["clients"][0]["id"]), (&json!(2), &json!(id.to_string())));
    assert_eq!((listed["clients"].as_array().unwrap().len(), &listed["errors"]), (1, &json!([])));

    let (status, output, error) = tool(&cluster, &["connections", "--group", "room"]).await;
    assert_eq!((status, &*error), (Some(0), ""));
    let lines: Vec<&str> = output.lines().collect();
    assert!(
        lines[0].starts_with("CLIENT                OUTBOX  UNFINISHED  OLDEST  MESSAGES  AGE"),
        "{output}"
    );
    assert!(lines[1].starts_with(&format!("{id}  0 B ")), "{output}");
    assert!(lines[1].contains("小明\u{fffd}[2J") && !output.contains('\x1b'), "{output}");
    // Into a pipe, nothing is cut: the worker is the last column.
    assert!(lines[1].contains("  127.0.0.1:BusinessWorker:") && !output.contains('…'), "{output}");
    assert_eq!(lines[3], "1 of 1 clients, gateways: 2");

    let (status, output, _) = tool(&cluster, &["connections", "--id", &id.to_string()]).await;
    assert_eq!(status, Some(0));
    assert!(output.contains("\ngroups      1\n            room\n"), "{output}");
    let nobody = format!("{:.12}00000000", id.to_string());
    let (status, output, error) = tool(&cluster, &["connections", "--id", &nobody]).await;
    assert_eq!((status, &*output), (Some(1), ""));
    assert!(error.contains("is not connected"), "{error}");
    assert_eq!(tool(&cluster, &["connections", "--id", "nobody"]).await.0, Some(2));

    let groups = tool(&cluster, &["groups"]).await;
    assert_eq!(groups, (Some(0), "MEMBERS  GROUP\n1        room\n".into(), String::new()));
    let groups = json_of(&tool(&cluster, &["groups", "--json"]).await);
    assert_eq!(groups, json!({"groups": [{"name": "room", "members": 1}], "errors": []}));
}

#[tokio::test]
async fn a_look_that_is_not_whole_has_a_status_and_says_why() {
    let cluster = Cluster::builder().secret_key("k").start().await;
    let failed = |ended: &Ended, words: &str| {
        assert_eq!(ended.0, Some(1), "{ended:?}");
        assert!(ended.2.starts_with("error: ") && ended.2.contains(words), "{ended:?}");
    };
    for command in ["connections", "groups", "status"] {
        failed(&tool(&cluster, &[command, "--secret-key", "another"]).await, "secret_key");
        let ended = run(&[command, "--register", "127.0.0.1:1", "--question-timeout-ms", "700"]).await;
        failed(&ended, "no register at 127.0.0.1:1");
    }
    let ended = tool(&cluster, &["connections", "--address", "here"]).await;
    failed(&ended, "is no IPv4 address");

    // A gateway that does not answer: the clients of the others are listed all the same.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let why = format!(
        "the gateway at {address} has not answered INSPECT in time: it hangs, or it is of PHP or of an older version"
    );
    let open = Cluster::start().await;
    let (_client, id) = WsClient::greeted(open.listener()).await;
    let _announced = register_as_gateway(open.register, address).await;
    let list = ["connections", "--secret-key", ""];
    eventually("both gateways to be listed", async || tool(&open, &list).await.2.contains(&why)).await;
    let ended = tool(&open, &list).await;
    failed(&ended, &why);
    assert!(ended.1.contains(&id.to_string()), "{ended:?}");
    let ended = tool(&open, &["status", "--secret-key", "", "--json"]).await;
    assert_eq!((ended.0, &json_of(&ended)["ready"]), (Some(1), &json!(false)));
    assert_eq!(json_of(&ended)["problems"], json!([why]));
}

#[tokio::test]
async fn the_status_of_a_cluster_on_any_host_says_whether_it_can_do_its_work() {
    let mut cluster = Cluster::builder().gateways(2).workers(0).secret_key("k").start().await;
    let ended = tool(&cluster, &["status"]).await;
    assert_eq!(ended.0, Some(1), "{ended:?}");
    let inner = cluster.gateways[0].inner.to_string();
    assert!(ended.1.contains("The cluster cannot do its work:"), "{ended:?}");
    assert!(ended.1.contains(&format!("  {inner}: the gateway has no worker")), "{ended:?}");
    cluster.start_worker().await;
    eventually("the worker to be linked", async || tool(&cluster, &["status"]).await.0 == Some(0)).await;
    let (_, output, error) = tool(&cluster, &["status"]).await;
    assert_eq!(error, "");
    let lines: Vec<&str> = output.lines().collect();
    assert!(lines[0].starts_with("GATEWAY ") && lines[4].starts_with("GATEWAY "), "{output}");
    assert!(lines.iter().any(|line| line.starts_with(&inner) && line.contains("ready")), "{output}");
    assert!(lines[5..].iter().all(|line| line.contains("  open  ")) && lines.len() == 7, "{output}");
    for gateway in &mut cluster.gateways {
        gateway.stop().await;
    }
    let (status, output, error) = tool(&cluster, &["status"]).await;
    assert_eq!((status, &*output), (Some(1), ""));
    assert!(error.contains("knows no gateway"), "{error}");
}

#[tokio::test]
async fn the_own_cluster_is_found_by_its_configuration() {
    let cluster = Cluster::builder().secret_key("of the file").start().await;
    let (_client, id) = WsClient::greeted(cluster.listener()).await;
    let directory = tempfile::tempdir().unwrap();
    let config = format!("register_address = \"{}\"\nsecret_key = \"of the file\"\n", cluster.register);
    std::fs::write(directory.path().join("gateway.toml"), config).unwrap();
    let directory = directory.path().to_str().unwrap();
    let mut command = command(&["connections", "--config-dir", directory]);
    command.env_remove("GATEWAYWORKER_SECRET_KEY");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains(&id.to_string()));
}

#[cfg(unix)]
#[tokio::test]
async fn top_without_a_terminal_says_so() {
    let (status, output, error) = run(&["top"]).await;
    assert_eq!((status, &*output), (Some(2), ""));
    assert!(error.starts_with("error: top needs a terminal"), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_watch_appends_to_a_pipe_until_it_is_interrupted() {
    let cluster = Cluster::builder().secret_key("k").start().await;
    let register = cluster.register.to_string();
    for look in [&["connections"][..], &["status"]] {
        let arguments = [look, &["--watch", "1", "--register", &register]].concat();
        let mut command = command(&arguments);
        let watched = tokio::task::spawn_blocking(move || {
            let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
            let mut output = BufReader::new(child.stdout.take().unwrap());
            let mut heads = 0;
            let mut line = String::new();
            while heads < 2 {
                line.clear();
                assert!(output.read_line(&mut line).unwrap() > 0, "it goes on");
                assert!(!line.contains('\x1b'), "{line:?}");
                heads += usize::from(
                    line.starts_with("CLIENT ") || line.starts_with("GATEWAY  ") && line.contains("UP"),
                );
            }
            assert!(send_signal("INT", child.id()));
            output.read_to_string(&mut line).unwrap();
            child.wait().unwrap().code()
        });
        assert_eq!(watched.await.unwrap(), Some(0), "{look:?}");
    }
}
