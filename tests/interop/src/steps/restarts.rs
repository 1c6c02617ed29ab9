//! Restarts: each daemon ends, and one of the same kind starts in its place.

use std::net::SocketAddr;
use std::time::Duration;

use gatewayworker_tests::eventually;
use tokio::time::timeout;

use super::{Run, all_hear};
use crate::client::Client;

/// The time after which a message counts as lost. Only a lost message takes so long.
const IN_VAIN: Duration = Duration::from_secs(2);

pub(super) async fn run(run: &mut Run) {
    register(run).await;
    worker(run).await;
    gateway(run, "killed").await;
    gateway(run, "stopped").await;
}

async fn register(run: &mut Run) {
    let (mut ann, mut bob) = two(run).await;
    run.cluster.stop_register(0).await;
    talk(run, "while no register is there", &mut ann, &mut bob).await;
    run.note_call("GatewayClient while no register is there", "Gateway::getAllClientIdCount()").await;
    let mut cat = run.client("Cat", 0).await;
    let answer = cat.ask("login Cat").await;
    run.note("a client comes while no register is there", answer);
    cat.leave().await;
    let heard = ann.hear().await;
    run.note("and leaves again", heard);
    run.cluster.start_register(0, run.who.register).await;
    listed(run, &[1, 2]).await;
    run.note_call("GatewayClient once the register is back", "Gateway::getAllClientIdCount()").await;
    ann.leave().await;
    bob.leave().await;
}

async fn worker(run: &mut Run) {
    let (mut ann, mut bob) = two(run).await;
    bob.ask("count").await;
    run.cluster.stop_worker().await;
    ann.say("anybody there?").await;
    let closed = timeout(IN_VAIN, ann.hear()).await.ok();
    let mut newcomer = tokio::spawn(newcomer(run.cluster.gateways[1].listener));
    let turned_away = timeout(IN_VAIN, &mut newcomer).await.is_ok();
    run.cluster.start_worker(run.who.worker);
    let answer = match &closed {
        Some(end) => end.clone(),
        None => ann.hear().await,
    };
    run.note("a client speaks while no worker is there", (closed.is_some().then_some("at once"), answer));
    let greeted = if turned_away { false } else { newcomer.await.expect("it does not panic") };
    run.note("a client that comes while no worker is there is served by the next one", greeted);
    run.cluster.ready().await;
    bob.heard().await;
    let (count, members) = (bob.ask("count").await, bob.ask("members lobby").await);
    run.note("one that was silent while no worker was there", (count, members));
    if closed.is_none() {
        ann.leave().await;
        bob.hear().await;
    }
    let mut cat = run.client("Cat", 0).await;
    cat.ask("login Cat").await;
    talk(run, "once the worker is back", &mut cat, &mut bob).await;
    run.note_call("GatewayClient once the worker is back", "Gateway::getAllUidList()").await;
    cat.leave().await;
    bob.leave().await;
}

async fn gateway(run: &mut Run, how: &str) {
    let (mut ann, mut bob) = two(run).await;
    let end = match how {
        "killed" => {
            run.cluster.kill_gateway(0);
            ann.heard_before("").await
        }
        _ => tokio::join!(ann.heard_before(""), run.cluster.stop_gateway(0)).0,
    };
    run.note(format!("the client of a gateway that is {how}"), end);
    let gone = timeout(IN_VAIN, bob.hear()).await.ok();
    run.note(format!("what the other gateway's client hears of it, {how}"), gone);
    listed(run, &[2]).await;
    let answers = (bob.ask("count").await, bob.ask("members lobby").await);
    run.note(format!("how the other one's client is served, {how}"), answers);
    let list = run.caller.call("Gateway::getAllClientIdList()").await;
    run.note(format!("whom GatewayClient lists without the gateway, {how}"), list);
    run.cluster.start_gateway(0, run.who.gateway, 0).await;
    listed(run, &[1, 2]).await;
    run.cluster.ready().await;
    bob.heard().await;
    let mut cat = run.client("Cat", 0).await;
    cat.ask("login Cat").await;
    talk(run, &format!("once the gateway is back, {how}"), &mut cat, &mut bob).await;
    run.note_call(format!("GatewayClient once the gateway is back, {how}"), "Gateway::getAllUidCount()")
        .await;
    cat.leave().await;
    bob.leave().await;
}

/// A client of each gateway, in the lobby.
async fn two(run: &mut Run) -> (Client, Client) {
    let (mut ann, mut bob) = (run.client("Ann", 0).await, run.client("Bob", 1).await);
    ann.ask("login Ann").await;
    bob.ask("login Bob").await;
    (ann, bob)
}

/// Each of two clients sends a message to both.
async fn talk(run: &mut Run, when: &str, one: &mut Client, other: &mut Client) {
    one.say("say hi").await;
    let first = all_hear(&mut [one, other]).await;
    other.say("group lobby hi").await;
    let second = all_hear(&mut [other, one]).await;
    run.note(format!("talk {when}"), (first, second));
}

/// Whether a new client is accepted.
async fn newcomer(listener: SocketAddr) -> bool {
    match Client::connect(listener, "/").await {
        Ok(client) => {
            client.leave().await;
            true
        }
        Err(_) => false,
    }
}

/// Waits until the register lists these gateways, and no others.
async fn listed(run: &mut Run, gateways: &[usize]) {
    eventually("the register's list to be right", async || run.cluster.listed().await == gateways).await;
}
