//! The original's GatewayClient, unmodified, in a process of its own that runs lines of PHP.

use std::path::Path;
use std::process::Stdio;

use gatewayworker_tests::soon;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::php::Php;
use crate::process::tail;

/// A PHP process with the GatewayClient. Dropping it ends the process.
pub struct Caller {
    _child: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
    log: std::path::PathBuf,
}

impl Caller {
    pub(crate) fn start(php: &Php, register: &str, key: &str, log: &Path) -> Self {
        let file =
            std::fs::File::options().create(true).append(true).open(log).expect("a log can be written");
        let mut command = Command::from(php.script("caller.php"));
        command.env("REGISTER", register).env("SECRET_KEY", key).kill_on_drop(true);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(file).spawn().expect("php starts");
        let stdin = child.stdin.take().expect("it is piped");
        let stdout = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Self { _child: child, stdin, stdout, log: log.to_owned() }
    }

    /// Runs a line of PHP, and returns its outcome.
    ///
    /// # Panics
    /// PHP has ended.
    pub async fn call(&mut self, code: &str) -> Value {
        self.stdin.write_all(format!("{code}\n").as_bytes()).await.expect("php reads");
        let line = soon(code, self.stdout.next_line()).await.expect("php writes");
        let outcome = line.as_deref().map(serde_json::from_str);
        match outcome {
            Some(Ok(outcome)) => outcome,
            _ => panic!("{code}: {line:?}\n{}", tail(&self.log)),
        }
    }

    /// Runs a line of PHP, and returns its value; null if it throws.
    pub async fn answer(&mut self, code: &str) -> Value {
        self.call(code).await["answer"].take()
    }
}
