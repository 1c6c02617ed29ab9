//! The signals that ask a process to end: the first asks for a drain, the second ends the process. `run.rs` uses it
//! for daemons, the control tool for the supervisor.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(unix)]
use signal_hook::flag;
use tokio_util::sync::CancellationToken;
use tracing::info;

/// Ends the process at the second signal: the first one arms it.
#[derive(Debug, Default)]
pub(crate) struct Armed(Arc<AtomicBool>);

impl Armed {
    /// Installs handlers which themselves end the process at the second SIGINT or SIGTERM, with the status that a
    /// shell gives to that signal. That works even where all threads hang, and takes no thread of its own.
    ///
    /// # Errors
    /// When the system refuses a handler.
    #[cfg(unix)]
    pub(crate) fn new() -> io::Result<Self> {
        let armed = Self::default();
        let signals = [(signal_hook::consts::SIGINT, INTERRUPT), (signal_hook::consts::SIGTERM, TERMINATE)];
        for (number, Signal { status, .. }) in signals {
            // In this order: the first signal finds it unset.
            flag::register_conditional_shutdown(number, status.into(), armed.0.clone())?;
            flag::register(number, armed.0.clone())?;
        }
        Ok(armed)
    }

    /// Installs nothing: here [`Armed::watch`] waits for the second signal too.
    ///
    /// # Errors
    /// None.
    #[cfg(not(unix))]
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self::default())
    }

    /// Cancels `shutdown` at the first signal.
    pub(crate) async fn watch(self, mut signals: Signals, shutdown: CancellationToken) {
        let first = signals.next().await;
        shutdown.cancel();
        info!(signal = first.name, "draining; a second signal ends at once");
        if !self.0.load(Ordering::Relaxed) {
            let second = signals.next().await;
            std::process::exit(second.status.into());
        }
    }
}

/// A signal that asks the process to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal {
    /// Its name, `SIGINT`.
    pub name: &'static str,
    /// The exit status that a shell gives to a process which the signal has ended.
    pub status: u8,
}

const INTERRUPT: Signal = Signal { name: "SIGINT", status: 130 };

#[cfg(unix)]
const TERMINATE: Signal = Signal { name: "SIGTERM", status: 143 };

/// The signals that ask the process to end: SIGINT and SIGTERM, Ctrl-C on Windows.
#[cfg(unix)]
#[derive(Debug)]
pub struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    /// Listens from now on; such a signal does not end the process by itself any more.
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

    /// Waits for the next signal. Cancel safe.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => INTERRUPT,
            _ = self.terminate.recv() => TERMINATE,
        }
    }
}

/// The signals that ask the process to end: Ctrl-C.
#[cfg(windows)]
#[derive(Debug)]
pub struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    /// Listens from now on; such a signal does not end the process by itself any more.
    ///
    /// # Errors
    /// When the system refuses.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new() -> io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    /// Waits for the next signal. Cancel safe.
    pub async fn next(&mut self) -> Signal {
        self.0.recv().await;
        INTERRUPT
    }
}
