//! The command `auth`: signs a ticket by hand, as a web backend does after its own login.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use gatewayworker::businessworker::Config;
use method_router::auth::{Key, Kind, Ticket};
use method_router::settings::{DEMO_KEY, Settings};

/// The flags of `auth`.
#[derive(clap::Args)]
pub(crate) struct Flags {
    /// The user's id
    #[arg(long)]
    id: String,
    /// The kind of the user
    #[arg(long = "type", value_enum)]
    kind: Kind,
    /// The code of the room
    #[arg(long)]
    code: String,
    /// The name that others see
    #[arg(long)]
    nickname: String,
    /// Read the key from the [app] table of FILE, unless METHOD_ROUTER_AUTH_KEY is set [default: the demo's key]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(crate) fn run(flags: &Flags) -> anyhow::Result<()> {
    let settings = match &flags.config {
        Some(file) => {
            let text =
                std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            toml::from_str::<Config<Settings>>(&text).with_context(|| file.display().to_string())?.app
        }
        None => Settings::default(),
    };
    let settings = settings.with_environment();
    let key = if flags.config.is_none() && settings.auth_key.is_empty() {
        eprintln!("signed with the demo's key, because METHOD_ROUTER_AUTH_KEY is not set");
        Key::new(DEMO_KEY)?
    } else {
        settings.key()?
    };
    let ctime = now()?;
    let ticket = ticket(&flags.id, flags.kind, &flags.code, &flags.nickname, ctime);
    let auth = key.sign(&ticket);
    // The gateway's handshake would refuse an empty or too long name, so refuse it here.
    key.verify(Some(&auth), ctime, 0).ok().context("id, code and nickname have 1 to 64 characters each")?;
    println!("{auth}");
    Ok(())
}

/// Makes a ticket.
pub(crate) fn ticket(id: &str, kind: Kind, code: &str, nickname: &str, ctime: i64) -> Ticket {
    Ticket { id: id.into(), kind, code: code.into(), nickname: nickname.into(), ctime }
}

/// Seconds since 1970.
pub(crate) fn now() -> anyhow::Result<i64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is wrong")?.as_secs() as i64)
}
