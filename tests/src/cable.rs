//! The cable between clients and a gateway: a TCP proxy that tests pull, or that is cut after any byte by itself.
//!
//! A [`Cable`] passes bytes on and knows nothing of them. [`Cable::pull`] ends its connections and lets no new one through,
//! until [`Cable::plug`]. [`Cable::deaden`] leaves connections open and passes nothing. [`Cable::cut_at_random`] ends each connection after some bytes in one of its directions; the
//! gateway notices half of these cuts only when the client is back.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// What a cable does with its connections.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Whole,
    Pulled,
    /// What was connected before passes nothing any more, and stays open at both ends. How often it was so.
    Dead(u32),
    /// Each connection passes at most so many bytes in one direction.
    Cutting(u64),
}

/// A cable to a gateway. Its connections end when it is dropped.
pub struct Cable {
    /// Where clients connect.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: AbortHandle,
}

struct Shared {
    state: watch::Sender<State>,
    random: Mutex<Random>,
    cuts: AtomicU64,
}

/// Numbers that a seed decides (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Cable {
    /// Lays a cable to a gateway's listener. `seed` decides where it is cut.
    ///
    /// # Panics
    /// No port is free.
    pub async fn lay(gateway: SocketAddr, seed: u64) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            state: watch::Sender::new(State::Whole),
            random: Mutex::new(Random(seed)),
            cuts: AtomicU64::new(0),
        });
        let accepting = shared.clone();
        let acceptor = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(accepting.clone().connect(client, gateway));
            }
        });
        Self { address, shared, acceptor: acceptor.abort_handle() }
    }

    /// Ends all connections without a close frame, and those that are made from now on.
    pub fn pull(&self) {
        self.shared.state.send_replace(State::Pulled);
    }

    /// Lets connections through, uncut.
    pub fn plug(&self) {
        self.shared.state.send_replace(State::Whole);
    }

    /// Lets the connections of now pass nothing any more, without an end; those that are made from now on work.
    pub fn deaden(&self) {
        self.shared.state.send_modify(|state| {
            *state = State::Dead(if let State::Dead(times) = state { *times + 1 } else { 0 });
        });
    }

    /// Cuts each connection that is made from now on after 1 to `most` bytes in one direction, and those of before now.
    pub fn cut_at_random(&self, most: u64) {
        self.shared.state.send_replace(State::Cutting(most));
    }

    /// Returns how many connections were cut at random.
    pub fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::Relaxed)
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.acceptor.abort();
        self.pull();
    }
}

impl Shared {
    fn random(&self) -> MutexGuard<'_, Random> {
        self.random.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes bytes in both directions until either end closes, or the connection is cut.
    async fn connect(self: Arc<Self>, client: TcpStream, gateway: SocketAddr) {
        let mut state = self.state.subscribe();
        let begun = *state.borrow_and_update();
        if begun == State::Pulled {
            return;
        }
        let Ok(gateway) = TcpStream::connect(gateway).await else { return };
        for stream in [&client, &gateway] {
            let _ = stream.set_nodelay(true);
        }
        let (mut up, mut down) = (u64::MAX, u64::MAX);
        let mut stays_half_open = false;
        if let State::Cutting(most) = begun {
            let mut random = self.random();
            let after = 1 + random.next() % most;
            if random.next() & 1 == 0 {
                up = after
            } else {
                down = after
            }
            stays_half_open = random.next() & 1 == 0;
        }
        let (from_client, to_client) = client.into_split();
        let (from_gateway, to_gateway) = gateway.into_split();
        let mut upward = Way { from: from_client, to: to_gateway, left: up };
        let mut downward = Way { from: from_gateway, to: to_client, left: down };
        let end = |was_cut: bool| if was_cut { End::Cut } else { End::Closed };
        let end = tokio::select! {
            was_cut = upward.pass() => end(was_cut),
            was_cut = downward.pass() => end(was_cut),
            now = state.wait_for(|now| *now != begun && *now != State::Whole) => match now.as_deref() {
                Ok(State::Dead(_)) => End::Dead,
                _ => End::Closed,
            },
        };
        if end == End::Cut {
            self.cuts.fetch_add(1, Ordering::Relaxed);
            if !stays_half_open {
                return;
            }
            // The client's side ends now; the gateway is not told.
            drop((upward.from, downward.to));
            let _ = state.wait_for(|now| *now == State::Pulled).await;
        } else if end == End::Dead {
            let _ = state.wait_for(|now| *now == State::Pulled).await;
        }
    }
}

/// How a connection ends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Closed,
    Cut,
    Dead,
}

/// One direction of a connection, which passes `left` more bytes.
struct Way {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    left: u64,
}

impl Way {
    /// Returns whether it was cut, when no more bytes pass.
    async fn pass(&mut self) -> bool {
        let mut buffer = [0; 4096];
        while self.left > 0 {
            let Ok(n @ 1..) = self.from.read(&mut buffer).await else { return false };
            let n = n.min(usize::try_from(self.left).unwrap_or(n));
            if self.to.write_all(&buffer[..n]).await.is_err() {
                return false;
            }
            self.left -= n as u64;
        }
        true
    }
}
