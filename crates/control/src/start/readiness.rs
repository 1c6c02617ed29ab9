//! Whether a cluster whose daemons all listen can do its work: they have to find each other.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use super::supervisor::{Request, Status};

/// How long daemons that listen may take to find each other before somebody is told. They need
/// milliseconds, or a second or two where a register is asked again.
pub(super) const WAIT: Duration = Duration::from_secs(5);

/// How often to look, and how often in a row it has to be so: a link that is refused ends
/// right after it has begun.
const LOOK: Duration = Duration::from_millis(50);
const LOOKS: u32 = 3;

/// Waits until the cluster can do its work, for `limit` at most.
///
/// # Errors
/// What keeps it from that.
pub(super) async fn wait(ask: &mpsc::Sender<Request>, limit: Duration) -> Result<(), Vec<String>> {
    let deadline = Instant::now() + limit;
    let mut looks = 0;
    while looks < LOOKS {
        let problems = problems(ask).await?;
        looks = if problems.is_empty() { looks + 1 } else { 0 };
        if looks == 0 && Instant::now() >= deadline {
            return Err(problems);
        }
        sleep(LOOK).await;
    }
    Ok(())
}

/// Returns what keeps the cluster from its work.
///
/// # Errors
/// That it is ending.
async fn problems(ask: &mpsc::Sender<Request>) -> Result<Vec<String>, Vec<String>> {
    let ending = || vec!["the cluster is ending".to_owned()];
    let (to, status) = oneshot::channel();
    ask.send(Request::Status(to)).await.map_err(|_| ending())?;
    let status = status.await.map_err(|_| ending())?;
    Ok(status.iter().flat_map(Status::problems).collect())
}
