//! `examples/php`: the original's businessworkers, which run a chat in PHP, behind our register and gateway. And the files
//! that the guide's page about it writes.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gatewayworker_tests::process::send_signal;
use gatewayworker_tests::programs::php_packages;
use gatewayworker_tests::{Cluster, WsClient, browser, soon};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::page::{hear, log_in, say};

const GUIDE: &str = include_str!("../../../docs/guide/php.md");
const KEY: &str = "a key of the PHP example";
/// How long the PHP workers may take to end.
const END: Duration = Duration::from_secs(10);

/// The PHP workers of the example, in a copy of its folder. Dropping it ends them.
struct PhpWorkers {
    folder: TempDir,
    /// Workerman's master, whose children are the workers.
    master: Child,
}

impl PhpWorkers {
    fn start(cluster: &Cluster) -> Self {
        let folder = copy_of_the_example();
        let master = php(folder.path())
            .env("GATEWAYWORKER_PHP_VENDOR", php_packages().expect("the test needs it"))
            .env("GATEWAYWORKER_REGISTER_ADDRESS", cluster.register.to_string())
            .env("GATEWAYWORKER_SECRET_KEY", KEY)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { folder, master }
    }

    /// What Workerman logged: errors of handlers, too.
    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("workerman.log")).unwrap_or_default()
    }
}

impl Drop for PhpWorkers {
    fn drop(&mut self) {
        send_signal("INT", self.master.id());
        let began = Instant::now();
        while matches!(self.master.try_wait(), Ok(None)) {
            if began.elapsed() > END {
                self.master.kill().ok();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

/// Workerman writes its state beside the script, so each test has a folder of its own.
fn copy_of_the_example() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/php");
    for name in ["start_businessworker.php", "bootstrap.php", "Events.php"] {
        fs::copy(example.join(name), folder.path().join(name)).unwrap();
    }
    folder
}

/// The command that starts the workers in the foreground, without the environment's settings.
fn php(folder: &Path) -> Command {
    let mut command = Command::new("php");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("GATEWAYWORKER_")) {
        command.env_remove(name);
    }
    command.args(["start_businessworker.php", "start"]).current_dir(folder).stdin(Stdio::null());
    command
}

async fn cluster_without_workers() -> Cluster {
    Cluster::builder().workers(0).secret_key(KEY).start().await
}

/// The next message without what differs between any two conversations: the time and the ids of clients.
async fn next(client: &mut WsClient, ids: &[(String, &str)]) -> Value {
    let mut message = client.json().await;
    for key in ["timestamp", "datetime"] {
        message.as_object_mut().unwrap().remove(key);
    }
    let text = ids.iter().fold(message.to_string(), |text, (id, name)| text.replace(id.as_str(), name));
    serde_json::from_str(&text).unwrap()
}

/// A conversation of two clients, as each of them receives it.
async fn conversation(cluster: &Cluster) -> Vec<Value> {
    let mut ann = WsClient::connect(cluster.listener()).await;
    let greeting = ann.json().await;
    let mut ids = vec![(greeting["client_id"].as_str().unwrap().to_owned(), "ANN")];
    let mut heard = vec![greeting["message"].clone()];
    let mut bob = WsClient::connect(cluster.listener()).await;
    ids.push((bob.json().await["client_id"].as_str().unwrap().to_owned(), "BOB"));
    for said in [
        json!({"type": "ping"}),
        json!({"type": "pong"}),
        json!({"type": "dance"}),
        json!([1]),
        json!({"type": "chat", "content": "who am I?", "id": "1"}),
        json!({"type": "login", "username": "安 \"A\""}),
        json!({"type": "chat", "content": "<b>你好\n", "id": "2"}),
        json!({"type": "chat", "content": "x".repeat(4097)}),
        // The end of what Ann is answered.
        json!({"type": "ping"}),
    ] {
        ann.send_json(said).await;
    }
    let mut pongs = 0;
    while pongs < 2 {
        heard.push(next(&mut ann, &ids).await);
        pongs += usize::from(heard.last().unwrap()["type"] == "pong");
    }
    ann.close().await;
    loop {
        heard.push(next(&mut bob, &ids).await);
        if heard.last().unwrap()["message"] == "用户 安 \"A\" 已离开" {
            return heard;
        }
    }
}

pub(crate) async fn the_chat_in_php_answers_as_the_chat_in_rust_does() {
    let (ours, theirs) = (cluster_without_workers().await, cluster_without_workers().await);
    let _chat = ours.start_application(chat::Chat::default());
    let php = PhpWorkers::start(&theirs);
    let (expected, found) = (conversation(&ours).await, conversation(&theirs).await);
    assert_eq!(found, expected);
    assert!(!php.log().contains("Error"), "{}", php.log());
}

pub(crate) async fn while_the_php_workers_start_again_clients_stay_and_wait() {
    let cluster = cluster_without_workers().await;
    let php = PhpWorkers::start(&cluster);
    let mut ann = WsClient::connect(cluster.listener()).await;
    assert_eq!(ann.json().await["type"], "system");
    ann.send_json(json!({"type": "login", "username": "Ann"})).await;
    assert_eq!(ann.json().await["type"], "system");
    assert_eq!(ann.json().await["type"], "login");
    drop(php);
    ann.send_json(json!({"type": "chat", "content": "is anybody there?"})).await;
    let _php = PhpWorkers::start(&cluster);
    let heard = ann.json().await;
    assert_eq!((&heard["content"], &heard["username"]), (&json!("is anybody there?"), &json!("Ann")));
}

pub(crate) async fn without_the_packages_the_start_script_says_what_to_do() {
    let folder = copy_of_the_example();
    let output = tokio::process::Command::from(php(folder.path())).output();
    let output = soon("PHP to end", output).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("run `composer install`"), "{said}");
}

pub(crate) async fn two_pages_chat_through_php() {
    let cluster = cluster_without_workers().await;
    let _php = PhpWorkers::start(&cluster);
    let browser = browser::launch(&[]).await;
    let alice = log_in(&browser, &cluster, "Alice").await;
    let bob = log_in(&browser, &cluster, "Bob").await;
    say(&alice, "hello from a page").await;
    assert_eq!(hear(&bob, "hello from a page").await, ("Alice".into(), "false".into()));
    say(&bob, "你好").await;
    assert_eq!(hear(&alice, "你好").await, ("Bob".into(), "false".into()));
}

/// The content that the guide writes into a file.
fn file_of_the_guide(name: &str) -> &'static str {
    let (_, rest) =
        GUIDE.split_once(&format!("cat > gateway/{name} <<'EOF'\n")).expect("the page writes the file");
    rest.split_once("EOF\n").expect("the file has an end").0
}

pub(crate) async fn the_files_of_the_guide_are_valid_and_ping_as_php_does() {
    let register: gatewayworker_register::Config =
        toml::from_str(file_of_the_guide("register.toml")).unwrap();
    let gateway: gatewayworker_gateway::Config = toml::from_str(file_of_the_guide("gateway.toml")).unwrap();
    assert_eq!(gateway.register_address, [register.listen]);
    // Without these two lines ours closes clients that PHP keeps.
    assert_eq!((gateway.ping_interval, gateway.ping_not_response_limit), (10.0, 0));
}
