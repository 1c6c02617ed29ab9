//! The protocol of an event link: what the worker says on it, and what a command of the
//! gateway means.
//!
//! The worker says WORKER_CONNECT and then only reads; when it stops, it may say PING once
//! more. `link.rs` has the sockets. Events go on to [`Clients`](super::Clients).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use gatewayworker_protocol::{Command, Features, Hello, PingBody, SecretKey};

use super::event::Event;

/// The name under which a worker connects to gateways.
#[derive(Debug)]
pub struct Identity {
    name: String,
    id: WorkerId,
    secret_key: SecretKey,
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
        Self { name, id: WorkerId::Set(id), secret_key, connections: AtomicU64::new(0) }
    }

    /// The identity of a worker whose id is not set; `drawn` is a random number.
    pub fn with_drawn_id(name: String, drawn: u64, secret_key: SecretKey) -> Self {
        Self { name, id: WorkerId::Drawn(drawn), secret_key, connections: AtomicU64::new(0) }
    }

    /// Returns the key for one connection, another for each unless the id is set: the
    /// original's gateway, slow to notice that an old link has ended, would otherwise take
    /// the new one away with it.
    fn worker_key(&self) -> String {
        match &self.id {
            WorkerId::Set(id) => format!("{}:{id}", self.name),
            WorkerId::Drawn(drawn) => {
                let connection = self.connections.fetch_add(1, Ordering::Relaxed);
                format!("{}:{drawn:016x}-{connection}", self.name)
            }
        }
    }

    /// Returns WORKER_CONNECT for a new connection, with the features of this worker.
    pub fn hello(&self) -> Command {
        Command::WorkerConnect(Hello {
            worker_key: Some(self.worker_key()),
            secret_key: Some(self.secret_key.clone()),
            features: Some(Features { acknowledged_events: false, ..Features::ALL }),
            process: None,
        })
    }
}

/// The state of one connection: what its gateway can do. The reader and the closer of the
/// connection share it.
#[derive(Debug, Default)]
pub struct EventLink {
    /// The gateway waits for answers to handshakes.
    awaits_admissions: AtomicBool,
}

/// What a gateway's command means to the worker.
#[derive(Debug)]
pub enum Received {
    /// Something happened to a client.
    Event(Event),
    /// The gateway, which is one of ours, says what it can do.
    Features(Features),
    /// A worker has published this.
    Published {
        /// The topic.
        topic: Bytes,
        /// The content.
        payload: Bytes,
    },
    /// The gateway shows that it is there.
    Heartbeat,
    /// The command is not for a worker, and ignored.
    Unexpected(Command),
}

impl EventLink {
    /// Takes a command of the gateway.
    pub fn receive(&self, command: Command) -> Received {
        match Event::from_command(command) {
            Ok(event) => Received::Event(event),
            Err(Command::Ping(body)) => {
                let features = match PingBody::parse(&body) {
                    Some(PingBody::Empty) => return Received::Heartbeat,
                    Some(PingBody::Welcome { features, .. }) => features,
                    // A body that is something else stands for no feature.
                    Some(PingBody::Draining) | None => Features::default(),
                };
                self.awaits_admissions.store(features.admission, Ordering::Relaxed);
                Received::Features(features)
            }
            Err(Command::Publish { topic, payload }) => Received::Published { topic, payload },
            Err(other) => Received::Unexpected(other),
        }
    }

    /// Returns what the worker says before it closes its side because it stops, if
    /// anything. A gateway that waits for answers to handshakes could not tell otherwise a
    /// worker that stops, and will still answer, from one that has died.
    pub fn drain(&self) -> Option<Command> {
        let says_so = self.awaits_admissions.load(Ordering::Relaxed);
        says_so.then(|| Command::Ping(PingBody::Draining.encode()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ping(body: &'static str) -> Command {
        Command::Ping(body.into())
    }

    #[test]
    fn no_two_connections_have_the_same_key_unless_it_is_set() {
        let drawn = Identity::with_drawn_id("Chat".into(), 7, SecretKey::default());
        let keys = [drawn.worker_key(), drawn.worker_key()];
        assert!(keys.iter().all(|key| key.starts_with("Chat:")));
        assert_ne!(keys[0], keys[1]);
        let set = Identity::with_id("Chat".into(), "7".into(), SecretKey::default());
        assert_eq!([set.worker_key(), set.worker_key()], ["Chat:7", "Chat:7"]);
    }

    #[test]
    fn a_gateway_of_ours_lists_its_features_and_the_originals_says_nothing() {
        let link = EventLink::default();
        assert!(matches!(link.receive(ping("")), Received::Heartbeat));
        let said = link.receive(ping(r#"{"features":["channel","large-frames","of-tomorrow",7]}"#));
        let expected = Features { channel: true, large_frames: true, ..Features::default() };
        assert!(matches!(said, Received::Features(features) if features == expected));
        for unreadable in ["junk", "[]", r#"{"features":"admission"}"#] {
            let said = link.receive(ping(unreadable));
            assert!(matches!(said, Received::Features(features) if features == Features::default()));
        }
    }

    #[test]
    fn only_a_gateway_that_waits_for_admissions_hears_that_the_worker_drains() {
        let link = EventLink::default();
        assert_eq!(link.drain(), None);
        link.receive(ping(r#"{"features":["admission"]}"#));
        assert_eq!(link.drain(), Some(ping(r#"{"draining":true}"#)));
    }

    #[test]
    fn a_command_for_gateways_is_unexpected() {
        assert!(matches!(EventLink::default().receive(Command::Admit(1)), Received::Unexpected(_)));
    }
}
