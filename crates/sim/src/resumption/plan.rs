//! What a run is: the settings, what clients and the application do, and what goes wrong.

use super::client::ClientOptions;
use super::gateway::GatewayOptions;
use super::ledger::Ledger;
use super::{Act, GATEWAY, ResumptionModel};
use crate::model::Plan;
use crate::network::NetworkOptions;
use crate::rng::Rng;
use crate::script::{FaultOptions, ScriptEvent, ScriptStep, random_faults, sort};

/// How many uids there are, and how many groups.
pub(super) const GROUPS: u8 = 3;

/// How long the script goes on, in ms.
const SCRIPT_MS: u64 = 3_000;

/// How long it takes until everybody is back and has got everything, in ms.
const BACK_MS: u64 = 3_500;

/// How long it takes until clients that have left are forgotten, in ms: those are kept longest that were closed while
/// they were detached.
const LEAVE_MS: u64 = 3_000;

/// The longest time for which a client is kept, in ms.
const MAX_RESUME_MS: u64 = 1_200;

/// Who is sent something.
#[derive(Debug, Clone, Copy)]
pub enum ToWhom {
    /// One of the clients that there are.
    One(usize),
    /// The clients of a uid.
    Uid(u8),
    /// The members of a group.
    Group(u8),
    /// All.
    All,
}

/// How a client's connection ends.
#[derive(Debug, Clone, Copy)]
pub enum Cut {
    /// At both ends, and what is under way is lost.
    Reset,
    /// At the client's end, as by a program that is gone.
    Close,
    /// The client uses it no more, and nobody is told.
    HalfOpen,
    /// With a close frame that means a cut.
    CloseFrame(u16, &'static str),
}

/// Draws a run.
pub(super) fn draw(rng: &mut Rng) -> Plan<ResumptionModel> {
    let clients = rng.within(&(1..=5)) as usize;
    let resume_ms = rng.within(&(300..=MAX_RESUME_MS));
    let ping_ms = rng.within(&(80..=300));
    let is_small = rng.chance(40);
    let resume_bytes = if is_small { rng.within(&(100..=3_000)) } else { 1 << 20 } as usize;
    let is_budget_small = rng.chance(15);
    let gateway_options = GatewayOptions {
        resume_ms,
        resume_bytes,
        ping_ms,
        outbox_bytes: if rng.chance(30) { rng.within(&(300..=4_000)) } else { 1 << 20 } as usize,
        outbox_budget: if is_budget_small { rng.within(&(2_000..=10_000)) } else { 1 << 24 } as usize,
        link_bytes: if rng.chance(30) { rng.within(&(200..=2_000)) } else { 1 << 20 } as usize,
        window_events: rng.within(&(2..=64)) as usize,
    };
    let client_options = ClientOptions {
        resume_ms,
        ping_ms,
        ack_every: if rng.chance(70) { rng.within(&(1..=32)) } else { u64::MAX },
    };
    let mut script = Vec::new();
    for client in 1..=clients {
        script.push(act(0, client, Act::Connect));
        for _ in 0..rng.below(120) {
            script.push(act(rng.below(SCRIPT_MS), client, of_client(rng, resume_ms)));
        }
    }
    for _ in 0..rng.below(150) {
        script.push(act(rng.below(SCRIPT_MS), GATEWAY, of_application(rng)));
    }
    for _ in 0..if rng.chance(50) { rng.below(4) } else { 0 } {
        script.push(act(rng.below(SCRIPT_MS), GATEWAY, Act::Replace { is_crash: rng.chance(50) }));
    }
    let faults = FaultOptions {
        count: if rng.chance(50) { rng.below(10) } else { 0 },
        begin_ms: 0..=SCRIPT_MS,
        lasting_ms: if rng.chance(70) { 1..=300 } else { 1..=2 * MAX_RESUME_MS },
        freeze: (GATEWAY..=clients).collect(),
        crash: Vec::new(),
        disturb: (1..=clients).map(|client| (GATEWAY, client)).collect(),
        ports: Vec::new(),
    };
    script.extend(random_faults(rng, &faults));
    script.retain(|step| step.at_ms < SCRIPT_MS);
    sort(&mut script);
    let kept_bytes = (!is_budget_small).then_some(resume_bytes);
    Plan {
        model: ResumptionModel {
            gateway_options,
            client_options,
            ledger: Ledger::new(resume_ms, kept_bytes),
        },
        processes: 1 + clients,
        network: NetworkOptions::default(),
        script,
        script_ms: SCRIPT_MS,
        stages: vec![BACK_MS, LEAVE_MS],
        max_steps: 500_000,
    }
}

fn act(at_ms: u64, process: usize, act: Act) -> ScriptStep<Act> {
    ScriptStep { at_ms, event: ScriptEvent::Act(process, act) }
}

fn of_client(rng: &mut Rng, resume_ms: u64) -> Act {
    match rng.below(100) {
        0..=4 => Act::Send(rng.within(&(1..=30)) as u8),
        5..=49 => Act::Send(rng.within(&(1..=3)) as u8),
        50..=67 => {
            let how = match rng.below(6) {
                0..=1 => Cut::Reset,
                2 => Cut::Close,
                3..=4 => Cut::HalfOpen,
                _ => {
                    let codes = [(3999, ""), (4999, "x"), (1001, "x"), (1011, ""), (1002, "")];
                    let (code, reason) = rng.pick(&codes).copied().unwrap_or((3999, ""));
                    Cut::CloseFrame(code, reason)
                }
            };
            let away_ms = match rng.below(10) {
                0..=3 => rng.below(10),
                4..=7 => rng.below(resume_ms / 2),
                _ => rng.below(2 * resume_ms),
            };
            Act::Cut { how, in_a_message: rng.chance(60), away_ms }
        }
        68..=72 => Act::CutAnswer { bytes: rng.below(120) as usize },
        73..=75 => Act::StopReading,
        76..=79 => Act::ReadAgain,
        80..=82 => Act::Leave,
        83..=86 => Act::Connect,
        87..=88 => Act::OldAttempt,
        89 => Act::LieWhenBack,
        90 => Act::LieInAck,
        91..=94 => Act::Ping,
        _ => Act::Acknowledge,
    }
}

fn of_application(rng: &mut Rng) -> Act {
    let place = rng.below(GROUPS.into()) as u8;
    let messages = if rng.chance(5) { rng.within(&(20..=80)) as u8 } else { 1 };
    let to = match rng.below(100) {
        0..=39 => ToWhom::One(rng.below(100) as usize),
        40..=54 => ToWhom::Uid(place),
        55..=74 => ToWhom::Group(place),
        75..=94 => ToWhom::All,
        _ => return Act::End { nth: rng.below(100) as usize, how: rng.below(4) as u8 },
    };
    Act::Say { to, messages }
}
