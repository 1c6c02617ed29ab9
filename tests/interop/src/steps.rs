//! The steps with a cluster, and the outcome of each. Each part has a file.

mod api;
mod calls;
mod chat;
mod heartbeat;
mod restarts;
mod sessions;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::caller::Caller;
use crate::client::Client;
use crate::cluster::{Cluster, arrive};
use crate::combination::Combination;
use crate::php::Php;

/// The parts, in the order in which they are run and shown.
pub const PARTS: [&str; 5] = ["clients", "GatewayClient", "sessions", "heartbeat", "restarts"];

/// One step and its outcome. Names of clients and daemons replace their ids and addresses, which differ in each run.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// One of [`PARTS`].
    pub part: &'static str,
    /// The action.
    pub name: String,
    /// The outcome.
    pub outcome: Value,
}

/// All steps with a cluster.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The steps, in their order.
    pub steps: Vec<Step>,
    /// The last lines of the daemons' logs, for errors.
    pub logs: String,
}

/// Runs all parts with a cluster of this combination.
///
/// # Panics
/// A step that every combination can do has failed.
pub async fn run(php: &Php, worker_binary: &str, key: &str, who: Combination) -> Seen {
    let cluster = Cluster::start(php, worker_binary, key, who).await;
    run_parts(cluster, who, &PARTS).await
}

/// Runs some parts with a cluster. `who` has the kinds of daemons that replace those that a part stops.
///
/// # Panics
/// A step that every combination can do has failed.
pub async fn run_parts(cluster: Cluster, who: Combination, parts: &[&'static str]) -> Seen {
    let caller = cluster.caller();
    let mut run = Run { who, cluster, caller, part: "", names: BTreeMap::new(), steps: Vec::new() };
    for part in parts.iter().copied() {
        run.part = part;
        match part {
            "clients" => chat::run(&mut run).await,
            "GatewayClient" => api::run(&mut run).await,
            "sessions" => sessions::run(&mut run).await,
            "heartbeat" => heartbeat::run(&mut run).await,
            _ => restarts::run(&mut run).await,
        }
        run.nobody_left().await;
    }
    Seen { steps: run.steps, logs: run.cluster.logs() }
}

/// A cluster with its GatewayClient, and the steps so far.
struct Run {
    who: Combination,
    cluster: Cluster,
    caller: Caller,
    part: &'static str,
    /// The names that replace ids and addresses in outcomes.
    names: BTreeMap<String, String>,
    steps: Vec<Step>,
}

impl Run {
    /// Connects a client called `name` to the gateway with this number, from 0.
    async fn client(&mut self, name: &str, place: usize) -> Client {
        let client = arrive(self.cluster.gateways[place].listener).await;
        self.named(name, &client);
        client
    }

    fn named(&mut self, name: &str, client: &Client) {
        self.names.insert(client.id.clone(), name.to_owned());
    }

    /// Records the outcome of a step.
    fn note(&mut self, name: impl Into<String>, outcome: impl Serialize) {
        let outcome = serde_json::to_string(&outcome).expect("an outcome has a JSON form");
        let addresses = self.cluster.gateways.iter().enumerate();
        let addresses = addresses.map(|(n, place)| (place.inner.to_string(), format!("gateway {}", n + 1)));
        let register = (self.cluster.register_addresses(), "register".to_owned());
        let names = self.names.iter().map(|(id, name)| (id.clone(), name.clone()));
        let named = names
            .chain(addresses)
            .chain([register])
            .fold(outcome, |text, (it, name)| text.replace(&it, &name));
        let is_client = |name: &str| self.names.values().any(|client| client == name);
        let outcome = in_order(serde_json::from_str(&named).expect("names need no escaping"), &is_client);
        self.steps.push(Step { part: self.part, name: name.into(), outcome });
    }

    /// Runs a call of the GatewayClient, and records its outcome.
    async fn note_call(&mut self, name: impl Into<String>, code: &str) {
        let outcome = self.caller.call(code).await;
        self.note(name, outcome);
    }

    /// Waits until the commands of the GatewayClient are done. A command has no answer and a connection of its own, so this
    /// waits a time, and until every gateway has answered a later question.
    async fn settle(&mut self) {
        self.caller.call("usleep(30000)").await;
        for _ in 0..2 {
            self.count().await;
        }
    }

    /// Returns how many clients the GatewayClient counts; null if it fails.
    async fn count(&mut self) -> Value {
        self.caller.answer("Gateway::getAllClientIdCount()").await
    }

    /// Waits until all clients have left, because a part begins without clients.
    async fn nobody_left(&mut self) {
        gatewayworker_tests::eventually("all clients to be gone", async || self.count().await == 0).await;
    }
}

/// Returns what each client receives. The first one goes first: it has caused what the others receive.
async fn all_hear(clients: &mut [&mut Client]) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for client in clients {
        all.push(client.heard().await);
    }
    all
}

/// Sorts maps and lists of clients: their order depends on ids, and on which gateway was asked first.
fn in_order(value: Value, is_client: &impl Fn(&str) -> bool) -> Value {
    match value {
        Value::Array(list) => {
            let mut list: Vec<_> = list.into_iter().map(|item| in_order(item, is_client)).collect();
            if list.iter().all(|item| item.as_str().is_some_and(is_client)) {
                list.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
            }
            Value::Array(list)
        }
        Value::Object(map) => {
            let mut map: Vec<_> =
                map.into_iter().map(|(key, item)| (key, in_order(item, is_client))).collect();
            map.sort_by(|(a, _), (b, _)| a.cmp(b));
            Value::Object(map.into_iter().collect())
        }
        other => other,
    }
}
