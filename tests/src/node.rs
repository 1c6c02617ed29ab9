//! Programs in Node that a test talks to, line by line, and among them the library for JavaScript as a client that the test
//! drives.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin};

use serde_json::Value;
use tokio::sync::mpsc;

use crate::{eventually, programs, soon};

/// A program in Node. It is killed when this is dropped.
pub struct NodeProgram {
    process: Child,
    input: Option<ChildStdin>,
    lines: mpsc::UnboundedReceiver<String>,
}

impl NodeProgram {
    /// Returns the path of a file of the library's tests.
    pub fn module(name: &str) -> PathBuf {
        programs::clients_js().join("test").join(name)
    }

    /// Starts a module with arguments.
    ///
    /// # Panics
    /// Node does not start.
    pub fn start(module: &Path, arguments: &[&str]) -> Self {
        let mut process = programs::node(module).args(arguments).spawn().expect("node starts");
        let (sender, lines) = mpsc::unbounded_channel();
        let output = process.stdout.take().expect("a pipe");
        std::thread::spawn(move || {
            let lines: Lines<_> = BufReader::new(output).lines();
            lines.map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { input: process.stdin.take(), process, lines }
    }

    /// Starts `programs/driven.mjs`: a client that runs the JavaScript which [`say`](Self::say) gives it, and writes what
    /// happens as lines of JSON.
    ///
    /// # Panics
    /// Node does not start.
    pub fn client() -> Self {
        Self::start(&Self::module("programs/driven.mjs"), &[])
    }

    /// Waits for the next line that it writes.
    ///
    /// # Panics
    /// There is none in time.
    pub async fn line(&mut self) -> String {
        soon("a line of the program", self.lines.recv()).await.expect("the program runs")
    }

    /// Waits for the next line, which is JSON.
    ///
    /// # Panics
    /// There is none in time, or it is no JSON.
    pub async fn json(&mut self) -> Value {
        let line = self.line().await;
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// Writes a line to its input.
    ///
    /// # Panics
    /// It does not run any more.
    pub fn say(&mut self, line: &str) {
        writeln!(self.input.as_mut().expect("a pipe"), "{line}").expect("the program runs");
    }

    /// Ends its input, and waits for its end: a client that is closed leaves nothing that runs.
    ///
    /// # Panics
    /// It does not end in time.
    pub async fn ends(&mut self) {
        self.input = None;
        eventually("the end of the program", async || self.process.try_wait().expect("it is ours").is_some())
            .await;
    }
}

impl Drop for NodeProgram {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
