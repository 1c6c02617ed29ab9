//! The library for JavaScript in Node where clients are admitted by tokens: it renews them, and comes back with fresh ones.

use gatewayworker_tests::metrics::Scrape;
use gatewayworker_tests::{Cable, Cluster, ClusterBuilder, NodeProgram, eventually};
use serde_json::{Value, json};

const SECRET: &str = "a secret of more than thirty-two bytes";

/// The first listener asks for no tokens: by it the builder sees that all are linked.
fn builder(resume: bool) -> ClusterBuilder {
    let free = "{ url = 'websocket://127.0.0.1:0', auth = false }";
    Cluster::builder().listen(&format!("listen = [{free}, 'websocket://127.0.0.1:0']")).gateway(
        move |config| {
            config.resume = resume;
            config.auth = toml::from_str(&format!("hs256_secret = '{SECRET}'\nleeway_s = 0")).unwrap();
        },
    )
}

/// Lays a cable to the listener that asks for tokens.
async fn cable(cluster: &Cluster) -> Cable {
    Cable::lay(cluster.gateways[0].listeners[1], 1).await
}

/// Starts a client whose tokens are good for so many seconds from when they are asked for: the first one, the second one, and
/// the last one always. It says when it asks, and where it knows when a token ends, it says so to the library.
fn start(cable: &Cable, lives: &[i32], knows_end: bool) -> NodeProgram {
    let mut client = NodeProgram::client();
    client.say(&format!("lives = {lives:?}; asked = 0"));
    client.say(&format!(
        "getToken = () => {{ \
            tell('asked', Date.now()); \
            const end = Math.floor(Date.now() / 1000) + (lives[asked++] ?? lives.at(-1)); \
            const token = sign({SECRET:?}, {{ sub: 'lena', exp: end }}); \
            return {knows_end} ? {{ token, exp: end }} : token; \
        }}"
    ));
    // All waits are as long as they may be.
    client.say(&format!(
        "Math.random = () => 1; start('ws://{}', {{ resume: true, getToken, minDelay: 20 }})",
        cable.address
    ));
    client
}

/// Returns what happens next, but for requests for tokens.
async fn next(client: &mut NodeProgram) -> Value {
    loop {
        let line = client.json().await;
        if line[0] != "asked" {
            return line;
        }
    }
}

/// Waits until the client is in, and returns the greeting, its id.
async fn opened(client: &mut NodeProgram, resumable: bool) -> String {
    let open = next(client).await;
    assert_eq!((&open[0], &open[1]["resumable"]), (&json!("open"), &json!(resumable)), "{open}");
    let greeting = next(client).await;
    assert_eq!(greeting[0], "message", "{greeting}");
    greeting[1].as_str().unwrap().to_owned()
}

pub(crate) async fn a_token_is_renewed_before_it_ends_and_the_client_is_the_same() {
    for resume in [true, false] {
        let cluster = builder(resume).start().await;
        let cable = cable(&cluster).await;
        let mut client = start(&cable, &[4, 3600], true);
        client.say("setTimeout(() => tell('the first one has ended'), 6000)");
        let id = opened(&mut client, resume).await;
        // Neither a cut nor the gateway's answer to the token comes before.
        assert_eq!(next(&mut client).await, json!(["the first one has ended"]));
        client.say("client.send('still here')");
        assert_eq!(next(&mut client).await, json!(["message", "still here"]));
        assert!(cluster.api().await.is_online(id.parse().unwrap()).await.unwrap());
        client.ends().await;
    }
}

pub(crate) async fn a_client_whose_token_has_ended_comes_back_with_a_fresh_one_and_is_a_new_one() {
    let cluster = builder(true).start().await;
    let cable = cable(&cluster).await;
    let mut client = start(&cable, &[4, 3600], false);
    let id = opened(&mut client, true).await;
    client.say("client.send('said before')");
    assert_eq!(next(&mut client).await, json!(["message", "said before"]));
    let detached = next(&mut client).await;
    assert_eq!((&detached[0], &detached[1]["code"]), (&json!("detached"), &json!(4401)), "{detached}");
    let lost = json!({"why": "expired", "unacknowledged": ["said before"], "written": 1});
    assert_eq!(next(&mut client).await, json!(["lost", lost]));
    let newer = opened(&mut client, true).await;
    assert_ne!(newer, id);
    client.ends().await;
}

pub(crate) async fn a_client_whose_token_ends_while_it_is_cut_off_stays_the_same_with_a_fresh_one() {
    let cluster = builder(true).metrics().start().await;
    let cable = cable(&cluster).await;
    // After the first one, the backend gives tokens that have ended.
    let mut client = start(&cable, &[4, -60], false);
    client.say("setTimeout(() => tell('the first one has ended'), 6000)");
    let id = opened(&mut client, true).await;
    let api = cluster.api().await;
    eventually("the admission", async || api.is_online(id.parse().unwrap()).await.unwrap()).await;
    cable.pull();
    assert_eq!(next(&mut client).await[0], "detached");
    client.say("client.send('said while away')");
    assert_eq!(next(&mut client).await, json!(["the first one has ended"]));
    cable.plug();
    let metrics = cluster.gateways[0].metrics.unwrap();
    eventually("a refusal", async || {
        Scrape::of(metrics).await.get("gatewayworker_tokens_refused_total{reason=\"expired\"}") >= 1.0
    })
    .await;
    client.say("lives = [3600]; client.wake()");
    assert_eq!(next(&mut client).await, json!(["resumed", {"client": id}]));
    assert_eq!(next(&mut client).await, json!(["message", "said while away"]));
    client.ends().await;
}

pub(crate) async fn a_token_that_is_refused_is_a_close_and_attempts_become_rare() {
    for resume in [true, false] {
        let cluster = builder(resume).start().await;
        let cable = cable(&cluster).await;
        let mut client = start(&cable, &[-60], false);
        let mut asked = Vec::new();
        for _ in 0..7 {
            let line = client.json().await;
            assert_eq!(line[0], "asked", "{line}");
            asked.push(line[1].as_f64().unwrap());
            let close = client.json().await;
            // Without `gw.1` the answer is 401, whose status a page does not see.
            let code = if resume { 4401 } else { 1006 };
            assert_eq!((&close[0], &close[1]["code"]), (&json!("close"), &json!(code)), "{close}");
            assert_eq!(close[1]["back"], true);
        }
        let waits: Vec<_> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let is_longer = |(n, wait): (usize, &f64)| *wait >= f64::from(20 << n) - 2.0;
        assert!(waits.iter().enumerate().all(is_longer), "each wait is twice as long: {waits:?}");
        client.ends().await;
    }
}
