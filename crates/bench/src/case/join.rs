//! The case `join`: clients leave their groups and join them again, repeatedly.
//!
//! The servers answer neither, so each client ends with an echo: when it arrives, all earlier requests are done.

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

    let requests = |index| {
        let group = group_name(index, join.group_size);
        let (leave, back) = (format!("L{group} "), format!("J{group} "));
        let mut messages = [leave.as_str(), &back].repeat(join.per_client as usize);
        messages.push("E");
        frames(&messages)
    };
    let clients: Vec<_> =
        opened.clients.into_iter().enumerate().map(|(i, client)| (client, requests(i))).collect();
    let mut running = JoinSet::new();
    let window = Window::open(target)?;
    for (client, requests) in clients {
        running.spawn_local(leave_and_join(client, requests));
    }
    let mut open = Vec::new();
    while let Some(ended) = running.join_next().await {
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

/// Leaves and joins. Returns the client, so that its close is not measured.
async fn leave_and_join(mut client: Client, requests: Vec<u8>) -> Result<Client> {
    client.barrier(&requests).await.context("leaving and joining")?;
    Ok(client)
}
