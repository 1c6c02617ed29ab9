//! The application and the worker that the tests run.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gatewayworker_businessworker::{
    Admission, CancellationToken, Client, CloseReason, Config, Error, Events, Gateway, Handshake, Message,
    Result, serve,
};
use gatewayworker_protocol::{Command, EventCounts, Features, Pairing, Payload, PingBody};
use serde_json::json;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use crate::fake::{FakeGateway, register, soon};

/// An application that does what each message asks for, and reports what it sees.
#[derive(Clone)]
pub(crate) struct Script {
    seen: mpsc::UnboundedSender<String>,
    gate: Arc<Notify>,
    running: Arc<AtomicUsize>,
    most_running: Arc<AtomicUsize>,
}

impl Script {
    fn see(&self, what: impl Into<String>) {
        self.seen.send(what.into()).unwrap();
    }
}

impl Events for Script {
    async fn on_worker_start(&self, _: &Gateway) -> Result {
        self.see("start");
        Ok(())
    }

    async fn on_connect(&self, client: &Client) -> Result {
        self.see(format!("connect {}", client.id().connection_id()));
        Ok(())
    }

    async fn on_websocket_connect(&self, client: &Client, handshake: &Handshake) -> Result<Admission> {
        match handshake.get("token") {
            Some("good") => Ok(Admission::Admit),
            Some("panic") => panic!("as asked"),
            Some(_) => Ok(Admission::refuse_with("go away")),
            None => Err(format!("no token from {}", client.id()).into()),
        }
    }

    async fn on_message(&self, client: &Client, message: Message) -> Result {
        let text = message.text()?;
        let connection = client.id().connection_id();
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        match verb {
            "echo" => {
                client.send(&message).await?;
            }
            "wait" => {
                let now = self.running.fetch_add(1, Ordering::SeqCst) + 1;
                self.most_running.fetch_max(now, Ordering::SeqCst);
                // Before anybody can know that it waits.
                let opened = self.gate.notified();
                self.see(format!("waiting {connection}"));
                opened.await;
                self.running.fetch_sub(1, Ordering::SeqCst);
                self.see(format!("waited {connection}"));
            }
            "wait-echo" => {
                let opened = self.gate.notified();
                self.see(format!("waiting {connection}"));
                opened.await;
                let sent = client.send(rest).await;
                self.see(format!("sent: {}", sent.is_ok()));
            }
            "wait-all" => {
                let n = client.session().get::<u32>("n")?.unwrap_or(0) + 1;
                client.session().insert("n", n)?;
                let opened = self.gate.notified();
                self.see(format!("waiting {connection}"));
                opened.await;
                let sent = client.gateway().send_to_all(rest).await;
                self.see(format!("sent: {}, redelivered: {}", sent.is_ok(), client.redelivered()));
                sent?;
            }
            "all" => {
                let size = rest.parse()?;
                client.gateway().send_to_all(vec![b'x'; size]).await?;
                self.see("sent to all");
            }
            "give-back" => {
                let opened = self.gate.notified();
                self.see(format!("waiting {connection}, redelivered: {}", client.redelivered()));
                opened.await;
                assert!(if rest == "begun" { client.give_back_begun() } else { client.give_back() });
            }
            "again?" => self.see(format!("redelivered: {}", client.redelivered())),
            "fail" => return Err("as asked".into()),
            "panic" => panic!("as asked"),
            "forever" => std::future::pending().await,
            "count" => {
                let n = client.session().get::<u32>("n")?.unwrap_or(0) + 1;
                client.session().insert("n", n)?;
                self.see(format!("n={n}"));
            }
            "wait-count" => {
                let opened = self.gate.notified();
                self.see(format!("waiting {connection}"));
                opened.await;
                let n = client.session().get::<u32>("n")?.unwrap_or(0) + 1;
                client.session().insert("n", n)?;
                self.see(format!("n={n}"));
            }
            "merge" => {
                client.gateway().update_session(client.id(), &json!({"m": rest})).await?;
                self.see(format!("{:?}", client.session()));
            }
            "session" => self.see(format!("{:?}", client.session())),
            "join" => {
                client.join_group(rest).await?;
                let members = client.gateway().client_ids_by_group(rest).await?;
                self.see(format!("{} in {rest}", members.len()));
            }
            _ => self.see(format!("{connection}: {text}")),
        }
        Ok(())
    }

    async fn on_close(&self, client: &Client, reason: CloseReason) -> Result {
        let again = if client.redelivered() { " again" } else { "" };
        self.see(format!("close {} {reason}{again} {:?}", client.id().connection_id(), client.session()));
        Ok(())
    }

    async fn on_worker_stop(&self, gateway: &Gateway) -> Result {
        gateway.send_to_all("bye").await?;
        self.see("stop");
        Ok(())
    }
}

/// A worker that runs a [`Script`], and the fake gateway that it is linked to.
pub(crate) struct Worker {
    pub(crate) fake: FakeGateway,
    seen: mpsc::UnboundedReceiver<String>,
    pub(crate) gate: Arc<Notify>,
    pub(crate) most_running: Arc<AtomicUsize>,
    pub(crate) shutdown: CancellationToken,
    serving: JoinHandle<std::result::Result<(), Error>>,
    _register: AbortOnDropHandle<()>,
}

impl Worker {
    /// Starts a worker with an event link to one gateway.
    pub(crate) async fn start(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_with(&[], change).await
    }

    /// Starts a worker whose register lists these gateways beside the one that it has.
    pub(crate) async fn start_with(others: &[SocketAddrV4], change: impl FnOnce(&mut Config)) -> Self {
        let mut fake = FakeGateway::start().await;
        let gateways: Vec<_> = [&[fake.address], others].concat();
        let (register, running_register) = register(&gateways).await;
        let mut config = Config::default().with_register_address([register]);
        change(&mut config);
        let (seen, sees) = mpsc::unbounded_channel();
        let gate = Arc::new(Notify::new());
        let most_running = Arc::new(AtomicUsize::new(0));
        let script =
            Script { seen, gate: gate.clone(), running: Arc::default(), most_running: most_running.clone() };
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(serve(config, script, shutdown.clone()));
        let hello = fake.worker().await;
        assert!(hello.features.unwrap().close_reason);
        let mut worker =
            Self { fake, seen: sees, gate, most_running, shutdown, serving, _register: running_register };
        assert_eq!(worker.sees().await, "start");
        worker
    }

    /// Returns what the application reports next.
    pub(crate) async fn sees(&mut self) -> String {
        soon(self.seen.recv()).await.unwrap()
    }

    /// Sends a message of a client to the worker.
    pub(crate) async fn say(&self, connection: u32, text: &str) {
        self.fake.events([self.fake.message(connection, text)]).await;
    }

    /// Starts a worker with a gateway that acknowledges events: the process [`INSTANCE`], in epoch 1.
    pub(crate) async fn paired(change: impl FnOnce(&mut Config)) -> Self {
        let mut worker = Self::start(change).await;
        worker.pair(INSTANCE, 1).await;
        worker
    }

    /// Names a pairing on the event link; returns what the worker says before it attaches its call link.
    pub(crate) async fn pair(&mut self, instance: u64, epoch: u32) -> Vec<Command> {
        pair(&mut self.fake, instance, epoch).await
    }

    /// Returns the next command that is no question, and no sign of life.
    pub(crate) async fn told(&mut self) -> Command {
        told(&mut self.fake).await
    }

    /// Returns the application's next report, if there is one by now.
    pub(crate) fn sees_now(&mut self) -> Option<String> {
        self.seen.try_recv().ok()
    }

    /// Stops the worker, and waits until it has drained.
    pub(crate) async fn stop(self) -> (FakeGateway, mpsc::UnboundedReceiver<String>) {
        self.shutdown.cancel();
        soon(self.serving).await.unwrap().unwrap();
        (self.fake, self.seen)
    }
}

/// The process of the gateway that a [paired](Worker::paired) worker has.
pub(crate) const INSTANCE: u64 = 7;

/// Returns the next command that a gateway is told and that is no question, and no sign of life.
pub(crate) async fn told(fake: &mut FakeGateway) -> Command {
    loop {
        match fake.told().await {
            Command::Ask(_) => {}
            Command::Ping(body) if body.is_empty() => {}
            other => return other,
        }
    }
}

/// Names a pairing on the event link of a gateway that takes no reports; returns what the worker says before it
/// attaches its call link.
pub(crate) async fn pair(fake: &mut FakeGateway, instance: u64, epoch: u32) -> Vec<Command> {
    pair_with(fake, Features { worker_reports: false, interest: false, ..Features::ALL }, instance, epoch)
        .await
}

/// As [`pair`], for a gateway with these features.
pub(crate) async fn pair_with(
    fake: &mut FakeGateway,
    features: Features,
    instance: u64,
    epoch: u32,
) -> Vec<Command> {
    let pairing = Some(Pairing { instance, epoch });
    let welcome = PingBody::Welcome { features, pairing };
    fake.events([Command::Ping(welcome.encode())]).await;
    let mut before = Vec::new();
    loop {
        match told(fake).await {
            Command::Attach { epoch: attached, .. } => {
                assert_eq!(attached, epoch);
                return before;
            }
            other => before.push(other),
        }
    }
}

/// What a worker says of one event of each of these clients.
pub(crate) fn done(epoch: u32, counts: &[(u32, u32)]) -> Command {
    Command::Done { epoch, counts: EventCounts(counts.to_vec()) }
}

/// The command that sends `text` to one client.
pub(crate) fn to_one(to: u32, text: &'static str) -> Command {
    Command::SendToOne { to, message: Payload::plain(text) }
}
