//! A worker that acknowledges events: an event link, a call link, and pings on both.

use std::io::Write;
use std::time::Duration;

use bytes::BytesMut;
use gatewayworker_protocol::frame::FLAG_REDELIVERED;
use gatewayworker_protocol::{Body, Command, EventCounts, Features, Pairing, PingBody};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use crate::harness::{Gateway, Peer, hello, soon};

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
        let (features, process_id) =
            (Some(Features { event_context: false, ..Features::ALL }), Some(process));
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
        let (epoch, process) = (self.pairing.epoch, self.process);
        self.attach_with(gateway, [Command::Attach { epoch, process }]).await
    }

    /// Attaches a call link that says this, and waits until the worker is linked.
    pub(crate) async fn attach_with(
        self,
        gateway: &Gateway,
        commands: impl IntoIterator<Item = Command>,
    ) -> Pair {
        let mut calls = Peer::connect(gateway).await;
        calls.send(commands).await;
        calls.ask(gatewayworker_protocol::Question::IsOnline(0)).await;
        Pair { events: self, calls, pinging: None }
    }

    /// Returns the next frame, or `None` at the end of the link.
    pub(crate) async fn command(&mut self) -> Option<Command> {
        self.peer.command().await.unwrap_or_default()
    }

    /// Returns the next frame that is no ping, or `None` at the end of the link.
    pub(crate) async fn event(&mut self) -> Option<Command> {
        self.marked_event().await.map(|(event, _)| event)
    }

    /// Returns the next frame that is no mere sign of life, and whether it is marked as redelivered.
    pub(crate) async fn marked_event(&mut self) -> Option<(Command, bool)> {
        soon("event", self.event_behind_pings()).await
    }

    async fn event_behind_pings(&mut self) -> Option<(Command, bool)> {
        loop {
            let frame = self.peer.frame().await.unwrap_or_default()?;
            let is_marked = frame.flag & FLAG_REDELIVERED != 0;
            match Command::decode(frame).unwrap() {
                Command::Ping(body) if body.is_empty() => {}
                command => return Some((command, is_marked)),
            }
        }
    }

    /// Returns the frames up to the third ping from now, without the pings.
    pub(crate) async fn until_pings(&mut self) -> Vec<Command> {
        let (mut events, mut pings) = (Vec::new(), 0);
        while pings < 3 {
            match self.command().await.expect("a ping") {
                Command::Ping(_) => pings += 1,
                event => events.push(event),
            }
        }
        events
    }

    /// Says something on the event link.
    pub(crate) async fn send(&mut self, command: Command) {
        self.peer.send([command]).await;
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

    /// Cuts the call link.
    pub(crate) fn cut_calls(&self) {
        SockRef::from(&self.calls.stream).shutdown(std::net::Shutdown::Both).unwrap();
    }

    /// Neither reads nor writes from now on.
    pub(crate) fn freeze(&mut self) {
        (self.events.pinging, self.pinging) = (None, None);
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

    /// Returns the connection id of a client that has just connected. Its events so far are done.
    pub(crate) async fn admit(&mut self) -> u32 {
        let connection_id = self.connected().await;
        let handshake = self.events.event().await;
        assert!(matches!(handshake, Some(Command::OnWebSocketConnect { .. })), "{handshake:?}");
        self.done(connection_id, 1).await;
        self.calls.send([Command::Admit(connection_id)]).await;
        connection_id
    }

    /// Returns what the next message says, and whether it is marked as redelivered.
    pub(crate) async fn message(&mut self) -> (String, bool) {
        let (event, is_marked) = self.events.marked_event().await.expect("an event");
        let Command::OnMessage { message, .. } = event else { panic!("{event:?} instead of a message") };
        let Body::Plain(body) = message.body else { panic!("{message:?}") };
        (String::from_utf8(body.to_vec()).unwrap(), is_marked)
    }

    /// Reads the close of a client, and says that it is done. Returns the client's connection id, and whether the
    /// close is marked as redelivered.
    pub(crate) async fn close(&mut self) -> (u32, bool) {
        let (event, is_marked) = self.events.marked_event().await.expect("an event");
        let Command::OnClose { origin, .. } = event else { panic!("{event:?} instead of ON_CLOSE") };
        self.done(origin.connection_id, 1).await;
        (origin.connection_id, is_marked)
    }

    /// Reads the ADOPT of a client, says that it is done, and returns the client's session.
    pub(crate) async fn adopt(&mut self, connection_id: u32) -> bytes::Bytes {
        let event = self.events.event().await;
        let Some(Command::Adopt { origin, session }) = event else { panic!("{event:?} instead of ADOPT") };
        assert_eq!(origin.connection_id, connection_id);
        self.done(connection_id, 1).await;
        session
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
