//! The page in a real browser with two users, over the socket and through the backend.

use std::time::Duration;

use crate::support::Site;
use gatewayworker_tests::browser::{self, Browser, Page};
use gatewayworker_tests::languages::{LANGUAGES, foreign};
use gatewayworker_tests::{Cable, Cluster, eventually};
use live_room::Settings;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(20);

/// A site whose gateway keeps clients over cuts, as that of the demo does.
async fn keeping() -> Site {
    Site::with(Cluster::builder().gateway(|config| config.resume = true), Settings::default()).await
}

async fn enter(browser: &Browser, site: &Site, way: &str, name: &str) -> Page {
    enter_in(browser, site, "zh-CN", way, name).await
}

async fn enter_in(browser: &Browser, site: &Site, language: &str, way: &str, name: &str) -> Page {
    let url = format!("http://{}/?way={way}", site.backend);
    come_in(browser.open_in(language, &url).await.expect("the page opens"), name).await
}

async fn come_in(page: Page, name: &str) -> Page {
    page.wait_for("document.querySelectorAll('#room-id option').length === 2", LIMIT).await.unwrap();
    page.type_into("#user-name", name).await.unwrap();
    page.click("#login-btn").await.unwrap();
    state(&page, "connected").await;
    page
}

async fn state(page: &Page, state: &str) {
    let condition = format!("document.querySelector('#status').dataset.state === '{state}'");
    page.wait_for(&condition, LIMIT).await.unwrap_or_else(|e| panic!("the page is not {state}: {e}"));
}

async fn say(page: &Page, text: &str) {
    page.type_into("#content", text).await.unwrap();
    page.press_enter().await.unwrap();
    page.wait_for("document.querySelector('#content').value === ''", LIMIT).await.unwrap();
}

/// Waits for a comment, which is shown once; returns who it is from.
async fn hear(page: &Page, text: &str) -> String {
    let find = format!(
        "[...document.querySelectorAll('.comment[data-kind=say]')].filter(c => c.querySelector('.content').textContent === {})",
        Value::from(text)
    );
    page.wait_for(&format!("{find}.length > 0"), LIMIT).await.unwrap_or_else(|e| panic!("no {text:?}: {e}"));
    assert_eq!(page.eval::<usize>(&format!("{find}.length")).await.unwrap(), 1);
    page.eval(&format!("{find}[0].querySelector('.name').textContent")).await.unwrap()
}

async fn shows(page: &Page, selector: &str, text: &str) {
    let (selector, text) = (Value::from(selector), Value::from(text));
    page.wait_for(&format!("document.querySelector({selector})?.textContent === {text}"), LIMIT)
        .await
        .unwrap();
}

pub(crate) async fn two_users_talk_through_the_backend() {
    let browser = browser::launch(&[]).await;
    let site = keeping().await;
    let alice = enter(&browser, &site, "http", "小明").await;
    let bob = enter(&browser, &site, "http", "Bob").await;
    say(&alice, "大家好").await;
    assert_eq!(hear(&bob, "大家好").await, "小明");
    say(&bob, "hello").await;
    assert_eq!(hear(&alice, "hello").await, "Bob");
    shows(&alice, "#people", "2").await;
    let carol = enter(&browser, &site, "http", "Carol").await;
    assert_eq!(hear(&carol, "大家好").await, "小明", "it was said before she came");
    carol.close().await.unwrap();
    shows(&alice, "#people", "2").await;
    shows(&alice, "#views", "3").await;

    // To one alone, by a click on the name.
    alice.click(".comment[data-own=false] button.name").await.unwrap();
    say(&alice, "只给你").await;
    assert_eq!(hear(&bob, "只给你").await, "小明");
    shows(&bob, ".comment .tag", "只说给你").await;
    shows(&alice, ".comment .tag", "只说给 Bob").await;
    bob.click("#leave-btn").await.unwrap();
    shows(&alice, "#people", "1").await;
    assert_eq!((alice.console_errors(), bob.console_errors()), (vec![], vec![]));
}

pub(crate) async fn two_users_talk_over_the_socket() {
    let browser = browser::launch(&[]).await;
    let site = keeping().await;
    let alice = enter(&browser, &site, "socket", "小明").await;
    let bob = enter(&browser, &site, "socket", "Bob").await;
    shows(&alice, ".comment[data-kind=join]:last-child", "Bob 进入了直播间").await;
    say(&alice, "大家好").await;
    assert_eq!(hear(&bob, "大家好").await, "小明");
    say(&bob, "hello").await;
    assert_eq!(hear(&alice, "hello").await, "Bob");
    shows(&bob, "#people", "2").await;
    let carol = enter(&browser, &site, "socket", "Carol").await;
    assert_eq!(hear(&carol, "hello").await, "Bob", "it was said before she came");
    assert_eq!((alice.console_errors(), bob.console_errors()), (vec![], vec![]));
}

pub(crate) async fn text_of_users_never_becomes_markup() {
    let browser = browser::launch(&[]).await;
    let site = Site::start().await;
    let html = "<img src=x onerror=alert(1)>";
    let alice = enter(&browser, &site, "http", html).await;
    let bob = enter(&browser, &site, "socket", html).await;
    for (from, to) in [(&alice, &bob), (&bob, &alice)] {
        let text = format!("{html}{}", if std::ptr::eq(from, &alice) { 1 } else { 2 });
        say(from, &text).await;
        assert_eq!(hear(to, &text).await, html);
        assert_eq!(to.eval::<usize>("document.querySelectorAll('img').length").await.unwrap(), 0);
    }
    assert_eq!((alice.dialogs(), bob.dialogs()), (0, 0));
}

pub(crate) async fn a_page_opened_from_disk_uses_the_socket() {
    let browser = browser::launch(&[]).await;
    let site = Site::start().await;
    let url =
        format!("file://{}/index.html?url=ws://{}", env!("CARGO_MANIFEST_DIR"), site.cluster.listener());
    let page = browser.open(&url).await.unwrap();
    page.click("#login-btn").await.unwrap();
    state(&page, "connected").await;
    say(&page, "hello").await;
    hear(&page, "hello").await;
    shows(&page, ".comment[data-own=true] .content", "hello").await;
}

pub(crate) async fn a_comment_refused_over_the_socket_returns_to_the_field() {
    let browser = browser::launch(&[]).await;
    let site = Site::start().await;
    let page = enter(&browser, &site, "socket", "A").await;
    page.eval::<()>("document.querySelector('#content').removeAttribute('maxlength')").await.unwrap();
    let long = "x".repeat(501);
    page.type_into("#content", &long).await.unwrap();
    page.press_enter().await.unwrap();
    shows(&page, ".comment[data-kind=error]", "评论内容过长").await;
    assert_eq!(page.eval::<String>("document.querySelector('#content').value").await.unwrap(), long);
}

/// Says 1, 2, 3 and so on, faster than anybody may, with 0 as a draft after them; waits until all are answered.
async fn say_too_fast(page: &Page, lines: u32) {
    let say_all = format!(
        "(() => {{ const field = document.querySelector('#content');
            for (let n = 1; n <= {lines}; n++) {{ field.value = String(n); $('composer').requestSubmit(); }}
            field.value = 0; return true; }})()"
    );
    page.eval::<bool>(&say_all).await.unwrap();
    page.wait_for("unheard.length === 0 && !posting", LIMIT).await.unwrap();
}

pub(crate) async fn refused_comments_return_to_the_field_in_order_before_the_draft() {
    let browser = browser::launch(&[]).await;
    for way in ["socket", "http"] {
        // A site of its own: the comments of the other way would be shown, too.
        let site = Site::start().await;
        let page = enter(&browser, &site, way, "A").await;
        say_too_fast(&page, 9).await;
        let field: String = page.eval("document.querySelector('#content').value").await.unwrap();
        let refused: Vec<_> = field.split('\n').collect();
        let heard = 10 - refused.len();
        assert!((1..=7).contains(&heard), "{way}: {field}");
        hear(&page, &heard.to_string()).await;
        let rest = (heard + 1..=9).chain([0]).map(|n| n.to_string());
        assert_eq!(refused, rest.collect::<Vec<_>>(), "{way}");
        page.close().await.unwrap();
    }
}

pub(crate) async fn a_refused_private_comment_stays_private_when_sent_again() {
    let browser = browser::launch(&[]).await;
    let site = Site::start().await;
    let alice = enter(&browser, &site, "http", "A").await;
    let bob = enter(&browser, &site, "http", "B").await;
    say(&bob, "hello").await;
    hear(&alice, "hello").await;
    alice.click(".comment[data-own=false] button.name").await.unwrap();
    bob.click("#leave-btn").await.unwrap();
    shows(&alice, "#people", "1").await;
    alice.type_into("#content", "secret").await.unwrap();
    // The answer takes a while, and the next comment is for everybody.
    alice.eval::<()>("$('composer').requestSubmit(); $('whisper-end').click()").await.unwrap();
    shows(&alice, ".comment[data-kind=error]", "对方不在这个直播间").await;
    assert_eq!(alice.eval::<String>("document.querySelector('#content').value").await.unwrap(), "secret");
    shows(&alice, "#whisper:not([hidden]) span", "只说给 B").await;
}

/// The words without a language: names of users and things.
const NAMES: [&str; 5] = ["WebSocket", "https", "wss", "Alice", "Bob"];

pub(crate) async fn the_page_speaks_the_language_of_its_user_and_no_other() {
    let browser = browser::launch(&[]).await;
    for ((language, lang), way) in LANGUAGES.into_iter().flat_map(|it| [(it, "http"), (it, "socket")]) {
        // Each without comments of before.
        let mut site = Site::start().await;
        let check = async |page: &Page, what: &str| {
            let wrong = foreign(page, &NAMES).await.unwrap();
            assert_eq!(wrong, Vec::<String>::new(), "{what} in {language} by {way}");
        };
        let page = browser.open_in(language, &format!("http://{}/?way={way}", site.backend)).await.unwrap();
        page.wait_for("document.querySelectorAll('#room-id option').length === 2", LIMIT).await.unwrap();
        assert_eq!(page.eval::<String>("document.documentElement.lang").await.unwrap(), lang);
        check(&page, "the entrance").await;
        page.type_into("#user-name", " ").await.unwrap();
        page.click("#login-btn").await.unwrap();
        check(&page, "an entrance without a name").await;
        page.close().await.unwrap();

        let page = enter_in(&browser, &site, language, way, "Alice").await;
        shows(&page, "#people", "1").await;
        check(&page, "an empty room").await;
        let bob = enter_in(&browser, &site, language, way, "Bob").await;
        say(&bob, "1").await;
        hear(&page, "1").await;
        if way == "http" {
            page.click(".comment[data-own=false] button.name").await.unwrap();
            say(&page, "2").await;
            hear(&page, "2").await;
        }
        page.eval::<()>("document.querySelector('#content').removeAttribute('maxlength')").await.unwrap();
        page.type_into("#content", &"1".repeat(501)).await.unwrap();
        page.press_enter().await.unwrap();
        page.wait_for("document.querySelector('.comment[data-kind=error]')", LIMIT).await.unwrap();
        say_too_fast(&page, 9).await;
        check(&page, "the room").await;
        page.click("#lang-btn").await.unwrap();
        check(&page, "the other language").await;
        page.click("#lang-btn").await.unwrap();
        bob.close().await.unwrap();
        let retrying = async || {
            state(&page, "retrying").await;
            check(&page, "a lost connection").await;
        };
        site.cluster.restart_gateway_when(0, retrying).await;
        page.close().await.unwrap();
    }
}

pub(crate) async fn the_page_takes_its_gateway_from_its_url_and_shows_it_without_secrets() {
    let browser = browser::launch(&[]).await;
    let site = Site::start().await;
    let other = Site::start().await;
    let url = format!(
        "http://{}/?way=socket&url=ws://{}/%3Ftoken%3Dsecret",
        site.backend,
        other.cluster.listener()
    );
    let page = browser.open(&url).await.unwrap();
    page.click("#login-btn").await.unwrap();
    state(&page, "connected").await;
    shows(&page, "#numbers [data-server]", &format!("ws://{}", other.cluster.listener())).await;
    // One that is none is said, in words.
    let page = browser.open(&format!("http://{}/?lang=en&url=nonsense", site.backend)).await.unwrap();
    page.click("#login-btn").await.unwrap();
    let problem = "The gateway's address nonsense does not begin with ws:// or wss://.";
    shows(&page, "#login-error:not([hidden])", problem).await;
    // Without it, the backend's word counts.
    let page = enter(&browser, &site, "http", "A").await;
    shows(&page, "#numbers [data-server]", &format!("ws://{}", site.cluster.listener())).await;
}

pub(crate) async fn the_page_reconnects_after_a_gateway_restart_and_keeps_the_draft() {
    let browser = browser::launch(&[]).await;
    let mut site = Site::start().await;
    let alice = enter(&browser, &site, "http", "A").await;
    let bob = enter(&browser, &site, "socket", "B").await;
    alice.type_into("#content", "draft").await.unwrap();
    let missed = async || {
        state(&alice, "retrying").await;
        state(&bob, "retrying").await;
    };
    site.cluster.restart_gateway_when(0, missed).await;
    state(&alice, "connected").await;
    state(&bob, "connected").await;
    alice.press_enter().await.unwrap();
    assert_eq!(hear(&bob, "draft").await, "A");
    shows(&alice, "#people", "2").await;
    shows(&alice, "#views", "2").await;
}

pub(crate) async fn the_page_logs_in_again_after_a_backend_restart() {
    let browser = browser::launch(&[]).await;
    let mut site = Site::start().await;
    let alice = enter(&browser, &site, "http", "A").await;
    let bob = enter(&browser, &site, "socket", "B").await;
    site.restart_backend().await;
    alice.type_into("#content", "draft").await.unwrap();
    alice.press_enter().await.unwrap();
    shows(&alice, ".comment[data-kind=error]", "登录已失效，正在重新进入，请稍后再发一次。").await;
    state(&alice, "connected").await;
    alice.press_enter().await.unwrap();
    assert_eq!(hear(&bob, "draft").await, "A");
    shows(&alice, "#people", "2").await;
}

pub(crate) async fn the_page_stays_responsive_in_a_flood_of_comments() {
    let browser = browser::launch(&[]).await;
    let site = Site::start().await;
    let alice = enter(&browser, &site, "http", "A").await;
    let api = gatewayworker::Gateway::builder([site.cluster.register.to_string()]).connect();
    for n in 0..5_000 {
        let say = json!({"type": "say", "roomId": "1", "userName": "B", "content": n.to_string(), "commentTime": ""});
        assert!(api.send_to_group(["1"], say).await.unwrap().is_complete());
    }
    assert_eq!(hear(&alice, "4999").await, "B");
    let shown: usize = alice.eval("document.querySelectorAll('.comment').length").await.unwrap();
    assert!(shown <= 300, "{shown} comments");
    assert!(alice.eval::<bool>("(() => { const l = document.querySelector('#comments'); return l.scrollHeight - l.scrollTop - l.clientHeight < 48 })()").await.unwrap());
    say(&alice, "still here").await;
    hear(&alice, "still here").await;
}

pub(crate) async fn the_page_fits_a_phone_without_scrolling_sideways() {
    let browser = browser::launch(&[]).await;
    let site = Site::start().await;
    let long = "一个很长很长很长很长很长很长很长的名字而且没有空格";
    let alice = enter(&browser, &site, "http", long).await;
    let bob = enter(&browser, &site, "http", long).await;
    say(&bob, "hello").await;
    let phone = json!({ "width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": true });
    alice.command("Emulation.setDeviceMetricsOverride", phone).await.unwrap();
    hear(&alice, "hello").await;
    alice.click(".comment[data-own=false] button.name").await.unwrap();
    say(&alice, &"长".repeat(120)).await;
    say(&alice, &"x".repeat(200)).await;
    hear(&alice, &"x".repeat(200)).await;
    for element in ["document.documentElement", "document.querySelector('#comments')"] {
        let overflow: i64 =
            alice.eval(&format!("{element}.scrollWidth - {element}.clientWidth")).await.unwrap();
        assert!(overflow <= 0, "{element} is {overflow} px too wide");
    }
    for id in ["#video", "#numbers", "#comments", "#whisper-end", "#send-btn", "#status"] {
        let (top, bottom, right): (f64, f64, f64) = alice
            .eval(&format!("(() => {{ const b = document.querySelector('{id}').getBoundingClientRect(); return [b.top, b.bottom, b.right] }})()"))
            .await
            .unwrap();
        assert!(top >= 0.0 && bottom <= 740.0 && bottom > top, "{id}: {top} to {bottom}");
        assert!(right <= 360.0, "{id}: to {right}");
    }
}

pub(crate) async fn a_pulled_cable_loses_no_comment_and_nobody_is_shown_coming_again() {
    let browser = browser::launch(&[]).await;
    for way in ["socket", "http"] {
        // A site of its own: the comments of the other way would be shown, too.
        let resuming = Cluster::builder().gateway(|config| config.resume = true);
        let site = Site::with(resuming, Settings::default()).await;
        let cable = Cable::lay(site.cluster.listener(), 1).await;
        let bob = enter(&browser, &site, way, "Bob").await;
        let url = format!("http://{}/?way={way}&url=ws://{}", site.backend, cable.address);
        let alice = come_in(browser.open_in("zh-CN", &url).await.unwrap(), "Alice").await;
        say(&alice, "before").await;
        hear(&bob, "before").await;
        cable.pull();
        state(&alice, "detached").await;
        say(&alice, "one").await;
        say(&alice, "two").await;
        say(&bob, "are you there?").await;
        alice.type_into("#content", "a draft").await.unwrap();
        cable.plug();
        state(&alice, "connected").await;
        for text in ["one", "two", "are you there?"] {
            hear(&alice, text).await;
            hear(&bob, text).await;
        }
        assert_eq!(
            alice.eval::<String>("document.querySelector('#content').value").await.unwrap(),
            "a draft"
        );
        let came = "[...document.querySelectorAll('.comment[data-kind=join]')].filter((item) => item.innerText.includes('Alice')).length";
        assert_eq!(bob.eval::<usize>(came).await.unwrap(), 1, "{way}");
        shows(&bob, "#people", "2").await;
        alice.close().await.unwrap();
        bob.close().await.unwrap();
        let api = gatewayworker::Gateway::builder([site.cluster.register.to_string()]).connect();
        eventually("both have left", async || api.client_count().await.unwrap() == 0).await;
    }
}
