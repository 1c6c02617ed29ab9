//! The program of the guide's page about clients does in a browser what the page says.

use std::time::Duration;

use gatewayworker_tests::{Cluster, browser};

const GUIDE: &str = include_str!("../../../docs/guide/writing-a-client.md");
const LIMIT: Duration = Duration::from_secs(20);

pub(crate) async fn the_program_of_the_guide_answers_pings_and_comes_back() {
    let (_, rest) = GUIDE.split_once("```js\n").expect("the page has a program");
    let (program, _) = rest.split_once("```").expect("the program has an end");
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
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("client.html");
    std::fs::write(&file, page).unwrap();
    let browser = browser::launch(&[]).await;
    let page = browser.open(&format!("file://{}", file.display())).await.unwrap();
    page.wait_for("pongs >= 3", LIMIT).await.unwrap();
    assert_eq!(page.eval::<u32>("greetings").await.unwrap(), 1, "it is connected once");
    cluster.restart_gateway(0).await;
    page.wait_for("greetings === 2", LIMIT).await.unwrap();
}
