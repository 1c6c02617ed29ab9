//! A daemon's process with its log. `cluster` starts and ends it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gatewayworker_tests::LIMIT;

/// A daemon in a process group of its own, because a PHP daemon is a parent with a child. Dropping it kills the group.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it, with its output appended to `log`.
    pub(crate) fn start(mut command: Command, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).expect("a log can be written");
        let again = file.try_clone().expect("a file can be shared");
        group(&mut command);
        let child = command.stdin(Stdio::null()).stdout(file).stderr(again).spawn();
        Self { child: child.unwrap_or_else(|error| panic!("{command:?}: {error}")), log: log.to_owned() }
    }

    /// Stops it, as an operator does, and waits for its end.
    pub(crate) async fn stop(mut self) {
        self.signal("TERM", &self.child.id().to_string());
        for _ in 0..LIMIT.as_millis() / 5 {
            if self.child.try_wait().expect("it is ours").is_some() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("asked to end, it did not:\n{}", tail(&self.log));
    }

    /// Kills it, as a crash does.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.signal("KILL", &format!("-{}", self.child.id()));
        let _ = self.child.wait();
    }

    fn signal(&self, signal: &str, whom: &str) {
        let _ = Command::new("kill").args(["-s", signal, "--", whom]).stderr(Stdio::null()).status();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // After the wait, the process id may belong to another process. The group's id is valid while it has members.
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.end();
        }
    }
}

#[cfg(unix)]
fn group(command: &mut Command) {
    std::os::unix::process::CommandExt::process_group(command, 0);
}

/// The test runs on Unix only, but must build everywhere.
#[cfg(not(unix))]
fn group(_command: &mut Command) {}

/// The last lines of a log.
pub(crate) fn tail(log: &Path) -> String {
    let text = String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).into_owned();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
