//! The program `register`: the daemon is the crate `gatewayworker-register`.

use std::process::ExitCode;

fn main() -> ExitCode {
    gatewayworker_register::main()
}
