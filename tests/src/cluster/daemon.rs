//! The running daemons of a test's cluster, and how each is stopped.
//!
//! `Cluster` starts them as tasks of this process. One that is dropped is asked to stop, and nobody waits for it.

use std::net::{SocketAddr, SocketAddrV4};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{Recorder, soon};

/// A daemon's task, and the token that stops it.
pub(super) struct Daemon {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Daemon {
    pub(super) fn start<F: Future<Output = ()> + Send + 'static>(
        run: impl FnOnce(CancellationToken) -> F,
    ) -> Self {
        let shutdown = CancellationToken::new();
        Self { task: tokio::spawn(run(shutdown.clone())), shutdown }
    }

    /// Starts a daemon on a thread of its own, because its future cannot move between threads.
    pub(super) fn start_on_thread<F: Future<Output = ()>>(
        run: impl FnOnce(CancellationToken) -> F + Send + 'static,
    ) -> Self {
        let shutdown = CancellationToken::new();
        let token = shutdown.clone();
        let (end, ended) = oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(run(token));
            let _ = end.send(());
        });
        Self {
            task: tokio::spawn(async { ended.await.expect("the daemon's thread did not panic") }),
            shutdown,
        }
    }

    pub(super) fn begin_stop(&self) {
        self.shutdown.cancel();
    }

    pub(super) async fn stop(&mut self) {
        self.shutdown.cancel();
        soon("a daemon's end", &mut self.task).await.expect("the daemon did not panic");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// A gateway of the cluster.
pub struct GatewayDaemon {
    /// The address of the first listener.
    pub listener: SocketAddr,
    /// The addresses of all listeners, in the configuration's order.
    pub listeners: Vec<SocketAddr>,
    /// The inner port's address, as the gateway announces it.
    pub inner: SocketAddrV4,
    /// Where it shows metrics and health, if the cluster was built with metrics.
    pub metrics: Option<SocketAddr>,
    pub(super) daemon: Daemon,
}

impl GatewayDaemon {
    /// Stops it, and waits for its end.
    ///
    /// # Panics
    /// It does not end in time, or has panicked.
    pub async fn stop(&mut self) {
        self.daemon.stop().await;
    }

    /// Asks it to stop, and waits for nothing.
    pub fn begin_stop(&self) {
        self.daemon.begin_stop();
    }
}

/// A worker of the cluster.
pub struct WorkerDaemon {
    /// The events that it has received.
    pub events: Recorder,
    /// The address for calls over HTTP, if its configuration has one.
    pub http: Option<SocketAddr>,
    /// Where it shows metrics and health, if the cluster was built with metrics.
    pub metrics: Option<SocketAddr>,
    pub(super) daemon: Daemon,
}

impl WorkerDaemon {
    /// Stops it, and waits for its end.
    ///
    /// # Panics
    /// It does not end in time, or has panicked.
    pub async fn stop(&mut self) {
        self.daemon.stop().await;
    }

    /// Asks it to stop, and waits for nothing.
    pub fn begin_stop(&self) {
        self.daemon.begin_stop();
    }
}

/// A worker that runs an application. Dropped, it is asked to stop.
pub struct Application {
    pub(super) daemon: Daemon,
}

impl Application {
    /// Stops it, and waits for its end.
    ///
    /// # Panics
    /// It does not end in time, or has panicked.
    pub async fn stop(mut self) {
        self.daemon.stop().await;
    }
}
