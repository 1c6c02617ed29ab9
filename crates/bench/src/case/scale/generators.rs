//! The processes of the load generator, as `scale` sees them: it starts them from its own program, tells them what to
//! do, and waits for what they answer.
//!
//! A process ends when its standard input does. So none is left, whatever becomes of `scale`.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command as Program};
use tokio::sync::mpsc;

use crate::generator::protocol::{Command, Outcome, Reply, Setup};
use crate::procfs::Processes;

/// How long all processes together may make no progress.
const STALL: Duration = Duration::from_secs(60);

/// How often the watch looks.
const WATCH: Duration = Duration::from_millis(250);

/// How long a process may take to end.
const END_LIMIT: Duration = Duration::from_secs(20);

/// The most replies that wait.
const WAITING: usize = 1024;

/// A process.
struct Generator {
    child: Child,
    input: Option<ChildStdin>,
    /// How far its command is.
    progress: u64,
}

/// All processes.
pub(super) struct Generators {
    all: Vec<Generator>,
    sender: mpsc::Sender<(usize, Option<Reply>)>,
    replies: mpsc::Receiver<(usize, Option<Reply>)>,
}

/// Looks after everything else while answers are awaited. It gets how far the processes are together.
pub(super) trait Watch {
    /// # Errors
    /// The measurement has to stop. The error says why.
    fn look(&mut self, progress: u64) -> Result<()>;
}

impl Generators {
    /// No processes yet.
    pub(super) fn new() -> Self {
        let (sender, replies) = mpsc::channel(WAITING);
        Generators { all: Vec::new(), sender, replies }
    }

    /// Starts one more process, and tells it where to connect. It answers.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) async fn add(&mut self, setup: Setup) -> Result<()> {
        let own = std::env::current_exe().context("the path of this program is unknown")?;
        let mut program = Program::new(own);
        program.arg("generate").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = program.spawn().context("a process of the load generator cannot be started")?;
        let output = child.stdout.take().context("the process has no output")?;
        let input = child.stdin.take();
        let index = self.all.len();
        tokio::task::spawn_local(read(index, output, self.sender.clone()));
        self.all.push(Generator { child, input, progress: 0 });
        self.tell(index, &Command::Setup(setup)).await
    }

    /// The number of processes.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The processes, to measure.
    pub(super) fn processes(&self) -> Processes {
        let pids: Vec<_> = self.all.iter().filter_map(|generator| generator.child.id()).collect();
        Processes::new(&pids, false)
    }

    /// Sends a command to one process.
    ///
    /// # Errors
    /// The process has ended.
    pub(super) async fn tell(&mut self, index: usize, command: &Command) -> Result<()> {
        let generator = &mut self.all[index];
        generator.progress = 0;
        let line = format!("{}\n", serde_json::to_string(command)?);
        let input = generator.input.as_mut().context("the load generator is ending")?;
        input.write_all(line.as_bytes()).await.with_context(|| ended(index))
    }

    /// Sends a command to each process.
    ///
    /// # Errors
    /// A process has ended.
    pub(super) async fn tell_all(&mut self, command: impl Fn(u32) -> Command) -> Result<()> {
        for index in 0..self.len() {
            self.tell(index, &command(index as u32)).await?;
        }
        Ok(())
    }

    /// Waits until `count` processes have answered, and returns their results together.
    ///
    /// # Errors
    /// A process has failed or ended, nothing moves for a minute, or the watch stops it.
    pub(super) async fn gather(&mut self, count: usize, watch: &mut dyn Watch) -> Result<Outcome> {
        let mut sum = Outcome::new();
        let (mut missing, mut moved) = (count, (Instant::now(), 0));
        while missing > 0 {
            match self.next(watch).await? {
                Some((index, Reply::Done(outcome))) => {
                    self.all[index].progress = outcome.count.max(outcome.deliveries);
                    sum.merge(&outcome);
                    missing -= 1;
                }
                Some((index, Reply::Progress(progress))) => self.all[index].progress = progress,
                Some((index, Reply::Failed(why))) => return Err(failed(index, &why)),
                None => {}
            }
            let progress = self.progress() + (count - missing) as u64;
            if progress != moved.1 {
                moved = (Instant::now(), progress);
            } else if moved.0.elapsed() > STALL {
                let time = STALL.as_secs();
                bail!("time: nothing has moved for {time} s, and {missing} processes have not answered");
            }
        }
        Ok(sum)
    }

    /// Waits until each process has begun with its command, and has said so by its progress.
    ///
    /// # Errors
    /// As for [`Generators::gather`].
    pub(super) async fn begun(&mut self, watch: &mut dyn Watch) -> Result<()> {
        let mut missing: BTreeSet<_> = (0..self.len()).collect();
        while !missing.is_empty() {
            match self.next(watch).await? {
                Some((index, Reply::Progress(_))) => _ = missing.remove(&index),
                Some((index, Reply::Failed(why))) => return Err(failed(index, &why)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Ends what the processes do, and returns how far those that answer were together. Failures do not count any more.
    pub(super) async fn halt(&mut self) -> u64 {
        let (mut missing, mut sum) = (0, 0);
        for index in 0..self.len() {
            missing += usize::from(self.tell(index, &Command::Halt).await.is_ok());
        }
        let end = Instant::now() + END_LIMIT;
        while missing > 0 && Instant::now() < end {
            if let Ok(Some((_, Some(Reply::Done(outcome))))) =
                tokio::time::timeout(WATCH, self.replies.recv()).await
            {
                sum += outcome.count;
                missing -= 1;
            }
        }
        sum
    }

    /// The next reply, or `None` when it is time to look again.
    async fn next(&mut self, watch: &mut dyn Watch) -> Result<Option<(usize, Reply)>> {
        watch.look(self.progress())?;
        match tokio::time::timeout(WATCH, self.replies.recv()).await {
            Ok(Some((index, Some(reply)))) => Ok(Some((index, reply))),
            Ok(Some((index, None))) => Err(anyhow!(ended(index))),
            Ok(None) | Err(_) => Ok(None),
        }
    }

    fn progress(&self) -> u64 {
        self.all.iter().map(|generator| generator.progress).sum()
    }

    /// Ends all processes, and waits for that.
    pub(super) async fn stop(self) {
        let mut children = Vec::new();
        for Generator { child, input, .. } in self.all {
            drop(input);
            children.push(child);
        }
        for mut child in children {
            if tokio::time::timeout(END_LIMIT, child.wait()).await.is_err() {
                let _ = child.kill().await;
            }
        }
    }
}

/// Passes on the replies of a process, and then its end.
async fn read(index: usize, output: ChildStdout, sender: mpsc::Sender<(usize, Option<Reply>)>) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(reply) = serde_json::from_str(&line) else { break };
        if sender.send((index, Some(reply))).await.is_err() {
            return;
        }
    }
    let _ = sender.send((index, None)).await;
}

fn ended(index: usize) -> String {
    format!("process {} of the load generator has ended", index + 1)
}

fn failed(index: usize, why: &str) -> anyhow::Error {
    anyhow!("{why} (process {} of the load generator)", index + 1)
}
