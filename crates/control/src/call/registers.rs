//! Why no gateway is known: what a person has to hear where a register is not there,
//! has another key, or lists nobody.

use std::time::Duration;

use anyhow::{Error, anyhow};
use futures_util::future::join_all;
use gatewayworker_net::LineReader;
use gatewayworker_protocol::register::{MAX_LINE, Message};
use tokio::io::AsyncWriteExt;

use super::Settings;

/// A call takes less where all is well.
const USUAL: Duration = Duration::from_millis(300);

/// What one register has to do with it.
enum Finding {
    /// It will not tell of a gateway, however long one waits.
    NoHope(String),
    /// It may yet.
    Perhaps(String),
}

/// Ends, with the reason, where waiting is of no use.
pub(super) async fn no_hope(settings: &Settings) -> Error {
    tokio::time::sleep(USUAL).await;
    let findings = find(settings).await;
    if !findings.iter().all(|finding| matches!(finding, Finding::NoHope(_))) {
        std::future::pending::<()>().await;
    }
    said(&findings)
}

/// The reason, after waiting was in vain.
pub(super) async fn explain(settings: &Settings) -> Error {
    said(&find(settings).await)
}

fn said(findings: &[Finding]) -> Error {
    let all = findings.iter().map(|finding| match finding {
        Finding::NoHope(why) | Finding::Perhaps(why) => why.as_str(),
    });
    anyhow!(all.collect::<Vec<_>>().join("; "))
}

async fn find(settings: &Settings) -> Vec<Finding> {
    join_all(settings.registers.iter().map(|register| async move {
        let limit = settings.question_timeout;
        let silent = || Finding::Perhaps(format!("{register} does not answer as a register does"));
        tokio::time::timeout(limit, ask(register, settings)).await.unwrap_or_else(|_| silent())
    }))
    .await
}

/// Asks a register for its list, as a client library does.
async fn ask(register: &str, settings: &Settings) -> Finding {
    let stream = match gatewayworker_net::connect(register).await {
        Ok(stream) => stream,
        Err(error) => {
            let what = "start one, or say where it is with --register-address";
            return Finding::NoHope(format!("no register at {register} ({error}): {what}"));
        }
    };
    let (reading, mut writing) = stream.into_split();
    let hello = Message::WorkerConnect { secret_key: settings.secret_key.clone() };
    let _ = writing.write_all(hello.to_line().as_bytes()).await;
    let line = LineReader::new(reading).next_line(MAX_LINE).await;
    match line.ok().flatten().map(|line| Message::parse(&line)) {
        Some(Ok(Message::BroadcastAddresses { addresses })) if addresses.is_empty() => {
            let what = "start one, with this register_address and secret_key";
            Finding::Perhaps(format!("the register at {register} knows no gateway: {what}"))
        }
        Some(Ok(Message::BroadcastAddresses { addresses })) => {
            let addresses = addresses.join(", ");
            Finding::Perhaps(format!("no gateway of those at {register} was found in time: {addresses}"))
        }
        Some(_) => Finding::NoHope(format!("{register} does not answer as a register does")),
        None => {
            let what = "the cluster's secret_key is another one: --secret-key, GATEWAYWORKER_SECRET_KEY";
            Finding::NoHope(format!(
                "the register at {register} closed the connection, perhaps because {what}"
            ))
        }
    }
}
