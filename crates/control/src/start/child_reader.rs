//! The parent's end of what a supervisor and a daemon say to each other; what the words
//! mean is in the daemons' `supervised.rs`.

use std::collections::HashSet;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot, watch};

use super::child::Stage;
use super::held_listeners::{HeldListeners, ListenerKey};

/// The most listeners that one child may ask for; the next are not answered.
const MAX_PORTS: usize = 64;

/// What the supervisor says.
#[derive(Debug)]
pub(super) enum Outgoing {
    Reload,
    Status,
    /// Here is the listener for this key.
    #[cfg_attr(not(unix), allow(dead_code, reason = "nobody asks for one there"))]
    Listener(String, TcpListener),
    /// There is none, and why.
    Refused(String, String),
}

impl Outgoing {
    pub(super) fn line(&self) -> String {
        match self {
            Self::Reload => "reload\n".into(),
            Self::Status => "status\n".into(),
            Self::Listener(key, _) => format!("listener {key}\n"),
            Self::Refused(key, why) => format!("refused {key} {}\n", why.replace('\n', ", ")),
        }
    }
}

/// Hears what a child says.
#[derive(Debug, Clone)]
pub(super) struct ChildReader {
    pub(super) stage: watch::Sender<Stage>,
    pub(super) words: mpsc::Sender<Outgoing>,
    pub(super) pending: PendingReplies,
    pub(super) ports: Arc<HeldListeners>,
    /// The listeners that it has pending for.
    pub(super) wanted: Arc<Mutex<HashSet<ListenerKey>>>,
}

/// Who waits for an answer.
#[derive(Debug, Clone, Default)]
pub(super) struct PendingReplies(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    stats: Vec<oneshot::Sender<Map<String, Value>>>,
    reloads: Vec<oneshot::Sender<Result<(), String>>>,
}

impl PendingReplies {
    /// Comes with the next stats.
    pub(super) fn stats(&self) -> oneshot::Receiver<Map<String, Value>> {
        wait(&mut self.waiting().stats)
    }

    /// Comes with the end of the next reload.
    pub(super) fn reload(&self) -> oneshot::Receiver<Result<(), String>> {
        wait(&mut self.waiting().reloads)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing can be half done in there.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait<T>(waiting: &mut Vec<oneshot::Sender<T>>) -> oneshot::Receiver<T> {
    // A child that never answers shall not gather them.
    waiting.retain(|one| !one.is_closed());
    let (to, answer) = oneshot::channel();
    waiting.push(to);
    answer
}

impl ChildReader {
    /// Whether that was said to the supervisor. Where words come over standard output, an
    /// application may print lines of its own that look alike.
    pub(super) fn read(&self, line: &[u8]) -> bool {
        let Ok(line) = std::str::from_utf8(line) else { return false };
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "ready" => self.ready(rest),
            "status" => match serde_json::from_str(rest) {
                Ok(stats) => answer(&mut self.pending.waiting().stats, &stats),
                Err(_) => false,
            },
            "reloaded" => answer(&mut self.pending.waiting().reloads, &Ok(())),
            "failed" => answer(&mut self.pending.waiting().reloads, &Err(rest.to_owned())),
            "listen" => self.listen(rest),
            _ => false,
        }
    }

    /// Whether it was the first time.
    fn ready(&self, addresses: &str) -> bool {
        self.stage.send_if_modified(|stage| {
            let first = *stage == Stage::Starting;
            if first {
                *stage = Stage::Ready(addresses.split_whitespace().map(str::to_owned).collect());
            }
            first
        })
    }

    fn listen(&self, listener: &str) -> bool {
        let Some((key, address)) = listener.split_once(' ') else { return false };
        let Ok(address) = address.parse() else { return false };
        let port = (key.to_owned(), address);
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted.len() >= MAX_PORTS {
            return true;
        }
        let word = match self.ports.open(&port) {
            Ok(listener) => Outgoing::Listener(key.to_owned(), listener),
            Err(error) => Outgoing::Refused(key.to_owned(), format!("{error:#}")),
        };
        wanted.insert(port);
        drop(wanted);
        // One that asks for more than it reads waits in vain.
        let _ = self.words.try_send(word);
        true
    }
}

/// Whether anybody had pending.
fn answer<T: Clone>(waiting: &mut Vec<oneshot::Sender<T>>, value: &T) -> bool {
    let any = !waiting.is_empty();
    for one in waiting.drain(..) {
        let _ = one.send(value.clone());
    }
    any
}

#[cfg(unix)]
pub(super) use over_socket::{Input, send};

#[cfg(unix)]
mod over_socket {
    use std::io::{self, IoSlice};
    use std::mem::MaybeUninit;
    use std::net::TcpListener;
    use std::os::fd::AsFd;

    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use tokio::io::{AsyncWriteExt, Interest};
    use tokio::net::UnixStream;
    use tokio::net::unix::OwnedWriteHalf;

    use super::Outgoing;

    /// What a child reads; its end means drain.
    pub(crate) type Input = OwnedWriteHalf;

    pub(crate) async fn send(input: &mut Input, word: &Outgoing) -> io::Result<()> {
        let line = word.line();
        let sent = match word {
            Outgoing::Listener(_, listener) => pass(input.as_ref(), line.as_bytes(), listener).await?,
            _ => 0,
        };
        input.write_all(&line.as_bytes()[sent..]).await
    }

    /// Sends the listener with the line's first byte at least; returns how many went.
    async fn pass(stream: &UnixStream, line: &[u8], listener: &TcpListener) -> io::Result<usize> {
        let send = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let sockets = [listener.as_fd()];
            control.push(SendAncillaryMessage::ScmRights(&sockets));
            Ok(sendmsg(stream, &[IoSlice::new(line)], &mut control, SendFlags::empty())?)
        };
        loop {
            stream.writable().await?;
            match stream.try_io(Interest::WRITABLE, send) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return sent,
            }
        }
    }
}

#[cfg(not(unix))]
pub(super) use over_pipes::{Input, send};

#[cfg(not(unix))]
mod over_pipes {
    use std::io;

    use tokio::io::AsyncWriteExt;

    use super::Outgoing;

    /// What a child reads; its end means drain.
    pub(crate) type Input = tokio::process::ChildStdin;

    /// Listeners cannot be passed on, and are not pending for.
    pub(crate) async fn send(input: &mut Input, word: &Outgoing) -> io::Result<()> {
        input.write_all(word.line().as_bytes()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader() -> (ChildReader, mpsc::Receiver<Outgoing>) {
        let (words, to_say) = mpsc::channel(8);
        let (stage, _) = watch::channel(Stage::Starting);
        let (pending, ports, wanted) = (PendingReplies::default(), Arc::default(), Arc::default());
        (ChildReader { stage, words, pending, ports, wanted }, to_say)
    }

    #[test]
    fn a_daemon_is_ready_once_with_any_number_of_addresses() {
        for (line, addresses) in [("ready", vec![]), ("ready a:1 b:2", vec!["a:1", "b:2"])] {
            let (reader, _) = reader();
            assert!(!reader.read(b"already") && !reader.read(b""));
            assert!(reader.read(line.as_bytes()) && !reader.read(b"ready to go"));
            let addresses = addresses.into_iter().map(str::to_owned).collect();
            assert_eq!(*reader.stage.borrow(), Stage::Ready(addresses));
        }
    }

    #[test]
    fn figures_and_reloads_are_heard_by_all_who_have_asked_and_by_nobody_else() {
        let (reader, _) = reader();
        assert!(!reader.read(br#"status {"clients":3}"#) && !reader.read(b"reloaded"));
        let (mut one, mut two) = (reader.pending.stats(), reader.pending.stats());
        assert!(!reader.read(b"status 3") && !reader.read(b"the status {}"));
        assert!(reader.read(br#"status {"clients":3}"#));
        assert_eq!(
            (one.try_recv().unwrap()["clients"].clone(), two.try_recv().unwrap().len()),
            (3.into(), 1)
        );
        let mut failed = reader.pending.reload();
        assert!(reader.read(b"failed no such file"));
        assert_eq!(failed.try_recv().unwrap(), Err("no such file".into()));
    }

    #[tokio::test]
    async fn a_listener_is_passed_on_or_refused() {
        let (reader, mut to_say) = reader();
        assert!(reader.read(b"listen http_listen 127.0.0.1:0"));
        let Some(Outgoing::Listener(key, listener)) = to_say.recv().await else { panic!("it can be opened") };
        assert_eq!(key, "http_listen");
        let taken = listener.local_addr().unwrap();
        assert!(reader.read(format!("listen other {taken}").as_bytes()));
        let refused = to_say.recv().await.unwrap().line();
        assert!(refused.starts_with("refused other other: cannot listen on"), "{refused}");
        assert!(!reader.read(b"listen carefully") && !reader.read(b"listen"));
    }
}
