//! A nats-server of a test's own.

use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::process::free_port;

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
        let routes: Vec<String> = (0..count).map(|_| format!("nats://127.0.0.1:{}", free_port())).collect();
        let all = routes.join(",");
        let start =
            |own: &String| Self::start_with(&["--cluster_name", "tests", "--cluster", own, "--routes", &all]);
        routes.iter().map(start).collect()
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
