//! Hosts on a network of their own: network namespaces on a bridge, whose cables can be cut, both ways or one way, and
//! slowed.
//!
//! This process has to be in a namespace of its own, with the bridge and the clients (`launcher` starts rows so). A
//! namespace lives as long as the process that holds it, and ends with this program.
//!
//! ```text
//! host: eth0 ── hostN ─ cableN ─ upN ── portN ─ bridge0
//! ```
//!
//! A cable is a bridge of two ports, and is cut at their queues. The queue of `eth0` would not do: the kernel tells TCP
//! of packets that its own host has dropped, and TCP then gives up within seconds, which it does not at a cut cable.

use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long a namespace may take to exist.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What a slow cable lets through, and how long it holds back what is more before it drops it.
const SLOW: [&str; 7] = ["tbf", "rate", "96kbit", "burst", "3000", "latency", "1500ms"];

/// A bridge that hosts are connected to.
#[derive(Debug)]
pub struct Network;

/// A host: a network namespace with one cable to the bridge.
#[derive(Debug)]
pub struct Host {
    /// The host's address.
    pub address: Ipv4Addr,
    /// The process that holds the namespace. It ends when its input does.
    holder: Child,
    /// The cable's port towards the host.
    to_host: String,
    /// The cable's port towards the bridge.
    from_host: String,
}

/// Which way of a cable is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Nothing arrives at either end.
    BothWays,
    /// Nothing arrives at the host.
    ToHost,
    /// Nothing arrives from the host.
    FromHost,
    /// Everything arrives, slowly.
    Slow,
}

/// Returns the address of host `number`; the bridge is number 1.
pub fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, number)
}

/// Whether this machine lets us have network namespaces, with `ip`, `tc`, `unshare` and `nsenter`.
pub fn is_available() -> bool {
    let test = "ip link set lo up && ip link add faults0 type veth peer name faults1 \
                && tc qdisc replace dev faults0 root pfifo limit 0 && nsenter --version";
    run(&mut shell(&["unshare", "--net", "--", "sh", "-c", test])).is_ok()
}

fn shell(words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Runs a command of `ip` in this process's namespace.
fn ip(words: &[&str]) -> Result<()> {
    run(&mut shell(&[&["ip"], words].concat()))
}

impl Network {
    /// Makes the bridge in this process's namespace.
    ///
    /// # Errors
    /// The system refuses, for example because this is the machine's own namespace and has such a bridge.
    pub fn new() -> Result<Self> {
        let own = format!("{}/24", address(1));
        ip(&["link", "set", "lo", "up"])?;
        // With an address of its own. Else it takes the lowest of its ports: when a host joins, gateways may send to the
        // old one for a minute.
        ip(&["link", "add", "bridge0", "address", "02:00:00:00:00:01", "type", "bridge"])?;
        ip(&["address", "add", &own, "dev", "bridge0"])?;
        ip(&["link", "set", "bridge0", "up"])?;
        Ok(Self)
    }

    /// Connects a new host to the bridge.
    ///
    /// # Errors
    /// The system refuses.
    pub fn connect(&self, number: u8) -> Result<Host> {
        let holder = shell(&["unshare", "--net", "--", "cat"]).stdin(Stdio::piped()).spawn()?;
        let [to_host, from_host] = ["host", "up"].map(|end| format!("{end}{number}"));
        let host = Host { address: address(number), to_host, from_host, holder };
        let deadline = Instant::now() + TIMEOUT;
        let own = std::fs::read_link("/proc/self/ns/net")?;
        while std::fs::read_link(format!("/proc/{}/ns/net", host.holder()))? == own {
            if Instant::now() > deadline {
                bail!("no network namespace in {TIMEOUT:?}");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let (holder, with_mask) = (host.holder().to_string(), format!("{}/24", host.address));
        let (cable, port) = (format!("cable{number}"), format!("port{number}"));
        let (to_host, from_host) = (host.to_host.as_str(), host.from_host.as_str());
        ip(&["link", "add", &cable, "type", "bridge"])?;
        ip(&["link", "add", to_host, "type", "veth", "peer", "name", "eth0", "netns", &holder])?;
        ip(&["link", "add", from_host, "type", "veth", "peer", "name", &port])?;
        ip(&["link", "set", &port, "master", "bridge0", "up"])?;
        ip(&["link", "set", to_host, "master", &cable, "up"])?;
        ip(&["link", "set", from_host, "master", &cable, "up"])?;
        ip(&["link", "set", &cable, "up"])?;
        host.run(&["ip", "link", "set", "lo", "up"])?;
        host.run(&["ip", "address", "add", &with_mask, "dev", "eth0"])?;
        host.run(&["ip", "link", "set", "eth0", "up"])?;
        Ok(host)
    }
}

impl Host {
    /// Returns the id of a process that is in the host's namespace.
    pub fn holder(&self) -> u32 {
        self.holder.id()
    }

    /// Runs a command on the host.
    fn run(&self, words: &[&str]) -> Result<()> {
        let holder = self.holder().to_string();
        run(&mut shell(&[&["nsenter", "--target", &holder, "--net", "--"], words].concat()))
    }

    /// Cuts or slows the host's cable, without a word to either end.
    ///
    /// # Errors
    /// The system refuses.
    pub fn cut(&self, cut: Cut) -> Result<()> {
        let how: &[&str] = match cut {
            // A queue without room: what is sent is dropped.
            Cut::BothWays | Cut::ToHost | Cut::FromHost => &["pfifo", "limit", "0"],
            Cut::Slow => &SLOW,
        };
        let replace =
            |port: &str| run(&mut shell(&[&["tc", "qdisc", "replace", "dev", port, "root"], how].concat()));
        if cut != Cut::FromHost {
            replace(&self.to_host)?;
        }
        if cut != Cut::ToHost {
            replace(&self.from_host)?;
        }
        Ok(())
    }

    /// Mends the cable.
    ///
    /// # Errors
    /// It is whole.
    pub fn mend(&self) -> Result<()> {
        let mend = |port: &str| run(&mut shell(&["tc", "qdisc", "delete", "dev", port, "root"]));
        // One way may be whole.
        let (to_host, from_host) = (mend(&self.to_host), mend(&self.from_host));
        to_host.or(from_host)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
