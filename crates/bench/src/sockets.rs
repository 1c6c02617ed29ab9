//! Counts links as the kernel sees them, in `/proc/net/tcp`, without asking the processes. The case `mesh` uses it.
//!
//! All processes of a mesh run on this machine, so the table has both ends of every link: at the gateway's end, the local
//! address is the gateway's; at the worker's end, the remote address is.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use anyhow::{Context, Result};

/// The state `TCP_ESTABLISHED`, in hex as in the table.
const ESTABLISHED: &str = "01";

/// The number of sockets by the address of a gateway.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Links {
    /// The gateway's ends that are established.
    established: HashMap<Ipv4Addr, usize>,
    /// The other ends that their process has not closed, in any state.
    held: HashMap<Ipv4Addr, usize>,
}

impl Links {
    /// Reads the table.
    ///
    /// # Errors
    /// There is no table, as on other systems than Linux.
    pub(crate) fn now() -> Result<Self> {
        let text = std::fs::read_to_string("/proc/net/tcp")
            .context("/proc/net/tcp cannot be read, and links are counted there")?;
        Ok(Self::parse(&text))
    }

    /// Parses the table. Other lines, such as the heading, are ignored.
    fn parse(text: &str) -> Self {
        let mut links = Links::default();
        for line in text.lines() {
            let fields: Vec<_> = line.split_ascii_whitespace().collect();
            let &[_, local, remote, state, _, _, _, _, _, inode, ..] = &fields[..] else { continue };
            let (Some(local), Some(remote)) = (address(local), address(remote)) else { continue };
            if state == ESTABLISHED {
                *links.established.entry(local).or_default() += 1;
            }
            // A socket that only waits for late packets belongs to no process, and has no inode.
            if inode != "0" {
                *links.held.entry(remote).or_default() += 1;
            }
        }
        links
    }

    /// Connections that stand, to listeners on `address`.
    pub(crate) fn established(&self, address: Ipv4Addr) -> usize {
        self.established.get(&address).copied().unwrap_or(0)
    }

    /// Sockets that were connected to `address` and are still held.
    pub(crate) fn held(&self, address: Ipv4Addr) -> usize {
        self.held.get(&address).copied().unwrap_or(0)
    }
}

/// `0100007F:1F90`: the address as the machine keeps it in memory, then the port.
fn address(text: &str) -> Option<Ipv4Addr> {
    let (address, _) = text.split_once(':')?;
    (address.len() == 8).then_some(())?;
    Some(Ipv4Addr::from(u32::from_str_radix(address, 16).ok()?.to_ne_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 01004D7F:08FC 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 100 1 0 100 0 0 10 0
   1: 01004D7F:08FC 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 101 1 0 20 4 30 10 -1
   2: 0100007F:9C40 01004D7F:08FC 01 00000000:00000000 00:00000000 00000000     0        0 102 1 0 20 4 30 10 -1
   3: 0100007F:9C42 01004D7F:08FC 08 00000000:00000000 00:00000000 00000000     0        0 103 1 0 20 4 30 10 -1
   4: 0100007F:9C44 01004D7F:08FC 06 00000000:00000000 03:00001770 00000000     0        0 0 3 0
   5: cut";

    #[cfg(target_endian = "little")]
    #[test]
    fn a_link_is_counted_at_its_gateway_and_its_worker() {
        let links = Links::parse(TABLE);
        let gateway = Ipv4Addr::new(127, 77, 0, 1);
        assert_eq!((links.established(gateway), links.held(gateway)), (1, 2));
        assert_eq!(links.established(Ipv4Addr::new(127, 77, 0, 2)), 0);
        assert_eq!(links.held(Ipv4Addr::LOCALHOST), 1, "the gateway's own end");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_new_connection_is_counted_and_a_closed_one_is_not() {
        // An address of its own, so that nobody else's connections count.
        let address = Ipv4Addr::new(127, 78, 3, 9);
        let listener = std::net::TcpListener::bind((address, 0)).unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let accepted = listener.accept().unwrap();
        let links = Links::now().unwrap();
        assert_eq!((links.established(address), links.held(address)), (1, 1));
        drop((accepted, stream, listener));
        assert_eq!(Links::now().unwrap().held(address), 0);
    }
}
