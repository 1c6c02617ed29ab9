//! The guide's page for those who keep their PHP: its commands bring an application of the original's layout behind our
//! gateway, and back again.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gatewayworker_tests::process::{binary, free_port};
use gatewayworker_tests::programs::php_packages;
use gatewayworker_tests::{WsClient, eventually};
use tempfile::TempDir;

const GUIDE: &str = include_str!("../../../docs/guide/php.md");

/// The application, as small as the original's layout can be. Its ports are the page's.
const APPLICATION: [(&str, &str); 4] = [
    (
        "start.php",
        "<?php
        require __DIR__ . '/bootstrap.php';
        foreach (glob(__DIR__ . '/Applications/*/start*.php') as $file) require $file;
        Workerman\\Worker::runAll();",
    ),
    ("Applications/Chat/start_register.php", "<?php new GatewayWorker\\Register('text://127.0.0.1:1236');"),
    (
        "Applications/Chat/start_gateway.php",
        "<?php
        $gateway = new GatewayWorker\\Gateway('websocket://127.0.0.1:7272');
        $gateway->startPort = 2300;
        $gateway->registerAddress = '127.0.0.1:1236';",
    ),
    (
        "Applications/Chat/start_businessworker.php",
        "<?php
        $worker = new GatewayWorker\\BusinessWorker();
        $worker->registerAddress = '127.0.0.1:1236';",
    ),
];

/// The application in a folder of its own, on ports of its own. Dropping it ends what the commands have started.
struct Application {
    folder: TempDir,
    listener: u16,
    register: u16,
    inner: u16,
}

impl Application {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let application = Self { folder, listener: free_port(), register: free_port(), inner: free_port() };
        fs::create_dir_all(application.path().join("Applications/Chat")).unwrap();
        for (name, code) in APPLICATION {
            fs::write(application.path().join(name), application.with_own_ports(code)).unwrap();
        }
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/php");
        for name in ["bootstrap.php", "Events.php"] {
            fs::copy(example.join(name), application.path().join(name)).unwrap();
        }
        application
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn with_own_ports(&self, text: &str) -> String {
        let own = [("7272", self.listener), ("1236", self.register), ("2300", self.inner)];
        let text = own.iter().fold(text.to_owned(), |text, (port, own)| text.replace(port, &own.to_string()));
        text.replace("0.0.0.0", "127.0.0.1")
    }

    /// Runs commands of the page in the application's folder. Returns whether they succeed, and what they print.
    fn run(&self, commands: &str) -> (bool, String) {
        let programs = binary().parent().expect("it is in a folder");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path =
            std::env::join_paths([PathBuf::from(programs)].into_iter().chain(std::env::split_paths(&path)));
        // A file, as what goes on in the background would keep a pipe open.
        let printed = self.path().join("printed");
        let out = File::create(&printed).unwrap();
        let status = Command::new("sh")
            .args(["-ec", &self.with_own_ports(commands)])
            .current_dir(self.path())
            .env("PATH", path.unwrap())
            .env("GATEWAYWORKER_PHP_VENDOR", php_packages().expect("the test needs it"))
            .env("GATEWAYWORKER_REGISTER_ADDRESS", format!("127.0.0.1:{}", self.register))
            .env_remove("GATEWAYWORKER_SECRET_KEY")
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .status();
        (status.unwrap().success(), fs::read_to_string(printed).unwrap())
    }

    /// Runs the block of the page that begins with this line, and returns what it prints.
    fn follow(&self, first_line: &str) -> String {
        let (done, printed) = self.run(block(first_line));
        assert!(done, "{first_line}: {printed}");
        printed
    }

    /// Waits until a new client is greeted by `Events.php`.
    async fn greets(&self) {
        let listener = ([127, 0, 0, 1], self.listener).into();
        eventually("a client to be greeted", async || {
            // The original closes clients while it has no worker yet.
            let Ok(mut client) = WsClient::try_connect(listener, "/").await else { return false };
            client.next().await.is_some_and(|message| message.to_string().contains("client_id"))
        })
        .await;
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        // Some may have ended already.
        self.run("gatewayworker stop --config-dir gateway || true; php start.php stop || true");
    }
}

/// The block of shell commands that begins with this line.
fn block(first_line: &str) -> &'static str {
    let (_, rest) = GUIDE.split_once(&format!("```sh\n{first_line}\n")).expect(first_line);
    let start = GUIDE.len() - rest.len() - first_line.len() - 1;
    GUIDE[start..].split("```").next().expect("a block ends")
}

pub(crate) async fn the_commands_bring_an_application_over_and_back() {
    let application = Application::new();
    application.run("php start.php start -d");
    application.greets().await;

    let checked = application.follow("mkdir gateway");
    assert!(checked.contains("configuration is valid"), "{checked}");
    application.follow("php start.php stop");
    application.follow("gatewayworker start -d --no-worker --config-dir gateway");
    application.greets().await;
    eventually("the check to say that all are there", async || {
        let (_, printed) = application.run(block("grep 'a worker is linked' gateway/run/gatewayworker.log"));
        printed.contains("a worker is linked") && printed.contains("gateways: 1")
    })
    .await;

    application.follow("gatewayworker stop --config-dir gateway");
    application.greets().await;
    let log = fs::read_to_string(application.path().join("gateway/run/gatewayworker.log")).unwrap();
    assert!(log.contains("the gateway has stopped") && !log.contains("on_close is lost"), "{log}");
}
