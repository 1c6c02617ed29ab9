//! The page for operators (`crates/admin/page`) in a real browser, with a real cluster.

use std::net::SocketAddr;
use std::time::Duration;

use gatewayworker::ClientId;
use gatewayworker_tests::browser::{self, Browser, Page};
use gatewayworker_tests::languages::{LANGUAGES, foreign};
use gatewayworker_tests::{ADMIN_TOKEN, AdminPage, Cluster, WsClient, eventually, register_as_gateway, soon};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(20);

/// A uid that is a program where it gets into a page as markup, and that writes the text behind it from right to left.
const UID: &str = "<img src=x onerror=alert(1)>\u{202e}";

/// The same as the page is to show it.
const SHOWN_UID: &str = "<img src=x onerror=alert(1)>\\u202e";

const VIEWS: [&str; 7] = ["overview", "mesh", "clients", "groups", "slow", "trace", "call"];

/// Serves the page of a cluster until the returned value is dropped. Returns its URL, too.
async fn serve(cluster: &Cluster) -> (AdminPage, String) {
    let page = AdminPage::start(cluster, "").await;
    let url = format!("http://{}/", page.address);
    (page, url)
}

/// A client with the uid, a group and a session that an application would not expect.
async fn client(cluster: &Cluster) -> (WsClient, ClientId) {
    let (client, id) = WsClient::greeted(cluster.listener()).await;
    let api = cluster.api().await;
    api.bind_uid(id, UID).await.unwrap();
    api.join_group(id, "<b>room</b>").await.unwrap();
    let session = json!({"said": "<script>alert(1)</script>", "number": 9_007_199_254_740_993_u64});
    api.call("set_session", json!({"client_id": id.to_string(), "session": session})).await.unwrap();
    (client, id)
}

async fn enter_token(page: &Page, token: &str) {
    page.wait_for("document.querySelector('#token')", LIMIT).await.unwrap();
    page.type_into("#token", token).await.unwrap();
    page.press_enter().await.unwrap();
}

/// Opens the page at a view, with the token.
async fn open(browser: &Browser, language: &str, url: &str, view: &str) -> Page {
    let page = browser.open_in(language, &format!("{url}#clients")).await.unwrap();
    enter_token(&page, ADMIN_TOKEN).await;
    page.wait_for("document.querySelector('#find')", LIMIT).await.unwrap();
    go(&page, view).await;
    page
}

async fn go(page: &Page, view: &str) {
    page.eval::<()>(&format!("void (location.hash = {})", json!(view))).await.unwrap();
    page.wait_for(&format!("document.querySelector('.view-{view}')?.childElementCount"), LIMIT)
        .await
        .unwrap();
}

/// Finds the client by its uid, and opens its page.
async fn open_client(page: &Page) {
    page.eval::<()>("void (document.querySelector('form[role=search] select').value = 'uid')").await.unwrap();
    page.type_into("#find", UID).await.unwrap();
    page.press_enter().await.unwrap();
    let found = "document.querySelector('.view-clients [role=status]').textContent.startsWith('1 of 1')";
    page.wait_for(found, LIMIT).await.unwrap();
    page.click(".view-clients tbody .link").await.unwrap();
    page.wait_for("document.querySelector('#session')", LIMIT).await.unwrap();
}

async fn text(page: &Page, selector: &str) -> String {
    page.eval(&format!("document.querySelector({}).innerText", json!(selector))).await.unwrap()
}

/// By how much the page, or a part of it that would scroll alone, is too wide.
async fn sideways(page: &Page) -> i64 {
    page.eval(
        "Math.max(document.documentElement.scrollWidth - innerWidth, ...[...document.querySelectorAll('.panel, .drawer')]
            .map((part) => part.scrollWidth - part.clientWidth))",
    )
    .await
    .unwrap()
}

pub(crate) async fn without_the_token_it_shows_the_cluster_and_nothing_of_a_client() {
    let browser = browser::launch(&[]).await;
    let cluster = Cluster::start().await;
    let (_client, id) = client(&cluster).await;
    let (served, url) = serve(&cluster).await;
    let page = browser.open_in("en-US", &url).await.unwrap();
    let well =
        "document.querySelector('.verdict.good')?.textContent.includes('1 gateway, 1 worker, 1 client')";
    page.wait_for(well, LIMIT).await.unwrap();
    go(&page, "mesh").await;
    page.wait_for("document.querySelectorAll('.view-mesh tbody tr').length === 2", LIMIT).await.unwrap();
    for view in VIEWS {
        go(&page, view).await;
        let is_locked = page.eval::<bool>("Boolean(document.querySelector('#token'))").await.unwrap();
        assert_eq!(is_locked, !["overview", "mesh"].contains(&view), "{view}");
        let all = page.eval::<String>("document.body.innerText").await.unwrap();
        assert!(!all.contains(&id.to_string()) && !all.contains("<img"), "{view}: {all}");
    }
    assert_eq!(page.console_errors(), Vec::<String>::new());

    enter_token(&page, "a-wrong-token-of-theirs").await;
    page.wait_for("document.querySelector('#token-error').textContent.includes('wrong')", LIMIT)
        .await
        .unwrap();
    enter_token(&page, ADMIN_TOKEN).await;
    page.wait_for("document.querySelector('#call')", LIMIT).await.unwrap();
    page.click("#forget").await.unwrap();
    page.wait_for("document.querySelector('#token')", LIMIT).await.unwrap();

    enter_token(&page, ADMIN_TOKEN).await;
    page.wait_for("document.querySelector('#call')", LIMIT).await.unwrap();
    // Somebody else at this address guesses: the page is refused with its good token, and keeps it.
    for _ in 0..10 {
        served.get("/api/cluster").token("wrong").send().await;
    }
    page.wait_for("document.querySelector('#token-error')?.textContent.includes('Too many')", LIMIT)
        .await
        .unwrap();
    let kept = page.eval::<String>("sessionStorage.getItem('gatewayworker-admin-token')").await.unwrap();
    assert_eq!(kept, ADMIN_TOKEN);
}

pub(crate) async fn a_client_is_found_by_a_uid_that_is_markup_and_runs_no_code() {
    let browser = browser::launch(&[]).await;
    let cluster = Cluster::start().await;
    let (_client, id) = client(&cluster).await;
    let (_served, url) = serve(&cluster).await;
    let page = open(&browser, "en-US", &url, "clients").await;
    open_client(&page).await;
    assert_eq!(text(&page, ".drawer-head h2 bdi").await, SHOWN_UID);
    assert_eq!(text(&page, ".chip").await, "<b>room</b>");
    let session = text(&page, "#session").await;
    assert!(
        session.contains("<script>alert(1)</script>") && session.contains("9007199254740993"),
        "{session}"
    );
    for view in ["groups", "slow", "overview"] {
        go(&page, view).await;
    }
    let address: String = page.eval("location.href").await.unwrap();
    assert!(!address.contains(&id.to_string()) && !address.contains(ADMIN_TOKEN), "{address}");
    assert_eq!(
        page.eval::<i64>("document.querySelectorAll('img, script:not([src])').length").await.unwrap(),
        0
    );
    assert_eq!((page.dialogs(), page.console_errors()), (0, Vec::new()));
}

pub(crate) async fn a_message_arrives_at_the_client_and_a_kick_closes_it() {
    let browser = browser::launch(&[]).await;
    let cluster = Cluster::start().await;
    let (mut client, _) = client(&cluster).await;
    let (_served, url) = serve(&cluster).await;
    let page = open(&browser, "en-US", &url, "clients").await;
    open_client(&page).await;
    page.type_into(".send textarea", "from an operator").await.unwrap();
    page.click(".send .primary").await.unwrap();
    assert_eq!(client.text().await, "from an operator");

    page.click("#client-kick").await.unwrap();
    page.type_into(".ask input", "goodbye").await.unwrap();
    page.click(".ask .danger").await.unwrap();
    assert_eq!(client.text().await, "goodbye");
    assert_eq!(client.close_code().await, 1000);
    page.wait_for("document.querySelector('.drawer .empty')?.textContent.includes('left')", LIMIT)
        .await
        .unwrap();
    assert_eq!(page.console_errors(), Vec::<String>::new());
}

pub(crate) async fn a_trace_shows_frames_and_payloads_only_on_request() {
    let browser = browser::launch(&[]).await;
    let cluster = Cluster::start().await;
    let (mut client, id) = client(&cluster).await;
    let (_served, url) = serve(&cluster).await;
    let page = open(&browser, "en-US", &url, "clients").await;
    open_client(&page).await;
    page.click("#client-trace").await.unwrap();
    let frames = "document.querySelectorAll('.frames li').length";
    // The trace has begun when a frame is there; those before it are not in it.
    eventually("a frame of the client", async || {
        client.send("<b>secret</b>").await;
        page.eval::<usize>(frames).await.unwrap() > 0
    })
    .await;
    page.wait_for("document.querySelector('.frames [data-direction=out]')", LIMIT).await.unwrap();
    assert!(!text(&page, ".frames").await.contains("secret"));

    page.click("#trace-toggle").await.unwrap();
    page.click("#trace-payloads").await.unwrap();
    page.click("#trace-toggle").await.unwrap();
    let shown = "document.querySelector('.frames .payload')?.textContent === '<b>secret</b>'";
    eventually("the payload", async || {
        client.send("<b>secret</b>").await;
        page.eval::<bool>(shown).await.unwrap()
    })
    .await;
    client.close().await;
    let ended = "document.querySelector('.view-trace [role=status]').textContent.includes('client-left')";
    page.wait_for(ended, LIMIT).await.unwrap();
    assert!(!page.eval::<String>("location.href").await.unwrap().contains(&id.to_string()));
    assert_eq!((page.dialogs(), page.console_errors()), (0, Vec::new()));
}

pub(crate) async fn any_call_is_made_from_a_form_and_its_command_lines_lack_the_token() {
    let browser = browser::launch(&[]).await;
    let cluster = Cluster::start().await;
    let (mut client, _) = client(&cluster).await;
    let (_served, url) = serve(&cluster).await;
    let page = open(&browser, "en-US", &url, "call").await;
    page.wait_for("document.querySelector('#param-message')", LIMIT).await.unwrap();
    let options: usize = page.eval("document.querySelectorAll('#call option').length").await.unwrap();
    assert_eq!(options, gatewayworker::client::calls::calls().len());
    let choose = "(() => { const call = document.querySelector('#call'); call.value = 'send_to_uid'; call.onchange(); })()";
    page.eval::<()>(choose).await.unwrap();
    page.type_into("#param-uid", UID).await.unwrap();
    page.type_into("#param-message", "it's -here").await.unwrap();
    let lines = text(&page, ".view-call .panel:last-child").await;
    assert!(lines.contains(r"gatewayworker call send-to-uid '<img src=x onerror=alert(1)>"), "{lines}");
    assert!(
        lines.contains(r"'it'\''s -here'") && lines.contains("$TOKEN") && !lines.contains(ADMIN_TOKEN),
        "{lines}"
    );
    page.click("#make").await.unwrap();
    assert_eq!(client.text().await, "it's -here");
    page.wait_for("document.querySelector('#result')?.textContent.includes('unreached')", LIMIT)
        .await
        .unwrap();
    assert_eq!(page.console_errors(), Vec::<String>::new());
}

pub(crate) async fn a_gateway_that_is_gone_is_a_problem_and_so_is_the_pages_own_server() {
    let browser = browser::launch(&[]).await;
    let cluster = Cluster::start().await;
    let (served, url) = serve(&cluster).await;
    let page = browser.open_in("en-US", &url).await.unwrap();
    page.wait_for("document.querySelector('.verdict.good')", LIMIT).await.unwrap();
    // A gateway that was killed: the register does not know it yet.
    let nobody = SocketAddr::from(([127, 0, 0, 1], 9));
    let _announced = register_as_gateway(cluster.register, nobody).await;
    let named = "document.querySelector('.verdict.bad li')?.textContent.includes('127.0.0.1:9')";
    page.wait_for(named, LIMIT).await.unwrap();
    page.wait_for("document.title.startsWith('(1) ')", LIMIT).await.unwrap();
    go(&page, "mesh").await;
    page.wait_for("document.querySelector('.view-mesh .badge.bad')", LIMIT).await.unwrap();
    assert_eq!(page.console_errors(), Vec::<String>::new());

    soon("the server's end", async { drop(served) }).await;
    page.wait_for("!document.querySelector('#banner').hidden", LIMIT).await.unwrap();
    assert!(page.eval::<bool>("document.querySelector('main').classList.contains('old')").await.unwrap());
}

/// The words without a language: names of the system and of its settings, and units.
const NAMES: [&str; 24] = [
    "GATEWAYWORKER_ADMIN_TOKEN",
    "admin.token_file",
    "admin.token",
    "admin-token",
    "gatewayworker start",
    "GatewayWorker",
    "gateway",
    "worker",
    "register",
    "uid",
    "session",
    "CPU",
    "HTTP",
    "max_connections",
    "WebSocket",
    "PROXY",
    "TLS",
    "socket",
    "MB",
    "kB",
    "ms",
    "id",
    "curl",
    "JSON",
];

pub(crate) async fn it_speaks_the_language_of_its_user_and_no_other() {
    let browser = browser::launch(&[]).await;
    let cluster = Cluster::start().await;
    let (_client, _) = client(&cluster).await;
    let (_served, url) = serve(&cluster).await;
    for (language, lang) in LANGUAGES {
        let page = browser.open_in(language, &format!("{url}#clients")).await.unwrap();
        page.wait_for("document.querySelector('#token')", LIMIT).await.unwrap();
        assert_eq!(foreign(&page, &NAMES).await.unwrap(), Vec::<String>::new(), "the token in {language}");
        page.close().await.unwrap();

        let page = open(&browser, language, &url, "overview").await;
        assert_eq!(page.eval::<String>("document.documentElement.lang").await.unwrap(), lang);
        for _ in LANGUAGES {
            for view in VIEWS {
                go(&page, view).await;
                assert_eq!(
                    foreign(&page, &NAMES).await.unwrap(),
                    Vec::<String>::new(),
                    "{view} from {language}"
                );
            }
            page.click("#language").await.unwrap();
        }
        assert_eq!(page.console_errors(), Vec::<String>::new());
        page.close().await.unwrap();
    }
}

pub(crate) async fn it_does_not_scroll_sideways_on_a_phone() {
    let browser = browser::launch(&[]).await;
    let cluster = Cluster::builder().gateways(2).start().await;
    let (_client, _) = client(&cluster).await;
    let (_served, url) = serve(&cluster).await;
    for (language, _) in LANGUAGES {
        let page = open(&browser, language, &url, "overview").await;
        let phone = json!({ "width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": true });
        page.command("Emulation.setDeviceMetricsOverride", phone).await.unwrap();
        page.wait_for("innerWidth === 360", LIMIT).await.unwrap();
        for view in VIEWS {
            go(&page, view).await;
            page.wait_for("document.querySelector('.panel, .frames')", LIMIT).await.unwrap();
            assert_eq!(sideways(&page).await, 0, "{view} in {language}");
        }
        go(&page, "clients").await;
        page.wait_for("document.querySelector('.view-clients tbody .link')", LIMIT).await.unwrap();
        page.click(".view-clients tbody .link").await.unwrap();
        page.wait_for("document.querySelector('#session')", LIMIT).await.unwrap();
        assert_eq!(sideways(&page).await, 0, "a client in {language}");
        page.close().await.unwrap();
    }
}
