//! The channel between workers: over the gateways, a real Redis and a real NATS.

use std::process::{Child, Command as Program, Stdio};

use gatewayworker::channel::Error;
use gatewayworker::{Channel, Gateway};
use gatewayworker_protocol::{Command, Features, Hello, SecretKey};
use gatewayworker_tests::process::free_port;
use gatewayworker_tests::{Cluster, NatsServer, RawPeer, eventually, register_as_gateway, soon};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// A worker's channel, and what it hears of two topics.
struct Ear {
    channel: Channel,
    heard: mpsc::UnboundedReceiver<String>,
    /// The event that is published to find out whether a channel receives.
    probes: mpsc::UnboundedReceiver<String>,
}

/// The events that a channel receives of a topic.
fn listen(channel: &Channel, topic: &str) -> mpsc::UnboundedReceiver<String> {
    let (seen, heard) = mpsc::unbounded_channel();
    let note = move |event: gatewayworker::channel::Event| {
        let _ = seen.send(event.text().unwrap().to_owned());
        std::future::ready(())
    };
    channel.on(topic, note).unwrap();
    heard
}

impl Ear {
    async fn open(url: &str, gateway: &Gateway) -> Self {
        let channel = Channel::connect(url, gateway).unwrap();
        let (heard, probes) = (listen(&channel, "prices"), listen(&channel, "probes"));
        soon("a channel that listens", channel.listening()).await;
        Self { channel, heard, probes }
    }

    async fn next(&mut self) -> String {
        soon("an event", self.heard.recv()).await.unwrap()
    }

    /// Publishes until the other hears it.
    async fn reaches(&self, other: &mut Ear) {
        while other.probes.try_recv().is_ok() {}
        eventually("an event to be heard", async || {
            let _ = self.channel.publish("probes", "are you there?").await;
            other.probes.try_recv().is_ok()
        })
        .await;
    }
}

/// Publishes a lot, and both hear it in order: the publisher too, and nothing else.
async fn both_hear(publisher: &mut Ear, other: &mut Ear) {
    publisher.channel.publish("other", "nobody's").await.unwrap();
    for n in 0..200 {
        publisher.channel.publish("prices", n.to_string()).await.unwrap();
    }
    for ear in [publisher, other] {
        for n in 0..200 {
            assert_eq!(ear.next().await, n.to_string());
        }
    }
}

async fn two(cluster: &Cluster, url: &str) -> (Ear, Ear) {
    let one = Ear::open(url, &cluster.workers[0].events.gateway().await).await;
    let other = Ear::open(url, &cluster.workers[1].events.gateway().await).await;
    (one, other)
}

pub(crate) async fn over_the_gateways_an_event_reaches_every_worker_once_and_another_gateway_takes_over() {
    let mut cluster = Cluster::builder().gateways(2).workers(2).start().await;
    let (mut one, mut other) = two(&cluster, "gateways").await;
    both_hear(&mut one, &mut other).await;
    both_hear(&mut other, &mut one).await;

    for gateway in 0..2 {
        cluster.gateways[gateway].stop().await;
        if gateway == 0 {
            reach_each_other(&mut one, &mut other).await;
            both_hear(&mut one, &mut other).await;
        }
    }
    let nobody = async || matches!(one.channel.publish("other", "lost").await, Err(Error::Gateways(_)));
    eventually("the publisher to be told that no gateway is left", nobody).await;
    cluster.start_gateway().await;
    one.reaches(&mut other).await;
}

fn worker(key: &str, features: &[&str]) -> Command {
    Command::WorkerConnect(Hello {
        worker_key: Some(key.into()),
        secret_key: Some(SecretKey::default()),
        features: (!features.is_empty()).then(|| Features::from_names(features.iter().copied())),
        process: None,
    })
}

pub(crate) async fn an_event_goes_only_to_workers_with_the_feature() {
    let mut cluster = Cluster::start().await;
    let mut ours = RawPeer::connect(cluster.gateways[0].inner).await;
    ours.send(worker("Ours:0", &["channel"])).await;
    let mut original = RawPeer::connect(cluster.gateways[0].inner).await;
    original.send(worker("BusinessWorker:0", &[])).await;
    // Commands of one link are in order: once it is answered, the worker is known.
    original.send(Command::Ask(gatewayworker_protocol::Question::GroupIds)).await;
    original.answer().await;

    let mut ear = Ear::open("gateways", &cluster.api().await).await;
    ours.send(Command::Publish { topic: "prices".into(), payload: "tea 4.20".into() }).await;
    assert_eq!(ear.next().await, "tea 4.20");
    assert_eq!(ours.command().await, Command::Publish { topic: "prices".into(), payload: "tea 4.20".into() });
    ear.channel.publish("prices", "tea 4.30").await.unwrap();
    assert_eq!(ours.command().await, Command::Publish { topic: "prices".into(), payload: "tea 4.30".into() });
    cluster.gateways[0].stop().await;
    assert!(original.frame().await.is_none(), "it is told nothing");
}

pub(crate) async fn an_event_is_never_sent_to_a_php_gateway() {
    let mut cluster = Cluster::builder().gateways(0).start().await;
    let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _announced = register_as_gateway(cluster.register, inner.local_addr().unwrap()).await;
    let (call, _) = soon("a call link", inner.accept()).await.unwrap();
    let (event, _) = soon("an event link", inner.accept()).await.unwrap();
    let (mut call, mut event) = (RawPeer::over(call), RawPeer::over(event));
    assert!(matches!(event.command().await, Command::WorkerConnect(_)));
    let channel = Channel::connect("gateways", &cluster.api().await).unwrap();
    assert!(matches!(channel.publish("prices", "tea").await, Err(Error::Gateways(_))));
    cluster.workers[0].stop().await;
    while let Some(frame) = call.frame().await {
        assert_eq!(
            frame.cmd,
            gatewayworker_protocol::code::IS_ONLINE,
            "a link that is idle asks for a sign of life"
        );
    }
    assert!(event.frame().await.is_none());
}

/// A server of its own on a free port. Killed when it is dropped.
struct Server {
    program: &'static str,
    port: u16,
    process: Child,
    _directory: TempDir,
}

impl Server {
    fn start(program: &'static str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = free_port();
        let process = Self::run(program, port, &directory);
        Self { program, port, process, _directory: directory }
    }

    fn run(program: &str, port: u16, directory: &TempDir) -> Child {
        let port = port.to_string();
        let arguments: &[&str] = match program {
            "redis-server" => &["--bind", "127.0.0.1", "--save", "", "--port", &port],
            _ => &["-a", "127.0.0.1", "-p", &port],
        };
        let mut server = Program::new(program);
        server.args(arguments).current_dir(directory.path()).stdin(Stdio::null()).stdout(Stdio::null());
        server.stderr(Stdio::null()).spawn().unwrap()
    }

    fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    fn start_again(&mut self) {
        self.process = Self::run(self.program, self.port, &self._directory);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Until each is heard by both.
async fn reach_each_other(one: &mut Ear, other: &mut Ear) {
    one.reaches(other).await;
    other.reaches(one).await;
}

async fn over_a_server(mut server: Server, scheme: &str) {
    let cluster = Cluster::builder().workers(2).start().await;
    let url = format!("{scheme}://127.0.0.1:{}", server.port);
    let (mut one, mut other) = two(&cluster, &url).await;
    reach_each_other(&mut one, &mut other).await;
    both_hear(&mut one, &mut other).await;

    server.stop();
    let lost = async || one.channel.publish("other", "lost").await.is_err();
    eventually("the publisher to be told that the server is lost", lost).await;
    server.start_again();
    reach_each_other(&mut one, &mut other).await;
    both_hear(&mut other, &mut one).await;
}

pub(crate) async fn over_redis_an_event_reaches_every_worker_and_a_lost_server_is_found_again() {
    over_a_server(Server::start("redis-server"), "redis").await;
}

pub(crate) async fn over_nats_an_event_reaches_every_worker_and_a_lost_server_is_found_again() {
    over_a_server(Server::start("nats-server"), "nats").await;
}

pub(crate) async fn over_nats_the_user_of_the_url_is_logged_in() {
    let users = "authorization { users = [ { user: me, password: \"p@ss word\" } ] }";
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("nats.conf");
    std::fs::write(&file, users).unwrap();
    let server = NatsServer::start_with(&["-c", file.to_str().unwrap()]);
    let cluster = Cluster::builder().workers(2).start().await;
    let url = server.url().replace("nats://", "nats://me:p%40ss%20word@");
    let (mut one, mut other) = two(&cluster, &url).await;
    reach_each_other(&mut one, &mut other).await;
    both_hear(&mut one, &mut other).await;
}
