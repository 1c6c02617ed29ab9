//! Join: clients that are in groups leave them and join again, and again.
//!
//! Neither is answered, so each client ends with an echo: when that is back, what was said before has taken effect.

use anyhow::{Context, Result};
use tokio::task::JoinSet;

use super::{Outcome, Target, Window};
use crate::args;
use crate::client::Client;
use crate::open::{frames, group_name};
use crate::report::{Metric, Progress};

/// Runs one round.
///
/// # Errors
/// A client could not open or was lost, or a process could not be measured.
pub(crate) async fn run(join: &args::Join, target: &Target, progress: &Progress) -> Result<Outcome> {
    let mut opening = target.opening(&join.common, join.clients);
    opening.group_size = Some(join.group_size);
    let opened = opening.run(false, progress).await?;

    let said = |index| {
        let group = group_name(index, join.group_size);
        let (leave, back) = (format!("L{group} "), format!("J{group} "));
        let mut said = [leave.as_str(), &back].repeat(join.per_client as usize);
        said.push("E");
        frames(&said)
    };
    let clients: Vec<_> =
        opened.clients.into_iter().enumerate().map(|(i, client)| (client, said(i))).collect();
    let mut talking = JoinSet::new();
    let window = Window::open(target)?;
    for (client, said) in clients {
        talking.spawn_local(talk(client, said));
    }
    let mut open = Vec::new();
    while let Some(ended) = talking.join_next().await {
        open.push(ended.context("a client task failed")??);
        progress.say(&format!("{} of {} clients are back in their groups", open.len(), join.clients));
    }
    let used = window.close()?;

    let count = u64::from(join.clients) * u64::from(join.per_client);
    let metrics = [
        used.cost("cpu_per_leave_and_join", count),
        used.rate("leaves_and_joins", count),
        Some(Metric::new("seconds", "s", used.seconds)),
    ];
    Ok(Outcome { metrics: metrics.into_iter().chain(used.busy()).flatten().collect(), fault: None })
}

/// The client goes back, so that closing it is not counted.
async fn talk(mut client: Client, said: Vec<u8>) -> Result<Client> {
    client.barrier(&said).await.context("leaving and joining")?;
    Ok(client)
}
