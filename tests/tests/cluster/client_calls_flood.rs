//! A client that joins thousands of groups without waiting for the answers: it comes to no more than the guide says
//! (docs/guide/no-code.md), and others are served meanwhile.

use std::sync::{Arc, OnceLock};

use gatewayworker::businessworker::{ClientCalls, ClientCallsConfig};
use gatewayworker::{Events, Gateway, Result};
use gatewayworker_tests::{Cluster, WsClient};
use serde_json::json;

/// How many groups the flood joins.
const JOINS: usize = 3_000;

/// In how many groups a client may be.
const MAX_GROUPS: usize = 10;

/// How many events a gateway gives ahead: a client that does not wait may come to so many groups more.
const AHEAD: usize = 256;

/// No application; it has the worker's handle for the test's questions.
#[derive(Clone, Default)]
struct Nothing(Arc<OnceLock<Gateway>>);

impl Events for Nothing {
    async fn on_worker_start(&self, gateway: &Gateway) -> Result {
        let _ = self.0.set(gateway.clone());
        Ok(())
    }
}

/// Joins `JOINS` groups, and reads no answer before all calls are sent. Returns how many were answered with `ok`, and the
/// client.
async fn flood(mut client: WsClient) -> (usize, WsClient) {
    for n in 0..JOINS {
        client.send_json(json!({"gw": "join", "group": format!("room-{n}")})).await;
    }
    let mut joined = 0;
    for _ in 0..JOINS {
        let answer = client.json().await;
        assert!(answer["ok"] == true || answer["error"] == "too-many", "{answer}");
        joined += usize::from(answer["ok"] == true);
    }
    (joined, client)
}

/// Lets a client flood the gateway, and another one publish meanwhile. Returns how many joins were answered with `ok`, and how
/// many groups the first is in.
async fn flood_beside_another(max_groups_per_client: Option<usize>) -> (usize, usize) {
    let cluster = Cluster::builder().workers(0).gateway(|config| {
        config.max_groups_per_client = max_groups_per_client.unwrap_or(config.max_groups_per_client);
    });
    let cluster = cluster.start().await;
    let mut config = ClientCallsConfig::default();
    (config.join, config.publish) = (vec!["room-*".into(), "other".into()], vec!["other".into()]);
    config.max_groups = MAX_GROUPS;
    let nothing = Nothing::default();
    let _worker = cluster.start_application(ClientCalls::new(config, nothing.clone()));
    let mut other = WsClient::connect(cluster.listener()).await;
    other.send_json(json!({"gw": "join", "group": "other"})).await;
    assert_eq!(other.json().await, json!({"gw": "join", "ok": true}));

    let flood = tokio::spawn(flood(WsClient::connect(cluster.listener()).await));
    let mut served = 0;
    while !flood.is_finished() {
        other.send_json(json!({"gw": "publish", "group": "other", "message": served})).await;
        assert_eq!(other.json().await["message"], served);
        assert_eq!(other.json().await, json!({"gw": "publish", "ok": true}));
        served += 1;
    }
    assert!(served > 10, "{served} calls of another client were served during the flood");
    let (joined, _client) = flood.await.unwrap();
    let groups = nothing.0.get().unwrap().group_ids().await.unwrap().len() - 1;
    (joined, groups)
}

#[tokio::test]
async fn a_flood_of_joins_stays_within_what_the_guide_says_and_holds_nobody_up() {
    let (joined, groups) = flood_beside_another(None).await;
    assert_eq!(groups, joined, "it is in all groups that it was told");
    assert!((MAX_GROUPS..=MAX_GROUPS + AHEAD).contains(&groups), "{groups}");
}

#[tokio::test]
async fn the_limit_of_the_gateway_is_exact_in_a_flood_of_joins() {
    let limit = MAX_GROUPS + 5;
    let (joined, groups) = flood_beside_another(Some(limit)).await;
    assert!((MAX_GROUPS..=limit).contains(&groups) && groups <= joined, "{groups} of {joined}");
}
