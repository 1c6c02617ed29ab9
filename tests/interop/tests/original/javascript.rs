//! The library for JavaScript with a gateway and a worker of the original's: a plain client that comes back.

use gatewayworker_interop::cluster::{Cluster, arrive};
use gatewayworker_interop::combination::{Combination, Kind};
use gatewayworker_interop::php::php;
use gatewayworker_tests::{Cable, NodeProgram, browser, programs};
use serde_json::{Value, json};

const PONG: &str = r#"{"type":"pong"}"#;
const WORKER: &str = env!("CARGO_BIN_EXE_interop-worker");

/// Starts the original with a gateway that pings each second, and closes a client that does not answer. Returns a cable to it.
async fn start() -> (Cluster, Cable) {
    let mut cluster = Cluster::start(&php(), WORKER, "", Combination::ORIGINAL).await;
    let place = cluster.add_place();
    cluster.start_gateway(place, Kind::Php, 1).await;
    let listener = cluster.gateways[place].listener;
    arrive(listener).await.leave().await;
    (cluster, Cable::lay(listener, 1).await)
}

/// Returns what happens next. The application echoes pongs, too.
async fn next(client: &mut NodeProgram) -> Value {
    loop {
        let line = client.json().await;
        if line != json!(["message", PONG]) {
            return line;
        }
    }
}

/// Waits until the client is in, and returns the id of the greeting.
async fn opened(client: &mut NodeProgram) -> String {
    let mut happened = next(client).await;
    while happened[0] == "close" && happened[1]["back"] == true {
        happened = next(client).await;
    }
    assert_eq!(happened, json!(["open", {"resumable": false}]));
    let greeting = next(client).await;
    let id = greeting[1].as_str().and_then(|text| text.strip_prefix("hello "));
    id.unwrap_or_else(|| panic!("no greeting: {greeting}")).to_owned()
}

#[tokio::test]
async fn in_node_it_answers_pings_and_comes_back_as_a_new_client() {
    let (mut cluster, cable) = start().await;
    let mut client = NodeProgram::client();
    let url = format!("ws://{}", cable.address);
    client.say("pongs = 0; send = WebSocket.prototype.send");
    client.say(
        "WebSocket.prototype.send = function (text) { \
            if (text.includes('pong') && ++pongs === 3) tell('three pings'); send.call(this, text) }",
    );
    client.say(&format!("start({url:?}, {{ resume: true, minDelay: 20 }})"));
    let id = opened(&mut client).await;
    client.say("client.send('one'); client.send('two')");
    assert_eq!(next(&mut client).await, json!(["message", "one"]));
    assert_eq!(next(&mut client).await, json!(["message", "two"]));
    assert_eq!(next(&mut client).await, json!(["three pings"]), "pings are not shown");

    cable.pull();
    assert_eq!(next(&mut client).await[0], "close");
    client.say("client.send('said while away')");
    cable.plug();
    let newer = opened(&mut client).await;
    assert_ne!(newer, id);
    assert_eq!(next(&mut client).await, json!(["message", "said while away"]));

    let place = cluster.gateways.len() - 1;
    cluster.stop_gateway(place).await;
    assert_eq!(next(&mut client).await[0], "close");
    cluster.start_gateway(place, Kind::Php, 1).await;
    opened(&mut client).await;
    client.ends().await;
}

/// A browser fails a connection whose offer of subprotocols is not answered.
#[tokio::test]
async fn in_a_browser_it_connects_without_its_offer_and_comes_back() {
    let (_cluster, cable) = start().await;
    let library = programs::clients_js().join("dist/gatewayworker-client.min.js");
    let library = std::fs::read_to_string(library).expect("the library");
    let directory = tempfile::tempdir().expect("a folder");
    let page = format!(
        "<script>{library}</script><script>
        const happened = [], heard = [];
        const client = GatewayWorker.connect('ws://{}', {{ resume: true, minDelay: 20 }});
        for (const name of ['open', 'detached', 'resumed', 'lost', 'close']) client.on(name, () => happened.push(name));
        client.on('message', (text) => text === '{PONG}' || heard.push(text));
        </script>",
        cable.address
    );
    let file = directory.path().join("page.html");
    std::fs::write(&file, page).expect("it is written");
    let browser = browser::launch(&[]).await;
    let page = browser.open(&format!("file://{}", file.display())).await.expect("it opens");
    let limit = gatewayworker_tests::LIMIT;
    let heard = async |condition: &str| page.wait_for(condition, limit).await.expect("it is heard");
    heard("heard.length === 1 && heard[0].startsWith('hello ')").await;
    page.eval::<Value>("client.send('hi')").await.expect("it runs");
    heard("heard[1] === 'hi'").await;
    cable.pull();
    heard("happened.length >= 2").await;
    page.eval::<Value>("client.send('said while away')").await.expect("it runs");
    cable.plug();
    heard("heard[3] === 'said while away' && heard[2] !== heard[0]").await;
    let happened: Vec<String> = page.eval("happened").await.expect("it runs");
    assert_eq!((&*happened[0], &*happened[1]), ("open", "close"));
    assert!(happened.iter().filter(|name| *name == "open").count() == 2, "{happened:?}");
    assert!(happened.iter().all(|name| name == "open" || name == "close"), "{happened:?}");
}
