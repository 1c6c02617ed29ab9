//! The run of a shard: its perpetual tasks, and the loop that serves the messages of other threads.
//!
//! It starts the tasks of clients (`client`) and links (`link`); the other files of `shard` must not
//! know them. `server` calls it, for the first shard on its own thread.

use std::rc::Rc;
use std::sync::Arc;

use anyhow::anyhow;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use super::{NewConnection, RelayedConnection, ShardMessage, ShardThread};
use crate::gateway_state::GatewayState;
use crate::perpetual::{PerpetualTasks, cause};
use crate::socket::DetachedSocket;
use crate::{client, link, tls};

/// Runs a shard on this thread until it is told to end.
///
/// # Errors
/// As [`ShardThread::run`].
pub(crate) fn run(
    runtime: &Runtime,
    index: usize,
    shared: Arc<GatewayState>,
    messages: mpsc::Receiver<ShardMessage>,
) -> anyhow::Result<()> {
    LocalSet::new().block_on(runtime, async move { ShardThread::new(index, shared).run(messages).await })
}

/// Notifies a shard when the task that holds it panics.
struct PanicWatch(Rc<ShardThread>);

impl Drop for PanicWatch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.link_panicked.notify_one();
        }
    }
}

impl ShardThread {
    /// Runs the shard on this thread, within its `LocalSet`, until a message asks for the end.
    ///
    /// # Errors
    /// When a task that every client relies on ends before that: the flush, the timer, or the
    /// reader of messages; and when the task of a link panics.
    pub(crate) async fn run(self: Rc<Self>, messages: mpsc::Receiver<ShardMessage>) -> anyhow::Result<()> {
        let mut tasks = PerpetualTasks::default();
        tasks.spawn("the flush task", self.clone().flush_forever());
        tasks.spawn("the timer task", self.clone().advance_forever());
        tasks.spawn("the drop of unused TLS keys", tls::drop_unused_keys());
        tasks.spawn("the watched task", self.shared.loops.watch(format!("shard-{}", self.index)));
        let reading = tokio::task::spawn_local(self.clone().read_messages(messages));
        tokio::select! {
            read = reading => read.map_err(|error| anyhow!("the reader of messages has {}", cause(error))),
            failure = tasks.failure() => Err(failure),
            // Its worker would stay linked, and nobody would write its events.
            () = self.link_panicked.notified() => Err(anyhow!("the task of a link has panicked")),
        }
    }

    /// Starts the task that makes a client of an accepted connection.
    pub(crate) fn spawn_client(self: &Rc<Self>, stream: TcpStream, new: NewConnection) {
        tokio::task::spawn_local(client::accept(self.clone(), stream, new));
    }

    /// Serves messages until one asks for the end.
    async fn read_messages(self: Rc<Self>, mut receiver: mpsc::Receiver<ShardMessage>) {
        let mut messages = Vec::new();
        while receiver.recv_many(&mut messages, 64).await > 0 {
            for message in messages.drain(..) {
                match message {
                    ShardMessage::Client(stream, new) => {
                        if let Ok(stream) = TcpStream::from_std(stream) {
                            self.spawn_client(stream, new);
                        }
                    }
                    ShardMessage::Returning(returning) => {
                        if let Ok(returning) = returning.try_map(DetachedSocket::attach) {
                            tokio::task::spawn_local(client::resume(self.clone(), Box::new(returning)));
                        }
                    }
                    ShardMessage::Relayed(relayed) => {
                        let RelayedConnection { socket, token, request } = *relayed;
                        if let Ok(socket) = socket.attach() {
                            let relayed = RelayedConnection { socket, token, request };
                            tokio::task::spawn_local(client::resume_relayed(self.clone(), relayed));
                        }
                    }
                    ShardMessage::Link(socket, peer, permit) => {
                        let watched = PanicWatch(self.clone());
                        let link = link::run(self.clone(), socket, peer, permit);
                        self.shared.links.spawn_local(async move {
                            let _watched = watched;
                            link.await;
                        });
                    }
                    ShardMessage::Commands(commands) => self.input(|core| core.execute(commands)),
                    ShardMessage::WorkerDrains(worker) => self.input(|core| core.worker_drains(&worker)),
                    ShardMessage::WorkerGone(worker, how, taken) => {
                        let _ = taken.send(self.input(|core| core.worker_gone(&worker, how)));
                    }
                    ShardMessage::CloseIsolated(which) => self.input(|core| core.close_isolated(which)),
                    ShardMessage::Unheard(is_unheard) => self.input(|core| core.set_unheard(is_unheard)),
                    ShardMessage::Ask(question) => {
                        let mut core = self.core.borrow_mut();
                        core.set_now(self.now_ms());
                        question(&core);
                    }
                    ShardMessage::Trace(new) => self.begin_trace(new),
                    ShardMessage::Untrace(id) => self.end_trace(id),
                    ShardMessage::End => return,
                    ShardMessage::Stop { spread, timeout, done } => {
                        tokio::task::spawn_local(self.clone().stop(spread, timeout, done));
                    }
                }
            }
        }
    }
}
