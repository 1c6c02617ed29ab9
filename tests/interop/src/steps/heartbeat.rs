//! Pings to clients, by one more gateway that has a short interval.

use super::Run;

const PING: &str = r#"{"type":"ping"}"#;

pub(super) async fn run(run: &mut Run) {
    let place = run.cluster.add_place();
    run.cluster.start_gateway(place, run.who.gateway, 1).await;
    let mut silent = run.client("Silent", place).await;
    let mut lively = run.client("Lively", place).await;
    let answering = async {
        let mut heard = Vec::new();
        for _ in 0..3 {
            let ping = lively.heard_before(PING).await;
            heard.push(ping);
            heard.push(lively.heard().await);
        }
        heard
    };
    let (end, answered) = tokio::join!(silent.heard_before(""), answering);
    run.note("a client that does not answer pings", end);
    run.note("one that does, three times", answered);
    lively.leave().await;
    run.cluster.stop_gateway(place).await;
    gatewayworker_tests::eventually("the register to drop the gateway", async || {
        run.cluster.listed().await == [1, 2]
    })
    .await;
}
