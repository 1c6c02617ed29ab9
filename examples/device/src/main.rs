//! A gateway for devices: the standard gateway, with one more protocol for listeners, `device://`.

use std::process::ExitCode;

use gatewayworker::gateway::{self, Protocols};

fn main() -> ExitCode {
    gateway::main_with(Protocols::default().with("device", device::Device))
}

mod device;
