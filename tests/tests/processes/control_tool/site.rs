//! A cluster of processes for the tests of the control tool: a directory, its files, and the tool's commands.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use gatewayworker_tests::process::{binary, free_port, send_signal};
use gatewayworker_tests::tls::Certificate;
use gatewayworker_tests::{HTTP_TOKEN, WsClient, eventually, soon};
use serde_json::Value;

/// A directory with a cluster's configuration, on ports of its own. Dropping it stops the cluster.
pub(crate) struct Site {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) certificate: Certificate,
    pub(crate) listener: SocketAddr,
    pub(crate) tls_listener: SocketAddr,
    pub(crate) http: SocketAddr,
}

impl Site {
    pub(crate) fn new() -> Self {
        let site = Self {
            directory: tempfile::tempdir().unwrap(),
            certificate: Certificate::default(),
            listener: ([127, 0, 0, 1], free_port()).into(),
            tls_listener: ([127, 0, 0, 1], free_port()).into(),
            http: ([127, 0, 0, 1], free_port()).into(),
        };
        let register = format!("127.0.0.1:{}", free_port());
        let at = format!("register_address = '{register}'\n");
        site.write("register", &format!("listen = '{register}'\n"));
        site.write(
            "businessworker",
            &format!("{at}[http]\nlisten = '{}'\ntoken = '{HTTP_TOKEN}'\n", site.http),
        );
        site.write(
            "gateway",
            &format!(
                "{at}lan_port = {}\n[[listen]]\nurl = 'websocket://{}'\n{}",
                free_port(),
                site.listener,
                site.certificate.listener(&format!("wss://{}", site.tls_listener)),
            ),
        );
        site
    }

    pub(crate) fn write(&self, daemon: &str, config: &str) {
        fs::write(self.directory.path().join(daemon).with_extension("toml"), config).unwrap();
    }

    pub(crate) fn config(&self, daemon: &str) -> String {
        fs::read_to_string(self.directory.path().join(daemon).with_extension("toml")).unwrap()
    }

    /// Returns a daemon's configuration, with its register at `address`.
    pub(crate) fn with_register(&self, config: &str, address: &str) -> String {
        let own = config.lines().find(|line| line.starts_with("register_address")).unwrap();
        config.replace(own, &format!("register_address = '{address}'"))
    }

    pub(crate) fn run_dir(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.run_dir().join("gatewayworker.log")).unwrap_or_default()
    }

    pub(crate) fn arguments<'a>(&'a self, command: &'a str) -> [&'a str; 3] {
        [command, "--config-dir", self.directory.path().to_str().unwrap()]
    }

    /// Runs a command of the tool here, to its end. There is no page for operators, unless a flag says so: tests that
    /// run side by side cannot all have its port.
    pub(crate) async fn run(&self, command: &str, more: &[&str]) -> Output {
        self.run_with(command, more, &[("GATEWAYWORKER_ADMIN_LISTEN", "off")]).await
    }

    /// Runs a command that must succeed, with nothing in its environment, and returns its output.
    pub(crate) async fn succeeds_with_defaults(&self, command: &str, more: &[&str]) -> String {
        let output = self.run_with(command, more, &[]).await;
        assert!(output.status.success(), "{command}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    async fn run_with(&self, command: &str, more: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut tool = tokio::process::Command::new(binary());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("GATEWAYWORKER_")) {
            tool.env_remove(name);
        }
        tool.envs(variables.iter().copied());
        tool.args(self.arguments(command)).args(more).stdin(Stdio::null());
        soon(command, tool.output()).await.unwrap()
    }

    /// Runs a command that must succeed, and returns its output.
    pub(crate) async fn succeeds(&self, command: &str, more: &[&str]) -> String {
        let output = self.run(command, more).await;
        assert!(output.status.success(), "{command}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs a command that must fail with `status`, and returns its error.
    pub(crate) async fn fails(&self, command: &str, status: i32) -> String {
        let output = self.run(command, &[]).await;
        assert_eq!(output.status.code(), Some(status), "{command}: {}", text(&output.stderr));
        let error = text(&output.stderr);
        error.lines().last().unwrap_or_default().strip_prefix("error: ").expect("an error").to_owned()
    }

    /// Connects a client, and waits until the chat has greeted it.
    pub(crate) async fn greeted_client(&self) -> WsClient {
        let mut greeted = None;
        eventually("a client to be greeted", async || {
            let Ok(mut client) = WsClient::try_connect(self.listener, "/").await else { return false };
            assert_eq!(client.json().await["type"], "system");
            greeted = Some(client);
            true
        })
        .await;
        greeted.unwrap()
    }

    pub(crate) async fn status(&self) -> Value {
        let printed = self.run("status", &["--json"]).await.stdout;
        serde_json::from_slice(&printed).unwrap_or_else(|_| panic!("{}", text(&printed)))
    }

    /// The process ids of a daemon.
    pub(crate) async fn processes(&self, daemon: &str) -> Vec<u64> {
        let status = self.status().await;
        let daemons = status["daemons"].as_array().unwrap();
        let daemon = daemons.iter().find(|one| one["name"] == daemon).unwrap();
        let processes = daemon["processes"].as_array().unwrap();
        processes.iter().map(|process| process["process_id"].as_u64().unwrap()).collect()
    }

    pub(crate) async fn worker(&self) -> u64 {
        self.processes("businessworker").await[0]
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let mut stop = Command::new(binary());
        let _ = stop.args(self.arguments("stop")).arg("--now").output();
    }
}

/// Output of a program, as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Whether a process exists.
pub(crate) fn exists(process: u64) -> bool {
    send_signal("0", process)
}
