//! The library for JavaScript (`clients/js`) in Chromium: the page goes offline, its line dies, it is loaded again.

use std::time::Duration;

use gatewayworker::{ClientId, Gateway};
use gatewayworker_tests::browser::{self, Browser, Page};
use gatewayworker_tests::{Cable, Cluster, ClusterBuilder, Happened, eventually, programs};
use serde_json::{Value, json};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(20);

/// A page that has the library, and writes down what it says.
const PAGE: &str = "
    const events = [], heard = [];
    let pongs = 0;
    const send = WebSocket.prototype.send;
    WebSocket.prototype.send = function (message) {
        pongs += message === '{\"type\":\"pong\"}';
        send.call(this, message);
    };
    const client = GatewayWorker.connect(URL, { resume: true, ...OPTIONS });
    for (const name of ['open', 'detached', 'resumed', 'lost', 'close']) client.on(name, () => events.push(name));
    client.on('message', (message) => {
        if (message === '{\"type\":\"pong\"}') return; // the application echoes them too
        heard.push(message);
        sessionStorage.heard = (sessionStorage.heard ?? '') + `${message};`;
    });
";

/// Opens such a page, and waits until it is in. `options` is JavaScript.
async fn open(browser: &Browser, cable: &Cable, options: &str) -> (Page, TempDir) {
    let library = programs::clients_js().join("dist/gatewayworker-client.min.js");
    let directory = tempfile::tempdir().unwrap();
    std::fs::copy(library, directory.path().join("client.js")).unwrap();
    let program = PAGE.replace("URL", &format!("'ws://{}'", cable.address)).replace("OPTIONS", options);
    let file = directory.path().join("page.html");
    std::fs::write(&file, format!("<script src='client.js'></script><script>{program}</script>")).unwrap();
    let page = browser.open(&format!("file://{}", file.display())).await.unwrap();
    page.wait_for("heard.length === 1", LIMIT).await.unwrap();
    (page, directory)
}

fn builder() -> ClusterBuilder {
    Cluster::builder().gateway(|config| config.resume = true)
}

/// Returns the id of a page's client, when it is admitted: before that, a cut would be its end.
async fn admitted(page: &Page, api: &Gateway) -> ClientId {
    let id: ClientId = page.eval::<String>("client.id").await.unwrap().parse().unwrap();
    eventually("the admission", async || api.is_online(id).await.unwrap()).await;
    id
}

async fn events(page: &Page) -> Vec<String> {
    page.eval("events").await.unwrap()
}

/// Waits until the page has heard these texts behind the greeting, and no others.
async fn heard(page: &Page, texts: &[&str]) {
    let condition = format!("JSON.stringify(heard.slice(1)) === {}", json!(json!(texts).to_string()));
    page.wait_for(&condition, LIMIT).await.unwrap();
}

async fn offline(page: &Page, is_offline: bool) {
    page.command("Network.enable", json!({})).await.unwrap();
    let conditions =
        json!({ "offline": is_offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1 });
    page.command("Network.emulateNetworkConditions", conditions).await.unwrap();
}

pub(crate) async fn a_page_that_was_offline_comes_back_at_once_and_nothing_is_lost_in_either_direction() {
    let browser = browser::launch(&[]).await;
    let cluster = builder().start().await;
    let cable = Cable::lay(cluster.listener(), 1).await;
    // Only the browser's event brings it back within the test.
    let (page, _files) = open(&browser, &cable, "{ minDelay: 1e6, maxDelay: 1e6 }").await;
    let api = cluster.api().await;
    let id = admitted(&page, &api).await;
    offline(&page, true).await;
    // The switch leaves connections of before open.
    cable.pull();
    page.wait_for("client.state === 'detached'", LIMIT).await.unwrap();
    page.eval::<Value>("client.send('one'); client.send('two')").await.unwrap();
    for text in ["three", "four"] {
        api.send_to_client(id, text).await.unwrap();
    }
    cable.plug();
    offline(&page, false).await;
    // What has waited at the gateway, and then the echoes.
    heard(&page, &["three", "four", "one", "two"]).await;
    assert_eq!(events(&page).await, ["open", "detached", "resumed"]);
    assert_eq!(cluster.events().next_but_cuts().await, Happened::Connect(id));
    for text in ["one", "two"] {
        assert_eq!(cluster.events().next_but_cuts().await, Happened::Message(id, text.into()));
    }
    assert!(cluster.events().is_quiet().await, "neither on_connect nor on_close runs for a cut");
}

pub(crate) async fn a_line_that_dies_without_a_word_is_noticed_and_nothing_is_lost() {
    let browser = browser::launch(&[]).await;
    let cluster = builder().gateway(|config| config.resume_ping_ms = 1000).start().await;
    let cable = Cable::lay(cluster.listener(), 1).await;
    let (page, _files) = open(&browser, &cable, "{}").await;
    let api = cluster.api().await;
    let id = admitted(&page, &api).await;
    cable.deaden();
    // Both sides still take the line for alive.
    page.eval::<Value>("client.send('up')").await.unwrap();
    api.send_to_client(id, "down").await.unwrap();
    heard(&page, &["down", "up"]).await;
    assert_eq!(events(&page).await, ["open", "detached", "resumed"]);
}

pub(crate) async fn a_page_that_is_loaded_again_is_the_same_client_if_it_wants() {
    let browser = browser::launch(&[]).await;
    let cluster = builder().start().await;
    let cable = Cable::lay(cluster.listener(), 1).await;
    let (page, _files) = open(&browser, &cable, "{ store: 'client' }").await;
    let api = cluster.api().await;
    let id = admitted(&page, &api).await;
    page.eval::<Value>("cut = true; setTimeout(() => { client.send('said last'); location.reload(); })")
        .await
        .unwrap();
    page.wait_for("typeof cut === 'undefined' && events.length === 1", LIMIT).await.unwrap();
    assert_eq!(
        (events(&page).await, page.eval::<String>("client.id").await.unwrap()),
        (vec!["resumed".into()], id.to_string())
    );
    // Heard before or after the page was loaded again, but not twice.
    let all = format!("sessionStorage.heard === '{id};said last;'");
    page.wait_for(&all, LIMIT).await.unwrap();
    page.close().await.unwrap();
}

pub(crate) async fn with_a_gateway_that_does_not_know_it_the_library_is_a_plain_client_that_comes_back() {
    let browser = browser::launch(&[]).await;
    let mut cluster = Cluster::builder().gateway(|config| config.ping_interval = 1.0).start().await;
    let cable = Cable::lay(cluster.listener(), 1).await;
    let (page, _files) = open(&browser, &cable, "{ minDelay: 50 }").await;
    page.eval::<Value>("client.send('hello')").await.unwrap();
    heard(&page, &["hello"]).await;
    // The gateway closes a client that does not answer its pings.
    page.wait_for("pongs >= 3", LIMIT).await.unwrap();
    assert_eq!(page.eval::<usize>("heard.length").await.unwrap(), 2, "pings are not shown");
    assert_eq!(events(&page).await, ["open"]);
    cluster.restart_gateway(0).await;
    page.wait_for("events.at(-1) === 'open' && heard.length === 3", LIMIT).await.unwrap();
    cable.pull();
    page.wait_for("client.state === 'connecting'", LIMIT).await.unwrap();
    page.eval::<Value>("client.send('said while away')").await.unwrap();
    cable.plug();
    page.wait_for("heard.at(-1) === 'said while away'", LIMIT).await.unwrap();
    let mut events = events(&page).await;
    // Each attempt that fails meanwhile is a `close`, too.
    events.dedup();
    assert_eq!(events, ["open", "close", "open", "close", "open"]);
}
