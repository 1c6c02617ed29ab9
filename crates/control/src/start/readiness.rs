//! Waits until a cluster whose daemons listen can do its work: they have to find each other. The welcome message
//! and `start --daemon` wait for that.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::daemon_status::DaemonStatus;
use super::supervisor_handle::{Ending, SupervisorHandle};

/// How long daemons that listen may take to find each other before somebody is told. They need milliseconds, or a
/// second or two where a register is asked again.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// How many looks in a row have to find no problem: a link that is refused ends right after it has begun.
const GOOD_LOOKS: u32 = 3;

/// Why a cluster cannot do its work.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotReady {
    /// Each problem is a sentence that says what to do.
    Problems(Vec<String>),
    /// The cluster ends before it is ready.
    Ending,
}

/// Waits until the cluster can do its work, for `limit` at most.
///
/// # Errors
/// What keeps it from that.
pub(super) async fn wait(supervisor: &SupervisorHandle, limit: Duration) -> Result<(), NotReady> {
    let deadline = Instant::now() + limit;
    let mut good_looks = 0;
    while good_looks < GOOD_LOOKS {
        let status = supervisor.status().await.map_err(|Ending| NotReady::Ending)?;
        let problems: Vec<_> = status.iter().flat_map(DaemonStatus::problems).collect();
        good_looks = if problems.is_empty() { good_looks + 1 } else { 0 };
        if good_looks == 0 && Instant::now() >= deadline {
            return Err(NotReady::Problems(problems));
        }
        sleep(LOOK_INTERVAL).await;
    }
    Ok(())
}

impl std::fmt::Display for NotReady {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Problems(problems) => f.write_str(&problems.join("; ")),
            Self::Ending => Ending.fmt(f),
        }
    }
}
