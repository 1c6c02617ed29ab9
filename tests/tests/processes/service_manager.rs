//! Daemons and clusters under a service manager: what they tell it (sd_notify(3)), and the listeners that it passes to
//! them (sd_listen_fds(3)). The manager is a socket of the test's own, as systemd's is.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gatewayworker_tests::eventually;
use gatewayworker_tests::process::{binary, free_port, send_signal};
use tokio::net::TcpStream;

/// A manager, and the process that it has started. Dropping it kills the process.
struct Managed {
    socket: UnixDatagram,
    process: Child,
}

impl Managed {
    /// Starts the tool with a watchdog of 2 s; `environment` is over that of the test.
    fn start(directory: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let path = directory.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut command = Command::new(binary());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("GATEWAYWORKER_")) {
            command.env_remove(name);
        }
        command.args(arguments).env("NOTIFY_SOCKET", path).env("WATCHDOG_USEC", "2000000");
        command.envs(environment.iter().copied());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(directory.join("log")).unwrap());
        Self { socket, process: command.spawn().unwrap() }
    }

    /// Returns the next message other than a sign of life.
    fn next(&self) -> String {
        loop {
            let message = self.any();
            if message != "WATCHDOG=1\n" {
                return message;
            }
        }
    }

    fn any(&self) -> String {
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).expect("a message");
        String::from_utf8_lossy(&message[..length]).into_owned()
    }

    fn sign_of_life(&self) {
        while self.any() != "WATCHDOG=1\n" {}
    }

    fn signal(&self, name: &str) {
        assert!(send_signal(name, self.process.id()));
    }

    /// Returns the status without its `STATUS=`; skips others until `wanted` is in it.
    fn status(&self, wanted: &str) -> String {
        loop {
            let message = self.next();
            if let Some(status) = message.strip_prefix("STATUS=").filter(|status| status.contains(wanted)) {
                return status.trim_end().to_owned();
            }
        }
    }

    /// Asserts that it tells of a reload.
    fn reloads(&self) {
        let mut reloading = self.next();
        while reloading.starts_with("STATUS=") {
            reloading = self.next();
        }
        assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
        let mut ready = self.next();
        while ready.starts_with("STATUS=") {
            ready = self.next();
        }
        assert_eq!(ready, "READY=1\n");
    }

    /// Asserts that it tells of its end, and drains.
    fn stops(mut self) {
        self.signal("TERM");
        while self.next() != "STOPPING=1\nSTATUS=draining\n" {}
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn each_daemon_tells_its_manager_of_its_life() {
    let nowhere = format!("127.0.0.1:{}", free_port());
    let (at, listener) = (nowhere.as_str(), format!("text://127.0.0.1:{}", free_port()));
    for (arguments, status) in [
        (&["register", "--listen", at][..], format!("listening on {at}")),
        (
            &["gateway", "--register-address", at, "--lan-port", "0", "--listen", &listener],
            format!("listening on {listener}"),
        ),
        (&["businessworker", "--register-address", at], "running".to_owned()),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let managed = Managed::start(directory.path(), arguments, &[]);
        assert_eq!(managed.next(), format!("READY=1\nSTATUS={status}\n"));
        managed.sign_of_life();
        if arguments[0] != "register" {
            assert!(managed.status("cannot be reached").contains(at), "the problem is told");
        }
        managed.signal("HUP");
        managed.reloads();
        managed.sign_of_life();
        managed.stops();
    }
}

#[test]
fn a_daemon_whose_watchdog_is_anothers_gives_no_sign_of_life() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["register", "--listen", "127.0.0.1:0"];
    let managed = Managed::start(directory.path(), &arguments, &[("WATCHDOG_PID", "1")]);
    assert!(managed.any().starts_with("READY=1\nSTATUS="));
    managed.signal("TERM");
    assert_eq!(managed.any(), "STOPPING=1\nSTATUS=draining\n");
}

#[test]
fn a_cluster_tells_its_manager_once_for_all_daemons() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    let register = format!("127.0.0.1:{}", free_port());
    write("register.toml", &format!("listen = '{register}'"));
    let at = format!("register_address = '{register}'\n");
    write("businessworker.toml", &at);
    let listener = free_port();
    write("gateway.toml", &format!("{at}lan_port = 0\nlisten = 'websocket://127.0.0.1:{listener}'"));
    let config_dir = directory.path().to_str().unwrap();
    let managed = Managed::start(directory.path(), &["start", "--config-dir", config_dir], &[]);
    assert_eq!(managed.next(), "READY=1\nSTATUS=all daemons are ready\n");
    managed.sign_of_life();
    managed.signal("HUP");
    managed.reloads();
    managed.stops();
}

/// Starts the tool with a listener as descriptor 3, as a service manager passes it.
fn activate(listener: TcpListener, name: &str, arguments: &[&str], log: &Path) -> Child {
    let mut command = Command::new("sh");
    let script = "LISTEN_PID=$$ exec \"$@\" 3<&0 0</dev/null";
    command.args(["-c", script, "sh"]).arg(binary()).args(arguments);
    command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", name);
    command.stdin(OwnedFd::from(listener)).stdout(Stdio::null()).stderr(File::create(log).unwrap());
    command.spawn().unwrap()
}

#[tokio::test]
async fn a_daemon_takes_the_listener_that_its_manager_passes() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let at = |port: u16| format!("127.0.0.1:{port}");
    let nowhere = at(free_port());
    let token = "a-token-of-sixteen";
    for (name, arguments) in [
        ("listen", &["register", "--listen", "AT"][..]),
        ("listen", &["gateway", "--register-address", &nowhere, "--lan-port", "0", "--listen", "text://AT"]),
        (
            "lan_port",
            &[
                "gateway",
                "--register-address",
                &nowhere,
                "--lan-listen",
                "AT",
                "--listen",
                "text://127.0.0.1:0",
            ],
        ),
        (
            "http.listen",
            &["businessworker", "--register-address", &nowhere, "--http-listen", "AT", "--http-token", token],
        ),
    ] {
        // It waits in the queue of the listener until the daemon takes it.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let arguments: Vec<_> = arguments.iter().map(|one| one.replace("AT", &address.to_string())).collect();
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let mut daemon = activate(listener, name, &arguments, &log);
        eventually("the daemon to listen", async || {
            let said = fs::read_to_string(&log).unwrap();
            assert!(daemon.try_wait().unwrap().is_none(), "{said}");
            said.contains("the limit on open files, and with them")
        })
        .await;
        assert!(!fs::read_to_string(&log).unwrap().contains("no setting asked for"), "it has taken it");
        TcpStream::connect(address).await.expect("somebody listens");
        send_signal("TERM", daemon.id());
        assert!(daemon.wait().unwrap().success());
        assert!(TcpStream::connect(address).await.is_err(), "nobody else has the socket");
    }
}

#[tokio::test]
async fn a_listener_with_another_address_or_name_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (passed, wanted) = (listener.local_addr().unwrap(), format!("127.0.0.1:{}", free_port()));
    let arguments = ["register", "--listen", &wanted];
    let mut daemon = activate(listener.try_clone().unwrap(), "listen", &arguments, &log);
    assert_eq!(daemon.wait().unwrap().code(), Some(1));
    let said = fs::read_to_string(&log).unwrap();
    let expected =
        format!("error: listen: the service manager passed no socket for {wanted}, but for {passed}: ");
    assert!(said.contains(&expected), "{said}");

    let mut daemon = activate(listener, "gatewayworker-register.socket", &arguments, &log);
    let unused = format!("\"gatewayworker-register.socket\" for {passed}, which no setting asked for");
    eventually("a warning", async || fs::read_to_string(&log).unwrap().contains(&unused)).await;
    send_signal("TERM", daemon.id());
    assert!(daemon.wait().unwrap().success());
}
