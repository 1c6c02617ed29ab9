//! A worker that sends every message back and says nothing else: the application of `tests/autobahn/run`.

use std::process::ExitCode;

use gatewayworker::{Client, Events, Message, Result, businessworker};

struct Echo;

impl Events for Echo {
    async fn on_message(&self, client: &Client, message: Message) -> Result {
        client.send(message).await?;
        Ok(())
    }
}

fn main() -> ExitCode {
    businessworker::main(async |_: businessworker::Start| Ok(Echo))
}
