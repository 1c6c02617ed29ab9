//! The program of the chat: a businessworker with [`Chat`] as its application.

use std::process::ExitCode;

use chat::Chat;
use gatewayworker::{Start, businessworker};

fn main() -> ExitCode {
    businessworker::main(async |_start: Start| Ok(Chat::default()))
}
