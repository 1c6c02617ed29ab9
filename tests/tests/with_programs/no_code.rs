//! `examples/no-code/index.html` in a real browser, with the stock worker as a process and no application.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gatewayworker_auth::SigningKey;
use gatewayworker_tests::browser::{self, Browser, Page};
use gatewayworker_tests::languages::{LANGUAGES, foreign};
use gatewayworker_tests::process::Process;
use gatewayworker_tests::{Cable, Cluster, HTTP_TOKEN, HttpRequest, eventually};
use serde_json::json;

const SECRET: &str = "a secret of more than thirty-two bytes";
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
    url_at(cluster.listener()) + more
}

/// The page's URL, with the address of a gateway.
fn url_at(gateway: SocketAddr) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/no-code/index.html");
    let file = file.canonicalize().expect("the page is there");
    format!("file://{}?url=ws://{gateway}", file.display())
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
    let cluster = Cluster::builder().workers(0).gateway(|config| config.resume = true).start().await;
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

/// Waits until a page shows this state.
async fn state(page: &Page, state: &str) {
    let condition = format!("document.querySelector('#status').dataset.state === {state:?}");
    page.wait_for(&condition, LIMIT).await.unwrap();
}

/// Returns a token of this uid that is good for so many seconds.
fn token(uid: &str, name: &str, seconds: u64) -> String {
    let exp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + seconds;
    let claims = json!({"sub": uid, "session": {"name": name}, "exp": exp});
    SigningKey::hs256(SECRET).sign(claims.as_object().unwrap(), None).unwrap()
}

/// A gateway as that of the example. Its first listener asks for no tokens: by it the builder sees that all are linked.
async fn cluster_with_tokens() -> Cluster {
    let free = "{ url = 'websocket://127.0.0.1:0', auth = false }";
    let listen = format!("listen = [{free}, 'websocket://127.0.0.1:0']");
    let cluster = Cluster::builder().workers(0).listen(&listen).gateway(|config| {
        config.resume = true;
        config.auth = toml::from_str(&format!("hs256_secret = '{SECRET}'\nleeway_s = 0")).unwrap();
        config.presence = toml::from_str("groups = ['room-*']\ndata = ['name']").unwrap();
    });
    cluster.start().await
}

pub(crate) async fn a_pulled_cable_loses_no_message_and_nobody_is_shown_leaving() {
    let browser = browser::launch(&[]).await;
    let cluster = cluster_with_tokens().await;
    let _worker = stock_worker(&cluster, gatewayworker_tests::process::free_port()).await;
    let listener = cluster.gateways[0].listeners[1];
    let cable = Cable::lay(listener, 1).await;
    let url = |address, token: &str| format!("{}&lang=en&token={token}", url_at(address));
    let bob = open(&browser, &url(listener, &token("bob", "Bob", 3600))).await;
    let ann = open(&browser, &url(cable.address, &token("ann", "Ann", 3600))).await;
    shown(&bob, "note", "Ann has come").await;
    cable.pull();
    state(&ann, "away").await;
    say(&ann, "one").await;
    say(&ann, "two").await;
    say(&bob, "are you there?").await;
    shown(&bob, "message", "Bobare you there?").await;
    cable.plug();
    state(&ann, "open").await;
    for page in [&ann, &bob] {
        for text in ["Bobare you there?", "Annone", "Anntwo"] {
            shown(page, "message", text).await;
        }
        let notes = "[...document.querySelectorAll('#messages .note')].map((row) => row.textContent).join()";
        let notes = page.eval::<String>(notes).await.unwrap();
        assert!(!notes.contains("has left") && !notes.contains("arrived"), "{notes}");
    }
    let here = "document.querySelector('#members').textContent";
    ann.wait_for(&format!("{here} === 'Here: Bob, Ann'"), LIMIT).await.unwrap();
}

pub(crate) async fn a_page_whose_gateway_stops_joins_again_and_says_what_may_not_have_arrived() {
    let browser = browser::launch(&[]).await;
    let mut cluster = Cluster::builder().workers(0).gateway(|config| config.resume = true).start().await;
    let _worker = stock_worker(&cluster, gatewayworker_tests::process::free_port()).await;
    let cable = Cable::lay(cluster.listener(), 1).await;
    let page = open(&browser, &format!("{}&lang=en", url_at(cable.address))).await;
    cable.pull();
    state(&page, "away").await;
    say(&page, "said too late").await;
    cluster.restart_gateway(0).await;
    cable.plug();
    state(&page, "open").await;
    shown(&page, "note", "this may not have arrived: said too late").await;
    assert_eq!(
        page.eval::<String>("document.querySelector('#message').value").await.unwrap(),
        "said too late"
    );
    page.press_enter().await.unwrap();
    shown(&page, "message", "somebodysaid too late").await;
}

pub(crate) async fn a_token_that_is_refused_is_shown_as_such_before_and_after_it_has_ended() {
    let browser = browser::launch(&[]).await;
    let cluster = cluster_with_tokens().await;
    let _worker = stock_worker(&cluster, gatewayworker_tests::process::free_port()).await;
    let url = |token: &str| format!("{}&lang=en&token={token}", url_at(cluster.gateways[0].listeners[1]));
    state(&browser.open(&url("nonsense")).await.unwrap(), "refused").await;
    let page = open(&browser, &url(&token("ann", "Ann", 6))).await;
    state(&page, "refused").await;
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
