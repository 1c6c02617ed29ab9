//! Helpers of the group chat's tests: databases, a cluster that runs the application, and members.

#![allow(dead_code, reason = "each test file uses its part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gatewayworker::{Client, CloseReason, Events, Gateway, Message, Result};
use gatewayworker_tests::process::free_port;
use gatewayworker_tests::{Application, Cluster, WsClient, eventually, programs, soon};
use group_chat::{GroupChat, Settings};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;

/// A directory with an SQLite file in it.
pub(crate) struct Sqlite {
    directory: TempDir,
}

impl Sqlite {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.directory.path().join("chat.db")
    }

    pub(crate) fn url(&self) -> String {
        format!("sqlite:{}?mode=rwc", self.file().display())
    }
}

/// A PostgreSQL server. Stopped when it is dropped.
pub(crate) struct Postgres {
    directory: TempDir,
    programs: PathBuf,
    port: u16,
}

impl Postgres {
    pub(crate) fn start() -> Self {
        let programs = programs::postgresql().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let server = Self { directory, programs, port: free_port() };
        if is_root() {
            let chown = Command::new("chown").arg("postgres").arg(server.directory.path()).status();
            assert!(chown.unwrap().success());
        }
        server.run("initdb", &["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync"]);
        server.begin();
        server
    }

    /// Starts it, again.
    pub(crate) fn begin(&self) {
        let directory = self.directory.path().display();
        let options = format!("-p {} -c listen_addresses=127.0.0.1 -k {directory} -F", self.port);
        let log = format!("{directory}/log");
        self.run("pg_ctl", &["start", "-w", "-l", &log, "-o", &options]);
    }

    /// Stops it as a crash would.
    pub(crate) fn crash(&self) {
        self.run("pg_ctl", &["stop", "-m", "immediate"]);
    }

    /// PostgreSQL refuses to run as root.
    fn run(&self, program: &str, arguments: &[&str]) {
        let program = self.programs.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.arg("-D").arg(self.directory.path().join("data")).args(arguments);
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(command.status().unwrap().success(), "{command:?}");
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if !std::thread::panicking() || self.directory.path().join("data/postmaster.pid").exists() {
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.crash()));
        }
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout.trim_ascii() == b"0"
}

/// Settings with demo data, that let a test ask as fast as it can.
pub(crate) fn settings(database: &str) -> Settings {
    Settings {
        database: database.into(),
        database_timeout_ms: 1_000,
        demo_data: true,
        burst: 1_000,
        requests_per_second: 1_000,
        ..Settings::default()
    }
}

/// The application, and the handle that it was started with.
struct Watched {
    chat: GroupChat,
    gateway: watch::Sender<Option<Gateway>>,
}

impl Events for Watched {
    async fn on_worker_start(&self, gateway: &Gateway) -> Result {
        self.chat.on_worker_start(gateway).await?;
        self.gateway.send_replace(Some(gateway.clone()));
        Ok(())
    }

    async fn on_connect(&self, client: &Client) -> Result {
        self.chat.on_connect(client).await
    }

    async fn on_message(&self, client: &Client, message: Message) -> Result {
        self.chat.on_message(client, message).await
    }

    async fn on_close(&self, client: &Client, reason: CloseReason) -> Result {
        self.chat.on_close(client, reason).await
    }
}

/// A worker that runs the chat, once it can call every gateway.
pub(crate) async fn start(cluster: &Cluster, settings: &Settings) -> Application {
    let (gateway, mut started) = watch::channel(None);
    let chat = GroupChat::new(settings).unwrap();
    let application = cluster.start_application(Watched { chat, gateway });
    let gateway =
        soon("the worker's start", started.wait_for(Option::is_some)).await.unwrap().clone().unwrap();
    for daemon in &cluster.gateways {
        soon("a call link", gateway.connected(daemon.inner)).await;
    }
    application
}

/// A member with a connection.
pub(crate) struct Member {
    pub(crate) client: WsClient,
    pub(crate) place: Value,
}

impl Member {
    /// Connects, and is told so. `class`, `thread`, `speaker` and name are said with
    /// every request.
    pub(crate) async fn connect(cluster: &Cluster, gateway: usize, place: (i64, i64, i64, &str)) -> Self {
        let mut client = WsClient::connect(cluster.gateways[gateway].listener).await;
        assert_eq!(client.json().await, json!({"op": "connect", "status": true}));
        let (class, thread, speaker, name) = place;
        let place = json!({"class_id": class, "thread_id": thread, "speaker": speaker, "speaker_name": name});
        Self { client, place }
    }

    /// The same, and joins.
    pub(crate) async fn join(cluster: &Cluster, gateway: usize, place: (i64, i64, i64, &str)) -> Self {
        let mut member = Self::connect(cluster, gateway, place).await;
        let joined = member.ask("join", json!({})).await;
        assert_eq!((&joined["op"], &joined["code"]), (&json!("join"), &json!(100)), "{joined}");
        member
    }

    /// Asks for something.
    pub(crate) async fn say(&mut self, action: &str, more: Value) {
        let mut json = self.place.clone();
        json["action"] = action.into();
        for (key, value) in more.as_object().unwrap() {
            json[key] = value.clone();
        }
        self.client.send_json(json).await;
    }

    /// Asks for something, and takes what comes next.
    pub(crate) async fn ask(&mut self, action: &str, more: Value) -> Value {
        self.say(action, more).await;
        self.client.json().await
    }

    /// The code of the answer to a request.
    pub(crate) async fn code(&mut self, action: &str, more: Value) -> u64 {
        let answer = self.ask(action, more).await;
        answer["code"].as_u64().unwrap_or_else(|| panic!("no code: {answer}"))
    }

    /// Sends a message and takes its receipt and itself, which need not come in this order
    /// where others talk too.
    pub(crate) async fn send(&mut self, content: &str) -> Value {
        assert_eq!(self.code("send", json!({"content": content})).await, 105);
        let message = self.client.json().await;
        assert_eq!(message["content"], content);
        message
    }
}

/// Asks until the answer has this code; the application may be coming back.
pub(crate) async fn until_code(member: &mut Member, action: &str, more: Value, code: u64) {
    eventually(&format!("{action} to be answered with {code}"), async || {
        member.code(action, more.clone()).await == code
    })
    .await;
}

pub(crate) fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
