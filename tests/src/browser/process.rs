//! The browser's process: its flags, its profile, and where its DevTools endpoint is.
//!
//! [`Browser`](super::Browser) starts it, and ends it by dropping it.

use std::ffi::OsString;
use std::io::{Error, Result};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::{LAUNCH_LIMIT, POLL};

/// How long the removal of a dropped browser's profile is tried.
const CLEANUP_LIMIT: Duration = Duration::from_secs(2);

/// The browser's process and its profile, both gone after drop.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    profile: TempDir,
}

impl Process {
    pub(super) fn start(program: &Path, profile: TempDir, flags: &[&str]) -> Result<Self> {
        let mut data_dir = OsString::from("--user-data-dir=");
        data_dir.push(profile.path());
        let child = Command::new(program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--disable-dev-shm-usage",
            ])
            .args(["--no-first-run", "--disable-background-networking", "--disable-component-update"])
            .args(["--disable-sync", "--disable-extensions", "--mute-audio", "--hide-scrollbars"])
            // Timers of background pages must not be slowed, as each page has a user of its own.
            .args(["--disable-background-timer-throttling", "--disable-backgrounding-occluded-windows"])
            .args(["--disable-renderer-backgrounding", "--remote-debugging-port=0"])
            .args(flags)
            .arg(data_dir)
            .arg("about:blank")
            // Temporary files are removed with the profile.
            .env("TMPDIR", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(profile.path().join("stderr"))?)
            .spawn()?;
        Ok(Self { child, profile })
    }

    /// The port and path of the DevTools endpoint, which the browser writes into its profile once it listens.
    pub(super) async fn devtools_address(&mut self) -> Result<(u16, String)> {
        let profile = self.profile.path();
        let deadline = Instant::now() + LAUNCH_LIMIT;
        loop {
            let written = std::fs::read_to_string(profile.join("DevToolsActivePort")).unwrap_or_default();
            let mut lines = written.lines();
            if let (Some(port), Some(path)) = (lines.next().and_then(|port| port.parse().ok()), lines.next())
            {
                return Ok((port, path.to_owned()));
            }
            let ended = self.child.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let stderr = std::fs::read_to_string(profile.join("stderr")).unwrap_or_default();
                return Err(Error::other(format!("the browser did not start (status {ended:?}): {stderr}")));
            }
            sleep(POLL).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The browser's children end a moment later, and may write files until then.
        let end = std::time::Instant::now() + CLEANUP_LIMIT;
        while std::fs::remove_dir_all(self.profile.path()).is_err() && std::time::Instant::now() < end {
            std::thread::sleep(POLL);
        }
    }
}
