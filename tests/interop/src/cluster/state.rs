//! The state of a cluster, seen from outside: whether all of it works, and which gateways its registers list.

use std::net::SocketAddr;

use gatewayworker_tests::{eventually, soon};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::{Cluster, arrive};

impl Cluster {
    /// Waits until clients of all gateways are served and reach each other, and the GatewayClient sees them; and then,
    /// until they have left.
    ///
    /// # Panics
    /// It takes too long.
    pub async fn ready(&self) {
        let mut caller = self.caller();
        let mut trials = Vec::new();
        for place in self.gateways.iter().filter(|place| place.process.is_some()) {
            trials.push(arrive(place.listener).await);
        }
        eventually("a message to reach all gateways", async || {
            trials[0].say("say here").await;
            let mut reached = true;
            for trial in &mut trials {
                let heard = trial.heard().await;
                assert!(!heard.iter().any(|line| line == "end"), "a client was dropped: {heard:?}");
                reached &= heard.iter().any(|line| line == "?: here");
            }
            reached
        })
        .await;
        let ids: Vec<_> = trials.iter().map(|trial| format!("'{}'", trial.id)).collect();
        let seen = format!("count(array_intersect(Gateway::getAllClientIdList(), [{}]))", ids.join(", "));
        eventually("GatewayClient to see them all", async || caller.answer(&seen).await == trials.len())
            .await;
        for trial in trials {
            trial.leave().await;
        }
        eventually("the trial clients to be gone", async || caller.answer(&seen).await == 0).await;
    }

    /// Returns the numbers of the gateways that all registers list, from 1, sorted; `None` if the registers differ.
    ///
    /// # Panics
    /// A register does not answer, or lists an unknown address.
    pub async fn listed(&self) -> Vec<usize> {
        let mut lists = Vec::new();
        for (address, process) in &self.registers {
            if process.is_some() {
                lists.push(self.listed_by(*address).await);
            }
        }
        lists.dedup();
        if lists.len() == 1 { lists.remove(0) } else { Vec::new() }
    }

    async fn listed_by(&self, register: SocketAddr) -> Vec<usize> {
        let connection = soon("the register", TcpStream::connect(register)).await.expect("it listens");
        let mut connection = BufReader::new(connection);
        let hello = serde_json::json!({"event": "worker_connect", "secret_key": self.key});
        connection.write_all(format!("{hello}\n").as_bytes()).await.expect("it reads");
        let mut line = String::new();
        soon("the register's list", connection.read_line(&mut line)).await.expect("it answers");
        let addresses = match serde_json::from_str::<Value>(&line).expect("JSON")["addresses"].take() {
            Value::Array(list) => list,
            Value::Object(map) => map.into_values().collect(),
            other => panic!("no list: {other}"),
        };
        let number = |address: &Value| {
            let known = self.gateways.iter().position(|place| *address == place.inner.to_string());
            known.unwrap_or_else(|| panic!("a stranger in the register: {address}")) + 1
        };
        let mut listed: Vec<_> = addresses.iter().map(number).collect();
        listed.sort_unstable();
        listed
    }
}
