//! The values of flags, parsed: URLs, other systems and durations. `args` uses them.

use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

/// A `ws://` or `wss://` URL, resolved once. Behind `#` it may say `gw.1`: its clients keep their connection over cuts.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Url {
    /// The URL as the user wrote it.
    pub(crate) text: String,
    /// `host:port`, for the Host header.
    #[serde(skip)]
    pub(crate) host: String,
    /// `/path?query`.
    #[serde(skip)]
    pub(crate) path: String,
    /// The address to connect to.
    pub(crate) address: SocketAddr,
    /// Whether it is `wss://`.
    #[serde(skip)]
    pub(crate) is_tls: bool,
    /// Whether its clients speak `gw.1`.
    #[serde(skip)]
    pub(crate) is_resumable: bool,
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (is_tls, rest) = match (text.strip_prefix("ws://"), text.strip_prefix("wss://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err("must begin with ws:// or wss://".into()),
        };
        let (rest, is_resumable) = match rest.split_once('#') {
            None => (rest, false),
            Some((rest, "gw.1")) => (rest, true),
            Some((_, other)) => return Err(format!("behind # stands gw.1 or nothing, not {other:?}")),
        };
        let cut = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, path) = rest.split_at(cut);
        if rest.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err("contains a space or a control character".into());
        }
        let host = if host.rsplit(']').next().is_some_and(|tail| tail.contains(':')) {
            host.into()
        } else {
            format!("{host}:{}", if is_tls { 443 } else { 80 })
        };
        let mut addresses = host.to_socket_addrs().map_err(|error| format!("{host}: {error}"))?;
        let address = addresses.next().ok_or_else(|| format!("{host} has no address"))?;
        let path = if path.starts_with('/') { path.into() } else { format!("/{path}") };
        Ok(Url { text: text.into(), host, path, address, is_tls, is_resumable })
    }
}

/// Another system, loaded in turns with the first.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) url: Url,
    pub(crate) pids: Vec<u32>,
}

impl FromStr for Peer {
    type Err = String;

    /// `[NAME=]ws[s]://HOST:PORT[/PATH][,PID…]`
    fn from_str(text: &str) -> Result<Self, String> {
        let start = text.find("wss://").or(text.find("ws://")).ok_or("contains no ws:// or wss:// URL")?;
        let (name, rest) = text.split_at(start);
        let name = name.strip_suffix('=').or(name.is_empty().then_some("")).ok_or("must be NAME=ws://…")?;
        let mut parts = rest.split(',');
        let url = parts.next().unwrap_or_default().parse()?;
        let pids = parts.map(|pid| pid.trim().parse().map_err(|_| format!("{pid:?} is not a process id")));
        Ok(Peer { name: name.into(), url, pids: pids.collect::<Result<_, _>>()? })
    }
}

/// Parses a number with a unit: ms, s (also without a unit) or m. At most a day.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
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
    fn a_url_has_a_host_a_port_and_a_path() {
        let url: Url = "ws://127.0.0.1:8289/chat?x=1".parse().unwrap();
        assert_eq!((url.host.as_str(), url.path.as_str()), ("127.0.0.1:8289", "/chat?x=1"));
        assert_eq!("ws://127.0.0.1?x".parse::<Url>().unwrap().path, "/?x");
        assert_eq!("ws://[::1]".parse::<Url>().unwrap().address.to_string(), "[::1]:80");
        let tls: Url = "wss://127.0.0.1".parse().unwrap();
        assert!(tls.is_tls && !url.is_tls);
        assert_eq!(tls.address.port(), 443);
        let resumable: Url = "ws://127.0.0.1:1/x#gw.1".parse().unwrap();
        assert!(resumable.is_resumable && !tls.is_resumable);
        assert_eq!((resumable.path.as_str(), resumable.address.port()), ("/x", 1));
        assert!("ws://127.0.0.1:1#gw.2".parse::<Url>().is_err());
        assert!("http://127.0.0.1:1".parse::<Url>().is_err());
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
    fn a_peer_is_a_name_an_address_and_processes() {
        let peer: Peer = "raw epoll=ws://127.0.0.1:9/x?a=b,12,13".parse().unwrap();
        assert_eq!((peer.name.as_str(), peer.url.path.as_str()), ("raw epoll", "/x?a=b"));
        assert_eq!(peer.pids, [12, 13]);
        assert!("tls=wss://127.0.0.1:9,12".parse::<Peer>().unwrap().url.is_tls);
        let bare: Peer = "ws://127.0.0.1:9".parse().unwrap();
        assert_eq!((bare.name.as_str(), bare.pids.len()), ("", 0));
        assert!("name ws://127.0.0.1:9".parse::<Peer>().is_err());
        assert!("a=ws://127.0.0.1:9,x".parse::<Peer>().is_err());
        assert!("a=127.0.0.1:9".parse::<Peer>().is_err());
    }
}
