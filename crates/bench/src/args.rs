//! The command line: flags, their defaults, and what goes together. Bad flags end the program with status 2.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use serde::Serialize;

/// Measures what a GatewayWorker system costs per message, per idle client and per open.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
pub(crate) struct Cli {
    /// What to measure.
    #[command(subcommand)]
    pub(crate) case: Case,
}

/// The four measurements.
#[derive(Debug, Serialize, Subcommand)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Case {
    /// Each client sends `E…` and gets it back: cost per echo and latency.
    Echo(Echo),
    /// Senders broadcast `B…` to every client: cost per delivery, every delivery counted.
    Fanout(Fanout),
    /// Clients open and stay silent: memory per client, and what remains when they have gone.
    Idle(Idle),
    /// Clients open, are greeted, and close: cost per open.
    Connect(Connect),
}

/// Flags of every case.
#[derive(Args, Debug, Serialize)]
pub(crate) struct Common {
    /// The system to load.
    #[arg(long, value_name = "ws://HOST:PORT[/PATH]")]
    pub(crate) url: Url,
    /// A server process to measure (repeatable); none: no cost is shown.
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Vec<u32>,
    /// Count the descendants of the given processes too.
    #[arg(long)]
    pub(crate) pid_tree: bool,
    /// A second system to load in turn with the first: medians and their ratio are shown.
    #[arg(long, value_name = "ws://HOST:PORT[/PATH]")]
    pub(crate) against: Option<Url>,
    /// A server process of the second system (repeatable).
    #[arg(long, value_name = "PID", requires = "against")]
    pub(crate) against_pid: Vec<u32>,
    /// How often each system is measured [default: 1; with --against 5, but 1 for idle, whose first round alone meets fresh processes].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: Option<u32>,
    /// Write every figure of every round here as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// The system does not greet: a client counts as open after its handshake.
    #[arg(long)]
    pub(crate) no_greeting: bool,
    /// How many clients may be opening at once.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) parallel: u32,
}

/// Flags of the cases that run for a time.
#[derive(Args, Debug, Serialize)]
pub(crate) struct Load {
    /// How long to measure, such as 5s, 500ms or 1m.
    #[arg(long, default_value = "5s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// How long to load before measuring.
    #[arg(long, default_value = "1s", value_parser = duration)]
    pub(crate) warmup: Duration,
    /// Bytes in a message.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(16..=60_000))]
    pub(crate) size: u32,
}

/// Flags of `echo`.
#[derive(Args, Debug, Serialize)]
pub(crate) struct Echo {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) load: Load,
    /// How many clients.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) clients: u32,
    /// Messages that each client keeps on their way.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) in_flight: u32,
    /// Offer so many messages a second, all clients together, whatever comes back (then --in-flight does not count).
    #[arg(long, value_name = "PER_SECOND", conflicts_with = "in_flight")]
    pub(crate) rate: Option<u32>,
}

/// Flags of `fanout`.
#[derive(Args, Debug, Serialize)]
pub(crate) struct Fanout {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) load: Load,
    /// How many clients.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) clients: u32,
    /// How many of them broadcast.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) senders: u32,
    /// Broadcasts that each sender keeps on their way; one is done when every client has it.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) in_flight: u32,
}

/// Flags of `idle`.
#[derive(Args, Debug, Serialize)]
pub(crate) struct Idle {
    #[command(flatten)]
    pub(crate) common: Common,
    /// How many clients.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) clients: u32,
    /// How long to let memory settle before it is read.
    #[arg(long, default_value = "2s", value_parser = duration)]
    pub(crate) settle: Duration,
}

/// Flags of `connect`.
#[derive(Args, Debug, Serialize)]
pub(crate) struct Connect {
    #[command(flatten)]
    pub(crate) common: Common,
    /// How many opens.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) clients: u32,
}

impl Case {
    /// The flags that every case has.
    pub(crate) fn common(&self) -> &Common {
        match self {
            Case::Echo(echo) => &echo.common,
            Case::Fanout(fanout) => &fanout.common,
            Case::Idle(idle) => &idle.common,
            Case::Connect(connect) => &connect.common,
        }
    }

    /// How often each system is measured.
    pub(crate) fn rounds(&self) -> u32 {
        let several = self.common().against.is_some() && !matches!(self, Case::Idle(_));
        self.common().rounds.unwrap_or(if several { 5 } else { 1 })
    }

    /// How many connections are open at once at most.
    pub(crate) fn connections(&self) -> u32 {
        match self {
            Case::Echo(echo) => echo.clients,
            Case::Fanout(fanout) => fanout.clients,
            Case::Idle(idle) => idle.clients,
            Case::Connect(connect) => connect.common.parallel,
        }
    }
}

impl Cli {
    /// What clap cannot say by itself.
    ///
    /// # Errors
    /// More senders than clients, or a rate of nothing.
    pub(crate) fn check(&self) -> Result<(), clap::Error> {
        let wrong = |text: &str| Err(Cli::command().error(ErrorKind::ValueValidation, text));
        match &self.case {
            Case::Fanout(fanout) if fanout.senders > fanout.clients => {
                wrong("--senders is more than --clients")
            }
            Case::Echo(echo) if echo.rate == Some(0) => wrong("--rate must be at least 1"),
            _ => Ok(()),
        }
    }
}

/// A plain `ws://` address, resolved once.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Url {
    /// As given.
    pub(crate) text: String,
    /// `host:port`, for the Host header.
    #[serde(skip)]
    pub(crate) host: String,
    /// `/path?query`.
    #[serde(skip)]
    pub(crate) path: String,
    /// Where to connect.
    pub(crate) address: SocketAddr,
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("ws://").ok_or("must begin with ws:// (TLS is not spoken)")?;
        let cut = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, path) = rest.split_at(cut);
        if rest.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err("holds a blank or a control character".into());
        }
        let host = if host.rsplit(']').next().is_some_and(|tail| tail.contains(':')) {
            host.into()
        } else {
            format!("{host}:80")
        };
        let mut addresses = host.to_socket_addrs().map_err(|error| format!("{host}: {error}"))?;
        let address = addresses.next().ok_or_else(|| format!("{host} has no address"))?;
        let path = if path.starts_with('/') { path.into() } else { format!("/{path}") };
        Ok(Url { text: text.into(), host, path, address })
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 =
        number.parse().map_err(|_| "must be a number with a unit, such as 5s or 500ms".to_owned())?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "s" | "" => number,
        "m" => number * 60.0,
        _ => return Err(format!("unknown unit {unit:?}: use ms, s or m")),
    };
    if !(0.0..=86_400.0).contains(&seconds) {
        return Err("must be at most a day".into());
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_hold_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_url_is_host_port_and_path() {
        let url: Url = "ws://127.0.0.1:8289/chat?x=1".parse().unwrap();
        assert_eq!((url.host.as_str(), url.path.as_str()), ("127.0.0.1:8289", "/chat?x=1"));
        assert_eq!("ws://127.0.0.1?x".parse::<Url>().unwrap().path, "/?x");
        assert_eq!("ws://[::1]".parse::<Url>().unwrap().address.to_string(), "[::1]:80");
        assert!("wss://127.0.0.1:1".parse::<Url>().is_err());
        assert!("ws://127.0.0.1:1/\r\nX: y".parse::<Url>().is_err());
        assert!("ws://127.0.0.1:99999".parse::<Url>().is_err());
    }

    #[test]
    fn a_duration_has_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("1m"), Ok(Duration::from_secs(60)));
        assert!(
            duration("5h").is_err()
                && duration("s").is_err()
                && duration("-1s").is_err()
                && duration("99999m").is_err()
        );
    }

    #[test]
    fn more_senders_than_clients_are_refused() {
        let parse = |senders: &str| {
            Cli::parse_from([
                "bench",
                "fanout",
                "--url",
                "ws://127.0.0.1:1",
                "--clients",
                "3",
                "--senders",
                senders,
            ])
        };
        assert!(parse("3").check().is_ok());
        assert!(parse("4").check().is_err());
    }
}
