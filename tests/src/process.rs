//! Daemons as processes of their own: started with arguments, sent signals, killed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// Returns the path of the `gatewayworker` binary, which has all daemons, in this build's profile. Builds it first, if it
/// is missing or out of date.
///
/// # Panics
/// It does not build.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| built("gatewayworker", &["--bin", "gatewayworker", "--test", "processes"]))
}

/// Returns the path of the load generator's binary, `bench`, which has the daemons that it starts beside it. Builds all of
/// them first, as [`binary`] does.
///
/// # Panics
/// One of them does not build.
pub fn load_generator() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let bins = ["--bin", "bench", "--bin", "gateway", "--bin", "register", "--bin", "businessworker"];
    let targets = [&bins[..], &["--example", "bench_worker", "--example", "bench_backend"]].concat();
    BINARY.get_or_init(|| built("bench", &[&targets[..], &["--test", "processes"]].concat()))
}

/// Builds `targets` of the workspace in this build's profile, and returns the path of the program `name`.
fn built(name: &str, targets: &[&str]) -> PathBuf {
    // .../target/<profile>/deps/<test>
    let test = std::env::current_exe().expect("the test has a path");
    let profile = test.ancestors().nth(2).expect("the test is in target/<profile>/deps").to_owned();
    let mut build = Command::new(env!("CARGO"));
    // The same packages and targets as `cargo test --workspace`, and so the same features: otherwise Cargo would
    // compile everything a second time.
    build.args(["build", "--quiet", "--workspace"]).args(targets).arg("--target-dir");
    build.arg(profile.parent().expect("a profile is in target"));
    if profile.ends_with("release") {
        build.arg("--release");
    }
    // What `cargo test` says of the package of this test: build scripts depend on it, such as ring's, and Cargo would
    // compile them and all that uses them again.
    for (variable, _) in std::env::vars_os() {
        let text = variable.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            build.env_remove(&variable);
        }
    }
    assert!(build.status().expect("cargo runs").success(), "{name} does not build");
    profile.join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// Sends a signal to a process, by its short name (`HUP`). Returns whether the process exists. The shell's built-in `kill`
/// does it, because a minimal Debian has no such program.
///
/// # Panics
/// There is no shell.
pub fn send_signal(name: &str, process: impl std::fmt::Display) -> bool {
    let kill = format!("kill -s {name} {process}");
    Command::new("sh").args(["-c", &kill]).stderr(Stdio::null()).status().expect("there is a shell").success()
}

/// A daemon's process. Dropping it kills the process.
pub struct Process(Child);

impl Process {
    /// Starts `gatewayworker` with these arguments, and without the environment's `GATEWAYWORKER_…`.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn start(arguments: &[&str]) -> Self {
        Self::spawn(arguments, Stdio::null())
    }

    /// Starts it with its log in a file.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn logging_to(log: &Path, arguments: &[&str]) -> Self {
        let log = std::fs::File::create(log).expect("a file for the log");
        Self::spawn(arguments, log.into())
    }

    /// Starts it with a limit on open files (`ulimit -n`), and with its log in a file.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn with_open_files(limit: u32, log: &Path, arguments: &[&str]) -> Self {
        let log = std::fs::File::create(log).expect("a file for the log");
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n \"$0\" && exec \"$@\"", &limit.to_string()]).arg(binary());
        Self(Self::prepare(command, arguments, log.into()).spawn().expect("the binary starts"))
    }

    /// Starts it with its log, at the level `trace`, in a full pipe that no process reads.
    ///
    /// # Panics
    /// It cannot be started.
    #[cfg(unix)]
    pub fn logging_into(full: &FullPipe, arguments: &[&str]) -> Self {
        let log = full.writer.try_clone().expect("a descriptor is left");
        let mut command = Self::prepare(Command::new(binary()), arguments, log.into());
        Self(command.env("RUST_LOG", "trace").spawn().expect("the binary starts"))
    }

    fn spawn(arguments: &[&str], log: Stdio) -> Self {
        Self(Self::prepare(Command::new(binary()), arguments, log).spawn().expect("the binary starts"))
    }

    fn prepare(mut command: Command, arguments: &[&str], log: Stdio) -> Command {
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("GATEWAYWORKER_")) {
            command.env_remove(name);
        }
        // Tests that run side by side cannot all have its port.
        command.env("GATEWAYWORKER_ADMIN_LISTEN", "off");
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command
    }

    /// Sends it a signal, by its short name: `HUP`.
    ///
    /// # Panics
    /// The process has ended.
    pub fn signal(&self, name: &str) {
        assert!(send_signal(name, self.0.id()), "the process is there");
    }

    /// Whether it has ended.
    ///
    /// # Panics
    /// The system does not know the process.
    pub fn has_ended(&mut self) -> bool {
        self.0.try_wait().expect("the process is ours").is_some()
    }

    /// Waits for its end, and returns its exit status; `None` if a signal has ended it.
    ///
    /// # Panics
    /// It does not end in time.
    pub async fn status(&mut self) -> Option<i32> {
        let mut status = None;
        crate::eventually("the process to end", async || {
            status = self.0.try_wait().expect("the process is ours");
            status.is_some()
        })
        .await;
        status.and_then(|status| status.code())
    }

    /// Kills it as `kill -9` does, and waits for its end.
    ///
    /// # Panics
    /// It has ended before.
    pub fn kill(mut self) {
        self.0.kill().expect("the process is there");
        self.0.wait().expect("the process ends");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A pipe that is full until a process reads it.
#[cfg(unix)]
pub struct FullPipe {
    /// The reading end.
    pub reader: std::io::PipeReader,
    writer: std::io::PipeWriter,
}

#[cfg(unix)]
impl FullPipe {
    /// Returns a pipe that is filled with `-`.
    ///
    /// # Panics
    /// The system has no more pipes.
    #[expect(clippy::new_without_default, reason = "it takes something of the system")]
    pub fn new() -> Self {
        use std::io::Write;
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        // Writing must not block while the pipe is filled. The daemon then gets a normal, blocking pipe.
        rustix::io::ioctl_fionbio(&writer, true).expect("a pipe may not block");
        while writer.write(b"-").is_ok() {}
        rustix::io::ioctl_fionbio(&writer, false).expect("a pipe may block");
        Self { reader, writer }
    }

    /// Returns the reading end, and closes this process's writing end: so reading ends with the last daemon that writes.
    pub fn into_reader(self) -> std::io::PipeReader {
        self.reader
    }
}

/// Returns a port that was free a moment ago.
///
/// # Panics
/// No port is free.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}
