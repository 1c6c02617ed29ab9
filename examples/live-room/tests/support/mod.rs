//! Helpers of the live room's tests: a cluster with its worker, the backend on a free port, and clients.

#![allow(dead_code, reason = "each test file needs its part of it")]

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use gatewayworker::businessworker::CancellationToken;
use gatewayworker::{Gateway, SecretKey};
use gatewayworker_tests::process::free_port;
use gatewayworker_tests::{Application, Cluster, ClusterBuilder, WsClient, eventually, soon};
use live_room::backend::{self, LoginKey};
use live_room::{Lines, LiveRoom, Rooms, Settings, Views};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// All of it, until it is dropped.
pub(crate) struct Site {
    pub(crate) cluster: Cluster,
    pub(crate) backend: SocketAddr,
    _worker: Application,
    views: Views,
    lines: Lines,
    serving: Serving,
}

/// The backend at work.
struct Serving {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Site {
    /// One gateway, page views in memory.
    pub(crate) async fn start() -> Self {
        Self::with(Cluster::builder(), Settings::default()).await
    }

    /// Such a cluster, with such a worker and a backend beside it.
    pub(crate) async fn with(cluster: ClusterBuilder, settings: Settings) -> Self {
        let cluster = cluster.workers(0).start().await;
        let views = Views::open(&settings.redis).unwrap();
        let lines = Lines::open("memory:", &connect(&cluster)).unwrap();
        let worker = cluster.start_application(LiveRoom::new(&settings, views.clone(), lines.clone()));
        let (backend, serving) = serve("127.0.0.1:0", &cluster, &views, &lines).await;
        Self { cluster, backend, _worker: worker, views, lines, serving }
    }

    /// Stops the backend and starts another at its address, which knows no login.
    pub(crate) async fn restart_backend(&mut self) {
        self.serving.shutdown.cancel();
        soon("the backend's end", &mut self.serving.task).await.unwrap();
        (_, self.serving) = serve(&self.backend.to_string(), &self.cluster, &self.views, &self.lines).await;
    }

    /// Connects to a gateway and takes the greeting; returns the client id.
    pub(crate) async fn connect_to(&self, gateway: usize) -> (WsClient, String) {
        let mut client = WsClient::connect(self.cluster.gateways[gateway].listener).await;
        let mut init = client.json().await;
        assert_eq!((&init["type"], &init["msg"]), (&json!("init"), &json!("connect is success")));
        let Value::String(id) = init["client_id"].take() else { panic!("no client id: {init}") };
        (client, id)
    }

    /// The same at the first gateway.
    pub(crate) async fn connect(&self) -> (WsClient, String) {
        self.connect_to(0).await
    }

    /// Logs in.
    pub(crate) async fn log_in(&self, name: &str) -> User<'_> {
        let answer = self.post("/login", None, json!({"userName": name})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(!answer.head.contains("set-cookie"), "all tabs of a browser would be the last of them");
        let text = |field: &str| answer.json[field].as_str().expect("text").to_owned();
        User { site: self, token: text("token"), id: text("userId") }
    }

    /// Posts JSON, with a token.
    pub(crate) async fn post(&self, path: &str, token: Option<&str>, json: Value) -> Answer {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        self.request("POST", path, &headers, &json.to_string()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], "").await
    }

    /// Any request.
    pub(crate) async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.backend);
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("content-length: {}\r\n\r\n{body}", body.len());
        let read = async {
            let mut stream = TcpStream::connect(self.backend).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            // One that is refused before its body is read may end in a reset.
            let _ = stream.read_to_end(&mut answer).await;
            String::from_utf8(answer).unwrap()
        };
        Answer::read(&soon("an answer", read).await)
    }
}

fn connect(cluster: &Cluster) -> Gateway {
    backend::connect(vec![cluster.register.to_string()], SecretKey::default())
}

async fn serve(address: &str, cluster: &Cluster, views: &Views, lines: &Lines) -> (SocketAddr, Serving) {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = backend::Config {
        gateway: connect(cluster),
        socket: format!("ws://{}", cluster.listener()),
        rooms: Rooms::default(),
        views: views.clone(),
        lines: lines.clone(),
        login_key: LoginKey::random(),
    };
    let shutdown = CancellationToken::new();
    let serving = backend::serve(listener, config, shutdown.clone());
    let task = tokio::spawn(async { serving.await.unwrap() });
    (address, Serving { shutdown, task })
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// A user who is logged in.
pub(crate) struct User<'a> {
    site: &'a Site,
    pub(crate) token: String,
    pub(crate) id: String,
}

impl User<'_> {
    pub(crate) async fn post(&self, path: &str, json: Value) -> Answer {
        self.site.post(path, Some(&self.token), json).await
    }

    /// Binds a client and joins room 1.
    pub(crate) async fn bind(&self, client: &str) -> Answer {
        self.post("/bind", json!({"client_id": client, "roomId": "1"})).await
    }

    /// Comments in room 1.
    pub(crate) async fn say(&self, content: &str) -> Answer {
        self.post("/say", json!({"roomId": "1", "content": content})).await
    }
}

/// An answer of the backend.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) json: Value,
    pub(crate) body: String,
}

impl Answer {
    fn read(answer: &str) -> Self {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
        let status = head[9..12].parse().unwrap();
        let json = serde_json::from_str(body).unwrap_or_default();
        Self { status, head: head.into(), json, body: body.into() }
    }

    /// The status, and what the error says.
    pub(crate) fn refusal(&self) -> (u16, &str) {
        assert_eq!(self.json["type"], "error", "{self:?}");
        (self.status, self.json["message"].as_str().unwrap())
    }
}

/// The next message that is not a room's numbers.
pub(crate) async fn next(client: &mut WsClient) -> Value {
    loop {
        let message = client.json().await;
        if message["type"] != "room" {
            return message;
        }
    }
}

/// Waits for a room's numbers to be these.
pub(crate) async fn numbers(client: &mut WsClient, people: u64, views: impl Into<Value>) {
    let views = views.into();
    soon(&format!("{people} people and {views} views"), async {
        loop {
            let message = client.json().await;
            if message["type"] == "room" && message["people"] == people && message["pv"] == views {
                return;
            }
        }
    })
    .await;
}

/// A join or comment as every client receives it. Its time is the server's, and so is a comment's position.
pub(crate) fn without_time(mut message: Value, field: &str) -> Value {
    let position = message.as_object_mut().unwrap().shift_remove("position");
    assert_eq!(position.is_some(), message["type"] == "say", "{message}");
    let time = message.as_object_mut().unwrap().shift_remove(field).unwrap();
    assert_eq!(time.as_str().map(str::len), Some("2025-01-01 00:00:00".len()), "{time}");
    message
}

/// A Redis of the test's own, killed when it is dropped.
pub(crate) struct Redis {
    pub(crate) port: u16,
    child: Child,
}

impl Redis {
    pub(crate) async fn start() -> Self {
        Self::start_at(free_port()).await
    }

    /// The same at a port.
    pub(crate) async fn start_at(port: u16) -> Self {
        let mut command = Command::new("redis-server");
        command.args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let redis = Self { port, child };
        eventually("Redis to answer", async || redis.ask("PING").await.is_some_and(|it| it == "+PONG")).await;
        redis
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// The first line that a command is answered with, or the second of a text.
    pub(crate) async fn ask(&self, command: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).await.ok()?;
        let mut answer = String::new();
        soon("Redis", stream.read_to_string(&mut answer)).await.ok()?;
        let mut lines = answer.lines();
        let first = lines.next()?;
        if first.starts_with('$') { lines.next().map(Into::into) } else { Some(first.into()) }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
