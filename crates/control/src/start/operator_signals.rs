//! The signals of the supervisor other than those that end any daemon. They mean what they mean to Workerman and
//! nginx: SIGHUP, SIGUSR1 and SIGUSR2 reload, SIGQUIT stops. `foreground.rs` starts it.

use std::io::IsTerminal;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

use super::supervisor_handle::SupervisorHandle;

/// Makes a request at each signal, from a task for each kind. SIGHUP stops the cluster where standard input is a
/// terminal: it says that the terminal is gone.
///
/// # Errors
/// When the system refuses.
///
/// # Panics
/// Outside a tokio runtime.
pub(super) fn listen(supervisor: SupervisorHandle) -> anyhow::Result<()> {
    let at_terminal = std::io::stdin().is_terminal();
    for (name, kind, reloads) in [
        ("SIGHUP", SignalKind::hangup(), !at_terminal),
        ("SIGUSR1", SignalKind::user_defined1(), true),
        ("SIGUSR2", SignalKind::user_defined2(), true),
        ("SIGQUIT", SignalKind::quit(), false),
    ] {
        let mut signal = signal(kind).context("cannot listen for signals")?;
        let supervisor = supervisor.clone();
        tokio::spawn(async move {
            while signal.recv().await.is_some() {
                if reloads {
                    info!("{name}: reloading");
                    // A reload that goes well is in the log already.
                    if let Ok(Err(why)) = supervisor.reload().await {
                        error!("{name}: {why}");
                    }
                } else {
                    info!("{name}: ending all daemons");
                    let _ = supervisor.stop(false).await;
                }
            }
        });
    }
    Ok(())
}
