//! Asks all gateways about themselves each second, and gives the answers to the `monitor`.
//!
//! A gateway that does not answer in time holds up nobody: the next look comes with the next second.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use gatewayworker_client::inspect::InspectRequest;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::cluster::GatewayLook;
use crate::monitor::{Look, RegisterLook};
use crate::shared::Shared;
use crate::{Access, registers};

/// The time between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long a gateway may take to answer.
const TIMEOUT: Duration = Duration::from_millis(800);

/// How often to find out why no gateway is listed, in looks.
const EXPLAIN_EVERY: u32 = 5;

/// Looks at the cluster each second, and never returns.
pub(crate) async fn run(shared: &Shared) -> std::convert::Infallible {
    let started = Instant::now();
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut why_none = None;
    for n in 0_u32.. {
        ticks.tick().await;
        let listed = shared.inspector.listed();
        if !listed.is_empty() {
            why_none = None;
        } else if n % EXPLAIN_EVERY == 1 {
            why_none = explain(&shared.access).await;
        }
        let to_ask = shared.monitor().gateways_to_ask(&listed);
        let gateways = join_all(to_ask.into_iter().map(|gateway| ask(shared, gateway))).await;
        let registers = shared.inspector.registers();
        let registers =
            registers.map(|(address, connected)| RegisterLook { address: address.into(), connected });
        let look = Look {
            gateways,
            listed,
            why_none: why_none.clone(),
            registers: registers.collect(),
            daemons: shared.daemons.as_ref().map(|daemons| daemons.borrow().clone()),
        };
        shared.monitor().take(look, milliseconds(started.elapsed()), since_1970());
    }
    unreachable!("it ends after 136 years")
}

async fn ask(shared: &Shared, gateway: String) -> GatewayLook {
    match timeout(TIMEOUT, shared.inspector.ask_one(&gateway, &InspectRequest::Gateway)).await {
        Ok(answered) => GatewayLook::new(gateway, answered),
        Err(_) => {
            let ms = TIMEOUT.as_millis();
            let error = format!(
                "the gateway at {gateway} has not answered within {ms} ms: it stands still, or the network is slow (a \
                 PHP gateway, or one of an older version, never answers)"
            );
            GatewayLook { address: gateway, answer: None, error: Some(error) }
        }
    }
}

/// Finds out why no register lists a gateway; `None` where that takes long.
async fn explain(access: &Access) -> Option<String> {
    let access = Access { question_timeout: TIMEOUT, ..access.clone() };
    timeout(TIMEOUT * 2, registers::explain(&access)).await.ok().map(|why| format!("{why:#}"))
}

fn since_1970() -> u64 {
    milliseconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
