//! A redis-server of a test's own.

use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::process::free_port;

/// A redis-server on a free port, which writes nothing to disk. Killed when it is dropped.
pub struct RedisServer {
    port: u16,
    process: Child,
    directory: TempDir,
}

impl RedisServer {
    /// Starts a server.
    ///
    /// # Panics
    /// It does not start.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let port = free_port();
        Self { port, process: run(port, &directory), directory }
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Writes everything to disk, ends the server in order, and starts it again.
    ///
    /// # Panics
    /// A command fails.
    pub fn save_and_start_again(&mut self) {
        let port = self.port.to_string();
        let saved = Command::new("redis-cli").args(["-p", &port, "save"]).stdout(Stdio::null()).status();
        assert!(saved.expect("redis-cli runs").success());
        self.kill();
        self.start_again();
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
        self.process = run(self.port, &self.directory);
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn run(port: u16, directory: &TempDir) -> Child {
    let mut server = Command::new("redis-server");
    server.args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()]);
    server.current_dir(directory.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    server.spawn().expect("redis-server starts")
}
