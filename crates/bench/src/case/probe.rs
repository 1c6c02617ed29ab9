//! The probe: one client that echoes at a fixed rate, on a thread of its own, so that the other clients of this program
//! do not delay it. It measures how the servers treat a client that has no part in the load. `fair` and `burst` use it.

use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

use super::{ClientTasks, STALL, echo};
use crate::client_set::ClientSet;
use crate::histogram::Histogram;
use crate::open::Opening;
use crate::pace::{Schedule, pace};
use crate::report::Progress;

/// The running client.
pub(crate) struct Probe {
    commands: mpsc::Sender<ProbeCommand>,
    thread: JoinHandle<Result<()>>,
}

enum ProbeCommand {
    Begin,
    End(oneshot::Sender<ProbeResult>),
}

/// The echoes between a [`Probe::begin`] and its [`Probe::end`].
pub(crate) struct ProbeResult {
    /// The times from due to arrived.
    pub(crate) times: Histogram,
    /// The probe's own delay, in µs.
    pub(crate) late: f64,
    /// Echoes that did not arrive.
    pub(crate) lost: u64,
}

impl Probe {
    /// Opens a client that echoes `rate` messages of `size` bytes a second.
    ///
    /// # Errors
    /// The client cannot open.
    pub(crate) async fn start(opening: Opening, rate: u32, size: usize) -> Result<Self> {
        let (commands, received) = mpsc::channel(1);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            LocalSet::new().block_on(&runtime, run(opening, rate, size, received))
        });
        let probe = Probe { commands, thread };
        // The thread answers after the client has opened.
        Ok(probe.end().await?.0)
    }

    /// Starts a measurement.
    ///
    /// # Errors
    /// The client has lost its connection.
    pub(crate) async fn begin(&self) -> Result<()> {
        self.commands.send(ProbeCommand::Begin).await.map_err(|_| anyhow!("the echoing client was lost"))?;
        Ok(())
    }

    /// Ends the measurement, and waits for its last echo.
    ///
    /// # Errors
    /// The client has lost its connection.
    pub(crate) async fn end(self) -> Result<(Self, ProbeResult)> {
        let (reply, seen) = oneshot::channel();
        let told = self.commands.send(ProbeCommand::End(reply)).await.is_ok();
        match seen.await {
            Ok(seen) if told => Ok((self, seen)),
            _ => {
                drop(self.commands);
                let ended = self.thread.join().map_err(|_| anyhow!("the echoing client's thread failed"))?;
                Err(ended.err().unwrap_or_else(|| anyhow!("the echoing client has ended")))
            }
        }
    }
}

async fn run(
    opening: Opening,
    rate: u32,
    size: usize,
    mut commands: mpsc::Receiver<ProbeCommand>,
) -> Result<()> {
    let opened = opening.run(false, &Progress::silent()).await?;
    let load = Rc::new(echo::Load::new(size, Some(1)));
    let mut clients = ClientTasks::new();
    clients.spawn_local(echo::drive(ClientSet::new(opened.clients), 0, load.clone(), 0));
    if let Some(dues) = load.dues.clone() {
        clients.spawn_local(pace(Schedule::new(Instant::now(), rate), dues));
    }
    loop {
        tokio::select! {
            Some(ended) = clients.join_next() => {
                return Err(anyhow!(ended.context("a client task failed")?).context("the echoing client was lost"));
            }
            command = commands.recv() => match command {
                None => return Ok(()),
                Some(ProbeCommand::Begin) => load.begin(),
                Some(ProbeCommand::End(reply)) => {
                    load.end();
                    let (expected, end) = (load.expected(), Instant::now() + STALL);
                    while load.echoed.get() < expected && Instant::now() < end && clients.try_join_next().is_none() {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    let seen = ProbeResult {
                        times: load.times.replace(Histogram::new()),
                        late: load.late().unwrap_or(0.0),
                        lost: expected.saturating_sub(load.echoed.get()),
                    };
                    // The caller may have stopped waiting.
                    let _ = reply.send(seen);
                }
            },
        }
    }
}
