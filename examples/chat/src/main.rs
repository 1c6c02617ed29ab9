//! A businessworker that runs the chat, and nothing else.

use std::process::ExitCode;

use chat::Chat;
use gatewayworker::{Start, businessworker};

fn main() -> ExitCode {
    businessworker::main(async |_start: Start| Ok(Chat::default()))
}
