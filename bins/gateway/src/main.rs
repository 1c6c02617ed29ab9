//! The gateway's door: all that it does is in the crate `gatewayworker-gateway`.

use std::process::ExitCode;

fn main() -> ExitCode {
    gatewayworker_gateway::main()
}
