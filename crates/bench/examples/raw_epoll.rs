//! The benchmark protocol on one thread over `epoll`, through `mio`, and nothing else: the lower bound to compare with.
//!
//! In a round of `epoll`, it first reads and handles all that has arrived: a frame is encoded once and queued at each
//! client by reference. Then each touched client gets one write of all its queued frames.
//!
//! It has the part of the protocol that needs no application: it greets, returns `E…`, and sends `B…` to all. It is not
//! for the open internet: it has no limits, no fragments and no checks.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::process::ExitCode;
use std::rc::Rc;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

const LISTENER: Token = Token(usize::MAX);
const READ: usize = 256 * 1024;

type Frame = Rc<[u8]>;

struct Client {
    stream: TcpStream,
    /// Whether its handshake is done.
    open: bool,
    /// The beginning of a request or frame whose end has not arrived.
    rest: Vec<u8>,
    /// Queued frames. Of the first, `written` bytes are written.
    out: VecDeque<Frame>,
    written: usize,
    /// Whether it is in the list of touched clients.
    touched: bool,
}

struct Server {
    poll: Poll,
    listener: TcpListener,
    clients: Vec<Option<Client>>,
    free: Vec<usize>,
    /// The clients to write to at the end of the round.
    touched: Vec<usize>,
    buffer: Vec<u8>,
    gathered: Vec<u8>,
    greeted: u64,
}

impl Server {
    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(4096);
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(),
                    Token(index) => {
                        if event.is_readable() {
                            self.read(index);
                        }
                        if event.is_writable() {
                            self.touch(index, None);
                        }
                    }
                }
            }
            for index in std::mem::take(&mut self.touched) {
                let Some(client) = &mut self.clients[index] else { continue };
                client.touched = false;
                if client.write(&mut self.gathered).is_err() {
                    self.leave(index);
                }
            }
        }
    }

    fn accept(&mut self) {
        while let Ok((mut stream, _)) = self.listener.accept() {
            let index = self.free.pop().unwrap_or_else(|| {
                self.clients.push(None);
                self.clients.len() - 1
            });
            let ready = Interest::READABLE | Interest::WRITABLE;
            let (rest, out) = (Vec::new(), VecDeque::new());
            match stream.set_nodelay(true).and(self.poll.registry().register(
                &mut stream,
                Token(index),
                ready,
            )) {
                Ok(()) => {
                    let client = Client { stream, open: false, rest, out, written: 0, touched: false };
                    self.clients[index] = Some(client);
                }
                Err(_) => self.free.push(index),
            }
        }
    }

    fn leave(&mut self, index: usize) {
        if self.clients[index].take().is_some() {
            self.free.push(index);
        }
    }

    /// Has what waits at the client, and `frame`, written at the end of the round.
    fn touch(&mut self, index: usize, frame: Option<&Frame>) {
        let Some(client) = &mut self.clients[index] else { return };
        if client.open {
            client.out.extend(frame.cloned());
        }
        if !client.touched && !client.out.is_empty() {
            client.touched = true;
            self.touched.push(index);
        }
    }

    /// Reads all that has arrived and lets it take effect.
    fn read(&mut self, index: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(client) = &mut self.clients[index] {
            let kept = client.rest.len();
            buffer.resize(buffer.len().max(kept + READ), 0);
            buffer[..kept].copy_from_slice(&client.rest);
            let room = buffer.len() - kept;
            let came = match client.stream.read(&mut buffer[kept..]) {
                Ok(came @ 1..) => came,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                _ => {
                    self.leave(index);
                    break;
                }
            };
            let used = self.take_effect(index, &mut buffer[..kept + came]);
            if let Some(client) = &mut self.clients[index] {
                client.rest.clear();
                client.rest.extend_from_slice(&buffer[used..kept + came]);
            }
            // A read that left room has emptied the socket, and the next bytes are the next event.
            if came < room {
                break;
            }
        }
        self.buffer = buffer;
    }

    /// How many of `bytes` made whole requests and frames.
    fn take_effect(&mut self, index: usize, bytes: &mut [u8]) -> usize {
        let mut used = 0;
        if self.clients[index].as_ref().is_some_and(|client| !client.open) {
            let Some((length, answer)) = handshake(bytes) else { return 0 };
            self.greeted += 1;
            let greeting = format!(r#"{{"type":"welcome","client_id":"{:020x}"}}"#, self.greeted);
            if let Some(client) = &mut self.clients[index] {
                client.open = true;
                client.out.push_back(answer.into_bytes().into());
            }
            self.touch(index, Some(&encode(0x81, greeting.as_bytes())));
            used = length;
        }
        while let Some((opcode, payload, length)) = decode(&mut bytes[used..]) {
            match (opcode, payload.first()) {
                (1 | 2, Some(b'E')) => self.touch(index, Some(&encode(0x80 | opcode, payload))),
                (1 | 2, Some(b'B')) => {
                    let frame = encode(0x80 | opcode, payload);
                    (0..self.clients.len()).for_each(|index| self.touch(index, Some(&frame)));
                }
                (8, _) => self.leave(index),
                (9, _) => self.touch(index, Some(&encode(0x8a, payload))),
                _ => {}
            }
            used += length;
        }
        used
    }
}

impl Client {
    /// Writes all that waits, gathered into one send, as far as the socket takes it.
    fn write(&mut self, gathered: &mut Vec<u8>) -> io::Result<()> {
        while let Some(first) = self.out.front() {
            let bytes = if self.out.len() == 1 {
                &first[self.written..]
            } else {
                gathered.clear();
                for frame in &self.out {
                    gathered.extend_from_slice(frame);
                    if gathered.len() > READ {
                        break;
                    }
                }
                &gathered[self.written..]
            };
            let mut sent = match self.stream.write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                sent => sent?,
            } + self.written;
            while let Some(frame) = self.out.front().filter(|frame| frame.len() <= sent) {
                sent -= frame.len();
                self.out.pop_front();
            }
            self.written = sent;
        }
        Ok(())
    }
}

/// The length of a whole opening request, and the answer to it.
fn handshake(bytes: &[u8]) -> Option<(usize, String)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let request = String::from_utf8_lossy(&bytes[..end]);
    let mut headers = request.lines().filter_map(|line| line.split_once(':'));
    let key =
        headers.find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key")).map(|(_, key)| key.trim());
    let accept = derive_accept_key(key.unwrap_or_default().as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    Some((end, answer))
}

/// A whole masked frame at the head of `bytes`: its opcode, its payload, unmasked in place, and its length.
fn decode(bytes: &mut [u8]) -> Option<(u8, &[u8], usize)> {
    let (opcode, short) = (*bytes.first()? & 0x0f, *bytes.get(1)? & 0x7f);
    let (head, length) = match short {
        126 => (8, usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?))),
        127 => (14, usize::try_from(u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?)).ok()?),
        short => (6, usize::from(short)),
    };
    let mask: [u8; 4] = *bytes.get(head - 4..)?.first_chunk()?;
    let payload = bytes.get_mut(head..head.checked_add(length)?)?;
    payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    Some((opcode, payload, head + length))
}

fn encode(first: u8, payload: &[u8]) -> Frame {
    let length = payload.len();
    let mut frame = Vec::with_capacity(length + 10);
    match length {
        0..=125 => frame.extend([first, length as u8]),
        126..=0xffff => frame.extend([&[first, 126][..], &(length as u16).to_be_bytes()].concat()),
        _ => frame.extend([&[first, 127][..], &(length as u64).to_be_bytes()].concat()),
    }
    frame.extend_from_slice(payload);
    frame.into()
}

fn listen(port: u16) -> io::Result<Server> {
    let poll = Poll::new()?;
    let mut listener = TcpListener::bind(([127, 0, 0, 1], port).into())?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let (clients, free, touched) = (Vec::new(), Vec::new(), Vec::new());
    let (buffer, gathered) = (Vec::new(), Vec::new());
    Ok(Server { poll, listener, clients, free, touched, buffer, gathered, greeted: 0 })
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let port = match &arguments[..] {
        [] => Ok(9289),
        [flag, port] if flag == "--port" => port.parse(),
        _ => "".parse(),
    };
    let Ok(port) = port else {
        eprintln!("usage: raw_epoll [--port PORT]");
        return ExitCode::from(2);
    };
    if let Err(error) = listen(port).and_then(|mut server| server.run()) {
        eprintln!("raw_epoll: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
