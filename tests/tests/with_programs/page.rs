//! `examples/client.html` in a real browser, with two users.

use std::path::Path;
use std::time::Duration;

use gatewayworker_tests::browser::{self, Browser, Page};
use gatewayworker_tests::{Application, Cluster};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(20);

async fn chat(cluster: &Cluster) -> Application {
    cluster.start_application(chat::Chat::default())
}

async fn at_the_entrance(browser: &Browser, cluster: &Cluster) -> Page {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/client.html");
    let file = file.canonicalize().expect("the page is there");
    let url = format!("file://{}?lang=en&url=ws://{}", file.display(), cluster.door());
    browser.open(&url).await.expect("the page opens")
}

async fn enter(page: &Page, name: &str) {
    page.type_into("#username", name).await.unwrap();
    page.click("#login-btn").await.unwrap();
    state(page, "connected").await;
}

async fn log_in(browser: &Browser, cluster: &Cluster, name: &str) -> Page {
    let page = at_the_entrance(browser, cluster).await;
    enter(&page, name).await;
    page
}

async fn state(page: &Page, state: &str) {
    let condition = format!("document.querySelector('#status').dataset.state === '{state}'");
    page.wait_for(&condition, LIMIT).await.unwrap_or_else(|e| panic!("the page is not {state}: {e}"));
}

async fn say(page: &Page, text: &str) {
    page.type_into("#message-input", text).await.unwrap();
    page.press_enter().await.unwrap();
}

/// Waits for a message, and returns who it is from and whether it is shown as one's own.
async fn hear(page: &Page, text: &str) -> (String, String) {
    let find = format!(
        "[...document.querySelectorAll('.message[data-kind=chat]')].filter(m => m.querySelector('.content').textContent === {text:?})"
    );
    page.wait_for(&format!("{find}.length > 0"), LIMIT)
        .await
        .unwrap_or_else(|e| panic!("{text:?} is not shown: {e}"));
    let shown: usize = page.eval(&format!("{find}.length")).await.unwrap();
    assert_eq!(shown, 1, "{text:?} is shown once");
    let sender = page.eval(&format!("{find}[0].querySelector('.sender').textContent")).await.unwrap();
    let own = page.eval(&format!("{find}[0].dataset.own")).await.unwrap();
    (sender, own)
}

pub(crate) async fn two_users_chat_and_see_each_message_once_with_its_senders_name() {
    let browser = browser::launch(&[]).await;
    let cluster = Cluster::builder().workers(0).start().await;
    let _chat = chat(&cluster).await;
    let alice = log_in(&browser, &cluster, "Alice").await;
    let bob = log_in(&browser, &cluster, "Bob").await;

    say(&alice, "hello, Bob").await;
    assert_eq!(hear(&bob, "hello, Bob").await, ("Alice".into(), "false".into()));
    assert_eq!(hear(&alice, "hello, Bob").await.1, "true");
    say(&bob, "你好").await;
    assert_eq!(hear(&alice, "你好").await, ("Bob".into(), "false".into()));

    let id: String = alice.eval("document.querySelector('#client-id').textContent").await.unwrap();
    assert!(id.contains(&format!("{:08x}", 0x7f00_0001)), "the page knows its client id, not {id:?}");
}

pub(crate) async fn a_user_whose_name_is_html_runs_no_code_in_anybodys_page() {
    let browser = browser::launch(&[]).await;
    let cluster = Cluster::builder().workers(0).start().await;
    let _chat = chat(&cluster).await;
    let alice = log_in(&browser, &cluster, "Alice").await;
    let html = "<img src=x onerror=alert(1)>";
    let mallory = log_in(&browser, &cluster, html).await;
    say(&mallory, html).await;
    assert_eq!(hear(&alice, html).await.0, html);
    assert_eq!(
        alice.eval::<usize>("document.querySelectorAll('#messages img, #debug img').length").await.unwrap(),
        0
    );
    assert_eq!((alice.dialogs(), mallory.dialogs()), (0, 0));
    assert_eq!(alice.console_errors(), Vec::<String>::new());
}

pub(crate) async fn the_page_comes_back_when_the_gateway_does() {
    let browser = browser::launch(&[]).await;
    let mut cluster = Cluster::builder().workers(0).start().await;
    let _chat = chat(&cluster).await;
    let alice = log_in(&browser, &cluster, "Alice").await;
    cluster.restart_gateway_when(0, async || state(&alice, "retrying").await).await;
    state(&alice, "connected").await;
    say(&alice, "back again").await;
    assert_eq!(hear(&alice, "back again").await.1, "true");
}

pub(crate) async fn what_the_chat_refuses_and_what_nobody_heard_is_back_in_the_field() {
    let browser = browser::launch(&[]).await;
    let mut cluster = Cluster::builder().workers(0).start().await;
    let application = chat(&cluster).await;
    let alice = log_in(&browser, &cluster, "Alice").await;
    let field = async |text: &str| {
        let condition = format!("document.querySelector('#message-input').value === {text:?}");
        alice.wait_for(&condition, LIMIT).await.unwrap();
    };

    let long = "x".repeat(chat::MAX_CONTENT + 1);
    alice.eval::<()>("document.querySelector('#message-input').removeAttribute('maxlength')").await.unwrap();
    say(&alice, &long).await;
    alice.wait_for("document.querySelector('.message[data-kind=error]')", LIMIT).await.unwrap();
    field(&long).await;

    say(&alice, "heard").await;
    hear(&alice, "heard").await;
    application.stop().await;
    say(&alice, "said to nobody").await;
    field("").await;
    cluster.restart_gateway_when(0, async || state(&alice, "retrying").await).await;
    field("said to nobody").await;
}

pub(crate) async fn a_flood_of_messages_leaves_a_page_that_answers() {
    let browser = browser::launch(&[]).await;
    let cluster = Cluster::builder().workers(0).start().await;
    let _chat = chat(&cluster).await;
    let alice = log_in(&browser, &cluster, "Alice").await;
    let api = gatewayworker::Gateway::builder([cluster.register.to_string()]).connect();
    for n in 0..5_000 {
        let chat = json!({"type": "chat", "client_id": "b", "username": "Bob", "content": n.to_string()});
        assert!(api.send_to_all(chat).await.unwrap().is_complete());
    }
    assert_eq!(hear(&alice, "4999").await.0, "Bob");
    let shown: usize = alice.eval("document.querySelectorAll('.message').length").await.unwrap();
    assert!(shown <= 500, "{shown} messages");
    say(&alice, "still here").await;
    assert_eq!(hear(&alice, "still here").await.1, "true");
}

pub(crate) async fn a_phone_whose_keyboard_comes_at_the_entrance_shows_a_whole_field_in_the_room() {
    let browser = browser::launch(&[]).await;
    let cluster = Cluster::builder().workers(0).start().await;
    let _chat = chat(&cluster).await;
    let phone = |height| json!({ "width": 360, "height": height, "deviceScaleFactor": 2, "mobile": true });
    let page = at_the_entrance(&browser, &cluster).await;
    for height in [740, 400, 740] {
        page.command("Emulation.setDeviceMetricsOverride", phone(height)).await.unwrap();
        page.wait_for(&format!("innerHeight === {height}"), LIMIT).await.unwrap();
    }
    enter(&page, "Alice").await;
    let height: f64 =
        page.eval("document.querySelector('#message-input').getBoundingClientRect().height").await.unwrap();
    assert!(height > 40.0, "the field is {height} px high");
    let wide: i64 = page
        .eval("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        .await
        .unwrap();
    assert_eq!(wide, 0);
}
