//! The protocol of an event link: what the worker says on it, and what a frame of the
//! gateway means.
//!
//! The worker says WORKER_CONNECT and then only PING, to show that it lives, and when it stops, and REPORT, where the
//! gateway takes that.
//! `link.rs` has the sockets. Events go on to [`Clients`](super::Clients).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use gatewayworker_protocol::{
    Command, CommandError, EventContext, FLAG_EVENT_CONTEXT, FLAG_REDELIVERED, Features, Frame, Hello,
    Origin, Pairing, PingBody, SecretKey,
};

use super::epoch::Epoch;
use super::event::Event;
use super::reporting::Reporting;

/// The name under which a worker connects to gateways.
#[derive(Debug)]
pub struct Identity {
    name: String,
    id: WorkerId,
    secret_key: SecretKey,
    /// The id of the process; with one, the worker acknowledges events.
    process: Option<u64>,
    /// The worker takes the trace contexts of events.
    takes_trace_contexts: bool,
    /// The worker asks for the contexts of events.
    takes_event_contexts: bool,
    connections: AtomicU64,
}

#[derive(Debug)]
enum WorkerId {
    /// Set by the configuration.
    Set(String),
    /// Drawn for this process.
    Drawn(u64),
}

impl Identity {
    /// The identity of a worker whose id is set; `secret_key` is the cluster's.
    pub fn with_id(name: String, id: String, secret_key: SecretKey) -> Self {
        Self::new(name, WorkerId::Set(id), secret_key)
    }

    /// The identity of a worker whose id is not set; `drawn` is a random number.
    pub fn with_drawn_id(name: String, drawn: u64, secret_key: SecretKey) -> Self {
        Self::new(name, WorkerId::Drawn(drawn), secret_key)
    }

    fn new(name: String, id: WorkerId, secret_key: SecretKey) -> Self {
        Self {
            name,
            id,
            secret_key,
            process: None,
            takes_trace_contexts: false,
            takes_event_contexts: false,
            connections: AtomicU64::new(0),
        }
    }

    /// Lets the worker acknowledge events, as the process with this random id.
    #[must_use]
    pub fn with_process(mut self, process: u64) -> Self {
        self.process = Some(process);
        self
    }

    /// Lets gateways say which events are traced, or not; not by default.
    #[must_use]
    pub fn with_trace_contexts(mut self, takes_trace_contexts: bool) -> Self {
        self.takes_trace_contexts = takes_trace_contexts;
        self
    }

    /// Lets gateways say what they know of each event's client, or not; not by default.
    #[must_use]
    pub fn with_event_contexts(mut self, takes_event_contexts: bool) -> Self {
        self.takes_event_contexts = takes_event_contexts;
        self
    }

    /// Returns the key for one connection, another for each unless the id is set: the
    /// original's gateway, slow to notice that an old link has ended, would otherwise take
    /// the new one away with it.
    ///
    /// A worker that stops has a key of its own, too: its successor may have the id already, and would
    /// be taken for one that gives way.
    fn worker_key(&self, stops: bool) -> String {
        match &self.id {
            WorkerId::Set(id) if stops => {
                format!("{}:{id}-{:016x}", self.name, self.process.unwrap_or_default())
            }
            WorkerId::Set(id) => format!("{}:{id}", self.name),
            WorkerId::Drawn(drawn) => {
                let connection = self.connections.fetch_add(1, Ordering::Relaxed);
                format!("{}:{drawn:016x}-{connection}", self.name)
            }
        }
    }

    /// Returns WORKER_CONNECT for a new connection, with the features of this worker; `stops` says that
    /// it stops.
    pub fn hello(&self, stops: bool) -> Command {
        Command::WorkerConnect(Hello {
            worker_key: Some(self.worker_key(stops)),
            secret_key: Some(self.secret_key.clone()),
            features: Some(Features {
                acknowledged_events: self.process.is_some(),
                trace_context: self.takes_trace_contexts,
                event_context: self.takes_event_contexts,
                ..Features::ALL
            }),
            process: self.process,
        })
    }
}

/// The state of one connection: what its gateway can do. The reader and the closer of the
/// connection share it.
#[derive(Debug, Default)]
pub struct EventLink {
    /// The gateway waits for answers to handshakes.
    awaits_admissions: AtomicBool,
    /// The epoch, once both links are paired.
    epoch: OnceLock<Arc<Epoch>>,
    /// The reports to a gateway that takes them.
    reporting: OnceLock<Arc<Mutex<Reporting>>>,
}

/// What a gateway's frame means to the worker.
#[derive(Debug)]
pub enum Received {
    /// Something happened to a client.
    Event(Event),
    /// The gateway, which is one of ours, says what it can do.
    Welcome {
        /// What it can do.
        features: Features,
        /// The epoch to which its call link is to be attached, where it acknowledges events. Until it
        /// is, no events come.
        pairing: Option<Pairing>,
    },
    /// A client that another worker had is this worker's.
    Adopt {
        /// The client.
        origin: Origin,
        /// Its session.
        session: Bytes,
    },
    /// The clients with these connections are this worker's no more.
    Forget(Vec<u32>),
    /// A worker has published this.
    Published {
        /// The topic.
        topic: Bytes,
        /// The content.
        payload: Bytes,
    },
    /// The gateway lets the worker go, which drains: no event is unfinished here, and no client of the
    /// epoch is this worker's any more ([`Clients::supersede`](super::Clients::supersede)).
    Drained,
    /// The gateway shows that it is there.
    Heartbeat,
    /// The gateway has read the report with this number ([`Reporting::answered`]).
    Reported(u32),
    /// The command is not for a worker, and ignored.
    Unexpected(Command),
}

impl EventLink {
    /// Takes a frame of the gateway.
    ///
    /// # Errors
    /// When it is no command that is known here; it is ignored.
    pub fn receive(&self, mut frame: Frame) -> Result<Received, CommandError> {
        let redelivered = frame.flag & FLAG_REDELIVERED != 0;
        let context = if frame.flag & FLAG_EVENT_CONTEXT != 0 { take_context(&mut frame) } else { None };
        let command = match Event::from_link(Command::decode(frame)?, self.epoch.get(), redelivered) {
            Ok(event) => return Ok(Received::Event(Event { context, ..event })),
            Err(command) => command,
        };
        Ok(match command {
            Command::Ping(body) => match PingBody::parse(&body) {
                Some(PingBody::Empty) => Received::Heartbeat,
                Some(PingBody::Welcome { features, pairing }) => {
                    self.awaits_admissions.store(features.admission, Ordering::Relaxed);
                    if features.worker_reports {
                        self.reporting.get_or_init(Arc::default);
                    }
                    Received::Welcome { features, pairing: pairing.filter(|_| features.acknowledged_events) }
                }
                Some(PingBody::Drained) if self.epoch.get().is_some() => Received::Drained,
                // A body that is something else stands for no feature.
                Some(PingBody::Draining | PingBody::Drained) | None => {
                    Received::Welcome { features: Features::default(), pairing: None }
                }
            },
            Command::Adopt { origin, session } => Received::Adopt { origin, session },
            Command::Forget(connection_ids) => Received::Forget(connection_ids),
            Command::Publish { topic, payload } => Received::Published { topic, payload },
            Command::Reported(number) if self.reporting.get().is_some() => Received::Reported(number),
            other => Received::Unexpected(other),
        })
    }

    /// Notes the epoch, now that the call link is attached to it; once.
    pub fn paired(&self, epoch: Arc<Epoch>) {
        // A gateway names one pairing for each link.
        let _ = self.epoch.set(epoch);
    }

    /// Returns the epoch, once the call link is attached to it.
    pub fn epoch(&self) -> Option<&Arc<Epoch>> {
        self.epoch.get()
    }

    /// Returns the reports to the gateway; `None` where it takes none, or has not said yet what it can do.
    pub fn reporting(&self) -> Option<&Arc<Mutex<Reporting>>> {
        self.reporting.get()
    }

    /// Returns what the worker says because it stops, if anything. A gateway that acknowledges events
    /// says when this worker has nothing left to do for it ([`Received::Drained`]). To others the worker
    /// closes its side next; one that waits for answers to handshakes could not tell otherwise a worker
    /// that stops, and will still answer, from one that has died.
    pub fn drain(&self) -> Option<Command> {
        let says_so = self.epoch.get().is_some() || self.awaits_admissions.load(Ordering::Relaxed);
        says_so.then(|| Command::Ping(PingBody::Draining.encode()))
    }
}

/// Takes the context off an event's frame, which has one.
#[cold]
fn take_context(frame: &mut Frame) -> Option<Arc<EventContext>> {
    frame.flag &= !FLAG_EVENT_CONTEXT;
    EventContext::take(&mut frame.body).map(Arc::new)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV4;
    use std::num::NonZeroU32;
    use std::time::Duration;

    use gatewayworker_protocol::Payload;

    use super::super::event::EventKind;
    use super::*;

    fn ping(body: &'static str) -> Frame {
        Command::Ping(body.into()).into_frame()
    }

    fn receive(link: &EventLink, frame: Frame) -> Received {
        link.receive(frame).unwrap()
    }

    #[test]
    fn no_two_connections_have_the_same_key_unless_it_is_set() {
        let drawn = Identity::with_drawn_id("Chat".into(), 7, SecretKey::default());
        let keys = [drawn.worker_key(false), drawn.worker_key(false)];
        assert!(keys.iter().all(|key| key.starts_with("Chat:")));
        assert_ne!(keys[0], keys[1]);
        let set = Identity::with_id("Chat".into(), "7".into(), SecretKey::default());
        assert_eq!([set.worker_key(false), set.worker_key(false)], ["Chat:7", "Chat:7"]);
    }

    #[test]
    fn a_worker_that_stops_does_not_take_the_place_of_its_successor() {
        let set = Identity::with_id("Chat".into(), "7".into(), SecretKey::default()).with_process(0xab);
        assert_eq!(set.worker_key(true), "Chat:7-00000000000000ab");
    }

    #[test]
    fn a_worker_with_a_process_acknowledges_events() {
        let identity = || Identity::with_drawn_id("Chat".into(), 7, SecretKey::default());
        for (identity, process) in [(identity(), None), (identity().with_process(9), Some(9))] {
            let Command::WorkerConnect(hello) = identity.hello(false) else { panic!("no hello") };
            assert_eq!(hello.process, process);
            assert_eq!(hello.features.unwrap().acknowledged_events, process.is_some());
        }
    }

    #[test]
    fn only_a_gateway_that_acknowledges_events_lets_its_worker_go() {
        let link = EventLink::default();
        let drained = || ping(r#"{"drained":true}"#);
        assert!(matches!(receive(&link, drained()), Received::Welcome { pairing: None, .. }));
        let gateway = SocketAddrV4::new([127, 0, 0, 1].into(), 2300);
        let (pairing, serial) = (Pairing { instance: 1, epoch: 1 }, NonZeroU32::MIN);
        link.paired(Arc::new(Epoch::new(gateway, pairing, serial, Duration::from_secs(5), 0)));
        assert!(matches!(receive(&link, drained()), Received::Drained));
    }

    #[test]
    fn a_gateway_of_ours_lists_its_features_and_the_originals_says_nothing() {
        let link = EventLink::default();
        assert!(matches!(receive(&link, ping("")), Received::Heartbeat));
        let said = receive(&link, ping(r#"{"features":["channel","large-frames","of-tomorrow",7]}"#));
        let expected = Features { channel: true, large_frames: true, ..Features::default() };
        assert!(matches!(said, Received::Welcome { features, pairing: None } if features == expected));
        for unreadable in ["junk", "[]", r#"{"features":"admission"}"#] {
            let said = receive(&link, ping(unreadable));
            let nothing = Features::default();
            assert!(matches!(said, Received::Welcome { features, pairing: None } if features == nothing));
        }
    }

    #[test]
    fn an_event_holds_the_epoch_of_its_link_and_says_whether_it_was_given_before() {
        let link = EventLink::default();
        let welcome = r#"{"features":["acknowledged-events"],"instance":"00000000000000aa","epoch":3}"#;
        let Received::Welcome { pairing: Some(pairing), .. } = receive(&link, ping(welcome)) else {
            panic!("no pairing")
        };
        let gateway = SocketAddrV4::new([10, 0, 0, 1].into(), 2300);
        let epoch = Arc::new(Epoch::new(gateway, pairing, NonZeroU32::MIN, Duration::from_secs(5), 0));
        link.paired(epoch.clone());
        for redelivered in [false, true] {
            let origin = Origin { gateway, client: gateway, connection_id: 1, gateway_port: 0 };
            let (session, message) = (Bytes::new(), Payload::plain("hi"));
            let mut frame = Command::OnMessage { origin, session, message }.into_frame();
            frame.flag |= if redelivered { FLAG_REDELIVERED } else { 0 };
            let Received::Event(event) = receive(&link, frame) else { panic!("no event") };
            assert!(event.epoch.is_some_and(|of| Arc::ptr_eq(&of, &epoch)));
            assert_eq!(event.redelivered, redelivered);
        }
    }

    #[test]
    fn only_a_worker_that_asks_lists_event_contexts_and_takes_them_off_the_events() {
        let identity = || Identity::with_drawn_id("Chat".into(), 7, SecretKey::default());
        for (identity, asks) in [(identity(), false), (identity().with_event_contexts(true), true)] {
            let Command::WorkerConnect(hello) = identity.hello(false) else { panic!("no hello") };
            assert_eq!(hello.features.unwrap().event_context, asks);
        }
        let gateway = SocketAddrV4::new([10, 0, 0, 1].into(), 2300);
        let origin = Origin { gateway, client: gateway, connection_id: 1, gateway_port: 0 };
        let mut with_context = Vec::new();
        EventContext::write(&mut with_context, 5, Some(b"ann"), ["room"]);
        with_context.extend_from_slice(b"hi");
        let malformed = b"\0\0\0\x01?hi".to_vec();
        for (body, flag, number) in [
            (b"hi".to_vec(), 0, None),
            (with_context, FLAG_EVENT_CONTEXT, Some(5)),
            (malformed, FLAG_EVENT_CONTEXT, None),
        ] {
            let (session, message) = (Bytes::new(), Payload::plain(body));
            let mut frame = Command::OnMessage { origin, session, message }.into_frame();
            frame.flag |= flag;
            let Received::Event(event) = receive(&EventLink::default(), frame) else { panic!("no event") };
            assert_eq!(event.context.as_ref().map(|context| context.number), number);
            let EventKind::Message(message) = event.kind else { panic!("no message") };
            assert_eq!(message, Payload::plain("hi"));
        }
    }

    #[test]
    fn a_pairing_counts_only_where_events_are_acknowledged() {
        let link = EventLink::default();
        let said = receive(&link, ping(r#"{"features":[],"instance":"00000000000000aa","epoch":3}"#));
        assert!(matches!(said, Received::Welcome { pairing: None, .. }));
    }

    #[test]
    fn only_a_gateway_that_waits_for_the_worker_hears_that_it_drains() {
        let link = EventLink::default();
        assert_eq!(link.drain(), None);
        receive(&link, ping(r#"{"features":["admission"]}"#));
        assert_eq!(link.drain(), Some(Command::Ping(PingBody::Draining.encode())));
    }

    #[test]
    fn a_command_for_gateways_is_unexpected() {
        let received = receive(&EventLink::default(), Command::Admit(1).into_frame());
        assert!(matches!(received, Received::Unexpected(_)));
    }

    #[test]
    fn only_a_gateway_that_takes_reports_gets_some() {
        let link = EventLink::default();
        let reported = || Command::Reported(1).into_frame();
        assert!(matches!(receive(&link, reported()), Received::Unexpected(_)));
        receive(&link, ping(r#"{"features":["admission"]}"#));
        assert!(link.reporting().is_none());
        receive(&link, ping(r#"{"features":["worker-reports"]}"#));
        let reporting = link.reporting().unwrap().clone();
        assert!(matches!(receive(&link, reported()), Received::Reported(1)));
        receive(&link, ping(r#"{"features":["worker-reports"]}"#));
        assert!(Arc::ptr_eq(&reporting, link.reporting().unwrap()), "the numbers go on");
    }
}
