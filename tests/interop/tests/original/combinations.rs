//! All combinations of our and the original's register, gateways and worker, without and with a secret key: each step has
//! the outcome of the original alone, except for the intended differences.

use gatewayworker_interop::cluster::Cluster;
use gatewayworker_interop::combination::{Combination, Kind};
use gatewayworker_interop::php::{Php, php};
use gatewayworker_interop::results::{Line, Row, mixed, write};
use gatewayworker_interop::steps::{self, Seen};
use tokio::sync::OnceCell;

const WORKER: &str = env!("CARGO_BIN_EXE_interop-worker");
const KEYS: [&str; 2] = ["", "k3y of the cluster"];

/// The outcomes of the original alone, for each key.
static ORIGINAL: [OnceCell<Seen>; 2] = [const { OnceCell::const_new() }; 2];

async fn compared(register: Kind, gateway: Kind, worker: Kind) {
    let php = php();
    let who = Combination { register, gateway, worker };
    let mut row = Row::new(who, versions(&php).await);
    for (key, original) in KEYS.into_iter().zip(&ORIGINAL) {
        let original = original.get_or_init(|| steps::run(&php, WORKER, key, Combination::ORIGINAL)).await;
        let here = steps::run(&php, WORKER, key, who).await;
        if let Err(faults) = row.compare(&original.steps, &here.steps) {
            panic!("{}\nwith the key {key:?}:\n{faults}", here.logs);
        }
    }
    write(&Line::Combination(row));
}

async fn versions(php: &Php) -> serde_json::Value {
    Cluster::new(php, WORKER, "").caller().answer("Gateway::versions()").await
}

/// The original alone: a second run has the same outcomes.
#[tokio::test]
async fn register_php_gateway_php_worker_php() {
    compared(Kind::Php, Kind::Php, Kind::Php).await;
}

#[tokio::test]
async fn register_php_gateway_php_worker_ours() {
    compared(Kind::Php, Kind::Php, Kind::Ours).await;
}

#[tokio::test]
async fn register_php_gateway_ours_worker_php() {
    compared(Kind::Php, Kind::Ours, Kind::Php).await;
}

#[tokio::test]
async fn register_php_gateway_ours_worker_ours() {
    compared(Kind::Php, Kind::Ours, Kind::Ours).await;
}

#[tokio::test]
async fn register_ours_gateway_php_worker_php() {
    compared(Kind::Ours, Kind::Php, Kind::Php).await;
}

#[tokio::test]
async fn register_ours_gateway_php_worker_ours() {
    compared(Kind::Ours, Kind::Php, Kind::Ours).await;
}

#[tokio::test]
async fn register_ours_gateway_ours_worker_php() {
    compared(Kind::Ours, Kind::Ours, Kind::Php).await;
}

#[tokio::test]
async fn register_ours_gateway_ours_worker_ours() {
    compared(Kind::Ours, Kind::Ours, Kind::Ours).await;
}

/// A gateway and a worker of each kind at the same time, as during a migration.
#[tokio::test]
async fn both_kinds_side_by_side() {
    let php = php();
    let both = [Kind::Php, Kind::Ours];
    for (register, (key, original)) in both.into_iter().zip(KEYS.into_iter().zip(&ORIGINAL)) {
        let original = original.get_or_init(|| steps::run(&php, WORKER, key, Combination::ORIGINAL)).await;
        let cluster = Cluster::start_mixed(&php, WORKER, key, register, both, &both).await;
        let parts = ["clients", "GatewayClient"];
        let here = steps::run_parts(cluster, Combination::ORIGINAL, &parts).await;
        let original: Vec<_> =
            original.steps.iter().filter(|step| parts.contains(&step.part)).cloned().collect();
        if let Err(faults) = mixed(&original, &here.steps) {
            panic!("{}\nwith the key {key:?}:\n{faults}", here.logs);
        }
    }
}
