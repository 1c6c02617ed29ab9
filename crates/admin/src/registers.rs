//! Finds out why no gateway is known, and says what to do: a register is not there, has another key, or lists no
//! gateway. `gatewayworker call` asks while a call waits, and after it has failed; the other commands, and `poller`, when
//! no gateway is listed.

use std::time::Duration;

use anyhow::{Error, anyhow};
use futures_util::future::join_all;
use gatewayworker_net::{LineReader, LinkStream};
use gatewayworker_protocol::register::{MAX_LINE, Message};
use tokio::io::AsyncWriteExt;

use crate::Access;

/// A call takes less time than this where all is well: no register is asked before.
const USUAL_CALL: Duration = Duration::from_millis(300);

/// What one register answers.
enum Finding {
    /// Waiting for it is of no use; the text says why.
    Hopeless(String),
    /// A gateway may still come; the text says why there is none yet.
    MayCome(String),
}

/// Returns the reason once waiting is of no use; never returns while a gateway may still come. Cancel safe.
pub async fn hopeless(access: &Access) -> Error {
    tokio::time::sleep(USUAL_CALL).await;
    let findings = find(access).await;
    if !findings.iter().all(|finding| matches!(finding, Finding::Hopeless(_))) {
        std::future::pending::<()>().await;
    }
    describe(&findings)
}

/// Returns the reason, after a call has found no gateway.
pub async fn explain(access: &Access) -> Error {
    describe(&find(access).await)
}

fn describe(findings: &[Finding]) -> Error {
    let all = findings.iter().map(|finding| match finding {
        Finding::Hopeless(why) | Finding::MayCome(why) => why.as_str(),
    });
    anyhow!(all.collect::<Vec<_>>().join("; "))
}

async fn find(access: &Access) -> Vec<Finding> {
    join_all(access.registers.iter().map(|register| async move {
        let limit = access.question_timeout;
        let silent = || Finding::MayCome(format!("{register} does not answer as a register does"));
        tokio::time::timeout(limit, ask(register, access)).await.unwrap_or_else(|_| silent())
    }))
    .await
}

/// Asks a register for its list, as a client library does.
async fn ask(register: &str, access: &Access) -> Finding {
    let stream = match LinkStream::connect(register, access.tls.as_ref()).await {
        Ok(stream) => stream,
        Err(error) => {
            let what = "start one, or say where it is with --register-address";
            return Finding::Hopeless(format!("no register at {register} ({error}): {what}"));
        }
    };
    let (reading, mut writing) = stream.into_split();
    let hello = Message::WorkerConnect { secret_key: access.secret_key.clone() };
    let _ = writing.write_all(hello.to_line().as_bytes()).await;
    let _ = writing.flush().await;
    let line = LineReader::new(reading).next_line(MAX_LINE).await;
    match line.ok().flatten().map(|line| Message::parse(&line)) {
        Some(Ok(Message::BroadcastAddresses { addresses, .. })) if addresses.is_empty() => {
            let what = "start one, with this register_address and secret_key";
            Finding::MayCome(format!("the register at {register} knows no gateway: {what}"))
        }
        Some(Ok(Message::BroadcastAddresses { addresses, .. })) => {
            let addresses = addresses.join(", ");
            Finding::MayCome(format!("no gateway of those at {register} was found in time: {addresses}"))
        }
        Some(_) => Finding::Hopeless(format!("{register} does not answer as a register does")),
        None => {
            let what = match &access.unreadable {
                Some(file) => {
                    format!("its key stands in {}, which only root can read: use sudo", file.display())
                }
                None => {
                    "the cluster's secret_key is another one: --secret-key, GATEWAYWORKER_SECRET_KEY".into()
                }
            };
            Finding::Hopeless(format!(
                "the register at {register} closed the connection, perhaps because {what}"
            ))
        }
    }
}
