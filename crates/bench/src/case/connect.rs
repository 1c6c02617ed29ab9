//! Connect: each client opens, is greeted, closes, and the next takes its place.

use anyhow::Result;

use super::{Outcome, Target, Window};
use crate::args;
use crate::report::{Metric, Progress};

/// Runs one round. An open's cost includes its close.
///
/// # Errors
/// A client could not open, or a process could not be measured.
pub(crate) async fn run(connect: &args::Connect, target: &Target, progress: &Progress) -> Result<Outcome> {
    let window = Window::open(target)?;
    let opened = target.opening(&connect.common, connect.clients).run(true, progress).await?;
    let used = window.close()?;
    let metrics = [
        used.cost("cpu_per_open", u64::from(connect.clients)),
        used.rate("opens", u64::from(connect.clients)),
        Some(Metric::new("open_p50", "µs", opened.times.percentile(50.0))),
        Some(Metric::new("open_p99", "µs", opened.times.percentile(99.0))),
        Some(Metric::new("open_max", "µs", opened.times.max())),
    ];
    Ok(Outcome { metrics: metrics.into_iter().chain(used.busy()).flatten().collect(), fault: None })
}
