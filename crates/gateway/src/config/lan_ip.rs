//! The setting `lan_ip`: the address at which workers reach the gateway, or that the gateway finds it out.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tokio::net::UdpSocket;

/// The IPv4 address at which workers reach the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum LanIp {
    /// The address by which this machine reaches the first register that it has a way to. For a register on loopback
    /// that is 127.0.0.1.
    Auto,
    /// This address.
    Address(Ipv4Addr),
}

/// A value of `lan_ip` that is neither.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no IPv4 address, as in \"10.0.0.2\", and not \"auto\"")]
pub struct LanIpError(String);

/// Why the address cannot be found out. The message names the setting.
#[derive(Debug, thiserror::Error)]
#[error(
    "lan_ip = \"auto\": this machine has no way over IPv4 to a register ({reason}): check register_address, or put the \
     address here that workers reach"
)]
pub struct NoLanIp {
    reason: String,
}

impl LanIp {
    /// Returns the address, which it finds out by `registers` if it has to. It sends nothing to them.
    ///
    /// # Errors
    /// When no register has an IPv4 address to which this machine has a route.
    pub(crate) async fn resolve(self, registers: &[String]) -> Result<Ipv4Addr, NoLanIp> {
        let mut reasons = Vec::new();
        match self {
            Self::Address(address) => return Ok(address),
            Self::Auto => {
                for register in registers {
                    match local_address_towards(register).await {
                        Ok(address) => return Ok(address),
                        Err(error) => reasons.push(format!("{register}: {error}")),
                    }
                }
            }
        }
        Err(NoLanIp { reason: reasons.join("; ") })
    }
}

/// Returns the address from which packets to `register` leave this machine.
async fn local_address_towards(register: &str) -> io::Result<Ipv4Addr> {
    let mut found = tokio::net::lookup_host(register).await?;
    let is_v4 = |address: &SocketAddr| address.ip().to_canonical().is_ipv4();
    let register = found.find(is_v4).ok_or_else(|| io::Error::other("it has no IPv4 address"))?;
    let socket = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)).await?;
    // For UDP this is a look at the routes.
    socket.connect(SocketAddr::new(register.ip().to_canonical(), register.port())).await?;
    match socket.local_addr()? {
        SocketAddr::V4(address) if !address.ip().is_unspecified() => Ok(*address.ip()),
        _ => Err(io::Error::other("there is no route to it")),
    }
}

impl From<Ipv4Addr> for LanIp {
    fn from(address: Ipv4Addr) -> Self {
        Self::Address(address)
    }
}

impl FromStr for LanIp {
    type Err = LanIpError;

    fn from_str(text: &str) -> Result<Self, LanIpError> {
        match text {
            "auto" => Ok(Self::Auto),
            _ => text.parse().map(Self::Address).map_err(|_| LanIpError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for LanIp {
    type Error = LanIpError;

    fn try_from(text: String) -> Result<Self, LanIpError> {
        text.parse()
    }
}

impl From<LanIp> for String {
    fn from(lan_ip: LanIp) -> Self {
        lan_ip.to_string()
    }
}

impl fmt::Display for LanIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_an_address_or_auto() {
        assert_eq!("auto".parse(), Ok(LanIp::Auto));
        assert_eq!("10.0.0.2".parse(), Ok(LanIp::Address(Ipv4Addr::new(10, 0, 0, 2))));
        for wrong in ["", "Auto", "::1", "10.0.0", "10.0.0.2:2300"] {
            let error = wrong.parse::<LanIp>().unwrap_err().to_string();
            assert!(error.contains("\"auto\"") && error.contains("10.0.0.2"), "{error}");
        }
    }

    async fn auto(registers: &[&str]) -> Result<Ipv4Addr, NoLanIp> {
        LanIp::Auto.resolve(&registers.iter().map(|&one| one.to_owned()).collect::<Vec<_>>()).await
    }

    #[tokio::test]
    async fn a_register_on_loopback_makes_it_loopback() {
        for register in ["127.0.0.1:1236", "localhost:1236", "[::ffff:127.0.0.1]:1236"] {
            assert_eq!(auto(&[register]).await.unwrap(), Ipv4Addr::LOCALHOST, "{register}");
        }
    }

    #[tokio::test]
    async fn the_first_register_that_this_machine_has_a_way_to_counts() {
        assert_eq!(auto(&["[::1]:1236", "127.0.0.1:1236"]).await.unwrap(), Ipv4Addr::LOCALHOST);
        let error = auto(&["[::1]:1236"]).await.unwrap_err().to_string();
        assert!(
            error.contains("[::1]:1236: it has no IPv4 address") && error.contains("register_address"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn an_address_is_taken_as_it_is() {
        let address = Ipv4Addr::new(192, 0, 2, 7);
        assert_eq!(LanIp::from(address).resolve(&[]).await.unwrap(), address);
    }
}
