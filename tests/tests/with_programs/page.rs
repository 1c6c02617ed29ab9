//! `examples/client.html` and `examples/console.html` in a real browser.

use std::path::Path;
use std::time::Duration;

use gatewayworker_tests::browser::{self, Browser, Page};
use gatewayworker_tests::languages::{LANGUAGES, foreign};
use gatewayworker_tests::{Application, Cable, Cluster};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(20);

async fn chat(cluster: &Cluster) -> Application {
    cluster.start_application(chat::Chat::default())
}

fn file_url(name: &str, query: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name);
    format!("file://{}?{query}", file.canonicalize().expect("the page is there").display())
}

async fn at_the_entrance(browser: &Browser, cluster: &Cluster) -> Page {
    let url = file_url("client.html", &format!("lang=en&url=ws://{}", cluster.listener()));
    browser.open(&url).await.expect("the page opens")
}

async fn enter(page: &Page, name: &str) {
    page.type_into("#username", name).await.unwrap();
    page.click("#login-btn").await.unwrap();
    state(page, "connected").await;
}

pub(super) async fn log_in(browser: &Browser, cluster: &Cluster, name: &str) -> Page {
    let page = at_the_entrance(browser, cluster).await;
    enter(&page, name).await;
    page
}

async fn state(page: &Page, state: &str) {
    let condition = format!("document.querySelector('#status').dataset.state === '{state}'");
    page.wait_for(&condition, LIMIT).await.unwrap_or_else(|e| panic!("the page is not {state}: {e}"));
}

pub(super) async fn say(page: &Page, text: &str) {
    page.type_into("#message-input", text).await.unwrap();
    page.press_enter().await.unwrap();
}

/// Waits for a message, and returns who it is from and whether it is shown as one's own.
pub(super) async fn hear(page: &Page, text: &str) -> (String, String) {
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
    let carol = log_in(&browser, &cluster, "Carol").await;
    assert_eq!(hear(&carol, "hello, Bob").await, ("Alice".into(), "false".into()), "said before she came");
    assert_eq!(hear(&carol, "你好").await.0, "Bob");

    let id: String = alice.eval("document.querySelector('#client-id').textContent").await.unwrap();
    assert!(id.contains(&format!("{:08x}", 0x7f00_0001)), "the page knows its client id, not {id:?}");
}

pub(crate) async fn a_name_with_html_runs_no_code() {
    let browser = browser::launch(&[]).await;
    let cluster = Cluster::builder().workers(0).gateway(|config| config.resume = true).start().await;
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

pub(crate) async fn the_page_reconnects_after_a_gateway_restart() {
    let browser = browser::launch(&[]).await;
    // With and without clients that are kept: a gateway that is gone has kept nothing.
    for resume in [false, true] {
        let builder = Cluster::builder().workers(0).gateway(|config| config.resume = resume);
        let mut cluster = builder.start().await;
        let _chat = chat(&cluster).await;
        let alice = log_in(&browser, &cluster, "Alice").await;
        let away = "document.querySelector('#status').dataset.state !== 'connected'";
        cluster.restart_gateway_when(0, async || alice.wait_for(away, LIMIT).await.unwrap()).await;
        state(&alice, "connected").await;
        say(&alice, "back again").await;
        assert_eq!(hear(&alice, "back again").await.1, "true");
    }
}

pub(crate) async fn refused_and_unsent_messages_return_to_the_field() {
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

/// Says each line where the last one ended, as somebody does who does not look up.
async fn say_on(page: &Page, lines: &[&str]) {
    for line in lines {
        page.command("Input.insertText", json!({ "text": line })).await.unwrap();
        page.press_enter().await.unwrap();
    }
}

async fn field_holds(page: &Page, text: &str) {
    let condition = format!("document.querySelector('#message-input').value === {}", json!(text));
    page.wait_for(&condition, LIMIT).await.unwrap();
}

pub(crate) async fn refused_messages_return_to_the_field_in_order_before_the_draft() {
    let browser = browser::launch(&[]).await;
    let cluster = Cluster::builder().workers(0).start().await;
    let _chat = chat(&cluster).await;
    let alice = log_in(&browser, &cluster, "Alice").await;
    // At once: no answer is there before the last is said. The login was the first thing said.
    let say_all = format!(
        "(() => {{ const field = document.querySelector('#message-input');
            for (let n = 1; n <= {}; n++) {{ field.value = `line ${{n}}`; $('composer').requestSubmit(); }}
            field.value = 'a draft'; return true; }})()",
        chat::MAX_SPOKEN + 3
    );
    alice.eval::<bool>(&say_all).await.unwrap();
    let last = chat::MAX_SPOKEN - 1;
    hear(&alice, &format!("line {last}")).await;
    let refused: Vec<_> = (1..=4).map(|n| format!("line {}", last + n)).collect();
    field_holds(&alice, &format!("{}\na draft", refused.join("\n"))).await;
}

pub(crate) async fn unsent_messages_return_in_order_and_keep_their_lines() {
    let browser = browser::launch(&[]).await;
    let mut cluster = Cluster::builder().workers(0).start().await;
    let application = chat(&cluster).await;
    let alice = log_in(&browser, &cluster, "Alice").await;
    application.stop().await;
    alice.eval::<()>("document.querySelector('#message-input').focus()").await.unwrap();
    say_on(&alice, &["one", "two", "three"]).await;
    field_holds(&alice, "").await;
    cluster
        .restart_gateway_when(0, async || {
            state(&alice, "retrying").await;
            field_holds(&alice, "one\ntwo\nthree").await;
            say_on(&alice, &["", "four", "five"]).await;
            field_holds(&alice, "one\ntwo\nthree\nfour\nfive\n").await;
        })
        .await;
}

pub(crate) async fn a_lost_message_returns_to_the_field_when_a_later_one_arrives() {
    let browser = browser::launch(&[]).await;
    let cluster = Cluster::builder().workers(0).start().await;
    let _chat = chat(&cluster).await;
    let alice = log_in(&browser, &cluster, "Alice").await;
    alice.eval::<usize>("unheard.push('lost')").await.unwrap();
    say(&alice, "heard").await;
    hear(&alice, "heard").await;
    field_holds(&alice, "lost").await;
}

/// The words without a language: names of things and users.
const NAMES: [&str; 5] = ["GatewayWorker", "WebSocket", "ID", "Alice", "Bob"];

pub(crate) async fn the_page_speaks_the_language_of_its_user_and_no_other() {
    let browser = browser::launch(&[]).await;
    let mut cluster = Cluster::builder().workers(0).start().await;
    let _chat = chat(&cluster).await;
    for (language, lang) in LANGUAGES {
        let check = async |page: &Page, what: &str| {
            assert_eq!(foreign(page, &NAMES).await.unwrap(), Vec::<String>::new(), "{what} in {language}");
        };
        let url = file_url("client.html", &format!("url=ws://{}", cluster.listener()));
        let page = browser.open_in(language, &url).await.unwrap();
        assert_eq!(page.eval::<String>("document.documentElement.lang").await.unwrap(), lang);
        for (field, wrong) in [("#username", " "), ("#ws-url", "http://a")] {
            page.type_into("#username", "Alice").await.unwrap();
            page.type_into(field, wrong).await.unwrap();
            page.click("#login-btn").await.unwrap();
            page.wait_for("!document.querySelector('#login-error').hidden", LIMIT).await.unwrap();
            page.eval::<String>("document.querySelector('#username').value = 'Alice'").await.unwrap();
            check(&page, "the entrance").await;
        }
        page.type_into("#ws-url", &format!("ws://{}", cluster.listener())).await.unwrap();
        enter(&page, "Alice").await;
        check(&page, "an empty room").await;

        let bob = log_in(&browser, &cluster, "Bob").await;
        bob.close().await.unwrap();
        page.eval::<()>("document.querySelector('#message-input').removeAttribute('maxlength')")
            .await
            .unwrap();
        say(&page, &"1".repeat(chat::MAX_CONTENT + 1)).await;
        page.wait_for("document.querySelector('.message[data-kind=error]')", LIMIT).await.unwrap();
        for n in 0..=chat::MAX_SPOKEN {
            say(&page, &n.to_string()).await;
        }
        page.wait_for("document.querySelectorAll('.message[data-kind=error]').length > 1", LIMIT)
            .await
            .unwrap();
        page.wait_for("document.querySelectorAll('.message[data-kind=system]').length > 2", LIMIT)
            .await
            .unwrap();
        check(&page, "the room").await;
        cluster
            .restart_gateway_when(0, async || {
                state(&page, "retrying").await;
                check(&page, "a lost connection").await;
            })
            .await;
        state(&page, "connected").await;
        page.click("#lang-btn").await.unwrap();
        check(&page, "the other language").await;
        page.close().await.unwrap();
    }
}

pub(crate) async fn the_page_shows_its_address_without_secrets() {
    let browser = browser::launch(&[]).await;
    let cluster = Cluster::builder().workers(0).start().await;
    let _chat = chat(&cluster).await;
    let query = format!("lang=en&url=ws://{}/?token%3Dsecret", cluster.listener());
    let page = browser.open(&file_url("client.html", &query)).await.unwrap();
    enter(&page, "Alice").await;
    let shown: String = page.eval("document.querySelector('#fact-url').textContent").await.unwrap();
    assert_eq!(shown, format!("ws://{}", cluster.listener()));
}

pub(crate) async fn the_page_stays_responsive_in_a_flood_of_messages() {
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

pub(crate) async fn a_phones_keyboard_does_not_hide_the_field() {
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

/// The console from disk, connected to this cluster.
async fn console(browser: &Browser, cluster: &Cluster, language: &str) -> Page {
    let url = file_url("console.html", &format!("url=ws://{}/%3Ftoken%3Dsecret", cluster.listener()));
    let page = browser.open_in(language, &url).await.unwrap();
    page.click("#connect").await.unwrap();
    page.wait_for("document.body.dataset.state === 'open'", LIMIT).await.unwrap();
    page
}

/// Waits for a line of the console's log.
async fn logged(page: &Page, way: &str, text: &str) {
    let condition = format!(
        "[...document.querySelectorAll('#log [data-way={way}] p')].some((p) => p.lastChild.textContent === {})",
        json!(text)
    );
    page.wait_for(&condition, LIMIT).await.unwrap();
}

async fn type_and_send(page: &Page, text: &str) {
    page.type_into("#text", text).await.unwrap();
    page.press_enter().await.unwrap();
}

pub(crate) async fn the_console_sends_and_shows_messages_unchanged() {
    let browser = browser::launch(&[]).await;
    let cluster = Cluster::builder().start().await;
    let page = console(&browser, &cluster, "en-US").await;
    for text in ["hello", r#"{"n": 1.10}"#, "<img src=x onerror=alert(1)>"] {
        type_and_send(&page, text).await;
        logged(&page, "out", text).await;
        logged(&page, "in", text).await;
    }
    page.eval::<()>("socket.send(new Uint8Array([0, 1, 255]))").await.unwrap();
    logged(&page, "in", "00 01 ff").await;
    let log: String = page.eval("document.querySelector('#log').innerText").await.unwrap();
    assert!(log.contains(&format!("ws://{}", cluster.listener())) && !log.contains("secret"), "{log}");
    assert_eq!((page.dialogs(), page.console_errors()), (0, Vec::new()));

    page.click("#connect").await.unwrap();
    page.wait_for("document.body.dataset.state === 'closed'", LIMIT).await.unwrap();
    page.type_into("#text", "kept").await.unwrap();
    page.press_enter().await.unwrap();
    assert_eq!(page.eval::<String>("document.querySelector('#text').value").await.unwrap(), "kept");
}

pub(crate) async fn the_console_answers_the_heartbeat_and_stays_connected() {
    let browser = browser::launch(&[]).await;
    let cluster = Cluster::builder().gateway(|config| config.ping_interval = 1.0).start().await;
    let page = console(&browser, &cluster, "en-US").await;
    page.wait_for("document.querySelectorAll('#log [data-way=out]').length >= 3", LIMIT).await.unwrap();
    logged(&page, "in", r#"{"type":"ping"}"#).await;
    logged(&page, "out", r#"{"type":"pong"}"#).await;
    page.click("#answers").await.unwrap();
    page.wait_for("document.body.dataset.state === 'closed'", LIMIT).await.unwrap();
}

pub(crate) async fn the_console_speaks_the_language_of_its_user_and_no_other() {
    let browser = browser::launch(&[]).await;
    let cluster = Cluster::builder().start().await;
    for (language, lang) in LANGUAGES {
        let page = console(&browser, &cluster, language).await;
        assert_eq!(page.eval::<String>("document.documentElement.lang").await.unwrap(), lang);
        page.eval::<()>("socket.send(new Uint8Array([0]))").await.unwrap();
        type_and_send(&page, &"1".repeat(5_000)).await;
        page.wait_for("document.querySelectorAll('#log [data-way=in]').length > 2", LIMIT).await.unwrap();
        page.click("#connect").await.unwrap();
        for address in ["http://a", "ws://127.0.0.1:9"] {
            page.type_into("#url", address).await.unwrap();
            page.click("#connect").await.unwrap();
            page.wait_for("document.body.dataset.state === 'closed'", LIMIT).await.unwrap();
            page.type_into("#url", "ws://a").await.unwrap();
        }
        page.wait_for("document.querySelectorAll('#log [data-way=trouble]').length === 2", LIMIT)
            .await
            .unwrap();
        for _ in LANGUAGES {
            let names = ["WebSocket", "Enter", "Shift"];
            assert_eq!(foreign(&page, &names).await.unwrap(), Vec::<String>::new(), "{language}");
            page.click("#lang-btn").await.unwrap();
        }
    }
}

pub(crate) async fn a_pulled_cable_loses_nothing_that_was_typed_and_nobody_is_shown_leaving() {
    let browser = browser::launch(&[]).await;
    let cluster = Cluster::builder().workers(0).gateway(|config| config.resume = true).start().await;
    let _chat = chat(&cluster).await;
    let bob = log_in(&browser, &cluster, "Bob").await;
    let cable = Cable::lay(cluster.listener(), 1).await;
    let url = file_url("client.html", &format!("lang=en&url=ws://{}", cable.address));
    let alice = browser.open(&url).await.unwrap();
    enter(&alice, "Alice").await;
    say(&alice, "before").await;
    hear(&bob, "before").await;
    cable.pull();
    state(&alice, "detached").await;
    for text in ["one", "two"] {
        say(&alice, text).await;
    }
    alice.type_into("#message-input", "a draft").await.unwrap();
    say(&bob, "are you there?").await;
    hear(&bob, "are you there?").await;
    cable.plug();
    state(&alice, "connected").await;
    for text in ["one", "two", "are you there?"] {
        hear(&alice, text).await;
        hear(&bob, text).await;
    }
    field_holds(&alice, "a draft").await;
    let notices =
        "[...document.querySelectorAll('.message[data-kind=system]')].map((item) => item.innerText).join()";
    assert_eq!(bob.eval::<String>(notices).await.unwrap(), "Bob joined,Alice joined");
    assert_eq!(alice.eval::<String>(notices).await.unwrap(), "Alice joined");
}
