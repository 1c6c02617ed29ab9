//! Waits until clusters reach each other: a client of each worker broadcasts until a client of each other cluster has it.
//!
//! NATS gives what a worker says to one worker of each other cluster, which is always the same one. So each worker is
//! tried.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::address::Url;
use crate::client::Client;
use crate::open::{Opening, frames};
use crate::report::Progress;

/// How long the clusters may take until they reach each other.
const LIMIT: Duration = Duration::from_secs(60);
/// How long one broadcast may take.
const ONE: Duration = Duration::from_millis(250);
/// How many clients are opened for each worker, until each worker has one.
const TRIES: u32 = 40;

/// A cluster, as its clients see it.
pub(crate) struct ClusterEntry {
    /// One of its gateways.
    pub(crate) url: Url,
    /// The number of its workers.
    pub(crate) workers: u32,
}

/// Waits until each worker of each cluster reaches all other clusters.
///
/// # Errors
/// A client cannot open, or the clusters do not reach each other in time.
pub(crate) async fn wait_until_joined(clusters: &[ClusterEntry], progress: &Progress) -> Result<()> {
    let mut clients = Vec::new();
    for cluster in clusters {
        clients.push(client_of_each_worker(cluster).await?);
        speak(&mut clients).await?;
    }
    let (start, mut number) = (Instant::now(), 0);
    for from in 0..clients.len() {
        for worker in 0..clients[from].len() {
            // The first client of each other cluster listens.
            let mut missing: Vec<_> = (0..clients.len()).filter(|to| *to != from).collect();
            while !missing.is_empty() {
                progress.say(&format!("cluster {} does not reach {} others yet", from + 1, missing.len()));
                if start.elapsed() > LIMIT {
                    bail!(
                        "time: cluster {} does not reach cluster {} within {} s",
                        from + 1,
                        missing[0] + 1,
                        LIMIT.as_secs()
                    );
                }
                speak(&mut clients).await?;
                number += 1;
                let text = format!("B{number} ");
                clients[from][worker].send(&frames(&[&text])).await.context("probing")?;
                let end = Instant::now() + ONE;
                let mut left = Vec::new();
                for to in missing {
                    let arrived = clients[to][0].wait_for(|payload| payload == text.as_bytes());
                    match tokio::time::timeout_at(end.into(), arrived).await {
                        Ok(arrived) => arrived.context("probing")?,
                        Err(_) => left.push(to),
                    }
                }
                missing = left;
            }
        }
    }
    for client in clients.into_iter().flatten() {
        client.close().await;
    }
    Ok(())
}

/// Lets each client say something that the worker ignores: a gateway closes a client that is silent for long.
async fn speak(clients: &mut [Vec<Client>]) -> Result<()> {
    let frames = frames(&[r#"{"type":"pong"}"#]);
    for client in clients.iter_mut().flatten() {
        client.send(&frames).await.context("probing")?;
    }
    Ok(())
}

/// Opens clients until each worker has one, and keeps one for each.
async fn client_of_each_worker(cluster: &ClusterEntry) -> Result<Vec<Client>> {
    let mut by_worker = BTreeMap::new();
    for _ in 0..TRIES {
        let opening = Opening {
            url: cluster.url.clone(),
            clients: cluster.workers,
            parallel: cluster.workers,
            greeting: true,
            group_size: None,
            over: None,
        };
        for mut client in opening.run(false, &Progress::silent()).await?.clients {
            let worker = std::cell::RefCell::new(Vec::new());
            let is_answer = |payload: &[u8]| {
                let is_answer = payload.starts_with(b"W");
                if is_answer {
                    *worker.borrow_mut() = payload.to_vec();
                }
                is_answer
            };
            client.ask(&frames(&["W"]), is_answer).await.context("asking for the worker of a client")?;
            if let Some(known) = by_worker.insert(worker.into_inner(), client) {
                known.close().await;
            }
        }
        if by_worker.len() >= cluster.workers as usize {
            return Ok(by_worker.into_values().collect());
        }
    }
    bail!("of {} workers only {} have got a client", cluster.workers, by_worker.len())
}
