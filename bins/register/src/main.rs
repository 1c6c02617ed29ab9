//! The register daemon: a door to `gatewayworker-register`.

use std::process::ExitCode;

fn main() -> ExitCode {
    gatewayworker_register::main()
}
