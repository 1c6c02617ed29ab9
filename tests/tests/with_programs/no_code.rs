//! `examples/no-code/index.html` in a real browser, with the stock worker as a process and no application.

use std::path::Path;
use std::time::Duration;

use gatewayworker_tests::browser::{self, Browser, Page};
use gatewayworker_tests::languages::{LANGUAGES, foreign};
use gatewayworker_tests::process::Process;
use gatewayworker_tests::{Cluster, HTTP_TOKEN, HttpRequest, eventually};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(20);

/// Starts the stock worker, whose clients may do what the example lets them.
async fn stock_worker(cluster: &Cluster, http: u16) -> Process {
    let (register, http) = (cluster.register.to_string(), format!("127.0.0.1:{http}"));
    let worker = Process::start(&[
        "businessworker",
        "--register-address",
        &register,
        "--client-calls-join=room-*",
        "--client-calls-publish=room-*",
        "--client-calls-presence=room-*",
        "--http-listen",
        &http,
        "--http-token",
        HTTP_TOKEN,
    ]);
    eventually("the worker to be linked", async || {
        let Ok(stream) = tokio::net::TcpStream::connect(&http).await else { return false };
        drop(stream);
        let health = HttpRequest::new(http.parse().unwrap(), "GET", "/v1/health").send().await;
        health.status == 200
    })
    .await;
    worker
}

fn url_of(cluster: &Cluster, more: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/no-code/index.html");
    let file = file.canonicalize().expect("the page is there");
    format!("file://{}?url=ws://{}{more}", file.display(), cluster.listener())
}

async fn open(browser: &Browser, url: &str) -> Page {
    let page = browser.open(url).await.expect("the page opens");
    page.wait_for("document.querySelector('#status').dataset.state === 'open'", LIMIT).await.unwrap();
    page
}

async fn say(page: &Page, text: &str) {
    page.type_into("#message", text).await.unwrap();
    page.press_enter().await.unwrap();
}

/// Waits until a page shows a line.
async fn shown(page: &Page, class: &str, text: &str) {
    let find = format!(
        "[...document.querySelectorAll('#messages .{class}')].filter(row => row.textContent === {text:?}).length === 1"
    );
    page.wait_for(&find, LIMIT).await.unwrap_or_else(|error| panic!("{text:?} is not shown once: {error}"));
}

pub(crate) async fn two_browsers_chat_without_an_application_and_a_backend_pushes_to_them() {
    let browser = browser::launch(&[]).await;
    let cluster = Cluster::builder().workers(0).start().await;
    let http = gatewayworker_tests::process::free_port();
    let _worker = stock_worker(&cluster, http).await;
    let one = open(&browser, &url_of(&cluster, "&lang=en&room=room-7")).await;
    let other = open(&browser, &url_of(&cluster, "&lang=en&room=room-7")).await;
    say(&one, "<b>hello</b>").await;
    for page in [&one, &other] {
        shown(page, "message", "somebody<b>hello</b>").await;
    }
    let address = ([127, 0, 0, 1], http).into();
    let params = json!({"group": "room-7", "message": {"sale": 1}});
    let pushed = HttpRequest::post(address, "/v1/send_to_group", &params).token(HTTP_TOKEN).send().await;
    assert_eq!(pushed.status, 200);
    for page in [&one, &other] {
        shown(page, "note", r#"{"sale":1}"#).await;
        assert_eq!((page.dialogs(), page.console_errors()), (0, Vec::new()));
    }
    let forbidden = browser.open(&url_of(&cluster, "&lang=en&room=lobby")).await.unwrap();
    forbidden
        .wait_for("document.querySelector('#messages .note')?.textContent.includes('allow')", LIMIT)
        .await
        .unwrap();
}

pub(crate) async fn the_page_speaks_the_language_of_its_user_and_no_other() {
    let browser = browser::launch(&[]).await;
    let cluster = Cluster::builder().workers(0).start().await;
    let _worker = stock_worker(&cluster, gatewayworker_tests::process::free_port()).await;
    for (language, lang) in LANGUAGES {
        let page = browser.open_in(language, &url_of(&cluster, "")).await.unwrap();
        page.wait_for("document.querySelector('#status').dataset.state === 'open'", LIMIT).await.unwrap();
        assert_eq!(page.eval::<String>("document.documentElement.lang").await.unwrap(), lang);
        assert_eq!(foreign(&page, &["GatewayWorker"]).await.unwrap(), Vec::<String>::new(), "{language}");
    }
}
