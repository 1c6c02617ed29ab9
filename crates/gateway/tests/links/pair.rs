//! A worker that acknowledges events: an event link, a call link, and pings on both.

use std::io::Write;
use std::time::Duration;

use bytes::BytesMut;
use gatewayworker_protocol::{Command, EventCounts, Features, Pairing, PingBody};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use crate::harness::{Gateway, Peer, hello};

/// How often a worker pings that does.
const PING_INTERVAL: Duration = Duration::from_millis(100);

/// The event link of a worker.
pub(crate) struct EventLink {
    peer: Peer,
    pub(crate) pairing: Pairing,
    process: u64,
    pinging: Option<AbortOnDropHandle<()>>,
}

/// Both links of a worker.
pub(crate) struct Pair {
    pub(crate) events: EventLink,
    pub(crate) calls: Peer,
    pinging: Option<AbortOnDropHandle<()>>,
}

impl EventLink {
    /// Says who the worker is, and reads the gateway's answer.
    pub(crate) async fn connect(gateway: &Gateway, name: &str, process: u64) -> Self {
        let mut peer = Peer::connect(gateway).await;
        let (features, process_id) = (Some(Features::ALL), Some(process));
        let hello = gatewayworker_protocol::Hello { features, process: process_id, ..hello(name, "") };
        peer.send([Command::WorkerConnect(hello)]).await;
        let Some(Command::Ping(body)) = peer.command().await.unwrap() else { panic!("no answer") };
        let Some(PingBody::Welcome { pairing: Some(pairing), features }) = PingBody::parse(&body) else {
            panic!("no pairing: {body:?}")
        };
        assert!(features.acknowledged_events);
        Self { peer, pairing, process, pinging: None }
    }

    /// Returns a link that has said ATTACH with this epoch and process.
    pub(crate) async fn call_link(&self, gateway: &Gateway, epoch: u32, process: u64) -> Peer {
        let mut calls = Peer::connect(gateway).await;
        calls.send([Command::Attach { epoch, process }]).await;
        calls
    }

    /// Attaches a call link, and waits until the worker is linked.
    pub(crate) async fn attach(self, gateway: &Gateway) -> Pair {
        let mut calls = self.call_link(gateway, self.pairing.epoch, self.process).await;
        calls.ask(gatewayworker_protocol::Question::IsOnline(0)).await;
        Pair { events: self, calls, pinging: None }
    }

    /// Returns the next frame, or `None` at the end of the link.
    pub(crate) async fn command(&mut self) -> Option<Command> {
        self.peer.command().await.unwrap_or_default()
    }

    /// Returns the next frame that is no ping, or `None` at the end of the link.
    pub(crate) async fn event(&mut self) -> Option<Command> {
        loop {
            match self.command().await {
                Some(Command::Ping(_)) => {}
                other => return other,
            }
        }
    }

    /// Pings the gateway from now on.
    pub(crate) fn ping(&mut self) {
        self.pinging = Some(pinging(&self.peer.stream));
    }
}

impl Pair {
    /// Links a worker. It does not ping.
    pub(crate) async fn connect(gateway: &Gateway, name: &str, process: u64) -> Self {
        EventLink::connect(gateway, name, process).await.attach(gateway).await
    }

    /// Pings the gateway on both links from now on.
    pub(crate) fn ping_both(&mut self) {
        self.events.ping();
        self.ping_calls();
    }

    /// Pings the gateway on the call link from now on.
    pub(crate) fn ping_calls(&mut self) {
        self.pinging = Some(pinging(&self.calls.stream));
    }

    /// Returns the connection id of the next ON_CONNECT, and says that it is done.
    pub(crate) async fn connected(&mut self) -> u32 {
        match self.events.event().await.expect("an event") {
            Command::OnConnect { origin, .. } => {
                self.done(origin.connection_id, 1).await;
                origin.connection_id
            }
            other => panic!("{other:?} instead of ON_CONNECT"),
        }
    }

    /// Says that the next events of a client are done.
    pub(crate) async fn done(&mut self, connection_id: u32, events: u32) {
        let epoch = self.events.pairing.epoch;
        let counts = EventCounts(vec![(connection_id, events)]);
        self.calls.send([Command::Done { epoch, counts }]).await;
    }
}

/// Pings on a connection until the handle is dropped.
fn pinging(stream: &TcpStream) -> AbortOnDropHandle<()> {
    let mut stream: std::net::TcpStream = SockRef::from(stream).try_clone().unwrap().into();
    let mut ping = BytesMut::new();
    Command::Ping(bytes::Bytes::new()).encode(&mut ping);
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut ticks = tokio::time::interval(PING_INTERVAL);
        loop {
            ticks.tick().await;
            if stream.write_all(&ping).is_err() {
                return;
            }
        }
    }))
}
