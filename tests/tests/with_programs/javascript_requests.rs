//! `request` of the library for JavaScript in Node, with a router that repeats the id of a request.

use gatewayworker::router::Failure;
use gatewayworker::{Client, Events, Message, Result, Router};
use gatewayworker_tests::{Application, Cable, Cluster, NodeProgram};
use serde::Deserialize;
use serde_json::json;

/// Doubles numbers. It does not answer what names no method, and greets nobody.
struct Numbers(Router<()>);

#[derive(Deserialize)]
struct Double {
    n: u32,
}

async fn double((): &(), _: &Client, Double { n }: Double) -> std::result::Result<u32, Failure> {
    Ok(2 * n)
}

impl Events for Numbers {
    async fn on_message(&self, client: &Client, message: Message) -> Result {
        match message.text() {
            Ok(text) if text.contains("method") => self.0.handle(&(), client, &message).await,
            _ => Ok(()),
        }
    }
}

fn start_worker(cluster: &Cluster) -> Application {
    cluster.start_application(Numbers(Router::new().id_key("id").on("double", double)))
}

/// Starts a cluster with these numbers, and a client that is in.
async fn start() -> (Cluster, Application, Cable, NodeProgram) {
    let cluster = Cluster::builder().workers(0).gateway(|config| config.resume = true).start().await;
    let worker = start_worker(&cluster);
    let cable = Cable::lay(cluster.listener(), 1).await;
    let mut client = NodeProgram::client();
    // A client whose gateway stops comes back after a random time.
    client.say("Math.random = () => 0.02");
    client.say(&format!("start('ws://{}', {{ resume: true, minDelay: 20 }})", cable.address));
    client.say(
        "ask = (message, options) => client.request(message, options)\
         .then(({ status, param }) => tell('answer', status, param), ({ why }) => tell('no answer', why))",
    );
    assert_eq!(client.json().await[0], "open");
    // The worker has admitted it: before that a cut would be its end.
    client.say("ask({ method: 'double', n: 1 })");
    assert_eq!(client.json().await, json!(["answer", 200, 2]));
    (cluster, worker, cable, client)
}

pub(crate) async fn each_request_gets_the_answer_with_its_id_and_other_texts_are_messages() {
    let (_cluster, _worker, _cable, mut client) = start().await;
    client.say("ask({ method: 'double', n: 21 }); ask({ method: 'double', n: 5 })");
    client.say("ask({ method: 'halve', n: 21 }); client.send('{\"method\":\"double\",\"n\":4}')");
    let mut lines = Vec::new();
    for _ in 0..4 {
        lines.push(client.line().await);
    }
    lines.sort(); // a promise may tell of its answer after a message that came later
    let message = r#"["message","{\"status\":200,\"info\":\"success\",\"param\":8,\"event\":\"double\"}"]"#;
    assert_eq!(lines, [r#"["answer",200,10]"#, r#"["answer",200,42]"#, r#"["answer",404,null]"#, message]);
    client.ends().await;
}

pub(crate) async fn a_request_without_an_answer_ends_at_its_timeout_or_with_its_client() {
    let (_cluster, _worker, _cable, mut client) = start().await;
    client.say("ask({ n: 21 }, { timeout: 20 })");
    assert_eq!(client.json().await, json!(["no answer", "timeout"]));
    client.say("ask({ n: 21 }); client.close()");
    assert_eq!(client.json().await[0], "close");
    assert_eq!(client.json().await, json!(["no answer", "closed"]));
    client.say("ask({ n: 21 })");
    assert_eq!(client.json().await, json!(["no answer", "refused"]));
    client.ends().await;
}

pub(crate) async fn a_request_waits_through_a_cut_and_is_rejected_where_the_client_is_lost() {
    let (mut cluster, _worker, cable, mut client) = start().await;
    cable.pull();
    assert_eq!(client.json().await[0], "detached");
    client.say("ask({ method: 'double', n: 3 })");
    cable.plug();
    assert_eq!(client.json().await[0], "resumed");
    assert_eq!(client.json().await, json!(["answer", 200, 6]));

    client.say("ask({ n: 1 })");
    cluster.restart_gateway(0).await;
    assert_eq!(client.json().await[0], "detached");
    assert_eq!(client.json().await[0], "lost");
    let mut then = [client.json().await, client.json().await];
    then.sort_by_key(|line| line[0].to_string());
    assert_eq!((&then[0], &then[1][0]), (&json!(["no answer", "lost"]), &json!("open")));
    client.ends().await;
}
