//! The sockets of a generator's clients: they connect, make the WebSocket handshake, and read whole frames.
//!
//! A client costs the four bytes of its descriptor and a tag. All read into one buffer. What a read has cut is kept
//! until the next one. The kernel has room for the few bytes that a client sends, so a socket that takes no more is an
//! error. `generator` polls and calls.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::wire::{self, opcode};

/// The most bytes of one read.
const READ_SIZE: usize = 64 * 1024;

/// The longest response to a handshake.
const MAX_RESPONSE: usize = 16 * 1024;

/// The connections, by number of client.
pub(super) struct Connections {
    registry: Registry,
    slots: Vec<Slot>,
    /// The beginnings of responses and frames that a read has cut.
    cut: BTreeMap<u32, Vec<u8>>,
    buffer: Vec<u8>,
}

enum Slot {
    Free,
    Connecting(TcpStream),
    Handshaking(TcpStream),
    Open(TcpStream),
}

/// What a client has received.
pub(super) enum Input<'a> {
    Message(&'a [u8]),
    /// A ping frame.
    Ping(&'a [u8]),
    /// The connection has ended, and the client is gone. The text says why.
    Ended(String),
}

impl Connections {
    /// No connections yet. Their sockets are registered with `registry`, with their numbers as tokens.
    pub(super) fn new(registry: Registry) -> Self {
        Connections { registry, slots: Vec::new(), cut: BTreeMap::new(), buffer: vec![0; READ_SIZE] }
    }

    /// Connects a client. It is open when its first input arrives.
    ///
    /// # Errors
    /// There is no descriptor, port or memory left.
    pub(super) fn open(&mut self, client: u32, gateway: SocketAddr, source: Ipv4Addr) -> io::Result<()> {
        let socket = Socket::new(Domain::for_address(gateway), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if gateway.ip().is_loopback() && gateway.is_ipv4() {
            // The port is chosen as the client connects: so one address has all ports for each gateway.
            setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
            socket.bind(&SocketAddrV4::new(source, 0).into())?;
        }
        match socket.connect(&gateway.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
            _ => {}
        }
        let mut stream = TcpStream::from_std(socket.into());
        let token = Token(client as usize);
        self.registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        let place = client as usize;
        if self.slots.len() <= place {
            self.slots.resize_with(place + 1, || Slot::Free);
        }
        self.slots[place] = Slot::Connecting(stream);
        Ok(())
    }

    /// Sends encoded frames.
    ///
    /// # Errors
    /// The client is not open, or its socket does not take all. The text says which.
    pub(super) fn send(&mut self, client: u32, frames: &[u8]) -> Result<(), String> {
        match self.slots.get(client as usize) {
            Some(Slot::Open(stream)) => write_all(stream, frames),
            _ => Err("it is not open".into()),
        }
    }

    /// Handles the readiness of a client's socket, and passes on what has arrived.
    pub(super) fn on_ready(&mut self, client: u32, on_input: &mut dyn FnMut(Input<'_>)) {
        let Some(slot) = self.slots.get_mut(client as usize) else { return };
        if let Slot::Connecting(stream) = slot {
            match connected(stream) {
                Ok(false) => return,
                Ok(true) => {}
                Err(why) => return self.end(client, why, on_input),
            }
            if let Slot::Connecting(stream) = std::mem::replace(slot, Slot::Free) {
                *slot = Slot::Handshaking(stream);
            }
        }
        if let Err(why) = self.read(client, on_input) {
            self.end(client, why, on_input);
        }
    }

    fn end(&mut self, client: u32, why: String, on_input: &mut dyn FnMut(Input<'_>)) {
        // Closing a socket removes it from the poll.
        self.slots[client as usize] = Slot::Free;
        self.cut.remove(&client);
        on_input(Input::Ended(why));
    }

    /// Reads until nothing is left.
    fn read(&mut self, client: u32, on_input: &mut dyn FnMut(Input<'_>)) -> Result<(), String> {
        loop {
            let slot = &mut self.slots[client as usize];
            let (Slot::Handshaking(stream) | Slot::Open(stream)) = slot else { return Ok(()) };
            let kept = self.cut.remove(&client).unwrap_or_default();
            if self.buffer.len() < kept.len() + READ_SIZE {
                self.buffer.resize(kept.len() + READ_SIZE, 0);
            }
            self.buffer[..kept.len()].copy_from_slice(&kept);
            let room = &mut self.buffer[kept.len()..];
            let size = room.len();
            let came = match stream.read(room) {
                Ok(0) => return Err("the server has ended the connection".into()),
                Ok(came) => came,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => 0,
                Err(error) => return Err(error.to_string()),
            };
            let mut bytes = &self.buffer[..kept.len() + came];
            if let Slot::Handshaking(_) = slot {
                match wire::response_end(bytes) {
                    Ok(Some(end)) => bytes = &bytes[end..],
                    Ok(None) if bytes.len() > MAX_RESPONSE => {
                        return Err("the handshake's answer has no end".into());
                    }
                    Ok(None) => {
                        self.keep(client, kept.len() + came);
                        return Ok(());
                    }
                    Err(status) => return Err(format!("the handshake was answered with {status:?}")),
                }
                if let Slot::Handshaking(stream) = std::mem::replace(slot, Slot::Free) {
                    *slot = Slot::Open(stream);
                }
            }
            let left = frames(bytes, on_input)?;
            if !left.is_empty() {
                let left = left.to_vec();
                self.cut.insert(client, left);
            }
            // A read that left room has emptied the socket. The next bytes make the next event.
            if came < size {
                return Ok(());
            }
        }
    }

    fn keep(&mut self, client: u32, length: usize) {
        if length > 0 {
            self.cut.insert(client, self.buffer[..length].to_vec());
        }
    }
}

/// Passes on whole frames, and returns the rest.
fn frames<'a>(mut bytes: &'a [u8], on_input: &mut dyn FnMut(Input<'_>)) -> Result<&'a [u8], String> {
    while let Some(frame) = wire::decode(bytes)? {
        match frame.opcode {
            opcode::TEXT | opcode::BINARY => on_input(Input::Message(frame.payload)),
            opcode::PING => on_input(Input::Ping(frame.payload)),
            opcode::CLOSE => {
                let code = frame.payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                return Err(match code {
                    Some(code) => format!("the server has closed the connection with code {code}"),
                    None => "the server has closed the connection".into(),
                });
            }
            _ => {}
        }
        bytes = &bytes[frame.length..];
    }
    Ok(bytes)
}

/// Whether a connection stands. Then the opening request is sent.
fn connected(stream: &TcpStream) -> Result<bool, String> {
    if let Some(error) = stream.take_error().map_err(|error| error.to_string())? {
        return Err(error.to_string());
    }
    match stream.peer_addr() {
        Ok(gateway) => write_all(stream, &wire::request(&gateway.to_string(), "/", None)).map(|()| true),
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}

fn write_all(mut stream: &TcpStream, bytes: &[u8]) -> Result<(), String> {
    match stream.write(bytes) {
        Ok(written) if written == bytes.len() => Ok(()),
        Ok(_) => Err("its socket takes no more".into()),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err("its socket takes no more".into()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll};
    use std::net::{TcpListener, TcpStream as Peer};
    use std::time::Duration;

    /// One client, and the server's end of it, after the opening request.
    struct Pair {
        poll: Poll,
        connections: Connections,
        peer: Peer,
    }

    impl Pair {
        fn new() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let poll = Poll::new().unwrap();
            let mut connections = Connections::new(poll.registry().try_clone().unwrap());
            let source = Ipv4Addr::new(127, 91, 2, 3);
            connections.open(5, listener.local_addr().unwrap(), source).unwrap();
            let (mut peer, from) = listener.accept().unwrap();
            assert_eq!(from.ip(), source);
            let mut pair = Pair { poll, connections, peer: peer.try_clone().unwrap() };
            let mut request = Vec::new();
            pair.inputs();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                peer.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            pair
        }

        /// What the next event gives.
        fn inputs(&mut self) -> Vec<String> {
            let mut events = Events::with_capacity(8);
            self.poll.poll(&mut events, Some(Duration::from_secs(5))).unwrap();
            let mut seen = Vec::new();
            for event in &events {
                self.connections.on_ready(event.token().0 as u32, &mut |input| {
                    seen.push(match input {
                        Input::Message(text) => String::from_utf8_lossy(text).into_owned(),
                        Input::Ping(_) => "a ping".into(),
                        Input::Ended(why) => format!("ended: {why}"),
                    });
                });
            }
            seen
        }
    }

    #[test]
    fn a_cut_handshake_and_cut_frames_arrive_whole() {
        let mut pair = Pair::new();
        let pieces: [(&[u8], &[&str]); 4] = [
            (b"HTTP/1.1 101 Switching\r\n", &[]),
            (b"\r\n\x81\x02{}\x81\x03a", &["{}"]),
            (b"bc\x89\x00", &["abc", "a ping"]),
            (b"\x88\x02\x03\xe9", &["ended: the server has closed the connection with code 1001"]),
        ];
        for (bytes, seen) in pieces {
            pair.peer.write_all(bytes).unwrap();
            assert_eq!(pair.inputs(), seen);
        }
        assert!(pair.connections.send(5, b"x").is_err(), "it is gone");
    }

    #[test]
    fn a_refused_handshake_says_the_status() {
        let mut pair = Pair::new();
        pair.peer.write_all(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").unwrap();
        let seen = pair.inputs();
        assert!(seen[0].contains("503 Service Unavailable"), "{seen:?}");
    }
}
