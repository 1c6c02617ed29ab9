//! Compression with a real browser, which offers permessage-deflate by itself: straight, and through nginx.

use std::path::Path;
use std::time::Duration;

use gatewayworker_tests::browser::{self, Browser};
use gatewayworker_tests::metrics::Scrape;
use gatewayworker_tests::{Cluster, eventually};

use super::nginx::Nginx;

const LIMIT: Duration = Duration::from_secs(20);

/// What the page sends, and what comes back: some JSON.
const MESSAGE: &str =
    "JSON.stringify([...Array(300).keys()].map(n => ({id: n, name: `client ${n}`, up: true})))";

/// Any page that connects to nobody by itself.
fn page_url() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/console.html");
    format!("file://{}", file.canonicalize().expect("the page is there").display())
}

/// A cluster whose worker greets and echoes.
async fn compressing() -> Cluster {
    let web = "[[listen]]\nurl = 'websocket://127.0.0.1:0'\ncompression = true\n";
    let text = "[[listen]]\nurl = 'text://127.0.0.1:0'\n";
    Cluster::builder().listen(&[web, text].concat()).metrics().start().await
}

/// A page sends a long message, and gets it back; it is compressed on both ways.
async fn a_page_echoes(browser: &Browser, cluster: &Cluster, url: &str) {
    let page = browser.open(&page_url()).await.unwrap();
    let script = format!(
        "window.sent = {MESSAGE}; window.got = []; window.ws = new WebSocket('{url}');
         ws.onmessage = event => {{ got.push(event.data); if (got.length === 1) ws.send(sent); }}; sent.length"
    );
    let length: f64 = page.eval(&script).await.unwrap();
    page.wait_for("got.length === 2", LIMIT).await.unwrap();
    let is_same: bool = page.eval("got[1] === sent").await.unwrap();
    assert!(is_same);
    let extensions: String = page.eval("ws.extensions").await.unwrap();
    assert!(extensions.contains("permessage-deflate"), "{extensions:?}");
    let daemon = cluster.gateways[0].metrics.unwrap();
    eventually("both ways to be counted", async || {
        let scrape = Scrape::of(daemon).await;
        ["in", "out"].iter().all(|direction| {
            let bytes = |kind| {
                let name = format!("gatewayworker_compression_{kind}_bytes_total");
                scrape.get(&format!("{name}{{direction=\"{direction}\"}}"))
            };
            bytes("plain") >= length && bytes("wire") > 0.0 && bytes("wire") < bytes("plain") / 3.0
        })
    })
    .await;
}

pub(crate) async fn a_page_and_the_gateway_compress_both_ways() {
    let browser = browser::launch(&[]).await;
    let cluster = compressing().await;
    a_page_echoes(&browser, &cluster, &format!("ws://{}/", cluster.listener())).await;
}

pub(crate) async fn behind_nginx_a_page_and_the_gateway_compress_both_ways() {
    // No authority has signed the certificate of nginx.
    let browser = browser::launch(&["--ignore-certificate-errors"]).await;
    let cluster = compressing().await;
    let [web, text] = cluster.gateways[0].listeners[..] else { panic!("two listeners") };
    let nginx = Nginx::start(&[web], text).await;
    a_page_echoes(&browser, &cluster, &format!("wss://{}/ws", nginx.web)).await;
}
