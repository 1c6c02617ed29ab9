//! The program `businessworker`: the stock worker. An application of yours has a program like this, and its own `Events`.

use std::process::ExitCode;

use clap::Parser;
use gatewayworker::businessworker::Cli;

fn main() -> ExitCode {
    businessworker::run(Cli::parse())
}
