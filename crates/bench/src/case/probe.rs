//! One client that echoes at a fixed rate on a thread of its own, so that what the other clients have to do here does
//! not delay it: it sees how the servers treat somebody who has nothing to do with the load.

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

/// What it saw between a beginning and its end.
pub(crate) struct ProbeResult {
    /// From due to back.
    pub(crate) times: Histogram,
    /// How late the probe was itself, in µs.
    pub(crate) late: f64,
    /// Echoes that did not come back.
    pub(crate) lost: u64,
}

impl Probe {
    /// Opens a client and lets it echo `rate` times a second messages of `size` bytes.
    ///
    /// # Errors
    /// It could not open.
    pub(crate) async fn start(opening: Opening, rate: u32, size: usize) -> Result<Self> {
        let (commands, received) = mpsc::channel(1);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            LocalSet::new().block_on(&runtime, run(opening, rate, size, received))
        });
        let probe = Probe { commands, thread };
        // It answers once it is open.
        Ok(probe.end().await?.0)
    }

    /// From now on echoes count.
    ///
    /// # Errors
    /// It was lost.
    pub(crate) async fn begin(&self) -> Result<()> {
        self.commands.send(ProbeCommand::Begin).await.map_err(|_| anyhow!("the echoing client was lost"))?;
        Ok(())
    }

    /// What it saw since it was told to begin, once the last of it has come back.
    ///
    /// # Errors
    /// It was lost, and why.
    pub(crate) async fn end(self) -> Result<(Self, ProbeResult)> {
        let (reply, seen) = oneshot::channel();
        let told = self.commands.send(ProbeCommand::End(reply)).await.is_ok();
        match seen.await {
            Ok(seen) if told => Ok((self, seen)),
            _ => {
                drop(self.commands);
                let ended = self.thread.join().map_err(|_| anyhow!("the echoing client's thread failed"))?;
                Err(ended.err().unwrap_or_else(|| anyhow!("the echoing client has gone")))
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
                    // Whoever asked may have gone.
                    let _ = reply.send(seen);
                }
            },
        }
    }
}
