//! `start`, `stop`, `restart`, `reload` and `status` of the control tool, from a shell.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use gatewayworker_tests::process::{Process, binary, free_port, send_signal};
use gatewayworker_tests::tls::{self, Certificate};
use gatewayworker_tests::{HTTP_TOKEN, HttpRequest, WsClient, eventually, soon};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::rustls::ALL_VERSIONS;

/// A directory with a cluster's configuration, on ports of its own. What runs there is
/// ended when it is dropped.
struct Site {
    directory: tempfile::TempDir,
    certificate: Certificate,
    listener: SocketAddr,
    tls_listener: SocketAddr,
    http: SocketAddr,
}

impl Site {
    fn new() -> Self {
        let site = Self {
            directory: tempfile::tempdir().unwrap(),
            certificate: Certificate::default(),
            listener: ([127, 0, 0, 1], free_port()).into(),
            tls_listener: ([127, 0, 0, 1], free_port()).into(),
            http: ([127, 0, 0, 1], free_port()).into(),
        };
        let register = format!("127.0.0.1:{}", free_port());
        let at = format!("register_address = '{register}'\n");
        site.write("register", &format!("listen = '{register}'\n"));
        site.write(
            "businessworker",
            &format!("{at}[http]\nlisten = '{}'\ntoken = '{HTTP_TOKEN}'\n", site.http),
        );
        site.write(
            "gateway",
            &format!(
                "{at}lan_port = {}\n[[listen]]\nurl = 'websocket://{}'\n{}",
                free_port(),
                site.listener,
                site.certificate.listener(&format!("wss://{}", site.tls_listener)),
            ),
        );
        site
    }

    fn write(&self, daemon: &str, config: &str) {
        fs::write(self.directory.path().join(daemon).with_extension("toml"), config).unwrap();
    }

    fn config(&self, daemon: &str) -> String {
        fs::read_to_string(self.directory.path().join(daemon).with_extension("toml")).unwrap()
    }

    /// A daemon's configuration, with its register at `address`.
    fn with_register(&self, config: &str, address: &str) -> String {
        let own = config.lines().find(|line| line.starts_with("register_address")).unwrap();
        config.replace(own, &format!("register_address = '{address}'"))
    }

    fn run_dir(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.run_dir().join("gatewayworker.log")).unwrap_or_default()
    }

    fn arguments<'a>(&'a self, command: &'a str) -> [&'a str; 3] {
        [command, "--config-dir", self.directory.path().to_str().unwrap()]
    }

    /// Runs a command of the tool here, to its end.
    async fn tool(&self, command: &str, more: &[&str]) -> Output {
        let mut tool = tokio::process::Command::new(binary());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("GATEWAYWORKER_")) {
            tool.env_remove(name);
        }
        tool.args(self.arguments(command)).args(more).stdin(Stdio::null());
        soon(command, tool.output()).await.unwrap()
    }

    /// The same, where it goes well; returns what it prints.
    async fn done(&self, command: &str, more: &[&str]) -> String {
        let output = self.tool(command, more).await;
        assert!(output.status.success(), "{command}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// The same, where it fails with this status; returns the error.
    async fn refused(&self, command: &str, status: i32) -> String {
        let output = self.tool(command, &[]).await;
        assert_eq!(output.status.code(), Some(status), "{command}: {}", text(&output.stderr));
        let error = text(&output.stderr);
        error.lines().last().unwrap_or_default().strip_prefix("error: ").expect("an error").to_owned()
    }

    /// A client that the chat has greeted.
    async fn arrive(&self) -> WsClient {
        let mut arrived = None;
        eventually("a client to be greeted", async || {
            let Ok(mut client) = WsClient::try_connect(self.listener, "/").await else { return false };
            assert_eq!(client.json().await["type"], "system");
            arrived = Some(client);
            true
        })
        .await;
        arrived.unwrap()
    }

    async fn status(&self) -> Value {
        let printed = self.tool("status", &["--json"]).await.stdout;
        serde_json::from_slice(&printed).unwrap_or_else(|_| panic!("{}", text(&printed)))
    }

    /// The process ids of a daemon.
    async fn processes(&self, daemon: &str) -> Vec<u64> {
        let status = self.status().await;
        let daemons = status["daemons"].as_array().unwrap();
        let daemon = daemons.iter().find(|one| one["name"] == daemon).unwrap();
        let processes = daemon["processes"].as_array().unwrap();
        processes.iter().map(|process| process["process_id"].as_u64().unwrap()).collect()
    }

    async fn worker(&self) -> u64 {
        self.processes("businessworker").await[0]
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let mut stop = Command::new(binary());
        let _ = stop.args(self.arguments("stop")).arg("--now").output();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn exists(process: u64) -> bool {
    send_signal("0", process)
}

#[tokio::test]
async fn a_cluster_in_the_background_is_started_shown_and_stopped() {
    let site = Site::new();
    assert!(site.refused("status", 3).await.contains("nothing runs in"));
    assert!(site.refused("stop", 1).await.contains("nothing runs in"));

    let said = site.done("start", &["-d"]).await;
    assert!(said.contains(&format!("ws://{}", site.listener)), "{said}");
    assert!(said.contains("gatewayworker.log"), "{said}");
    let mut client = site.arrive().await;
    let status = site.status().await;
    assert_eq!(
        status["process_id"],
        fs::read_to_string(site.run_dir().join("gatewayworker.pid")).unwrap().trim().parse::<u64>().unwrap()
    );
    let [register, worker, gateway] = [0, 1, 2].map(|n| status["daemons"][n].clone());
    assert_eq!(register["processes"][0]["stats"], json!({"gateways": 1, "connections": 2, "wrong_keys": 0}));
    assert_eq!(worker["processes"][0]["listens"], json!([format!("http://{}", site.http)]));
    let stats = &gateway["processes"][0]["stats"];
    for (name, figure) in [("clients", 1), ("workers", 1), ("closed", 0), ("rejected", 0)] {
        assert_eq!(stats[name], figure, "{name}");
    }
    assert!(stats["max_connections"].as_u64().is_some_and(|most| most > 0), "{stats}");
    for daemon in [register, worker, gateway] {
        assert_eq!((&daemon["restarts"], &daemon["processes"][0]["state"]), (&json!(0), &json!("ready")));
        if cfg!(target_os = "linux") {
            assert!(daemon["processes"][0]["memory_bytes"].as_u64().unwrap() > 1_000_000);
        }
    }
    assert_eq!((&status["ready"], &status["log_lines_dropped"]), (&json!(true), &json!(0)));
    let table = site.done("status", &[]).await;
    assert!(
        table.contains(&format!("websocket://{}", site.listener)) && table.contains("clients 1"),
        "{table}"
    );

    let refused = site.refused("start", 1).await;
    assert!(refused.contains("a cluster runs here already, as process"), "{refused}");

    site.done("stop", &[]).await;
    assert_eq!(client.close_code().await, 1001, "the gateway has drained");
    assert!(site.refused("status", 3).await.contains("nothing runs in"));
    assert!(site.log().contains("client-left=0") || site.log().contains("shutdown=1"), "{}", site.log());
}

#[tokio::test]
async fn a_reload_disturbs_no_client_and_no_caller() {
    let site = Site::new();
    site.done("start", &["-d"]).await;
    let mut client = site.arrive().await;
    let mut before = vec![site.worker().await];
    let reloads = async {
        for _ in 0..5 {
            site.done("reload", &[]).await;
            let worker = site.worker().await;
            assert!(!before.contains(&worker), "another process");
            assert!(!exists(before[before.len() - 1]), "the old one has ended");
            before.push(worker);
        }
    };
    let mut said = 0;
    let mut called = 0;
    let talk = async {
        loop {
            // The chat lets nobody chat that fast; a heartbeat goes the same way.
            client.send_json(json!({"type": "ping"})).await;
            assert_eq!(client.json().await["type"], "pong");
            said += 1;
        }
    };
    let call = async {
        loop {
            let answer =
                HttpRequest::post(site.http, "/v1/client_count", &json!({})).token(HTTP_TOKEN).send().await;
            assert_eq!(*answer.result(), 1);
            called += 1;
        }
    };
    let mut kept = 0;
    let call_again = async {
        let mut caller = KeepAlive::new(site.http);
        loop {
            assert_eq!(caller.call("client_count").await, json!({"result": 1}));
            kept += 1;
        }
    };
    tokio::select! {
        () = reloads => {}
        () = talk => {}
        () = call => {}
        () = call_again => {}
    }
    assert!(said > 20 && called > 20 && kept > 20, "{said} said, {called} and {kept} called");
}

/// A caller over HTTP who keeps the connection until it is told not to.
struct KeepAlive {
    server: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
}

impl KeepAlive {
    fn new(server: SocketAddr) -> Self {
        Self { server, connection: None }
    }

    async fn call(&mut self, call: &str) -> Value {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => BufReader::new(TcpStream::connect(self.server).await.expect("it listens")),
        };
        let request = format!(
            "POST /v1/{call} HTTP/1.1\r\nhost: here\r\nauthorization: Bearer {HTTP_TOKEN}\r\n\
             content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        connection.write_all(request.as_bytes()).await.expect("it is there");
        let (mut length, mut keeps) = (0, true);
        loop {
            let mut line = String::new();
            connection.read_line(&mut line).await.unwrap();
            assert!(!line.is_empty(), "the connection ended without an answer");
            match line.trim().to_ascii_lowercase().split_once(": ") {
                Some(("content-length", value)) => length = value.parse().unwrap(),
                Some(("connection", "close")) => keeps = false,
                _ if line == "\r\n" => break,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        connection.read_exact(&mut body).await.unwrap();
        self.connection = keeps.then_some(connection);
        serde_json::from_slice(&body).unwrap()
    }
}

#[tokio::test]
async fn a_worker_that_cannot_start_does_not_replace_the_running_one() {
    let site = Site::new();
    site.done("start", &["-d"]).await;
    let mut client = site.arrive().await;
    let worker = site.worker().await;
    let config = fs::read_to_string(site.directory.path().join("businessworker.toml")).unwrap();
    site.write("businessworker", "dance = true");
    let refused = site.refused("reload", 1).await;
    assert!(refused.contains("dance") && refused.contains("the old one goes on"), "{refused}");
    assert_eq!(site.processes("businessworker").await, [worker]);
    client.send_json(json!({"type": "ping"})).await;
    assert_eq!(client.json().await["type"], "pong");
    site.write("businessworker", &config);
    site.done("reload", &[]).await;
    assert_ne!(site.worker().await, worker);
}

#[tokio::test]
async fn a_worker_that_finds_no_gateway_does_not_replace_the_running_one() {
    let site = Site::new();
    site.done("start", &["-d"]).await;
    let mut client = site.arrive().await;
    let worker = site.worker().await;
    site.write("businessworker", &format!("register_address = '127.0.0.1:{}'", free_port()));
    let refused = site.refused("reload", 1).await;
    assert!(refused.contains("0 of 1 gateways") && refused.ends_with("the old one goes on"), "{refused}");
    assert_eq!(site.processes("businessworker").await, [worker]);
    client.send_json(json!({"type": "ping"})).await;
    assert_eq!(client.json().await["type"], "pong");
}

#[tokio::test]
async fn the_http_port_changes_only_when_the_reload_succeeds() {
    let site = Site::new();
    site.done("start", &["-d"]).await;
    let config = fs::read_to_string(site.directory.path().join("businessworker.toml")).unwrap();
    let (old, new) = (site.http, SocketAddr::from(([127, 0, 0, 1], free_port())));
    let moved = config.replace(&old.to_string(), &new.to_string());
    let is_open = async |address| TcpStream::connect(address).await.is_ok();
    let answers = async |address| KeepAlive::new(address).call("client_count").await == json!({"result": 0});

    let nowhere = format!("register_address = '127.0.0.1:{}'", free_port());
    let lines = moved.lines().map(|line| if line.starts_with("register") { nowhere.as_str() } else { line });
    site.write("businessworker", &lines.collect::<Vec<_>>().join("\n"));
    site.refused("reload", 1).await;
    assert!(answers(old).await && !is_open(new).await);

    site.write("businessworker", &moved);
    site.done("reload", &[]).await;
    assert!(answers(new).await && !is_open(old).await);
}

#[tokio::test]
async fn a_reload_loads_the_new_certificate_or_fails_with_a_reason() {
    let site = Site::new();
    site.done("start", &["-d"]).await;
    let shown = async || {
        let connector = site.certificate.connector(ALL_VERSIONS);
        let stream = tls::connect(&connector, site.tls_listener).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    let first = shown().await;
    site.certificate.renew();
    site.done("reload", &[]).await;
    let second = shown().await;
    assert!(second != first && second == site.certificate.der().to_vec());
    fs::write(site.certificate.key(), "nothing").unwrap();
    let refused = site.refused("reload", 1).await;
    assert!(refused.starts_with("the gateway: ") && refused.contains("privkey.pem"), "{refused}");
    assert_eq!(shown().await, second);
}

#[tokio::test]
async fn a_daemon_that_is_killed_is_started_again() {
    let site = Site::new();
    site.done("start", &["-d"]).await;
    for daemon in ["register", "businessworker", "gateway"] {
        let killed = site.processes(daemon).await[0];
        assert!(send_signal("KILL", killed));
        eventually("another one", async || {
            let processes = site.processes(daemon).await;
            !processes.is_empty() && processes[0] != killed
        })
        .await;
    }
    site.arrive().await;
    let status = site.status().await;
    assert!(status["daemons"].as_array().unwrap().iter().all(|daemon| daemon["restarts"] == 1), "{status}");
}

#[tokio::test]
async fn a_cluster_that_cannot_start_names_the_reason_and_leaves_nothing_behind() {
    let site = Site::new();
    let _taken = std::net::TcpListener::bind(site.listener).unwrap();
    let refused = site.refused("start", 1).await;
    let output = site.tool("start", &["-d"]).await;
    assert_eq!(output.status.code(), Some(1));
    let json = site.tool("start", &["-d", "--log-format", "json"]).await;
    for said in [refused, text(&output.stderr), text(&json.stderr)] {
        assert!(said.contains(&site.listener.to_string()) && said.contains("in use"), "{said}");
    }
    assert!(site.refused("status", 3).await.contains("nothing runs in"));
}

#[tokio::test]
async fn a_restart_keeps_earlier_options_and_does_not_stop_a_cluster_that_cannot_start_again() {
    let site = Site::new();
    let log = site.directory.path().join("mine.log");
    site.done("restart", &["-d", "--log-file", log.to_str().unwrap()]).await;
    let first = site.worker().await;
    site.done("restart", &[]).await;
    assert!(!exists(first));
    let status = site.status().await;
    assert_eq!(status["log_file"], log.to_str().unwrap(), "it is in the background again");
    let second = site.worker().await;
    site.write("businessworker", "dance = true");
    let refused = site.refused("restart", 1).await;
    assert!(refused.contains("dance") && refused.ends_with("what runs goes on"), "{refused}");
    assert_eq!(site.worker().await, second);
    site.arrive().await;
}

#[tokio::test]
async fn daemons_terminated_together_with_their_supervisor_are_not_started_again() {
    let site = Site::new();
    site.done("start", &["-d"]).await;
    let status = site.status().await;
    let mut processes = vec![status["process_id"].to_string()];
    for daemon in ["register", "businessworker", "gateway"] {
        processes.push(site.processes(daemon).await[0].to_string());
    }
    // As systemd does to all of a unit. Some may have drained before their turn.
    for process in &processes {
        send_signal("TERM", process);
    }
    eventually("all to end", async || !processes.iter().any(|id| exists(id.parse().unwrap()))).await;
    assert_eq!(site.log().matches("the worker has started").count(), 1, "{}", site.log());
}

#[tokio::test]
async fn an_application_may_print_anything() {
    let site = Site::new();
    let worker = site.directory.path().join("worker");
    let tool = binary().display();
    let script =
        format!("#!/bin/sh\nprintf 'ready to go\\nstatus {{}}\\nand '\nexec {tool} businessworker \"$@\"\n");
    fs::write(&worker, script).unwrap();
    fs::set_permissions(&worker, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    site.done("start", &["-d", "--businessworker", worker.to_str().unwrap()]).await;
    site.arrive().await;
    let worker = &site.status().await["daemons"][1]["processes"][0];
    assert_eq!(worker["listens"], json!([format!("http://{}", site.http)]));
    assert!(site.log().contains("businessworker | ready to go\n"), "{}", site.log());
}

#[tokio::test]
async fn a_supervisor_in_the_foreground_answers_the_tool_and_reloads_at_sighup() {
    let site = Site::new();
    let log = site.directory.path().join("log");
    let mut supervisor = Process::logging_to(&log, &site.arguments("start"));
    site.arrive().await;
    let worker = site.worker().await;
    supervisor.signal("HUP");
    eventually("another worker", async || site.processes("businessworker").await.first() != Some(&worker))
        .await;
    site.done("stop", &[]).await;
    eventually("the supervisor to end", async || supervisor.has_ended()).await;
}

#[tokio::test]
async fn a_killed_supervisor_ends_its_daemons_and_a_new_one_can_start() {
    let site = Site::new();
    let supervisor = Process::start(&site.arguments("start"));
    site.arrive().await;
    let worker = site.worker().await;
    supervisor.kill();
    eventually("its worker to end", async || !exists(worker)).await;
    assert!(site.refused("status", 3).await.contains("nothing runs in"));
    eventually("the next one to start", async || site.tool("start", &["-d"]).await.status.success()).await;
    assert_ne!(site.worker().await, worker);
}

/// Starts a cluster in the background, and returns why it cannot do its work, as `start` says
/// it. Asserts that `status` says the same.
async fn disabled(site: &Site) -> String {
    let output = site.tool("start", &["-d"]).await;
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.starts_with("error: the cluster runs, as process "), "{error}");
    let output = site.tool("status", &[]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("\n\nThe cluster cannot do its work:\n  the "));
    let status = site.status().await;
    assert_eq!(status["ready"], false);
    let daemons = status["daemons"].as_array().unwrap();
    let problems = daemons.iter().flat_map(|daemon| daemon["problems"].as_array().unwrap());
    for problem in problems {
        assert!(error.contains(problem.as_str().unwrap()), "{problem} is not in: {error}");
    }
    error
}

#[tokio::test]
async fn a_gateway_that_reaches_no_register_is_named_by_start_and_status() {
    let site = Site::new();
    let config = site.config("gateway");
    let nowhere = format!("127.0.0.1:{}", free_port());
    site.write("gateway", &site.with_register(&config, &nowhere));
    let why = disabled(&site).await;
    assert!(
        why.contains(&format!(
            "the gateway has no worker, its clients wait: the register at {nowhere} cannot be reached"
        )),
        "{why}"
    );
    assert!(why.contains("the businessworker has no gateway: the register lists none"), "{why}");
    site.write("gateway", &config);
    site.done("restart", &[]).await;
    site.done("status", &[]).await;
}

#[tokio::test]
async fn a_worker_that_reaches_no_register_is_named_by_start_and_status() {
    let site = Site::new();
    let nowhere = format!("127.0.0.1:{}", free_port());
    site.write("businessworker", &site.with_register(&site.config("businessworker"), &nowhere));
    let why = disabled(&site).await;
    assert!(
        why.contains(&format!(
            "the businessworker has no gateway: the register at {nowhere} cannot be reached"
        )),
        "{why}"
    );
    assert!(why.contains("the gateway has no worker, its clients wait: does a businessworker run"), "{why}");
}

#[tokio::test]
async fn a_register_that_refuses_a_key_is_named_by_start_and_status() {
    for daemon in ["gateway", "businessworker"] {
        let site = Site::new();
        site.write(daemon, &format!("secret_key = 'another'\n{}", site.config(daemon)));
        let why = disabled(&site).await;
        assert!(why.contains("closed the connection at once: is the secret_key the same?"), "{why}");
        let refused = &site.status().await["daemons"][0]["processes"][0]["stats"]["wrong_keys"];
        assert!(refused.as_u64().unwrap() > 0, "{refused}");
        assert!(site.log().contains(" WARN the register at"), "{}", site.log());
    }
}

#[tokio::test]
async fn a_cluster_without_its_worker_is_not_ready_until_it_returns() {
    let site = Site::new();
    site.done("start", &["-d"]).await;
    let config = site.config("businessworker");
    site.write("businessworker", "dance = true");
    let killed = site.worker().await;
    assert!(send_signal("KILL", killed));
    eventually("the status to say so", async || {
        let problems = &site.status().await["daemons"];
        let said =
            |n: usize, what: &str| problems[n]["problems"][0].as_str().unwrap_or_default().contains(what);
        said(1, "the businessworker is not running") && said(2, "the gateway has no worker")
    })
    .await;
    assert_eq!(site.tool("status", &[]).await.status.code(), Some(1));
    site.write("businessworker", &config);
    eventually("the status to be good", async || site.tool("status", &[]).await.status.success()).await;
}

#[tokio::test]
async fn a_daemon_that_does_not_answer_is_named() {
    let site = Site::new();
    site.done("start", &["-d"]).await;
    let worker = site.worker().await.to_string();
    assert!(send_signal("STOP", &worker));
    let output = site.tool("status", &[]).await;
    assert_eq!(output.status.code(), Some(1));
    let why = format!("the businessworker, process {worker}, does not answer");
    assert!(text(&output.stdout).contains(&why), "{}", text(&output.stdout));
    assert!(send_signal("CONT", &worker));
    eventually("it to answer", async || site.tool("status", &[]).await.status.success()).await;
}

#[tokio::test]
async fn a_cluster_in_the_foreground_logs_its_problems() {
    let site = Site::new();
    let gateway = site.config("gateway");
    site.write("gateway", &format!("secret_key = 'another'\n{gateway}"));
    let log = site.directory.path().join("log");
    let _supervisor = Process::logging_to(&log, &site.arguments("start"));
    let read = || fs::read_to_string(&log).unwrap();
    let why = "gatewayworker | ";
    eventually("it to say why", async || {
        read().lines().any(|line| line.contains(why) && line.contains("WARN the cluster cannot do its work"))
    })
    .await;
}

#[tokio::test]
async fn start_checks_the_configuration_of_all_daemons() {
    let site = Site::new();
    assert_eq!(site.done("start", &["--check-config"]).await, "configuration is valid\n");
    assert!(site.refused("status", 3).await.contains("nothing runs in"));
    site.write("register", "dance = true");
    site.write("gateway", "lan_prot = 1");
    let output = site.tool("start", &["--check-config"]).await;
    assert_eq!(output.status.code(), Some(1));
    let errors = text(&output.stderr);
    let said: Vec<_> = errors.lines().collect();
    assert_eq!(said.len(), 2, "{errors}");
    assert!(said[0].starts_with("error: the register: ") && said[0].contains("dance"), "{errors}");
    assert!(said[1].starts_with("error: the gateway: ") && said[1].contains("lan_port"), "{errors}");
}

#[tokio::test]
async fn own_programs_replace_the_daemons_and_a_restart_keeps_them() {
    let site = Site::new();
    let mut arguments = vec!["-d".to_owned()];
    for daemon in ["register", "businessworker", "gateway"] {
        let program = site.directory.path().join(daemon);
        let script = format!("#!/bin/sh\nexec {} {daemon} \"$@\"\n", binary().display());
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        arguments.extend([format!("--{daemon}"), program.to_str().unwrap().to_owned()]);
    }
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    site.done("start", &arguments).await;
    for again in [false, true] {
        if again {
            site.done("restart", &[]).await;
        }
        let status = site.status().await;
        for daemon in ["register", "businessworker", "gateway"] {
            assert_eq!(status[daemon], site.directory.path().join(daemon).to_str().unwrap());
        }
    }
}

#[tokio::test]
async fn a_restart_without_a_cluster_starts_one_in_the_background() {
    let site = Site::new();
    let said = site.done("restart", &[]).await;
    assert!(said.contains("GatewayWorker is running") && said.contains("Next: status"), "{said}");
    site.done("status", &[]).await;
    site.done("stop", &[]).await;
    let arguments = [&site.arguments("restart")[..], &["--foreground"]].concat();
    let mut here = Process::start(&arguments);
    site.arrive().await;
    assert_eq!(site.status().await["log_file"], Value::Null);
    site.done("stop", &[]).await;
    eventually("it to end", async || here.has_ended()).await;
}

#[tokio::test]
async fn a_stale_socket_does_not_prevent_a_start_and_a_stop_removes_it() {
    let site = Site::new();
    fs::create_dir(site.run_dir()).unwrap();
    let socket = site.run_dir().join("control.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert!(site.refused("status", 3).await.contains("nothing runs in"));
    site.done("start", &["-d"]).await;
    site.done("status", &[]).await;
    site.done("stop", &[]).await;
    assert!(!socket.exists());
}
