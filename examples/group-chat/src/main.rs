//! The program of the group chat: a businessworker with [`GroupChat`] as its application.
//!
//! `group-chat seed [URL]` makes the demo data in the database instead, and ends.

use std::process::ExitCode;

use gatewayworker::{BoxError, Start, businessworker};
use group_chat::{GroupChat, Settings};

/// The environment variable that overrides the file's database URL, which may contain a password.
const DATABASE: &str = "GROUP_CHAT_DATABASE";

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("seed") {
        return seed();
    }
    let cli = businessworker::Cli::parse_as(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    businessworker::run(cli, async |start: Start<Settings>| GroupChat::new(&settings(start.app)))
}

fn settings(settings: Settings) -> Settings {
    match std::env::var(DATABASE) {
        Ok(database) => Settings { database, ..settings },
        Err(_) => settings,
    }
}

/// Makes the schema and the demo data, in the database of the argument or of the settings.
fn seed() -> ExitCode {
    let mut settings = settings(Settings { demo_data: true, ..Settings::default() });
    if let Some(database) = std::env::args().nth(2) {
        settings.database = database;
    }
    match try_seed(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn try_seed(settings: &Settings) -> Result<(), BoxError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { GroupChat::new(settings)?.prepare().await })
}
