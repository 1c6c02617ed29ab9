//! A gateway for devices: the stock one, and `device://` beside what it speaks.

use std::process::ExitCode;

use gatewayworker::gateway::{self, Protocols};

fn main() -> ExitCode {
    gateway::main_with(Protocols::default().with("device", device::Device))
}

mod device;
