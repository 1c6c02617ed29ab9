//! A network of a test's own: a network namespace, in which addresses and ports are free that others use.

use std::process::Command;
use std::thread;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

/// Another network, with a loopback interface and no way out but a [tunnel](Self::tunnel) to the test's network, or a
/// [cable](Self::connect) to another one. Sockets that are opened [in it](Self::run) are its own, whoever uses them, and so are those of
/// processes that are started there. It ends when it is dropped.
///
/// It needs [`NAMESPACES`](crate::programs::NAMESPACES).
pub struct Namespace {
    runtime: Handle,
    /// The id of a thread in the network.
    thread: String,
    _end: oneshot::Sender<()>,
}

impl Namespace {
    /// Makes a network.
    ///
    /// # Panics
    /// The system refuses.
    pub async fn start() -> Self {
        let (started, network) = oneshot::channel();
        let (end, ended) = oneshot::channel::<()>();
        thread::spawn(move || {
            leave_network();
            let lo_up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
            assert!(lo_up.expect("ip is installed").success(), "loopback comes up");
            // A thread is in the network of the thread that starts it: all of the runtime's are, and those of daemons.
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            let runtime = runtime.expect("a runtime");
            let _ = started.send((runtime.handle().clone(), thread_id()));
            let _ = runtime.block_on(ended);
            runtime.shutdown_background();
        });
        let (runtime, thread) = network.await.expect("the network is there");
        Self { runtime, thread, _end: end }
    }

    /// Runs something in the network.
    ///
    /// # Panics
    /// It panics.
    pub async fn run<T: Send + 'static, F: Future<Output = T>>(
        &self,
        what: impl FnOnce() -> F + Send + 'static,
    ) -> T {
        // A thread that the caller started would be in the caller's network.
        let started = self.runtime.spawn(async move {
            spawn_blocking(move || Handle::current().block_on(what())).await.expect("it does not panic")
        });
        started.await.expect("it does not panic")
    }

    /// Runs the command `ip` in the network, with these words.
    ///
    /// # Panics
    /// It fails.
    pub async fn ip(&self, words: impl Into<String>) {
        let words = words.into();
        self.run(async move || {
            let done = Command::new("ip").args(words.split(' ')).status().expect("ip is installed");
            assert!(done.success(), "ip {words}");
        })
        .await;
    }

    /// Connects two networks with a cable. Its end is the interface `cable` in each of them: it is up, and has no address.
    ///
    /// # Panics
    /// One of them has a cable already.
    pub async fn connect(&self, other: &Self) {
        self.ip(format!("link add cable type veth peer name cable netns {}", other.thread)).await;
        for end in [self, other] {
            end.ip("link set cable up").await;
        }
    }

    /// Listens on a port of the network's loopback interface, and connects whoever comes there with the same port of the caller's.
    ///
    /// # Panics
    /// The port is not free.
    pub async fn tunnel(&self, port: u16) {
        let listener = self.run(move || TcpListener::bind(("127.0.0.1", port))).await;
        let listener = listener.expect("the port is free");
        let (arrived, mut arrivals) = mpsc::channel::<TcpStream>(16);
        self.runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if arrived.send(stream).await.is_err() {
                    return;
                }
            }
        });
        tokio::spawn(async move {
            while let Some(mut inside) = arrivals.recv().await {
                tokio::spawn(async move {
                    if let Ok(mut outside) = TcpStream::connect(("127.0.0.1", port)).await {
                        let _ = copy_bidirectional(&mut inside, &mut outside).await;
                    }
                });
            }
        });
    }
}

/// Returns the id of this thread, as the system has it.
fn thread_id() -> String {
    let thread = std::fs::read_link("/proc/thread-self").expect("the system has /proc");
    thread.file_name().expect("a thread has an id").to_string_lossy().into_owned()
}

/// Puts this thread into a network of its own.
fn leave_network() {
    #[cfg(target_os = "linux")]
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("root may have a network namespace");
    #[cfg(not(target_os = "linux"))]
    panic!("only Linux has network namespaces");
}
