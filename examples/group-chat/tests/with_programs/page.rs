//! The page `index.html` in a real browser with two members, and behind a real nginx.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::{Sqlite, here, settings, start};
use gatewayworker_tests::browser::{self, Browser, Page};
use gatewayworker_tests::languages::{LANGUAGES, foreign};
use gatewayworker_tests::process::{free_port, send_signal};
use gatewayworker_tests::{Application, Cable, Cluster, ClusterBuilder, programs};
use group_chat::Settings;
use serde_json::json;
use sqlx::Connection;
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(20);

async fn chat(database: &Sqlite) -> (Cluster, Application) {
    chat_on(Cluster::builder(), database).await
}

/// With clients that are kept over cuts, as `config/gateway.toml` has it.
async fn keeping_chat(database: &Sqlite) -> (Cluster, Application) {
    chat_on(Cluster::builder().gateway(|config| config.resume = true), database).await
}

async fn chat_on(cluster: ClusterBuilder, database: &Sqlite) -> (Cluster, Application) {
    let cluster = cluster.workers(0).start().await;
    let application = start(&cluster, &Settings { burst: 100, ..settings(&database.url()) }).await;
    (cluster, application)
}

fn url(cluster: &Cluster, speaker: u32) -> String {
    let file = here("index.html").canonicalize().unwrap();
    format!("file://{}?url=ws://{}&thread=1&speaker={speaker}", file.display(), cluster.listener())
}

/// Opens the page from disk and joins class 1, thread 1, as the `n`th of its members.
async fn join(browser: &Browser, cluster: &Cluster, speaker: u32) -> Page {
    let page = browser.open_in("zh-CN", &url(cluster, speaker)).await.expect("the page opens");
    come_in(&page).await;
    page
}

async fn come_in(page: &Page) {
    page.wait_for("!document.querySelector('#join-btn').disabled", LIMIT).await.unwrap();
    page.click("#join-btn").await.unwrap();
    state(page, "joined").await;
}

async fn state(page: &Page, state: &str) {
    let condition = format!("document.querySelector('#status').dataset.state === '{state}'");
    page.wait_for(&condition, LIMIT).await.unwrap_or_else(|e| panic!("the page is not {state}: {e}"));
}

async fn say(page: &Page, text: &str) {
    page.type_into("#message-input", text).await.unwrap();
    page.press_enter().await.unwrap();
    page.wait_for("document.querySelector('#message-input').value === ''", LIMIT).await.unwrap();
}

/// Waits for a message, and returns who it is from and whether it is shown as one's own.
async fn hear(page: &Page, text: &str) -> (String, bool) {
    let find = format!(
        "[...document.querySelectorAll('.message')].filter(m => m.querySelector('.content').textContent === {text:?})"
    );
    page.wait_for(&format!("{find}.length > 0"), LIMIT).await.unwrap();
    assert_eq!(page.eval::<usize>(&format!("{find}.length")).await.unwrap(), 1, "{text:?} is shown once");
    let sender = page.eval(&format!("{find}[0].querySelector('.sender').textContent")).await.unwrap();
    let own = page.eval(&format!("'own' in {find}[0].dataset")).await.unwrap();
    (sender, own)
}

async fn shown(page: &Page) -> usize {
    page.eval("document.querySelectorAll('.message').length").await.unwrap()
}

async fn see_members(page: &Page, text: &str) {
    let condition = format!("document.querySelector('#members-count').textContent === {text:?}");
    page.wait_for(&condition, LIMIT).await.unwrap();
}

pub(crate) async fn two_members_talk_and_see_each_other_come_and_go() {
    let browser = browser::launch(&[]).await;
    let database = Sqlite::new();
    let (cluster, _chat) = keeping_chat(&database).await;
    let li_lei = join(&browser, &cluster, 2).await;
    see_members(&li_lei, "1 / 3 人在线").await;
    let han_meimei = join(&browser, &cluster, 3).await;
    see_members(&li_lei, "2 / 3 人在线").await;

    let html = "<img src=x onerror=alert(1)>";
    say(&li_lei, html).await;
    assert_eq!(hear(&han_meimei, html).await, ("李雷".into(), false));
    assert_eq!(hear(&li_lei, html).await, ("李雷".into(), true));
    say(&han_meimei, "你好").await;
    assert_eq!(hear(&li_lei, "你好").await, ("韩梅梅".into(), false));
    assert_eq!(li_lei.dialogs() + han_meimei.dialogs(), 0);
    assert_eq!(li_lei.console_errors(), Vec::<String>::new());

    han_meimei.click("#leave-btn").await.unwrap();
    see_members(&li_lei, "1 / 3 人在线").await;
    state(&han_meimei, "connected").await;
    say(&li_lei, "有人吗").await;
    han_meimei.click("#join-btn").await.unwrap();
    assert_eq!(hear(&han_meimei, "有人吗").await.0, "李雷", "the history has it");
}

pub(crate) async fn a_reconnected_page_shows_the_messages_it_has_missed() {
    let browser = browser::launch(&[]).await;
    let database = Sqlite::new();
    let (mut cluster, _chat) = chat(&database).await;
    let page = join(&browser, &cluster, 2).await;
    say(&page, "before").await;
    page.type_into("#message-input", "a draft").await.unwrap();
    cluster
        .restart_gateway_when(0, async || {
            state(&page, "retrying").await;
            let label: String = page.eval("document.querySelector('#status').textContent").await.unwrap();
            assert!(label.ends_with("秒后重试"), "{label}");
            database_holds(&database, &[(2, 1, "meanwhile")]).await;
        })
        .await;
    state(&page, "joined").await;
    hear(&page, "meanwhile").await;
    hear(&page, "before").await;
    let draft: String = page.eval("document.querySelector('#message-input').value").await.unwrap();
    assert_eq!(draft, "a draft");
}

/// Stores so many messages of each text, numbered, beside the application.
async fn database_holds(database: &Sqlite, messages: &[(i64, usize, &str)]) {
    sqlx::any::install_default_drivers();
    let mut connection = sqlx::AnyConnection::connect(&database.url()).await.unwrap();
    for (speaker, times, text) in messages {
        let numbered = if *times == 1 { "'" } else { " ' || n" };
        let insert = format!(
            "WITH RECURSIVE count (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM count WHERE n < {times}) \
             INSERT INTO messages (belong_class, belong_thread, speaker, content) \
             SELECT 1, 1, {speaker}, '{text}{numbered} FROM count"
        );
        sqlx::raw_sql(&insert).execute(&mut connection).await.unwrap();
    }
}

pub(crate) async fn a_long_history_is_read_to_its_beginning_in_few_elements() {
    let browser = browser::launch(&[]).await;
    let database = Sqlite::new();
    let (cluster, _chat) = chat(&database).await;
    database_holds(&database, &[(3, 1_500, "message")]).await;
    let page = join(&browser, &cluster, 2).await;
    hear(&page, "message 1500").await;
    let up = "(() => { const list = document.querySelector('#messages'); \
              if (list.scrollTop > 0) list.scrollTop -= 300; else document.querySelector('#older').click(); \
              return [...document.querySelectorAll('.content')].some(c => c.textContent.startsWith('同学们好')); })()";
    page.wait_for(up, Duration::from_secs(60)).await.unwrap();
    assert!(shown(&page).await <= 120);

    // New messages do not scroll the reader away.
    let other = join(&browser, &cluster, 3).await;
    say(&other, "news").await;
    page.wait_for("document.querySelector('#newer').textContent.startsWith('1 条新消息')", LIMIT)
        .await
        .unwrap();
    page.click("#newer").await.unwrap();
    hear(&page, "news").await;
    hear(&page, "message 1500").await;
    assert!(shown(&page).await <= 120);
}

pub(crate) async fn many_messages_at_once_do_not_block_the_page() {
    let browser = browser::launch(&[]).await;
    let database = Sqlite::new();
    let (cluster, _chat) = chat(&database).await;
    let page = join(&browser, &cluster, 2).await;
    let hear_many = "(() => { const begin = performance.now(); \
        for (let id = 1000; id < 5000; id++) hear({ id, belong_class: 1, belong_thread: 1, speaker: 3, \
            speaker_name: '韩梅梅', content: `message ${id}`, created_at: Date.now() }); \
        return performance.now() - begin; })()";
    let took: f64 = page.eval(hear_many).await.unwrap();
    assert!(took < 2_000.0, "{took} ms");
    hear(&page, "message 4999").await;
    assert!(shown(&page).await <= 120);
}

pub(crate) async fn a_message_sent_while_the_newest_page_loads_is_shown() {
    let browser = browser::launch(&[]).await;
    let database = Sqlite::new();
    let (cluster, _chat) = chat(&database).await;
    let page = join(&browser, &cluster, 2).await;
    let meanwhile = "(() => { tail = false; toLatest(); \
        hear({ id: 9999, belong_class: 1, belong_thread: 1, speaker: 3, speaker_name: '韩梅梅', \
            content: 'meanwhile', created_at: Date.now() }); \
        takeIn(); return true; })()";
    page.eval::<bool>(meanwhile).await.unwrap();
    hear(&page, "meanwhile").await;
}

pub(crate) async fn an_unanswered_message_is_sent_again_after_a_reconnect_and_stored_once() {
    let browser = browser::launch(&[]).await;
    let database = Sqlite::new();
    let (mut cluster, _chat) = chat(&database).await;
    let page = join(&browser, &cluster, 2).await;
    // The answer is lost, the message is not.
    let lose_answers = "(() => { const was = hear; window.lossy = true; \
        hear = (message) => lossy && message.op === 'send' || was(message); return true; })()";
    page.eval::<bool>(lose_answers).await.unwrap();
    page.type_into("#message-input", "once").await.unwrap();
    page.press_enter().await.unwrap();
    hear(&page, "once").await;
    cluster
        .restart_gateway_when(0, async || {
            state(&page, "retrying").await;
            let waiting: String = page.eval("document.querySelector('#outgoing').innerText").await.unwrap();
            assert_eq!(waiting, "once");
            page.type_into("#message-input", "a draft").await.unwrap();
            page.eval::<bool>("window.lossy = false, true").await.unwrap();
        })
        .await;
    page.wait_for("document.querySelector('#outgoing').hidden && outgoing.length === 0", LIMIT)
        .await
        .unwrap();
    field_holds(&page, "a draft").await;
    hear(&page, "once").await;
    say(&page, "twice").await;
    let history = join(&browser, &cluster, 3).await;
    hear(&history, "once").await;
    hear(&history, "twice").await;
}

async fn field_holds(page: &Page, text: &str) {
    let condition = format!("document.querySelector('#message-input').value === {}", json!(text));
    page.wait_for(&condition, LIMIT).await.unwrap();
}

/// Says these in one go, with 0 as a draft after them; waits until all are answered.
async fn say_at_once(page: &Page, lines: &[String]) {
    let say_all = format!(
        "(() => {{ const field = document.querySelector('#message-input');
            for (const line of {}) {{ field.value = line; $('composer').requestSubmit(); }}
            field.value = 0; return true; }})()",
        json!(lines)
    );
    page.eval::<bool>(&say_all).await.unwrap();
    page.wait_for("outgoing.length === 0", LIMIT).await.unwrap();
}

fn numbers(last: u32) -> Vec<String> {
    (1..=last).map(|n| n.to_string()).collect()
}

pub(crate) async fn refused_messages_return_to_the_field_in_order_before_the_draft() {
    let browser = browser::launch(&[]).await;
    let database = Sqlite::new();
    let cluster = Cluster::builder().workers(0).start().await;
    let slow = Settings { burst: 6, requests_per_second: 1, ..settings(&database.url()) };
    let _chat = start(&cluster, &slow).await;
    let page = join(&browser, &cluster, 2).await;
    say_at_once(&page, &numbers(12)).await;
    let field: String = page.eval("document.querySelector('#message-input').value").await.unwrap();
    let refused: Vec<_> = field.split('\n').collect();
    let stored = 13 - refused.len();
    hear(&page, &stored.to_string()).await;
    let rest = (stored + 1..=12).chain([0]).map(|n| n.to_string());
    assert_eq!(refused, rest.collect::<Vec<_>>());
    assert!(refused.len() > 3, "several were refused: {field}");
    let error: String = page.eval("document.querySelector('#send-error').textContent").await.unwrap();
    assert_eq!(error, "操作太频繁，请稍候");
}

pub(crate) async fn messages_that_are_too_long_return_in_order_and_others_are_sent() {
    let browser = browser::launch(&[]).await;
    let database = Sqlite::new();
    let (cluster, _chat) = chat(&database).await;
    let page = join(&browser, &cluster, 2).await;
    let long = "x".repeat(group_chat::MAX_CONTENT + 1);
    let longer = "y".repeat(group_chat::MAX_CONTENT + 2);
    say_at_once(&page, &["1".into(), long.clone(), "3".into(), longer.clone()]).await;
    field_holds(&page, &format!("{long}\n{longer}\n0")).await;
    for text in ["1", "3"] {
        hear(&page, text).await;
    }
}

/// The words without a language: names of things, and the demo's data.
const NAMES: [&str; 14] = [
    "wss",
    "ws",
    "高一 1 班",
    "高一 2 班",
    "数学",
    "语文",
    "春游",
    "王老师",
    "李雷",
    "韩梅梅",
    "小明",
    "小红",
    "同学们好，这里是“数学”讨论区。",
    "↻",
];

pub(crate) async fn the_page_speaks_the_language_of_its_user_and_no_other() {
    let browser = browser::launch(&[]).await;
    let database = Sqlite::new();
    let mut cluster = Cluster::builder().workers(0).start().await;
    let slow = Settings { burst: 20, requests_per_second: 1, ..settings(&database.url()) };
    let _chat = start(&cluster, &slow).await;
    for (language, lang) in LANGUAGES {
        let check = async |page: &Page, what: &str| {
            let wrong = foreign(page, &NAMES).await.unwrap();
            assert_eq!(wrong, Vec::<String>::new(), "{what} in {language}");
        };
        let page = browser.open_in(language, &url(&cluster, 2)).await.unwrap();
        assert_eq!(page.eval::<String>("document.documentElement.lang").await.unwrap(), lang);
        page.wait_for("!document.querySelector('#join-btn').disabled", LIMIT).await.unwrap();
        check(&page, "the entrance").await;
        page.click("summary").await.unwrap();
        page.type_into("#ws-url", "http://a").await.unwrap();
        page.click("#dial-btn").await.unwrap();
        page.type_into("#ws-url", "ws://a").await.unwrap();
        check(&page, "a wrong address").await;
        come_in(&page).await;
        check(&page, "the room").await;
        say_at_once(&page, &["1".repeat(group_chat::MAX_CONTENT + 1)]).await;
        check(&page, "a refused message").await;
        say_at_once(&page, &numbers(25)).await;
        check(&page, "too many messages").await;
        page.eval::<()>("pinned = false; unread = 1; show()").await.unwrap();
        check(&page, "news").await;
        page.click("#lang-btn").await.unwrap();
        check(&page, "the other language").await;
        page.click("#lang-btn").await.unwrap();
        let retrying = async || {
            state(&page, "retrying").await;
            check(&page, "a lost connection").await;
        };
        cluster.restart_gateway_when(0, retrying).await;
        page.close().await.unwrap();
    }
}

pub(crate) async fn the_page_shows_its_address_without_secrets() {
    let browser = browser::launch(&[]).await;
    let database = Sqlite::new();
    let (cluster, _chat) = chat(&database).await;
    let address = format!("url=ws://{}", cluster.listener());
    let secret = url(&cluster, 2).replace(&address, &format!("{address}/%3Ftoken%3Dsecret"));
    let page = browser.open(&secret).await.unwrap();
    come_in(&page).await;
    let shown: Vec<String> = page
        .eval("[...document.querySelectorAll('[data-server]')].map((element) => element.textContent)")
        .await
        .unwrap();
    assert_eq!(shown, [format!("ws://{}", cluster.listener()), format!("ws://{}", cluster.listener())]);
}

pub(crate) async fn the_page_fits_a_narrow_phone() {
    let browser = browser::launch(&[]).await;
    let database = Sqlite::new();
    let (cluster, _chat) = chat(&database).await;
    let page = join(&browser, &cluster, 2).await;
    let phone = json!({"width": 360, "height": 640, "deviceScaleFactor": 2, "mobile": true});
    page.command("Emulation.setDeviceMetricsOverride", phone).await.unwrap();
    say(&page, &"long".repeat(100)).await;
    page.click("#members-btn").await.unwrap();
    let fits = "document.documentElement.scrollWidth <= 360 && document.querySelector('#messages').scrollWidth <= 360";
    assert!(page.eval::<bool>(fits).await.unwrap());
    page.click("#leave-btn").await.unwrap();
    page.wait_for("!document.querySelector('#join-btn').disabled", LIMIT).await.unwrap();
    assert!(page.eval::<bool>("document.documentElement.scrollWidth <= 360").await.unwrap());
}

/// nginx with `nginx.conf` and a certificate that nobody else has signed. Stopped when
/// it is dropped.
struct Nginx {
    process: Child,
    port: u16,
    _directory: TempDir,
}

impl Nginx {
    fn start(cluster: &Cluster) -> Self {
        let program = programs::nginx().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let openssl = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"])
            .args(["-keyout", &path("key.pem"), "-out", &path("cert.pem")])
            .stderr(Stdio::null())
            .status();
        assert!(openssl.expect("openssl is there").success());
        let port = free_port();
        let server = std::fs::read_to_string(here("nginx.conf")).unwrap();
        let filled = [
            ("127.0.0.1:8289", cluster.listener().to_string()),
            ("listen 443", format!("listen 127.0.0.1:{port}")),
            ("/etc/nginx/CERTIFICATE.PEM", path("cert.pem")),
            ("/etc/nginx/KEY.PEM", path("key.pem")),
            ("/srv/GROUP-CHAT", here("").display().to_string()),
        ];
        let server = filled.iter().fold(server, |text, (ours, theirs)| {
            assert!(text.contains(ours), "{ours}");
            text.replace(ours, theirs)
        });
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|name| format!("{name}_temp_path {};", path(name)))
            .collect();
        let whole = format!(
            "user root; daemon off; worker_processes 1; pid {}; error_log {};
             events {{}} http {{ access_log off; types {{ text/html html; }} {temporary} {server} }}",
            path("pid"),
            path("error.log"),
        );
        std::fs::write(path("whole.conf"), whole).unwrap();
        let process = Command::new(program)
            .args(["-e", &path("error.log"), "-p", &path(""), "-c", &path("whole.conf")])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, port, _directory: directory }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its own children end with a SIGTERM only.
        send_signal("TERM", self.process.id());
        let _ = self.process.wait();
    }
}

pub(crate) async fn behind_nginx_page_and_connection_come_over_tls() {
    let browser = browser::launch(&[]).await;
    let database = Sqlite::new();
    let (cluster, _chat) = chat(&database).await;
    let nginx = Nginx::start(&cluster);
    let address = format!("127.0.0.1:{}", nginx.port);
    gatewayworker_tests::eventually("nginx to listen", async || {
        tokio::net::TcpStream::connect(&address).await.is_ok()
    })
    .await;

    let page = browser.open("data:text/html,<p>here</p>").await.unwrap();
    page.command("Security.setIgnoreCertificateErrors", json!({"ignore": true})).await.unwrap();
    page.navigate(&format!("https://{address}/?thread=1&speaker=2")).await.unwrap();
    page.wait_for("!document.querySelector('#join-btn').disabled", LIMIT).await.unwrap();
    let url: String = page.eval("document.querySelector('#ws-url').value").await.unwrap();
    assert_eq!(url, format!("wss://{address}/wss"));
    page.click("#join-btn").await.unwrap();
    state(&page, "joined").await;
    say(&page, "over TLS").await;
    let other = join(&browser, &cluster, 3).await;
    hear(&other, "over TLS").await;
    say(&other, "你好").await;
    hear(&page, "你好").await;
}

pub(crate) async fn a_pulled_cable_loses_no_message_and_the_member_stays_online() {
    let browser = browser::launch(&[]).await;
    let database = Sqlite::new();
    let (cluster, _chat) = keeping_chat(&database).await;
    let cable = Cable::lay(cluster.listener(), 1).await;
    let han_meimei = join(&browser, &cluster, 3).await;
    let file = here("index.html").canonicalize().unwrap();
    let url = format!("file://{}?url=ws://{}&thread=1&speaker=2", file.display(), cable.address);
    let li_lei = browser.open_in("zh-CN", &url).await.unwrap();
    come_in(&li_lei).await;
    see_members(&han_meimei, "2 / 3 人在线").await;
    // Every change of the list would be seen.
    let watch = "window.lists = 0, new MutationObserver(() => lists++).observe(document.querySelector('#members-list'), \
        { childList: true }), true";
    han_meimei.eval::<bool>(watch).await.unwrap();
    say(&li_lei, "before").await;
    hear(&han_meimei, "before").await;
    cable.pull();
    state(&li_lei, "detached").await;
    say(&li_lei, "one").await;
    say(&li_lei, "two").await;
    say(&han_meimei, "在吗").await;
    li_lei.type_into("#message-input", "a draft").await.unwrap();
    cable.plug();
    state(&li_lei, "joined").await;
    for text in ["one", "two", "在吗"] {
        hear(&li_lei, text).await;
        hear(&han_meimei, text).await;
    }
    li_lei.wait_for("outgoing.length === 0", LIMIT).await.unwrap();
    let draft: String = li_lei.eval("document.querySelector('#message-input').value").await.unwrap();
    assert_eq!((draft.as_str(), han_meimei.eval::<u32>("lists").await.unwrap()), ("a draft", 0));
}
