//! What a run of a cluster is: how many processes there are, what they are told, and what goes wrong.

use std::ops::Range;

use super::gateway::{CALL_LINKS, EVENT_LINKS, GatewayOptions};
use super::ledger::Ledger;
use super::observer::Observer;
use super::timing::LATE_MS;
use super::worker::WorkerOptions;
use super::{Act, Cluster, ClusterModel};
use crate::client_script::{ClientAction, ClientScriptOptions, client_script};
use crate::history::HistoryOptions;
use crate::model::Plan;
use crate::network::{NetworkOptions, Path, ProcessId};
use crate::rng::Rng;
use crate::script::{Fault, FaultOptions, ScriptEvent, ScriptStep, random_faults, sort};

/// How long it takes until all clients are gone, in ms.
const LEAVE_MS: u64 = 12_000;

/// How long it takes until gateways and workers have stopped, in ms.
const STOP_MS: u64 = 6_000;

/// What goes wrong in most of a rough run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Theme {
    /// Processes die and come back.
    Crashes,
    /// One or both links between two processes are cut, in one or both directions, or reset.
    Cuts,
    /// Processes stand still.
    Freezes,
    /// Workers drain, and something else goes wrong meanwhile.
    Drains,
    /// The hosts of gateways vanish, and gateways are cut off from everybody.
    LostGateways,
    /// Messages end the workers that handle them.
    Poison,
    /// All of it.
    Everything,
}

const THEMES: [Theme; 7] = [
    Theme::Crashes,
    Theme::Cuts,
    Theme::Freezes,
    Theme::Drains,
    Theme::LostGateways,
    Theme::Poison,
    Theme::Everything,
];

type Script = Vec<ScriptStep<Act>>;

/// The processes of a run, and when its clients have done what they do.
struct Cast {
    gateways: usize,
    first_client: ProcessId,
    processes: usize,
    end_ms: u64,
}

/// Draws a run.
pub(super) fn draw(scenario: Cluster, rng: &mut Rng) -> Plan<ClusterModel> {
    let gateways = rng.within(&(1..=3)) as usize;
    let workers = rng.within(&(1..=3)) as usize;
    let clients = rng.within(&(1..=12)) as usize;
    let first_client = gateways + workers;
    let processes = first_client + clients;
    let is_calm = scenario == Cluster::Calm;
    let theme = if is_calm { None } else { rng.pick(&THEMES).copied() };
    let pause_ms = if rng.chance(50) { 0..=40 } else { 0..=150 };
    let options = ClientScriptOptions { steps: 5..=60, pause_ms, names: 3 };
    let mut script = Script::new();
    for client in first_client..processes {
        for (at_ms, action) in client_script(rng, &options) {
            let action = poisoned(rng, theme, action);
            let event = ScriptEvent::Act(client, Act::Client(action));
            script.push(ScriptStep { at_ms: at_ms + 10, event });
        }
    }
    let end_ms = script.iter().map(|step| step.at_ms).max().unwrap_or(0);
    let cast = Cast { gateways, first_client, processes, end_ms };
    if rng.chance(20) {
        let stop = Act::Stop { spread_ms: rng.below(100) };
        script.push(cast.act(rng, 0..gateways, stop));
    }
    script.extend(cast.faults_of_clients(rng));
    if is_calm && rng.chance(50) || theme == Some(Theme::Drains) {
        for _ in 0..rng.within(&(1..=3)) {
            let drain = cast.act(rng, gateways..first_client, Act::Drain);
            if theme == Some(Theme::Drains) && rng.chance(40) {
                script.extend(cast.dies_next(rng, drain.at_ms));
            }
            script.push(drain);
        }
    }
    script.extend(theme.into_iter().flat_map(|theme| cast.faults(theme, rng)));
    sort(&mut script);
    let gateway_options = GatewayOptions::draw(rng);
    let max_deliveries = gateway_options.delivery.max_deliveries.into();
    let ledger = Ledger::new(is_calm, LATE_MS, max_deliveries, HistoryOptions::default());
    Plan {
        model: ClusterModel {
            gateways,
            workers,
            gateway_options,
            worker_options: WorkerOptions::draw(rng),
            observer: Observer::new(ledger),
            lives: 0,
        },
        processes,
        network: NetworkOptions {
            // A call link whose buffer takes too long to empty looks silent.
            capacity: if is_calm { 8_192..=32_768 } else { 64..=8_192 },
            ..NetworkOptions::default()
        },
        script_ms: script.last().map_or(0, |step| step.at_ms + 1),
        script,
        stages: vec![LEAVE_MS, STOP_MS],
        max_steps: 500_000,
    }
}

/// Makes a message now and then one that ends workers: a few times, or each time.
fn poisoned(rng: &mut Rng, theme: Option<Theme>, action: ClientAction) -> ClientAction {
    let percent = match theme {
        Some(Theme::Poison) => 4,
        Some(Theme::Everything) => 1,
        _ => 0,
    };
    match action {
        ClientAction::Speak(_) if rng.chance(percent) => {
            ClientAction::Abort(if rng.chance(50) { u8::MAX } else { rng.within(&(1..=2)) as u8 })
        }
        action => action,
    }
}

impl Cast {
    fn pairs(&self, of: Range<ProcessId>) -> Vec<(ProcessId, ProcessId)> {
        of.flat_map(|process| (0..self.gateways).map(move |gateway| (gateway, process))).collect()
    }

    fn links(&self) -> Vec<(ProcessId, ProcessId)> {
        self.pairs(self.gateways..self.first_client)
    }

    fn act(&self, rng: &mut Rng, of: Range<ProcessId>, act: Act) -> ScriptStep<Act> {
        let process = of.start + rng.below(of.len() as u64) as usize;
        ScriptStep { at_ms: rng.below(self.end_ms + 1), event: ScriptEvent::Act(process, act) }
    }

    fn faults_of_clients(&self, rng: &mut Rng) -> Script {
        let count = rng.below(6);
        let options = FaultOptions {
            count,
            begin_ms: 0..=self.end_ms,
            lasting_ms: 1..=400,
            freeze: (self.first_client..self.processes).collect(),
            crash: Vec::new(),
            disturb: self.pairs(self.first_client..self.processes),
            ports: Vec::new(),
        };
        random_faults(rng, &options)
    }

    /// Draws what goes wrong between gateways and workers.
    fn faults(&self, theme: Theme, rng: &mut Rng) -> Script {
        let daemons = || (0..self.first_client).collect::<Vec<_>>();
        let mut options = FaultOptions {
            count: rng.within(&(1..=10)),
            begin_ms: 0..=self.end_ms,
            // Shorter or longer than what the links notice, and than what makes a gateway lost.
            lasting_ms: if rng.chance(60) { 1..=400 } else { 100..=2_500 },
            freeze: Vec::new(),
            crash: Vec::new(),
            disturb: Vec::new(),
            ports: vec![EVENT_LINKS, CALL_LINKS],
        };
        match theme {
            Theme::Crashes => options.crash = daemons(),
            Theme::Cuts => options.disturb = self.links(),
            Theme::Freezes => options.freeze = daemons(),
            Theme::Drains => {
                options.count = rng.below(4);
                options.disturb = self.links();
                options.crash = daemons();
            }
            Theme::LostGateways => options.count = rng.below(3),
            Theme::Poison => options.count = 0,
            Theme::Everything => {
                options.crash = daemons();
                options.disturb = self.links();
                options.freeze = daemons();
            }
        }
        if options.count > 0 && theme == Theme::LostGateways {
            options.disturb = self.links();
        }
        let mut script = random_faults(rng, &options);
        if matches!(theme, Theme::LostGateways | Theme::Everything) {
            for _ in 0..rng.within(&(1..=2)) {
                script.extend(self.lost_gateway(rng));
            }
        }
        script
    }

    /// A gateway dies soon after this time, while a worker drains, and comes back.
    fn dies_next(&self, rng: &mut Rng, at_ms: u64) -> Script {
        let gateway = rng.below(self.gateways as u64) as usize;
        let dies_ms = at_ms + rng.within(&(1..=40));
        let comes_ms = dies_ms + rng.within(&(50..=2_500));
        [(dies_ms, Fault::Crash(gateway)), (comes_ms, Fault::Start(gateway))]
            .map(|(at_ms, fault)| ScriptStep { at_ms, event: ScriptEvent::Fault(fault) })
            .into()
    }

    /// A gateway's host vanishes and comes back, or the gateway is cut off from all workers and registers.
    fn lost_gateway(&self, rng: &mut Rng) -> Script {
        let gateway = rng.below(self.gateways as u64) as usize;
        let begin_ms = rng.below(self.end_ms + 1);
        let lasting_ms = rng.within(&(200..=4_000));
        let mut script = Script::new();
        let mut step = |at_ms, event| script.push(ScriptStep { at_ms, event });
        let others =
            if rng.chance(50) { self.gateways..self.processes } else { self.gateways..self.first_client };
        for other in others {
            for path in [Path::all(gateway, other), Path::all(other, gateway)] {
                step(begin_ms, ScriptEvent::Fault(Fault::Cut(path)));
                step(begin_ms + lasting_ms, ScriptEvent::Fault(Fault::Heal(path)));
            }
        }
        if rng.chance(50) {
            step(begin_ms, ScriptEvent::Fault(Fault::Kill(gateway)));
            step(begin_ms + lasting_ms, ScriptEvent::Fault(Fault::Start(gateway)));
        } else {
            step(begin_ms, ScriptEvent::Act(gateway, Act::Unlist { lasting_ms }));
        }
        script
    }
}
