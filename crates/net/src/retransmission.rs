//! How long TCP pauses before it sends again what its peer has not acknowledged.
//!
//! TCP doubles that pause each time, up to two minutes. After a cut of 5 s it may so be silent for as long
//! again, and the peers, who judge each other by silence, give each other up when the cable is whole.
//! Gateways, workers and client libraries shorten the longest pause of such links here.

use std::time::Duration;

use crate::LinkSocketRef;

/// The shortest and the longest that Linux takes.
#[cfg(target_os = "linux")]
const BOUNDS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(120);

/// `TCP_RTO_MAX_MS` of Linux.
#[cfg(target_os = "linux")]
const TCP_RTO_MAX_MS: nix::libc::c_int = 44;

/// Lets TCP pause for an eighth of `silence` at most, after which a peer counts as dead; for a second at least.
///
/// Linux ends a connection after 15 attempts without an answer (`tcp_retries2`). With an eighth these
/// take longer than `silence`, so that it is still the daemon that judges.
///
/// It has an effect on Linux 6.15 and later. Elsewhere a cut that is shorter than `silence`, and longer than
/// half of it, may end a link. Nothing is lost by that. A Unix socket has no such pause.
pub fn limit_retransmission_pause(socket: LinkSocketRef<'_>, silence: Duration) {
    #[cfg(target_os = "linux")]
    if let LinkSocketRef::Tcp(socket) = socket {
        use nix::sys::socket::setsockopt;

        let pause = (silence / 8).clamp(*BOUNDS.start(), *BOUNDS.end());
        // An older kernel does not know it.
        let _ = setsockopt(socket, option::LongestPause, &(pause.as_millis() as usize));
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (socket, silence);
}

#[cfg(target_os = "linux")]
mod option {
    // The macro names it so.
    use nix::libc;
    use nix::sys::socket::sockopt::SetUsize;

    /// The socket option, in milliseconds.
    #[derive(Clone, Copy)]
    pub(super) struct LongestPause;

    nix::setsockopt_impl!(LongestPause, libc::IPPROTO_TCP, super::TCP_RTO_MAX_MS, usize, SetUsize);
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use nix::errno::Errno;
    use nix::libc;
    use nix::sys::socket::getsockopt;
    use nix::sys::socket::sockopt::GetUsize;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[derive(Clone, Copy)]
    struct LongestPause;

    nix::getsockopt_impl!(LongestPause, libc::IPPROTO_TCP, TCP_RTO_MAX_MS, usize, GetUsize);

    #[tokio::test]
    async fn the_longest_pause_is_an_eighth_of_the_silence_within_the_bounds_of_linux() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        for (silence_s, pause_ms) in [(9, 1_125), (1, 1_000), (3_600, 120_000)] {
            limit_retransmission_pause(LinkSocketRef::Tcp(&socket), Duration::from_secs(silence_s));
            match getsockopt(&socket, LongestPause) {
                // The kernel counts in ticks of up to 10 ms.
                Ok(set) => assert!(set.abs_diff(pause_ms) <= 10, "{set} for {pause_ms} ms"),
                Err(why) => assert_eq!(why, Errno::ENOPROTOOPT, "a kernel before 6.15"),
            }
        }
    }
}
