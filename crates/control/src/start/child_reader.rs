//! Handles the messages that a child sends to its supervisor: passes answers to those who asked, opens the listeners
//! that the child asks for, and sends an event when it is ready. `child_process.rs` calls it with each line; the
//! messages are in the daemon crate's `child_protocol.rs`.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gatewayworker_daemon::child_protocol::{ChildMessage, SupervisorMessage};
use tokio::sync::mpsc;

use super::child_event::{ChildEvent, ChildId};
use super::child_link::Outgoing;
use super::held_listeners::{HeldListeners, ListenerKey};
use super::pending_replies::PendingReplies;

/// The most listeners that one child may ask for; further questions are not answered.
const MAX_LISTENERS: usize = 64;

/// The listeners that a child has asked for so far.
pub(super) type WantedListeners = Arc<Mutex<BTreeSet<ListenerKey>>>;

/// Handles the messages of one child.
#[derive(Debug)]
pub(super) struct ChildReader {
    pub(super) child: ChildId,
    pub(super) events: mpsc::Sender<ChildEvent>,
    pub(super) outgoing: mpsc::Sender<Outgoing>,
    pub(super) pending: PendingReplies,
    pub(super) held: Arc<HeldListeners>,
    pub(super) wanted: WantedListeners,
    pub(super) is_ready: AtomicBool,
}

impl ChildReader {
    /// Handles a line; returns whether it was a message that was due. Where messages come over standard output, an
    /// application may print lines of its own that look like one.
    pub(super) async fn handle(&self, line: &[u8]) -> bool {
        let Some(message) = std::str::from_utf8(line).ok().and_then(ChildMessage::parse) else {
            return false;
        };
        match message {
            ChildMessage::Ready { addresses } => {
                if self.is_ready.swap(true, Ordering::Relaxed) {
                    return false;
                }
                let _ = self.events.send(ChildEvent::Ready(self.child, addresses)).await;
                true
            }
            ChildMessage::Status(status) => self.pending.answer_status(&status),
            ChildMessage::Reloaded => self.pending.answer_reload(&Ok(())),
            ChildMessage::ReloadFailed { reason } => self.pending.answer_reload(&Err(reason)),
            ChildMessage::Listen { key, address } => {
                self.open_listener(key, address);
                true
            }
        }
    }

    fn open_listener(&self, key: String, address: SocketAddr) {
        let wanted_key = (key.clone(), address);
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted.len() >= MAX_LISTENERS {
            return;
        }
        let outgoing = match self.held.open(&wanted_key) {
            Ok(listener) => {
                Outgoing { message: SupervisorMessage::Listener { key }, listener: Some(listener) }
            }
            Err(error) => {
                let reason = format!("{error:#}");
                SupervisorMessage::ListenerRefused { key, reason }.into()
            }
        };
        wanted.insert(wanted_key);
        drop(wanted);
        // A child that asks for more than it reads gets no answer.
        let _ = self.outgoing.try_send(outgoing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader() -> (ChildReader, mpsc::Receiver<Outgoing>, mpsc::Receiver<ChildEvent>) {
        let (outgoing, sent) = mpsc::channel(8);
        let (events, received) = mpsc::channel(8);
        let reader = ChildReader {
            child: ChildId { daemon: 0, number: 0 },
            events,
            outgoing,
            pending: PendingReplies::default(),
            held: Arc::default(),
            wanted: Arc::default(),
            is_ready: AtomicBool::default(),
        };
        (reader, sent, received)
    }

    #[tokio::test]
    async fn a_daemon_is_ready_once_with_any_number_of_addresses() {
        for (line, addresses) in [("ready", vec![]), ("ready a:1 b:2", vec!["a:1", "b:2"])] {
            let (reader, _sent, mut events) = reader();
            assert!(!reader.handle(b"already").await && !reader.handle(b"").await);
            assert!(reader.handle(line.as_bytes()).await && !reader.handle(b"ready to go").await);
            let Some(ChildEvent::Ready(_, said)) = events.recv().await else { panic!("it is ready") };
            assert_eq!(said, addresses);
            assert!(events.try_recv().is_err());
        }
    }

    #[tokio::test]
    async fn answers_go_to_all_who_have_asked_and_to_nobody_else() {
        let (reader, _sent, _events) = reader();
        assert!(!reader.handle(br#"status {"clients":3}"#).await && !reader.handle(b"reloaded").await);
        let (mut one, mut two) = (reader.pending.status(), reader.pending.status());
        assert!(!reader.handle(b"status 3").await && !reader.handle(b"the status {}").await);
        assert!(reader.handle(br#"status {"clients":3}"#).await);
        assert_eq!(
            (one.try_recv().unwrap().stats["clients"].clone(), two.try_recv().unwrap().stats.len()),
            (3.into(), 1)
        );
        let mut failed = reader.pending.reload();
        assert!(reader.handle(b"failed no such file").await);
        assert_eq!(failed.try_recv().unwrap(), Err("no such file".into()));
    }

    #[tokio::test]
    async fn a_listener_is_passed_on_or_refused() {
        let (reader, mut sent, _events) = reader();
        assert!(reader.handle(b"listen http.listen 127.0.0.1:0").await);
        let Outgoing { message, listener } = sent.recv().await.unwrap();
        assert_eq!(message, SupervisorMessage::Listener { key: "http.listen".into() });
        let taken = listener.expect("it can be opened").local_addr().unwrap();
        assert!(reader.handle(format!("listen other {taken}").as_bytes()).await);
        let refused = sent.recv().await.unwrap().message.to_line();
        assert!(refused.starts_with("refused other other: cannot listen on"), "{refused}");
        assert!(!reader.handle(b"listen carefully").await && !reader.handle(b"listen").await);
    }
}
