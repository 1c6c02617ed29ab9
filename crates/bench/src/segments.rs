//! Counts the TCP segments with data that a peer has sent. For small messages without Nagle's delay, these are its
//! writes: `client` reports them, to show how many writes a delivery costs the server.
//!
//! The count is of the kernel's `TCP_INFO`, on Linux only.

use tokio::net::TcpStream;

#[cfg(target_os = "linux")]
pub(crate) fn data_segments_in(stream: &TcpStream) -> Option<u32> {
    let info = nix::sys::socket::getsockopt(stream, option::TcpInfo).ok()?;
    Some(info[option::DATA_SEGS_IN])
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn data_segments_in(_: &TcpStream) -> Option<u32> {
    None
}

#[cfg(target_os = "linux")]
mod option {
    use nix::{getsockopt_impl, sockopt_impl};

    /// `tcpi_data_segs_in` in `struct tcp_info` (linux/tcp.h), in words from its start.
    pub(super) const DATA_SEGS_IN: usize = 38;

    // The kernel fills as much of the struct as the caller has room for. Linux has this field since 4.6.
    sockopt_impl!(TcpInfo, GetOnly, libc::IPPROTO_TCP, libc::TCP_INFO, [u32; DATA_SEGS_IN + 1]);
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn each_small_write_of_the_peer_is_a_segment() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        peer.set_nodelay(true).unwrap();
        let mut byte = [0];
        for count in 1..=5 {
            peer.write_all(b"x").await.unwrap();
            stream.read_exact(&mut byte).await.unwrap();
            assert_eq!(data_segments_in(&stream), Some(count));
        }
        stream.write_all(b"what it sends itself does not count").await.unwrap();
        assert_eq!(data_segments_in(&stream), Some(5));
    }
}
