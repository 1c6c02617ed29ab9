//! The programs of the guide's page about clients do in a browser what the page says.

use std::time::Duration;

use gatewayworker_tests::browser::{Browser, Page};
use gatewayworker_tests::{Cable, Cluster, browser, eventually, programs};
use tempfile::TempDir;

const GUIDE: &str = include_str!("../../../docs/guide/writing-a-client.md");
const LIMIT: Duration = Duration::from_secs(20);

/// Returns the guide's program that has this text.
fn program_with(text: &str) -> &'static str {
    let mut programs =
        GUIDE.split("```js\n").skip(1).map(|rest| rest.split("```").next().expect("it has an end"));
    programs.find(|program| program.contains(text)).expect("the page has the program")
}

/// Opens a page with this content. The folder has its file.
async fn open(browser: &Browser, page: &str) -> (Page, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("client.html");
    std::fs::write(&file, page).unwrap();
    (browser.open(&format!("file://{}", file.display())).await.unwrap(), directory)
}

pub(crate) async fn the_program_with_the_library_loses_nothing_over_a_cut() {
    let library = std::fs::read_to_string(programs::clients_js().join("dist/gatewayworker-client.min.js"));
    let cluster = Cluster::builder().gateway(|config| config.resume = true).start().await;
    let cable = Cable::lay(cluster.listener(), 1).await;
    let page = format!(
        "<script>{}</script><script>
        const url = 'ws://{}', name = 'lena', shown = [], banners = [];
        const show = (message) => shown.push(message), banner = (text) => banners.push(text), giveBack = show;
        {}</script>",
        library.unwrap(),
        cable.address,
        // The application greets with an id, which is no JSON.
        program_with("GatewayWorker.connect").replace("JSON.parse(text)", "text"),
    );
    let browser = browser::launch(&[]).await;
    let (page, _file) = open(&browser, &page).await;
    page.wait_for("shown.length === 2", LIMIT).await.unwrap();
    let api = cluster.api().await;
    let id = page.eval::<String>("client.id").await.unwrap().parse().unwrap();
    eventually("the admission", async || api.is_online(id).await.unwrap()).await;
    cable.pull();
    page.wait_for("banners.length === 1", LIMIT).await.unwrap();
    page.eval::<Option<bool>>("say('while away')").await.unwrap();
    cable.plug();
    page.wait_for("shown.length === 3 && shown[2].includes('while away')", LIMIT).await.unwrap();
    assert_eq!(page.eval::<String>("banners.join()").await.unwrap(), "connection lost, coming back,");
}

pub(crate) async fn the_program_of_the_guide_answers_pings_and_comes_back() {
    let program = program_with("const SILENCE_MS");
    let mut cluster = Cluster::builder().gateway(|config| config.ping_interval = 1.0).start().await;
    let url = format!("ws://{}", cluster.listener());
    let page = format!(
        "<script>{program}
        let greetings = 0, pongs = 0;
        const send = WebSocket.prototype.send;
        WebSocket.prototype.send = function (message) {{ pongs += 1; send.call(this, message); }};
        connect({url:?}, (message) => greetings += /^[0-9a-f]{{20}}$/.test(message));
        </script>"
    );
    let browser = browser::launch(&[]).await;
    let (page, _file) = open(&browser, &page).await;
    page.wait_for("pongs >= 3", LIMIT).await.unwrap();
    assert_eq!(page.eval::<u32>("greetings").await.unwrap(), 1, "it is connected once");
    cluster.restart_gateway(0).await;
    page.wait_for("greetings === 2", LIMIT).await.unwrap();
}
