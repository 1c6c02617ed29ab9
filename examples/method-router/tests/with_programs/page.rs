//! The page `index.html` in a real browser: two users and a wall.

use std::path::Path;
use std::time::Duration;

use crate::support::{KEY, Live, RedisServer, auth, now, settings, ticket};
use gatewayworker_tests::Cable;
use gatewayworker_tests::browser::{self, Browser, Page};
use gatewayworker_tests::languages::{LANGUAGES, foreign};
use method_router::App;
use method_router::auth::Kind::{self, Wall, WechatUser};
use method_router::auth::{Key, Ticket};
use method_router::settings::Settings;
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(20);

/// The page, with these variables.
fn url(query: &str) -> String {
    format!("file://{}?{query}", Path::new(env!("CARGO_MANIFEST_DIR")).join("index.html").display())
}

/// The page of somebody who comes by a ready link.
async fn come(browser: &Browser, live: &Live, id: &str, kind: Kind) -> Page {
    come_in(browser, live, "zh-CN", id, kind).await
}

async fn come_in(browser: &Browser, live: &Live, language: &str, id: &str, kind: Kind) -> Page {
    let query = format!("url=ws://{}#auth={}", live.listener(), auth(id, kind));
    let page = browser.open_in(language, &url(&query)).await.unwrap();
    state(&page, "connected").await;
    page
}

async fn wait(page: &Page, condition: &str) {
    page.wait_for(condition, LIMIT).await.unwrap_or_else(|error| panic!("{error}"));
}

async fn state(page: &Page, state: &str) {
    wait(page, &format!("document.querySelector('#status').dataset.state === '{state}'")).await;
}

async fn text(page: &Page, selector: &str, text: &str) {
    wait(page, &format!("document.querySelector('{selector}').textContent.includes({})", json!(text))).await;
}

async fn say(page: &Page, words: &str) {
    page.type_into("#text", words).await.unwrap();
    page.press_enter().await.unwrap();
    wait(page, "unanswered.length === 0").await;
}

/// Says what is in the field, unless that is under way.
async fn say_again(page: &Page) {
    let submit = "document.querySelector('#composer').requestSubmit(), true";
    page.eval::<bool>(submit).await.unwrap();
}

async fn picture(page: &Page, name: &str) {
    // For whoever wants to look.
    if let Some(directory) = std::env::var_os("PICTURES") {
        page.screenshot(Path::new(&directory).join(format!("{name}.png"))).await.unwrap();
    }
}

async fn phone(page: &Page) {
    let window = json!({ "width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": true });
    page.command("Emulation.setDeviceMetricsOverride", window).await.unwrap();
    wait(page, "document.documentElement.scrollWidth <= 360").await;
}

pub(crate) async fn two_users_talk_and_a_wall_shows_it() {
    let browser = browser::launch(&[]).await;
    let live = Live::keeping(&settings()).await;
    let wall = come(&browser, &live, "0", Wall).await;
    let alice = come(&browser, &live, "1", WechatUser).await;
    let bob = come(&browser, &live, "2", WechatUser).await;
    for page in [&wall, &alice, &bob] {
        text(page, "#count-users", "2").await;
        text(page, "#count-walls", "1").await;
    }
    text(&alice, "#people", "用户2").await;
    text(&bob, "#people", "用户1").await;

    say(&alice, "大家好，欢迎来到直播间").await;
    say(&bob, "<img src=x onerror=alert(1)>").await;
    for page in [&wall, &alice, &bob] {
        text(page, "#messages", "大家好，欢迎来到直播间").await;
        text(page, "#messages", "<img src=x onerror=alert(1)>").await;
        text(page, "#count-said", "2").await;
        assert_eq!(page.dialogs(), 0);
        assert_eq!(page.console_errors(), Vec::<String>::new());
    }
    let own = "document.querySelectorAll('.message[data-own=true]').length";
    assert_eq!(alice.eval::<usize>(own).await.unwrap(), 1);
    assert_eq!(wall.eval::<usize>(own).await.unwrap(), 0);
    assert!(
        wall.eval::<bool>("getComputedStyle(document.querySelector('#composer')).display === 'none'")
            .await
            .unwrap()
    );

    // The page shows the error, and keeps the text.
    let long = "字".repeat(201);
    say(&bob, &long).await;
    text(&bob, "#messages .notice[data-kind=error]", "最多 200 个字").await;
    wait(&bob, &format!("document.querySelector('#text').value === {}", json!(long))).await;
    bob.type_into("#text", "").await.unwrap();

    picture(&alice, "desktop").await;
    picture(&wall, "wall").await;
    for (page, name) in [(&alice, "phone"), (&wall, "wall-phone")] {
        phone(page).await;
        picture(page, name).await;
    }
    alice.click("#more").await.unwrap();
    wait(&alice, "document.documentElement.scrollWidth <= 360").await;
    picture(&alice, "phone-side").await;

    bob.close().await.unwrap();
    text(&alice, "#messages", "用户2 走了").await;
    text(&wall, "#count-users", "1").await;
}

pub(crate) async fn many_messages_at_once_do_not_block_the_page() {
    let browser = browser::launch(&[]).await;
    let live = Live::start().await;
    let page = come(&browser, &live, "1", WechatUser).await;
    let hear_many = "(() => { const begin = performance.now(); \
        for (let number = 1; number <= 4000; number++) socket.onmessage({ data: JSON.stringify({ status: 200, \
            event: 'live.user.said', param: { user: { client_id: 'c', id: '2', nickname: '用户2' }, \
            text: `第 ${number} 句`, number, time: 1700000000 } }) }); \
        return performance.now() - begin; })()";
    let took: f64 = page.eval(hear_many).await.unwrap();
    assert!(took < 2_000.0, "{took} ms");
    text(&page, "#messages .message:last-child", "第 4000 句").await;
    assert_eq!(page.eval::<usize>("document.querySelectorAll('.message').length").await.unwrap(), 300);
}

pub(crate) async fn requests_can_be_written_by_hand_and_their_answers_are_shown() {
    let browser = browser::launch(&[]).await;
    let live = Live::start().await;
    let page = come(&browser, &live, "1", WechatUser).await;
    for (request, answer) in [
        (r#"{"method":"index.index.index","name":"hello"}"#, r#""info":"执行完成","param":{"name":"hello"}"#),
        (r#"{"method":"live.user.fly"}"#, r#""status":404,"info":"没有这个方法""#),
        ("hello", r#""info":"请求必须是一个 JSON 对象""#),
    ] {
        page.type_into("#raw", request).await.unwrap();
        page.click("#raw-send").await.unwrap();
        text(&page, "#log", answer).await;
    }
}

pub(crate) async fn a_refused_user_reads_the_reason_on_the_page() {
    let browser = browser::launch(&[]).await;
    let live = Live::start().await;
    let page = browser.open_in("zh-CN", &url(&format!("url=ws://{}", live.listener()))).await.unwrap();
    page.click("#enter").await.unwrap();
    text(&page, "#problem", "请填写 auth").await;
    page.type_into("#auth", "junk").await.unwrap();
    page.click("#enter").await.unwrap();
    text(&page, "#problem", "服务器拒绝入场：auth 无效（403）").await;
    picture(&page, "entrance").await;
    phone(&page).await;
    picture(&page, "entrance-phone").await;
    page.type_into("#auth", &auth("1", WechatUser)).await.unwrap();
    page.click("#enter").await.unwrap();
    state(&page, "connected").await;
    page.click("#leave").await.unwrap();
    state(&page, "idle").await;
}

pub(crate) async fn the_page_reconnects_after_gateway_and_redis_restart() {
    let browser = browser::launch(&[]).await;
    let mut redis = RedisServer::start().await;
    let mut live = Live::with(&redis.settings()).await;
    let page = come(&browser, &live, "1", WechatUser).await;
    live.cluster.restart_gateway_when(0, async || state(&page, "retrying").await).await;
    picture(&page, "retrying").await;
    state(&page, "connected").await;

    redis.kill();
    say(&page, "有人吗").await;
    text(&page, "#messages", "服务暂时不可用").await;
    wait(&page, "document.querySelector('#text').value === '有人吗'").await;
    redis.restart().await;
    let condition = "document.querySelector('#messages').textContent.includes('用户1 ·')";
    gatewayworker_tests::eventually("the room to be back", async || {
        if page.eval::<String>("document.querySelector('#text').value").await.unwrap().is_empty() {
            return page.eval::<bool>(condition).await.unwrap();
        }
        say_again(&page).await;
        false
    })
    .await;
}

/// Says 1, 2, 3 and so on in one go, with 0 as a draft after them; waits until all are answered.
async fn say_at_once(page: &Page, lines: u32) {
    let say_all = format!(
        "(() => {{ const field = document.querySelector('#text');
            for (let n = 1; n <= {lines}; n++) {{ field.value = String(n); $('composer').requestSubmit(); }}
            field.value = 0; return true; }})()"
    );
    page.eval::<bool>(&say_all).await.unwrap();
    wait(page, "unanswered.length === 0").await;
}

pub(crate) async fn refused_messages_return_to_the_field_in_order_before_the_draft() {
    let browser = browser::launch(&[]).await;
    // Coming in takes three requests.
    let live = Live::with(&Settings { burst: 7, per_second: 0.001, ..settings() }).await;
    let page = come(&browser, &live, "1", WechatUser).await;
    wait(&page, "document.querySelectorAll('#log [data-way=in]').length >= 3").await;
    say_at_once(&page, 8).await;
    wait(&page, "document.querySelector('#text').value === '5\\n6\\n7\\n8\\n0'").await;
    wait(&page, "document.querySelectorAll('.message').length === 4").await;
}

pub(crate) async fn a_message_typed_while_disconnected_keeps_its_lines() {
    let browser = browser::launch(&[]).await;
    let mut live = Live::start().await;
    let page = come(&browser, &live, "1", WechatUser).await;
    live.worker.take().unwrap().stop().await;
    page.eval::<()>("document.querySelector('#text').focus()").await.unwrap();
    let say_on = async |lines: &[&str]| {
        for line in lines {
            page.command("Input.insertText", json!({ "text": line })).await.unwrap();
            page.press_enter().await.unwrap();
        }
    };
    say_on(&["one", "two"]).await;
    let retrying = async || {
        state(&page, "retrying").await;
        wait(&page, "document.querySelector('#text').value === 'one\\ntwo'").await;
        say_on(&["", "three", "four"]).await;
        wait(&page, "document.querySelector('#text').value === 'one\\ntwo\\nthree\\nfour\\n'").await;
    };
    live.cluster.restart_gateway_when(0, retrying).await;
}

/// The words without a language: names of things and users.
const NAMES: [&str; 11] =
    ["WebSocket", "JSON", "method-router", "method", "auth", "https", "wss", "ws", "room1", "用户1", "用户2"];

pub(crate) async fn the_page_speaks_the_language_of_its_user_and_no_other() {
    let browser = browser::launch(&[]).await;
    let mut live = Live::with(&Settings { burst: 20, per_second: 1.0, ..settings() }).await;
    for (language, lang) in LANGUAGES {
        let check = async |page: &Page, what: &str| {
            let wrong = foreign(page, &NAMES).await.unwrap();
            assert_eq!(wrong, Vec::<String>::new(), "{what} in {language}");
        };
        let page = browser.open_in(language, &url(&format!("url=ws://{}", live.listener()))).await.unwrap();
        assert_eq!(page.eval::<String>("document.documentElement.lang").await.unwrap(), lang);
        check(&page, "the entrance").await;
        page.click("#enter").await.unwrap();
        check(&page, "an entrance without a ticket").await;
        for wrong in ["1", &signed(100_000), &signed(-100_000)] {
            page.type_into("#auth", wrong).await.unwrap();
            page.click("#enter").await.unwrap();
            wait(&page, "document.querySelector('#status').dataset.state === 'idle' && !document.querySelector('#problem').hidden").await;
            page.type_into("#auth", "1").await.unwrap();
            check(&page, "a refused ticket").await;
        }
        page.close().await.unwrap();

        let page = come_in(&browser, &live, language, "1", WechatUser).await;
        check(&page, "an empty room").await;
        let bob = come_in(&browser, &live, language, "2", WechatUser).await;
        let wall = come_in(&browser, &live, language, "0", Wall).await;
        say(&bob, "1").await;
        for request in ["1", "{}", r#"{"method":"1"}"#, r#"{"method":"live.room.info","code":1}"#] {
            page.type_into("#raw", request).await.unwrap();
            page.click("#raw-send").await.unwrap();
        }
        page.type_into("#raw", r#"{"method":"live.user.leave"}"#).await.unwrap();
        page.click("#raw-send").await.unwrap();
        page.click("#raw-send").await.unwrap();
        say(&page, "2").await;
        say_at_once(&page, 25).await;
        bob.close().await.unwrap();
        wait(&wall, "document.querySelectorAll('.notice').length >= 1").await;
        check(&page, "the room").await;
        check(&wall, "the wall").await;
        page.click("#lang-btn").await.unwrap();
        check(&page, "the other language").await;
        page.click("#lang-btn").await.unwrap();
        let retrying = async || {
            state(&page, "retrying").await;
            check(&page, "a lost connection").await;
        };
        live.cluster.restart_gateway_when(0, retrying).await;
        page.close().await.unwrap();
        wall.close().await.unwrap();
    }
}

/// A ticket that was signed so many seconds ago.
fn signed(seconds_ago: i64) -> String {
    Key::new(KEY).unwrap().sign(&Ticket { ctime: now() - seconds_ago, ..ticket("1", WechatUser) })
}

pub(crate) async fn the_page_shows_its_address_without_its_ticket() {
    let browser = browser::launch(&[]).await;
    let live = Live::start().await;
    for mark in ["#", "&"] {
        let query =
            format!("url=ws://{}/?token%3Dsecret{mark}auth={}", live.listener(), auth("1", WechatUser));
        let page = browser.open(&url(&query)).await.unwrap();
        state(&page, "connected").await;
        let shown: String = page.eval("document.querySelector('#server').textContent").await.unwrap();
        assert_eq!(shown, format!("ws://{}", live.listener()));
    }
}

pub(crate) async fn a_message_over_the_rate_stays_in_the_field() {
    let browser = browser::launch(&[]).await;
    let mut live = Live::with(&Settings { burst: 5, per_second: 0.1, ..settings() }).await;
    let page = come(&browser, &live, "1", WechatUser).await;
    for words in ["一", "二", "三"] {
        say(&page, words).await;
    }
    text(&page, "#messages", "操作太频繁").await;
    wait(&page, "document.querySelector('#text').value === '三'").await;
    // The next worker knows nothing of the limit.
    live.worker = Some(live.cluster.start_application(App::new(&settings()).unwrap()));
    gatewayworker_tests::eventually("the next worker", async || {
        say_again(&page).await;
        page.eval::<bool>("document.querySelector('#text').value === ''").await.unwrap()
    })
    .await;
}

pub(crate) async fn a_pulled_cable_loses_no_message_and_nobody_is_shown_leaving() {
    let browser = browser::launch(&[]).await;
    let live = Live::keeping(&settings()).await;
    let cable = Cable::lay(live.listener(), 1).await;
    let bob = come(&browser, &live, "2", WechatUser).await;
    let query = format!("url=ws://{}#auth={}", cable.address, auth("1", WechatUser));
    let alice = browser.open_in("zh-CN", &url(&query)).await.unwrap();
    state(&alice, "connected").await;
    say(&alice, "before").await;
    text(&bob, "#messages", "before").await;
    cable.pull();
    state(&alice, "detached").await;
    for words in ["one", "two"] {
        alice.type_into("#text", words).await.unwrap();
        alice.press_enter().await.unwrap();
    }
    say(&bob, "在吗").await;
    alice.type_into("#text", "a draft").await.unwrap();
    cable.plug();
    state(&alice, "connected").await;
    wait(&alice, "unanswered.length === 0").await;
    for page in [&alice, &bob] {
        let said = "[...document.querySelectorAll('.message .content')].map((item) => item.textContent).sort().join() \
            === 'before,one,two,在吗'";
        wait(page, said).await;
    }
    assert_eq!(alice.eval::<String>("document.querySelector('#text').value").await.unwrap(), "a draft");
    let notices = "[...document.querySelectorAll('.notice')].map((item) => item.textContent).join()";
    assert!(bob.eval::<String>(notices).await.unwrap().ends_with("用户1 来了"), "and nothing after that");
}
