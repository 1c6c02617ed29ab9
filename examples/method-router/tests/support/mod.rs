//! Helpers of the live room's tests: tickets, clients, a Redis.

#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "a test fails where it unwraps, and uses what it needs"
)]

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use gatewayworker_tests::{
    Application, Cluster, ClusterBuilder, WsClient, eventually,
    process::{free_port, send_signal},
};
use method_router::App;
use method_router::auth::{Key, Kind, Ticket};
use method_router::settings::Settings;
use serde_json::{Value, json};

pub const KEY: &str = "the key of the tests";

/// The key of the room's users in Redis.
pub const USERS: &str = "method-router:room:room1:users";

pub fn settings() -> Settings {
    Settings { auth_key: KEY.into(), burst: 1000, ..Settings::default() }
}

/// A cluster with a worker that runs the live room.
pub struct Live {
    pub cluster: Cluster,
    pub worker: Option<Application>,
}

impl Live {
    pub async fn start() -> Self {
        Self::with(&settings()).await
    }

    pub async fn with(settings: &Settings) -> Self {
        Self::on(Cluster::builder(), settings).await
    }

    /// Such a cluster that keeps its clients over cuts.
    pub async fn keeping(settings: &Settings) -> Self {
        Self::on(Cluster::builder().gateway(|config| config.resume = true), settings).await
    }

    async fn on(cluster: ClusterBuilder, settings: &Settings) -> Self {
        // Silence is somebody else's test.
        let cluster = cluster.workers(0).gateway(|config| config.ping_interval = 0.0).start().await;
        let worker = Some(cluster.start_application(App::new(settings).unwrap()));
        Self { cluster, worker }
    }

    pub fn listener(&self) -> SocketAddr {
        self.cluster.listener()
    }

    /// Connects a user, who has not joined.
    pub async fn enter(&self, id: &str, kind: Kind) -> Guest {
        Guest::enter(self.listener(), &auth(id, kind)).await
    }

    /// Connects a user, who joins.
    pub async fn join(&self, id: &str, kind: Kind) -> Guest {
        let mut guest = self.enter(id, kind).await;
        assert_eq!(guest.ask(json!({"method": "live.user.join", "code": "room1"})).await["status"], 200);
        guest
    }
}

pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

pub fn ticket(id: &str, kind: Kind) -> Ticket {
    Ticket { id: id.into(), kind, code: "room1".into(), nickname: format!("用户{id}"), ctime: now() }
}

pub fn auth(id: &str, kind: Kind) -> String {
    Key::new(KEY).unwrap().sign(&ticket(id, kind))
}

/// A user with a connection.
pub struct Guest(pub WsClient);

impl Guest {
    pub async fn enter(listener: SocketAddr, auth: &str) -> Self {
        Self(WsClient::connect_to(listener, &format!("/?auth={auth}")).await)
    }

    /// Asks, and takes the next message, which is the answer.
    pub async fn ask(&mut self, request: Value) -> Value {
        self.0.send_json(request).await;
        self.0.json().await
    }

    /// Asks until the answer has this status.
    pub async fn ask_until(&mut self, status: u16, request: Value) -> Value {
        let mut answer = Value::Null;
        eventually(&format!("status {status}"), async || {
            answer = self.ask(request.clone()).await;
            answer["status"] == status
        })
        .await;
        answer
    }

    /// The next message, which is news of `event`.
    pub async fn hear(&mut self, event: &str) -> Value {
        let news = self.0.json().await;
        assert_eq!((&news["status"], &news["event"]), (&json!(200), &json!(event)), "{news}");
        news["param"].clone()
    }
}

/// A Redis server of the test's own. Killed when it is dropped.
pub struct RedisServer {
    child: Child,
    port: u16,
}

impl RedisServer {
    pub async fn start() -> Self {
        let port = free_port();
        let server = Self { child: Self::spawn(port), port };
        server.ready().await;
        server
    }

    fn spawn(port: u16) -> Child {
        Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    async fn ready(&self) {
        let address = format!("127.0.0.1:{}", self.port);
        eventually("Redis to listen", async || tokio::net::TcpStream::connect(&address).await.is_ok()).await;
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    pub fn settings(&self) -> Settings {
        Settings { redis: self.url(), redis_timeout_ms: 500, ..settings() }
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Stops it from answering, with its connections open.
    pub fn freeze(&self, frozen: bool) {
        let signal = if frozen { "STOP" } else { "CONT" };
        assert!(send_signal(signal, self.child.id()));
    }

    /// Starts it anew on its port, empty.
    pub async fn restart(&mut self) {
        self.kill();
        self.child = Self::spawn(self.port);
        self.ready().await;
    }

    /// Runs a command, and returns its answer.
    pub fn command<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let mut connection = redis::Client::open(self.url()).unwrap().get_connection().unwrap();
        let (name, arguments) = command.split_first().unwrap();
        redis::cmd(name).arg(arguments).query(&mut connection).unwrap()
    }

    pub fn users(&self) -> usize {
        self.command(&["ZCARD", USERS])
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
