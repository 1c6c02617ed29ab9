//! The benchmark protocol as a worker: the application that `bench` measures. It does the same as the PHP `Events`
//! of the original's measurement, `peers/gatewayworker/events.php`.
//!
//! It returns `E…` to the sender and sends `B…` to all. `J<group> ` joins, `L<group> ` leaves, and `G<group> …` goes to
//! the group. It reads all sessions for `S`, and answers with their number. It answers `I` with the client's id after
//! an `I`, and sends `T<id> …` to this client. `U<uid> ` binds the client to a uid, and `V<uid> …` goes to the uid. It
//! answers `W` with its process id after a `W`. `P<group> <head> …` goes to the group too, and is answered with
//! `R<head> <gateways> <clusters>`: how many were not reached.
//!
//! With the cargo feature `federation` it may be a worker of one of several clusters that NATS joins (`--federation`).

use std::process::ExitCode;

use gatewayworker::{Client, Events, Message, Result, businessworker};

struct Bench;

impl Events for Bench {
    async fn on_connect(&self, client: &Client) -> Result {
        let id = client.id();
        client.send(format!(r#"{{"type":"welcome","client_id":"{id}"}}"#)).await?;
        Ok(())
    }

    async fn on_message(&self, client: &Client, message: Message) -> Result {
        match message.bytes().first() {
            Some(b'E') => {
                client.send(message).await?;
            }
            Some(b'B') => {
                client.gateway().send_to_all(message).await?;
            }
            Some(b'J') => {
                client.join_group(word(message.text()?)).await?;
            }
            Some(b'L') => {
                client.leave_group(word(message.text()?)).await?;
            }
            Some(b'S') => {
                let sessions = client.gateway().sessions().await?;
                client.send(format!("S{}", sessions.len())).await?;
            }
            Some(b'G') => {
                let group = word(message.text()?).to_owned();
                client.gateway().send_to_group([group], message).await?;
            }
            Some(b'I') => {
                client.send(format!("I{}", client.id())).await?;
            }
            Some(b'T') => {
                let id = word(message.text()?).parse()?;
                client.gateway().send_to_client(id, message).await?;
            }
            Some(b'U') => {
                client.bind_uid(word(message.text()?)).await?;
            }
            Some(b'V') => {
                let uid = word(message.text()?).to_owned();
                client.gateway().send_to_uid([uid], message).await?;
            }
            Some(b'W') => {
                client.send(format!("W{}", std::process::id())).await?;
            }
            Some(b'P') => {
                let group = word(message.text()?).to_owned();
                let head = message.text()?.split(' ').nth(1).unwrap_or_default().to_owned();
                let delivery = client.gateway().send_to_group([group], message).await?;
                let (gateways, clusters) = (delivery.unreached.len(), delivery.unreached_clusters.len());
                client.send(format!("R{head} {gateways} {clusters}")).await?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// The word after the first letter.
fn word(text: &str) -> &str {
    text[1..].split(' ').next().unwrap_or_default()
}

fn main() -> ExitCode {
    businessworker::main(async |_: businessworker::Start| Ok(Bench))
}
