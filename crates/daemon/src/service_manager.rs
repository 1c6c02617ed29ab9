//! The service manager that runs this process, such as systemd: tells it in the protocol of sd_notify(3) when the
//! process is ready, reloads and stops, that it lives, and what keeps it from its work.
//!
//! Only a process that finds `NOTIFY_SOCKET` in its environment does any of this. `run.rs` calls it for a daemon, the
//! control tool for a cluster; a daemon with a supervisor leaves it to that. Nothing here blocks: a manager that does
//! not read misses messages.

use std::ffi::OsStr;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tracing::{debug, warn};

use crate::WatchedLoops;
use crate::notify_socket::{NotifySocket, monotonic_micros};

/// How often the manager is told what keeps the process from its work, if nothing asks for more.
const STATUS_INTERVAL: Duration = Duration::from_secs(2);

/// The service manager of this process.
#[derive(Debug, Default)]
pub struct ServiceManager(Option<Notified>);

#[derive(Debug)]
struct Notified {
    socket: NotifySocket,
    /// The time without a sign of life after which the manager takes the process for dead.
    watchdog: Option<Duration>,
    /// What the process does when nothing keeps it from that; set when it is ready.
    work: OnceLock<String>,
    /// The last status that was sent.
    status: Mutex<String>,
    stopping: AtomicBool,
}

impl ServiceManager {
    /// Returns the manager that the environment names; one that is told nothing if it names none.
    pub fn of_process() -> &'static Self {
        static MANAGER: OnceLock<ServiceManager> = OnceLock::new();
        MANAGER.get_or_init(|| {
            let Some(address) = std::env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty())
            else {
                return Self::default();
            };
            let number = |name| std::env::var(name).ok()?.parse().ok();
            let is_mine = number("WATCHDOG_PID").is_none_or(|id: u64| id == u64::from(std::process::id()));
            let watchdog = number("WATCHDOG_USEC").filter(|_| is_mine).map(Duration::from_micros);
            Self::at(&address, watchdog).unwrap_or_else(|error| {
                // The log is not set up yet where this is called first.
                eprintln!("warning: cannot reach the service manager at NOTIFY_SOCKET={address:?}: {error}");
                Self::default()
            })
        })
    }

    fn at(address: &OsStr, watchdog: Option<Duration>) -> io::Result<Self> {
        Ok(Self(Some(Notified {
            socket: NotifySocket::connect(address)?,
            watchdog: watchdog.filter(|watchdog| !watchdog.is_zero()),
            work: OnceLock::new(),
            status: Mutex::default(),
            stopping: AtomicBool::new(false),
        })))
    }

    /// Whether there is one.
    pub fn is_present(&self) -> bool {
        self.0.is_some()
    }

    /// Tells that the process is ready, and what it does: "serving on 127.0.0.1:1236". Only the first call counts.
    pub fn ready(&self, work: &str) {
        let Some(manager) = &self.0 else { return };
        // Held until it is told: another thread tells no status before that.
        let mut last = manager.status();
        if manager.work.set(one_line(work)).is_ok() {
            *last = one_line(work);
            manager.send(&format!("READY=1\nSTATUS={last}\n"));
        }
    }

    /// Tells that the process reads its files again, until [`ServiceManager::reloaded`].
    pub fn reloading(&self) {
        if let Some(manager) = &self.0 {
            manager.send(&format!("RELOADING=1\nMONOTONIC_USEC={}\n", monotonic_micros()));
        }
    }

    /// Tells that the process has read its files again, or goes on with what it had.
    pub fn reloaded(&self) {
        if let Some(manager) = &self.0 {
            manager.send("READY=1\n");
        }
    }

    /// Tells that the process has begun to end. Only the first call counts.
    pub fn stopping(&self) {
        let Some(manager) = &self.0 else { return };
        // No other thread tells a status after this one.
        let _status = manager.status();
        if !manager.stopping.swap(true, Ordering::Relaxed) {
            manager.send("STOPPING=1\nSTATUS=draining\n");
        }
    }

    /// Tells that the process lives.
    pub fn alive(&self) {
        if let Some(manager) = &self.0
            && manager.watchdog.is_some()
        {
            manager.send("WATCHDOG=1\n");
        }
    }

    /// Tells what keeps the process from its work; what it does, if nothing keeps it. It sends changes only, and
    /// nothing before [`ServiceManager::ready`] or after [`ServiceManager::stopping`].
    pub fn status(&self, problems: &[String]) {
        let Some(manager) = &self.0 else { return };
        let mut last = manager.status();
        let is_stopping = manager.stopping.load(Ordering::Relaxed);
        let Some(work) = manager.work.get().filter(|_| !is_stopping) else { return };
        let status = if problems.is_empty() { work.clone() } else { one_line(&problems.join("; ")) };
        if *last != status {
            manager.send(&format!("STATUS={status}\n"));
            *last = status;
        }
    }

    /// Returns how often to look whether the process lives and what keeps it from its work: twice within the time
    /// after which the manager takes it for dead, and every two seconds at least.
    pub fn interval(&self) -> Duration {
        let watchdog = self.0.as_ref().and_then(|manager| manager.watchdog);
        watchdog.map_or(STATUS_INTERVAL, |watchdog| (watchdog / 2).min(STATUS_INTERVAL))
    }

    /// The loops that have to turn for a sign of life; none is watched without a watchdog.
    pub(crate) fn watched_loops(&self) -> WatchedLoops {
        match &self.0 {
            Some(Notified { watchdog: Some(_), .. }) => WatchedLoops::every(self.interval()),
            _ => WatchedLoops::default(),
        }
    }

    /// Tells it at each interval what `problems` returns, and that the process lives, if all `loops` turn. It returns
    /// at once if there is no manager, and otherwise never.
    pub(crate) async fn attend(&self, loops: &WatchedLoops, problems: impl Fn() -> Vec<String>) {
        if !self.is_present() {
            return;
        }
        let mut ticks = tokio::time::interval(self.interval());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let stuck = loops.take_stuck();
            if stuck.is_empty() {
                self.alive();
            } else {
                warn!(
                    threads = stuck.join(","),
                    "threads hang: the service manager gets no sign of life until they go on, and may end this process"
                );
            }
            self.status(&problems());
        }
    }
}

impl Notified {
    fn status(&self) -> MutexGuard<'_, String> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, message: &str) {
        if let Err(error) = self.socket.send(message) {
            debug!(%error, message, "the service manager did not take a message");
        }
    }
}

fn one_line(text: &str) -> String {
    text.replace('\n', ", ")
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    /// A manager's end of its socket.
    struct Received(UnixDatagram);

    impl Received {
        fn next(&self) -> String {
            let mut message = [0; 4096];
            let length = self.0.recv(&mut message).expect("a message within ten seconds");
            String::from_utf8_lossy(&message[..length]).into_owned()
        }

        fn nothing_more(&self) {
            self.0.set_nonblocking(true).unwrap();
            assert!(self.0.recv(&mut [0; 16]).is_err());
        }
    }

    fn listen(directory: &tempfile::TempDir, watchdog: Option<Duration>) -> (ServiceManager, Received) {
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        (ServiceManager::at(path.as_os_str(), watchdog).unwrap(), Received(socket))
    }

    #[test]
    fn a_life_is_told_in_order_and_each_change_once() {
        let directory = tempfile::tempdir().unwrap();
        let (manager, received) = listen(&directory, None);
        manager.status(&["too early".into()]);
        manager.ready("serving on 127.0.0.1:1236");
        manager.ready("serving on something else");
        manager.status(&[]);
        manager.alive();
        let problem = "the gateway has no worker:\nlook".to_owned();
        manager.status(std::slice::from_ref(&problem));
        manager.status(&[problem]);
        manager.status(&[]);
        manager.reloading();
        manager.reloaded();
        manager.stopping();
        manager.stopping();
        manager.status(&["too late".into()]);
        assert_eq!(received.next(), "READY=1\nSTATUS=serving on 127.0.0.1:1236\n");
        assert_eq!(received.next(), "STATUS=the gateway has no worker:, look\n");
        assert_eq!(received.next(), "STATUS=serving on 127.0.0.1:1236\n");
        let reloading = received.next();
        let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("in one message");
        assert!(micros.trim().parse::<u64>().is_ok_and(|micros| micros > 0), "{reloading}");
        assert_eq!(received.next(), "READY=1\n");
        assert_eq!(received.next(), "STOPPING=1\nSTATUS=draining\n");
        received.nothing_more();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_name_in_the_abstract_namespace_is_reached() {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("gatewayworker-test-{}", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        let manager = ServiceManager::at(OsStr::new(&format!("@{name}")), None).unwrap();
        manager.ready("x");
        assert_eq!(Received(socket).next(), "READY=1\nSTATUS=x\n");
    }

    #[test]
    fn a_process_without_a_manager_tells_nothing() {
        let manager = ServiceManager::default();
        manager.ready("x");
        manager.stopping();
        assert!(!manager.is_present());
    }

    #[tokio::test(start_paused = true)]
    async fn a_sign_of_life_comes_twice_within_the_watchdogs_time_while_all_loops_turn() {
        let directory = tempfile::tempdir().unwrap();
        let (manager, received) = listen(&directory, Some(Duration::from_secs(4)));
        assert_eq!(manager.interval(), Duration::from_secs(2));
        let loops = manager.watched_loops();
        let hangs = loops.watch("shard 1".into());
        let attend = manager.attend(&loops, Vec::new);
        assert!(tokio::time::timeout(Duration::from_secs(5), attend).await.is_err());
        // At its start a loop has the time of an interval.
        assert_eq!(received.next(), "WATCHDOG=1\n");
        received.nothing_more();
        let turns = loops.watch("shard 2".into());
        drop(hangs);
        let attend = async { tokio::join!(turns, manager.attend(&loops, Vec::new)) };
        assert!(tokio::time::timeout(Duration::from_secs(5), attend).await.is_err());
        for _ in 0..3 {
            assert_eq!(received.next(), "WATCHDOG=1\n");
        }
    }
}
