//! The program `businessworker`: a worker with the chat of `examples/chat`. An application has a program like this.

use std::process::ExitCode;

use chat::Chat;
use gatewayworker::{Start, businessworker};

fn main() -> ExitCode {
    businessworker::main(async |_start: Start| Ok(Chat::default()))
}
