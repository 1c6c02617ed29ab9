//! The library for JavaScript in a mini program: Node with `wx` of `clients/js/test/reference/wx.mjs`.

use gatewayworker_tests::{Cable, Cluster, ClusterBuilder, Happened, NodeProgram, eventually};
use serde_json::json;

fn builder() -> ClusterBuilder {
    Cluster::builder().gateway(|config| config.resume = true)
}

/// Waits until the client is in and admitted: before that a cut would be its end. Returns its id.
async fn admitted(client: &mut NodeProgram, cluster: &Cluster) -> String {
    let open = client.json().await;
    assert_eq!((&open[0], &open[1]["resumable"]), (&json!("open"), &json!(true)), "{open}");
    let id = open[1]["client"].as_str().unwrap().to_owned();
    assert_eq!(client.json().await, json!(["message", id]));
    let api = cluster.api().await;
    eventually("the admission", async || api.is_online(id.parse().unwrap()).await.unwrap()).await;
    id
}

pub(crate) async fn a_mini_program_that_is_cut_comes_back_as_the_same_client_and_nothing_is_lost() {
    let cluster = builder().start().await;
    let cable = Cable::lay(cluster.listener(), 1).await;
    let mut client = NodeProgram::client();
    // Only the phone's network brings it back within the test.
    let options = "{ resume: true, minDelay: 1e6, maxDelay: 1e6, ...miniProgram(wx) }";
    client.say(&format!("start('ws://{}', {options})", cable.address));
    let id = admitted(&mut client, &cluster).await;
    client.say("client.send('text'); client.send(Uint8Array.of(0, 1, 255))");
    assert_eq!(client.json().await, json!(["message", "text"]));
    assert_eq!(client.json().await, json!(["message", {"bytes": [0, 1, 255]}]));

    cable.pull();
    assert_eq!(client.json().await[0], "detached");
    client.say("client.send('said while away')");
    let client_id = id.parse().unwrap();
    cluster.api().await.send_to_client(client_id, "heard while away").await.unwrap();
    cable.plug();
    client.say("setInterval(() => wx.network(true), 20).unref()");
    assert_eq!(client.json().await, json!(["resumed", {"client": id}]));
    assert_eq!(client.json().await, json!(["message", "heard while away"]));
    assert_eq!(client.json().await, json!(["message", "said while away"]));
    client.ends().await;
    let events = cluster.events();
    assert_eq!(events.next_but_cuts().await, Happened::Connect(client_id));
    for _ in ["text", "bytes", "said while away"] {
        assert!(matches!(events.next_but_cuts().await, Happened::Message(id, _) if id == client_id));
    }
    assert!(matches!(events.next_but_cuts().await, Happened::Close(id, _) if id == client_id));
}

pub(crate) async fn a_mini_program_that_is_seen_again_notices_a_dead_line() {
    let cluster = builder().start().await;
    let cable = Cable::lay(cluster.listener(), 1).await;
    let mut client = NodeProgram::client();
    client.say(&format!("start('ws://{}', {{ resume: true, ...miniProgram(wx) }})", cable.address));
    let id = admitted(&mut client, &cluster).await;
    cable.deaden();
    client.say("client.send('one more'); wx.show()");
    assert_eq!(client.json().await[0], "detached");
    assert_eq!(client.json().await, json!(["resumed", {"client": id}]));
    assert_eq!(client.json().await, json!(["message", "one more"]));
}

pub(crate) async fn where_the_platform_does_not_tell_the_subprotocol_it_is_a_plain_client() {
    for (resume, tells) in [(true, false), (false, true), (false, false)] {
        let cluster = builder().gateway(|config| config.resume = resume).start().await;
        let cable = Cable::lay(cluster.listener(), 1).await;
        let mut client = NodeProgram::client();
        client.say(&format!("wx.tells = {tells}"));
        let options = "{ resume: true, minDelay: 20, ...miniProgram(wx) }";
        client.say(&format!("start('ws://{}', {options})", cable.address));
        assert_eq!(client.json().await, json!(["open", {"resumable": false}]), "{resume} {tells}");
        assert_eq!(client.json().await[0], "message", "the greeting");
        cable.pull();
        let close = client.json().await;
        assert_eq!((&close[0], &close[1]["back"]), (&json!("close"), &json!(true)), "{close}");
        client.say("client.send('said while away')");
        cable.plug();
        // An attempt may have failed meanwhile.
        let mut happened = client.json().await;
        while happened[0] == "close" {
            happened = client.json().await;
        }
        assert_eq!(happened, json!(["open", {"resumable": false}]));
        assert_eq!(client.json().await[0], "message", "the greeting");
        assert_eq!(client.json().await, json!(["message", "said while away"]));
        client.ends().await;
    }
}
