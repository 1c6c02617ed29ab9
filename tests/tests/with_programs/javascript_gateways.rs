//! The library for JavaScript in Node where gateways change: it comes back through another one, and its own one stops.

use gatewayworker_tests::metrics::Scrape;
use gatewayworker_tests::{Cable, Cluster, ClusterBuilder, Happened, NodeProgram, eventually};
use serde_json::json;

fn builder() -> ClusterBuilder {
    // With a key of the cluster, gateways read each other's tokens.
    Cluster::builder().secret_key("a key").metrics().gateway(|config| config.resume = true)
}

/// Waits until the client is in and admitted: before that a cut would be its end. Returns its id.
async fn opened(client: &mut NodeProgram, cluster: &Cluster) -> String {
    let id = client.json().await;
    assert_eq!(id[0], "open", "{id}");
    let id = id[1]["client"].as_str().unwrap().to_owned();
    assert_eq!(client.json().await, json!(["message", id]));
    let api = cluster.api().await;
    eventually("the admission", async || api.is_online(id.parse().unwrap()).await.unwrap()).await;
    id
}

pub(crate) async fn through_another_gateway_it_is_the_same_client_and_everything_comes_once_and_in_order() {
    let cluster = builder().gateways(2).start().await;
    let [own, other] = [0, 1].map(|n| Cable::lay(cluster.gateways[n].listener, 1));
    let cables = [own.await, other.await];
    let mut client = NodeProgram::client();
    let urls = cables.each_ref().map(|cable| format!("ws://{}", cable.address));
    // Each attempt goes to the next gateway, as behind a balancer.
    client.say(&format!("urls = {}; attempts = 0", json!(urls)));
    client.say("start(() => urls[attempts++ % 2], { resume: true, minDelay: 20 })");
    let id = opened(&mut client, &cluster).await;
    let api = cluster.api().await;
    let (mut sent, mut now) = (0, 0);
    for _ in 0..6 {
        cables[now].pull();
        assert_eq!(client.json().await[0], "detached");
        for _ in 0..40 {
            sent += 1;
            client.say(&format!("client.send('up {sent}')"));
            api.send_to_client(id.parse().unwrap(), format!("down {sent}")).await.unwrap();
        }
        now = 1 - now;
        cables[now].plug();
        assert_eq!(client.json().await, json!(["resumed", {"client": id}]));
        // What has waited at the gateway, and then the echoes.
        for what in ["down", "up"] {
            for n in sent - 39..=sent {
                assert_eq!(client.json().await, json!(["message", format!("{what} {n}")]));
            }
        }
        let relays = Scrape::of(cluster.gateways[1].metrics.unwrap()).await;
        assert_eq!(relays.get("gatewayworker_relayed_connections"), now as f64, "it is the first gateway's");
    }
    client.ends().await;
    let id = id.parse().unwrap();
    assert_eq!(cluster.events().next_but_cuts().await, Happened::Connect(id));
    for n in 1..=sent {
        assert_eq!(cluster.events().next_but_cuts().await, Happened::Message(id, format!("up {n}").into()));
    }
    assert!(matches!(cluster.events().next_but_cuts().await, Happened::Close(client, _) if client == id));
}

pub(crate) async fn when_its_gateway_stops_the_page_knows_what_was_not_acknowledged() {
    let mut cluster = builder().start().await;
    let mut client = NodeProgram::client();
    // A client whose gateway stops comes back after a random time.
    client.say("Math.random = () => 0.02");
    client.say(&format!("start('ws://{}', {{ resume: true, minDelay: 20 }})", cluster.listener()));
    let id = opened(&mut client, &cluster).await;
    for text in ["one", "two"] {
        client.say(&format!("client.send({text:?})"));
        assert_eq!(client.json().await, json!(["message", text]));
    }
    let detached = async || {
        let detached = client.json().await;
        assert_eq!((&detached[0], &detached[1]["code"]), (&json!("detached"), &json!(1012)), "{detached}");
        client.say("client.send('three')");
    };
    cluster.restart_gateway_when(0, detached).await;
    let lost = json!({"why": "expired", "unacknowledged": ["one", "two", "three"], "written": 2});
    assert_eq!(client.json().await, json!(["lost", lost]));
    let newer = opened(&mut client, &cluster).await;
    assert_ne!(newer, id);
    client.say("client.send('again')");
    assert_eq!(client.json().await, json!(["message", "again"]));
    client.ends().await;
}

pub(crate) async fn when_its_gateway_stops_another_one_takes_it_as_a_new_client() {
    let mut cluster = builder().gateways(2).start().await;
    let urls = [0, 1].map(|n| format!("ws://{}", cluster.gateways[n].listener));
    let mut client = NodeProgram::client();
    client.say(&format!("Math.random = () => 0.02; urls = {}; attempts = 0", json!(urls)));
    client.say("start(() => urls[attempts++ % 2], { resume: true, minDelay: 20 })");
    opened(&mut client, &cluster).await;
    client.say("client.send('one')");
    assert_eq!(client.json().await, json!(["message", "one"]));
    cluster.gateways[0].stop().await;
    assert_eq!(client.json().await[0], "detached");
    let lost = json!({"why": "unknown", "unacknowledged": ["one"], "written": 1});
    assert_eq!(client.json().await, json!(["lost", lost]));
    opened(&mut client, &cluster).await;
    client.ends().await;
}
