//! Waits until all daemons of a cluster are linked.
//!
//! A worker's event link has no sign but the events of a client, so trial clients connect until every worker has
//! received one from every gateway. They are gone again, with their events, when the test goes on.

use std::collections::HashSet;

use gatewayworker::ClientId;

use super::Cluster;
use crate::{Happened, WsClient, eventually, soon};

impl Cluster {
    /// Waits until every worker receives events of every gateway and can call it.
    ///
    /// # Panics
    /// A link is not there in time.
    pub async fn linked(&self) {
        if self.gateways.is_empty() || self.workers.is_empty() {
            return;
        }
        let api = self.workers[0].events.gateway().await;
        for worker in &self.workers {
            let api = worker.events.gateway().await;
            for gateway in &self.gateways {
                soon("a call link", api.connected(gateway.inner)).await;
            }
        }
        let mut before = None;
        eventually("the gateways to answer", async || {
            before = api.client_count().await.ok();
            before.is_some()
        })
        .await;
        let mut connected: Vec<HashSet<ClientId>> = vec![HashSet::new(); self.workers.len()];
        for gateway in &self.gateways {
            let mut seen = vec![false; self.workers.len()];
            // The trials stay: a gateway routes the next one to the worker with the fewest clients.
            let mut trials = Vec::new();
            eventually("clients to reach every worker", async || {
                let (client, id) = WsClient::greeted(gateway.listener).await;
                trials.push(client);
                for (n, worker) in self.workers.iter().enumerate() {
                    while !worker.events.is_quiet().await {
                        match worker.events.next().await {
                            Happened::Connect(of) if of == id => {
                                seen[n] = true;
                                connected[n].insert(id);
                            }
                            // The close of an earlier gateway's trial.
                            Happened::Close(of, _) => {
                                connected[n].remove(&of);
                            }
                            _ => {}
                        }
                    }
                }
                seen.iter().all(|seen| *seen)
            })
            .await;
            for trial in trials {
                trial.close().await;
            }
        }
        let gone = async || api.client_count().await.ok() == before;
        eventually("the trial clients to be gone", gone).await;
        for (worker, mut connected) in self.workers.iter().zip(connected) {
            // A worker receives a close after the gateway has removed the client.
            while !connected.is_empty() {
                connected.remove(&worker.events.next_close().await.0);
            }
            while !worker.events.is_quiet().await {
                worker.events.next().await;
            }
        }
    }
}
