//! The case `connect`: each client connects, is greeted and closes, and the next one takes its place.

use anyhow::Result;

use super::{Outcome, Target, Window, latency};
use crate::args;
use crate::report::Progress;

/// Runs one round. The cost of a new client includes its close.
///
/// # Errors
/// A client could not open, or a process could not be measured.
pub(crate) async fn run(connect: &args::Connect, target: &Target, progress: &Progress) -> Result<Outcome> {
    let window = Window::open(target)?;
    let opened = target.opening(&connect.common, connect.clients).run(true, progress).await?;
    let used = window.close()?;
    let clients = u64::from(connect.clients);
    let metrics = [used.cost("cpu_per_open", clients), used.rate("opens", clients)].into_iter();
    let metrics = metrics.chain(latency("open", &opened.times)).chain(used.busy());
    Ok(Outcome { metrics: metrics.flatten().collect(), fault: None })
}
