//! nats-server processes that this program starts and ends: one, a NATS cluster, or two of which one is a leaf node of the
//! other. `case/federation` and `case/scale` let clusters join through them.
//!
//! A shell stands before each nats-server: it kills the server when its standard input ends, which happens also when
//! this program is killed. The servers have a loopback address of this run's own, and fixed ports.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::args::Cut;
use crate::cluster::{Daemon, nats_address};
use crate::procfs::Processes;
use crate::relay::Relay;

/// How long a server may take to accept clients.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The first of the ports for clients, for routes of a NATS cluster, and for leaf nodes. The relay has the next port.
const CLIENTS: u16 = 4222;
const ROUTES: u16 = 6222;
const LEAF_NODES: u16 = 7422;

/// Prints the id of the process that it runs, and kills that process when its own standard input ends.
const SHELL: &str = r#"exec 3<&0
"$@" </dev/null 3<&- &
server=$!
echo "ready $server"
{ cat <&3 >/dev/null; kill -KILL $server; } 2>/dev/null &
exec 3<&-
wait $server
exit 1"#;

/// How many servers there are, and how they are connected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Layout {
    /// One NATS cluster of so many servers; one server is no cluster.
    Cluster(u32),
    /// Two servers. The second is a leaf node of the first, through a relay.
    Leaf,
}

/// The running servers.
pub(crate) struct Nats {
    layout: Layout,
    program: PathBuf,
    jetstream: bool,
    logs: Option<PathBuf>,
    servers: Vec<Server>,
    relay: Option<Relay>,
    directory: Option<Directory>,
}

struct Server {
    /// `None` while it is killed.
    process: Option<(Daemon, u32)>,
    flags: Vec<String>,
}

/// A directory of configuration files and of JetStream's data, which is removed with this.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Layout {
    fn servers(self) -> u16 {
        match self {
            Layout::Cluster(count) => count as u16,
            Layout::Leaf => 2,
        }
    }
}

impl Nats {
    /// Starts the servers, with or without JetStream, and waits until each accepts clients.
    ///
    /// # Errors
    /// The program is missing, or a server does not start.
    pub(crate) async fn start(
        program: &Path,
        layout: Layout,
        jetstream: bool,
        logs: Option<PathBuf>,
    ) -> Result<Self> {
        let relay = match layout {
            Layout::Cluster(_) => None,
            Layout::Leaf => Some(Relay::start(address(LEAF_NODES + 1), address(LEAF_NODES)).await?),
        };
        let directory = (jetstream || relay.is_some()).then(Directory::create).transpose()?;
        let mut nats =
            Nats { layout, program: program.into(), jetstream, logs, servers: Vec::new(), relay, directory };
        for number in 0..layout.servers() {
            let flags = nats.flags(number);
            nats.servers.push(Server { process: None, flags });
            nats.start_again(number.into()).await?;
        }
        Ok(nats)
    }

    /// The flags of a server.
    fn flags(&self, number: u16) -> Vec<String> {
        let clients = address(CLIENTS + number);
        let mut flags = vec!["-a".into(), clients.ip().to_string(), "-p".into(), clients.port().to_string()];
        flags.extend(["-n".into(), format!("nats-{}", number + 1)]);
        if let Some(directory) = self.directory.as_ref().filter(|_| self.jetstream) {
            let data = directory.0.join(format!("jetstream-{number}"));
            flags.extend(["-js".into(), "-sd".into(), data.to_string_lossy().into_owned()]);
        }
        match (self.layout, &self.directory) {
            (Layout::Cluster(count @ 2..), _) => {
                let route = |number| format!("nats://{}", address(ROUTES + number));
                let routes: Vec<_> = (0..count as u16).map(route).collect();
                let own = routes[usize::from(number)].clone();
                flags.extend(["--cluster_name".into(), "bench".into(), "--cluster".into(), own]);
                flags.extend(["--routes".into(), routes.join(",")]);
            }
            (Layout::Leaf, Some(directory)) => {
                flags.extend(["-c".into(), directory.file(number).to_string_lossy().into_owned()]);
            }
            _ => {}
        }
        flags
    }

    /// The URLs for the workers of cluster `number` of `count`, with commas between them.
    pub(crate) fn urls(&self, number: usize, count: usize) -> String {
        let servers = match self.layout {
            Layout::Cluster(servers) => 0..servers as u16,
            Layout::Leaf if number < count.div_ceil(2) => 0..1,
            Layout::Leaf => 1..2,
        };
        let urls: Vec<_> = servers.map(|server| format!("nats://{}", address(CLIENTS + server))).collect();
        urls.join(",")
    }

    /// The processes that run, to measure.
    pub(crate) fn processes(&self) -> Processes {
        Processes::new(&self.pids(), false)
    }

    /// The processes that run.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.servers.iter().filter_map(|server| server.process.as_ref().map(|(_, pid)| *pid)).collect()
    }

    /// The number of servers.
    pub(crate) fn len(&self) -> usize {
        self.servers.len()
    }

    /// Checks that all servers run that were not killed.
    ///
    /// # Errors
    /// A server has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.servers
            .iter_mut()
            .flat_map(|server| &mut server.process)
            .try_for_each(|(daemon, _)| daemon.check())
    }

    /// Kills a server.
    pub(crate) async fn kill(&mut self, number: usize) {
        if let Some((daemon, _)) = self.servers[number].process.take() {
            daemon.end().await;
        }
    }

    /// Starts a server that is killed, and waits until it accepts clients.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) async fn start_again(&mut self, number: usize) -> Result<()> {
        let name = format!("nats-server {}", number + 1);
        let mut command = Command::new("sh");
        command.args(["-c", SHELL, "sh"]).arg(&self.program).args(&self.servers[number].flags);
        let mut daemon = Daemon::spawn(name, command, self.logs.as_deref())?;
        let pid = daemon.ready().await?;
        let pid = pid.parse().with_context(|| format!("{pid:?} is no process"))?;
        let (start, clients) = (Instant::now(), address(CLIENTS + number as u16));
        while TcpStream::connect(clients).await.is_err() {
            daemon.check().with_context(|| format!("{} does not start", self.program.display()))?;
            if start.elapsed() > TIMEOUT {
                bail!(daemon.error(&format!("accepts no clients after {} s", TIMEOUT.as_secs())));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.servers[number].process = Some((daemon, pid));
        Ok(())
    }

    /// Cuts the connection of the leaf node, if there is one.
    pub(crate) fn cut(&self, how: Cut) {
        self.relay.iter().for_each(|relay| relay.cut(how));
    }

    /// Heals the connection of the leaf node.
    pub(crate) fn heal(&self) {
        self.relay.iter().for_each(Relay::heal);
    }

    /// Ends all servers.
    pub(crate) async fn stop(mut self) {
        for number in 0..self.servers.len() {
            self.kill(number).await;
        }
    }
}

impl Directory {
    /// Creates it, with the configuration of a server and of its leaf node.
    fn create() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("bench-nats-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
        let directory = Directory(path);
        let (own, relay) = (address(LEAF_NODES), address(LEAF_NODES + 1));
        // A leaf node would also connect to the address that it is told.
        let hub = format!("leafnodes {{ listen: \"{own}\", advertise: \"{relay}\" }}\n");
        let remote = format!("nats-leaf://{relay}");
        let leaf = format!("leafnodes {{ reconnect: 1, remotes: [ {{ url: \"{remote}\" }} ] }}\n");
        for (number, text) in [hub, leaf].into_iter().enumerate() {
            let file = directory.file(number as u16);
            std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
        }
        Ok(directory)
    }

    fn file(&self, number: u16) -> PathBuf {
        self.0.join(format!("{number}.conf"))
    }
}

fn address(port: u16) -> SocketAddr {
    (nats_address(), port).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_nats_server_is_named() {
        let local = tokio::task::LocalSet::new();
        let missing =
            local.run_until(Nats::start(Path::new("no-nats-here"), Layout::Cluster(1), false, None)).await;
        let text = format!("{:#}", missing.err().unwrap());
        assert!(text.contains("no-nats-here does not start"), "{text}");
    }

    #[test]
    fn the_second_half_of_the_clusters_is_at_the_leaf_node() {
        let nats = |layout| Nats {
            layout,
            program: PathBuf::new(),
            jetstream: false,
            logs: None,
            servers: Vec::new(),
            relay: None,
            directory: None,
        };
        let leaf = nats(Layout::Leaf);
        let ports = (0..3).map(|number| leaf.urls(number, 3)).collect::<Vec<_>>();
        assert!(
            ports[0].ends_with(":4222") && ports[0] == ports[1] && ports[2].ends_with(":4223"),
            "{ports:?}"
        );
        assert_eq!(nats(Layout::Cluster(3)).urls(1, 2).split(',').count(), 3);
    }
}
