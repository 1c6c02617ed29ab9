//! All eight combinations.

use gatewayworker_interop::cluster::{Combination, Kind};
use gatewayworker_interop::php::php;
use gatewayworker_interop::steps;

const WORKER: &str = env!("CARGO_BIN_EXE_interop-worker");

#[tokio::test]
async fn all_php() {
    let Some(php) = php() else { return };
    let a = steps::run(&php, WORKER, "", Combination::ORIGINAL).await;
    for s in &a { println!("{} | {} | {}", s.part, s.name, s.outcome); }
}
#[tokio::test]
async fn all_ours() {
    let Some(php) = php() else { return };
    let k = Kind::Ours;
    let a = steps::run(&php, WORKER, "", Combination{register:k,gateway:k,worker:k}).await;
    for s in &a { println!("{} | {} | {}", s.part, s.name, s.outcome); }
}
