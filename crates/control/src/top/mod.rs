//! `top`: a cluster that runs, on the whole terminal, asked again every second. Overview has the cluster's numbers and
//! their change; Mesh has gateways × workers; Slow has the handlers.
//!
//! - `state`: what is shown, and what the keys do; plain data,
//! - `slow`: what the screen Slow shows,
//! - `draw`: the state on a terminal,
//! - here: the terminal, the keys, the gateways' answers, and the clock.
//!
//! It ends with `q` or Ctrl-C, status 0, and gives the terminal back also at SIGTERM (status 143) and in a panic.

mod draw;
mod slow;
mod state;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use gatewayworker_admin::cluster::ClusterLook;
use gatewayworker_client::inspect::{Inspector, WorkerHandlers};
use gatewayworker_daemon::wants_colour;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::cluster_access::{Access, AccessFlags};
use crate::cluster_dirs::ConfigDir;
use crate::cluster_status;
use crate::console::print_error;
use state::{Key, Screen, State};

/// The status where standard output is no terminal: a wrong use, as wrong flags are.
const NO_TERMINAL: u8 = 2;

/// The status at SIGTERM, as of the daemons.
const TERMINATED: u8 = 143;

/// How many keys wait at most; a key more is dropped.
const KEYS: usize = 16;

/// The flags of `top`.
#[derive(Debug, clap::Args)]
pub struct TopFlags {
    /// Ask the gateways every SECONDS
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,

    #[command(flatten)]
    configs: ConfigDir,

    #[command(flatten)]
    access: AccessFlags,
}

/// Shows a cluster until `q` is pressed: status 0, 2 where standard output is no terminal, 1 for another failure.
pub fn run(flags: &TopFlags) -> ExitCode {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        print_error(
            "top needs a terminal: `gatewayworker status --register-address …` prints the same into a pipe",
        );
        return ExitCode::from(NO_TERMINAL);
    }
    let shown = flags
        .configs
        .find()
        .and_then(|configs| flags.access.access_or_of(configs))
        .and_then(|access| show(&access, Duration::from_secs(flags.interval)));
    match shown {
        Ok(status) => status,
        Err(error) => {
            print_error(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn show(access: &Access, every: Duration) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // It gives the terminal back in a panic, too.
    let mut terminal = ratatui::try_init()?;
    let restore = Restore;
    let shown = runtime.block_on(run_until_quit(&mut terminal, access, every));
    drop(restore);
    // A question under way would keep it waiting.
    runtime.shutdown_background();
    shown
}

/// Gives the terminal back when it is dropped.
struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        let _ = ratatui::try_restore();
    }
}

async fn run_until_quit(
    terminal: &mut ratatui::DefaultTerminal,
    access: &Access,
    every: Duration,
) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut keys = read_keys();
    let inspector = access.inspector();
    let mut state = State::new(wants_colour(&io::stdout()));
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut look = std::pin::pin!(None);
    loop {
        terminal.draw(|frame| draw::draw(&state, frame))?;
        tokio::select! {
            _ = ticks.tick(), if look.is_none() => {
                let with_handlers = state.screen == Screen::Slow;
                look.set(Some(look_into(&inspector, access, with_handlers)));
            }
            view = async { look.as_mut().as_pin_mut().expect("it is checked").await }, if look.is_some() => {
                look.set(None);
                let (view, handlers) = view;
                state.handlers = handlers;
                let view = view.map_err(|error| format!("{error:#}"));
                state.take(view, started.elapsed().as_millis() as u64);
            }
            key = keys.recv() => match key {
                Some(key) => if !state.press(key) {
                    return Ok(ExitCode::SUCCESS);
                },
                // The terminal is gone.
                None => return Ok(ExitCode::SUCCESS),
            },
            _ = terminated.recv() => return Ok(ExitCode::from(TERMINATED)),
            _ = interrupted.recv() => return Ok(ExitCode::SUCCESS),
        }
    }
}

/// Asks the gateways about themselves and, where that is shown, what the handlers of their workers do.
async fn look_into(
    inspector: &Inspector,
    access: &Access,
    with_handlers: bool,
) -> (anyhow::Result<ClusterLook>, Vec<WorkerHandlers>) {
    let view = cluster_status::view(inspector, access).await;
    let handlers = match with_handlers && view.is_ok() {
        true => cluster_status::handlers(inspector, access).await,
        false => Vec::new(),
    };
    (view, handlers)
}

/// Reads keys on a thread of its own, which ends with the process.
fn read_keys() -> mpsc::Receiver<Key> {
    let (sender, keys) = mpsc::channel(KEYS);
    std::thread::spawn(move || {
        while !sender.is_closed() {
            let Ok(event) = event::read() else { return };
            let key = match event {
                Event::Key(key) if key.kind == KeyEventKind::Press => key_of(key),
                // The next draw sees the new size.
                Event::Resize(..) => Some(Key::Redraw),
                _ => None,
            };
            if let Some(key) = key {
                // Keys that come faster than the screen is drawn may be lost.
                let _ = sender.try_send(key);
            }
        }
    });
    keys
}

fn key_of(key: KeyEvent) -> Option<Key> {
    Some(match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Key::Quit,
        KeyCode::Char('q') | KeyCode::Esc => Key::Quit,
        KeyCode::Tab | KeyCode::Right => Key::Next,
        KeyCode::BackTab | KeyCode::Left => Key::Previous,
        KeyCode::Char('s') => Key::Sort,
        KeyCode::Down => Key::Down,
        KeyCode::Up => Key::Up,
        _ => return None,
    })
}
