//! A nats-server of a test's own.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::process::free_port;

/// The arguments for JetStream; each server has a directory of its own.
const JETSTREAM: [&str; 3] = ["-js", "-sd", "jetstream"];

/// A nats-server on a free port. Killed when it is dropped. Several may be a cluster of NATS ([`NatsServer::cluster`]).
pub struct NatsServer {
    port: u16,
    more: Vec<String>,
    process: Child,
    directory: TempDir,
}

impl NatsServer {
    /// Starts a server.
    ///
    /// # Panics
    /// It does not start.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with more arguments.
    ///
    /// # Panics
    /// It does not start.
    pub fn start_with(more: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let port = free_port();
        let more: Vec<String> = more.iter().map(ToString::to_string).collect();
        let process = run(port, &more, &directory);
        Self { port, more, process, directory }
    }

    /// Starts servers that are one cluster.
    ///
    /// # Panics
    /// They do not start.
    pub fn cluster(count: usize) -> Vec<Self> {
        Self::cluster_with(count, |_| Vec::new())
    }

    fn cluster_with(count: usize, more: impl Fn(usize) -> Vec<String>) -> Vec<Self> {
        let routes: Vec<String> = (0..count).map(|_| format!("nats://127.0.0.1:{}", free_port())).collect();
        let all = routes.join(",");
        let start = |(number, own): (usize, &String)| {
            let more = more(number);
            let more = more.iter().map(String::as_str);
            let all: Vec<_> = ["--cluster_name", "tests", "--cluster", own, "--routes", &all]
                .into_iter()
                .chain(more)
                .collect();
            Self::start_with(&all)
        };
        routes.iter().enumerate().map(start).collect()
    }

    /// Starts a server with JetStream. What it keeps is there again when it is started again.
    ///
    /// # Panics
    /// It does not start.
    pub fn with_jetstream() -> Self {
        Self::start_with(&JETSTREAM)
    }

    /// Starts servers that are one cluster, with JetStream.
    ///
    /// # Panics
    /// They do not start.
    pub fn cluster_with_jetstream(count: usize) -> Vec<Self> {
        Self::cluster_with(count, |number| {
            let name = ["-n".to_owned(), format!("server-{number}")];
            name.into_iter().chain(JETSTREAM.map(str::to_owned)).collect()
        })
    }

    /// Asks JetStream with this JSON. Returns the answer; `None` if there is none in time.
    pub async fn ask_jetstream(&self, call: &str, json: &str) -> Option<String> {
        let ask = async {
            let mut socket = BufReader::new(TcpStream::connect(("127.0.0.1", self.port)).await.ok()?);
            let len = json.len();
            let ask = format!(
                "CONNECT {{\"verbose\":false}}\r\nSUB test.answer 1\r\nPUB $JS.API.{call} test.answer {len}\r\n{json}\r\n"
            );
            socket.write_all(ask.as_bytes()).await.ok()?;
            let mut line = String::new();
            while !line.starts_with("MSG ") {
                line.clear();
                if socket.read_line(&mut line).await.ok()? == 0 {
                    return None;
                }
            }
            line.clear();
            socket.read_line(&mut line).await.ok()?;
            Some(line)
        };
        timeout(Duration::from_secs(2), ask).await.ok().flatten()
    }

    /// The port where clients connect.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Kills it.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Starts it again on the same port.
    ///
    /// # Panics
    /// It does not start.
    pub fn start_again(&mut self) {
        self.process = run(self.port, &self.more, &self.directory);
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn run(port: u16, more: &[String], directory: &TempDir) -> Child {
    let mut server = Command::new("nats-server");
    server.args(["-a", "127.0.0.1", "-p", &port.to_string()]).args(more).current_dir(directory.path());
    server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    server.spawn().expect("nats-server starts")
}
