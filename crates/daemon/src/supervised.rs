//! The thread of a daemon that does what its supervisor asks (`--supervised`). It reads messages from the
//! supervisor's link, passes them to the daemon's other parts (reload, stats, listeners), and cancels the
//! daemon's shutdown token when the link ends. `run.rs` starts it; the messages are in `child_protocol.rs`.

use std::io;

use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::child_protocol::{ChildMessage, SupervisorMessage};
use crate::operator::{ReloadSender, Requester};
use crate::{ListenerSource, Stats, supervisor_link};

/// The supervisor, which waits for what comes of a reload.
const SUPERVISOR: Requester = Requester { name: "supervisor", reply: report_reload };

/// Tells the supervisor that the daemon listens on `addresses`.
pub(crate) fn report_ready(addresses: Vec<String>) {
    supervisor_link::send(&ChildMessage::Ready { addresses });
}

fn report_reload(result: Result<(), String>) {
    supervisor_link::send(&match result {
        Ok(()) => ChildMessage::Reloaded,
        Err(reason) => ChildMessage::ReloadFailed { reason },
    });
}

/// Starts the thread. It cancels `shutdown` when the supervisor closes the link, or is gone.
///
/// # Errors
/// When the system has no thread left.
pub(crate) fn start(
    shutdown: CancellationToken,
    reload: ReloadSender,
    stats: Stats,
    listeners: ListenerSource,
) -> io::Result<()> {
    let follow = move || {
        supervisor_link::for_each_line(|line, socket| match SupervisorMessage::parse(line) {
            Some(SupervisorMessage::Reload) => reload.request(SUPERVISOR),
            Some(SupervisorMessage::Status) => supervisor_link::send(&ChildMessage::Status(stats.read())),
            Some(SupervisorMessage::Listener { key }) => {
                let socket = socket.take();
                listeners.answer(&key, socket.ok_or_else(|| "the supervisor sent no socket".to_owned()));
            }
            Some(SupervisorMessage::ListenerRefused { key, reason }) => listeners.answer(&key, Err(reason)),
            None => debug!(line, "ignored a message of the supervisor which this daemon does not know"),
        });
        if !shutdown.is_cancelled() {
            shutdown.cancel();
            info!("draining, as the supervisor asks");
        }
    };
    std::thread::Builder::new().name("supervisor".into()).spawn(follow).map(drop)
}
