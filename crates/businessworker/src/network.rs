//! The thread that serves the links, apart from the threads of the application.
//!
//! `serve` starts it and runs the links on it. The threads of a runtime wake each other up
//! whenever there is something to do, in case there is more. Links have a little to do very
//! often, and waking would cost more than the work itself; a single thread wakes no other.
//! It is a whole runtime, so that a handler which it polls may block (`block_in_place`) as
//! on any other.

use std::io;

use gatewayworker_daemon::check_threads;
use tokio::runtime::{Builder, Runtime};
use tokio_util::task::AbortOnDropHandle;

/// The thread of the links. Dropping it ends the thread and everything that runs on it.
#[derive(Debug)]
pub(crate) struct Network {
    /// `None` only while the thread is being dropped.
    runtime: Option<Runtime>,
}

impl Network {
    /// Starts the thread.
    pub(crate) fn start() -> io::Result<Self> {
        check_threads(1)?;
        let runtime =
            Builder::new_multi_thread().worker_threads(1).thread_name("links").enable_all().build()?;
        Ok(Self { runtime: Some(runtime) })
    }

    /// Calls `f` so that tasks which it spawns run on the thread.
    pub(crate) fn enter<T>(&self, f: impl FnOnce() -> T) -> T {
        let _entered = self.runtime.as_ref().map(Runtime::enter);
        f()
    }

    /// Runs `future` on the thread until the handle is dropped.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
        AbortOnDropHandle::new(self.enter(|| tokio::spawn(future)))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Waiting for the thread is not allowed on a thread of another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
