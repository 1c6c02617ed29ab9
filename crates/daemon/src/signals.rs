//! Signals: the first asks for a drain, the second ends the process.

use std::io;

use tokio_util::sync::CancellationToken;
use tracing::info;

/// Cancels `shutdown` at the first SIGINT or SIGTERM (Ctrl-C on Windows), and
/// ends the process at the second, with the status a shell gives to that signal.
///
/// It listens on a thread of its own, so that the second signal works even where
/// the daemon's own threads are stuck.
///
/// # Errors
/// When the system refuses a handler or a thread.
pub(crate) fn watch(shutdown: CancellationToken) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let mut signals = {
        let _inside = runtime.enter();
        Signals::new()?
    };
    let listen = async move {
        let first = signals.next().await;
        shutdown.cancel();
        info!(signal = first.name, "draining; a second signal ends at once");
        let second = signals.next().await;
        std::process::exit(second.status.into());
    };
    std::thread::Builder::new().name("signals".into()).spawn(move || runtime.block_on(listen))?;
    Ok(())
}

/// A signal that asks the process to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal {
    /// As it is called, `SIGINT`.
    pub name: &'static str,
    /// The exit status that a shell gives a process that it ended.
    pub status: u8,
}

const INTERRUPT: Signal = Signal { name: "SIGINT", status: 130 };

/// The signals that ask the process to end: SIGINT and SIGTERM, Ctrl-C on Windows.
#[cfg(unix)]
#[derive(Debug)]
pub struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    /// Listens from now on; the process no longer ends by itself at such a signal.
    ///
    /// # Errors
    /// When the system refuses.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// The next one. Cancel safe.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => INTERRUPT,
            _ = self.terminate.recv() => Signal { name: "SIGTERM", status: 143 },
        }
    }
}

/// The signals that ask the process to end: Ctrl-C.
#[cfg(windows)]
#[derive(Debug)]
pub struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    /// Listens from now on; the process no longer ends by itself at such a signal.
    ///
    /// # Errors
    /// When the system refuses.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new() -> io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    /// The next one. Cancel safe.
    pub async fn next(&mut self) -> Signal {
        self.0.recv().await;
        INTERRUPT
    }
}
