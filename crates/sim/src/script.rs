//! Scripts: what clients and operators do, and what goes wrong, as a list of steps with their times.
//!
//! A script is drawn from the seed as a whole before the run, so that it can be shrunk: a failing
//! run is (scenario, seed, the numbers of the steps that are kept). `shrink.rs` looks for few of them.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::network::{Path, ProcessId};
use crate::rng::Rng;

/// A step of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptStep<A> {
    /// When it happens, in ms from the start of the run.
    pub at_ms: u64,
    /// What happens.
    pub event: ScriptEvent<A>,
}

/// What happens in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScriptEvent<A> {
    /// A process is told to do something; one that does not run hears nothing.
    Act(ProcessId, A),
    /// Something goes wrong, or is mended.
    Fault(Fault),
}

/// What goes wrong, and its mending. All of it is mended before the end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing passes on a path; nobody is told.
    Cut(Path),
    /// Ends a cut; what was under way goes on.
    Heal(Path),
    /// Resets the connections of a path, in both directions.
    Reset(Path),
    /// A process takes no input; its sockets still fill.
    Freeze(ProcessId),
    /// It goes on with the inputs that have waited.
    Thaw(ProcessId),
    /// A process is gone; its sockets are closed as the system closes those of a killed process.
    Kill(ProcessId),
    /// A process is gone, and its connections are reset.
    Crash(ProcessId),
    /// A process that is gone is started again, and knows nothing.
    Start(ProcessId),
}

/// Which faults may come, and how many.
#[derive(Debug, Clone)]
pub struct FaultOptions {
    /// How many faults begin.
    pub count: u64,
    /// When they begin, in ms.
    pub begin_ms: RangeInclusive<u64>,
    /// How long those last that are mended, in ms.
    pub lasting_ms: RangeInclusive<u64>,
    /// Processes that may freeze.
    pub freeze: Vec<ProcessId>,
    /// Processes that may be killed or crash.
    pub crash: Vec<ProcessId>,
    /// Pairs between which connections may be cut or reset.
    pub disturb: Vec<(ProcessId, ProcessId)>,
    /// Half of the cuts and resets are of one of these ports alone, if there are any.
    pub ports: Vec<u16>,
}

/// Draws faults, each with its mending.
pub fn random_faults<A>(rng: &mut Rng, options: &FaultOptions) -> Vec<ScriptStep<A>> {
    let mut steps = Vec::new();
    for _ in 0..options.count {
        let begin_ms = rng.within(&options.begin_ms);
        let end_ms = begin_ms + rng.within(&options.lasting_ms);
        let mut step = |at_ms, fault| steps.push(ScriptStep { at_ms, event: ScriptEvent::Fault(fault) });
        match rng.below(4) {
            0 => {
                let Some(&process) = rng.pick(&options.freeze) else { continue };
                step(begin_ms, Fault::Freeze(process));
                step(end_ms, Fault::Thaw(process));
            }
            1 => {
                let Some(&process) = rng.pick(&options.crash) else { continue };
                let fault = if rng.chance(50) { Fault::Kill(process) } else { Fault::Crash(process) };
                step(begin_ms, fault);
                step(end_ms, Fault::Start(process));
            }
            2 => {
                let Some(&(a, b)) = rng.pick(&options.disturb) else { continue };
                let path = Path { from: a, to: b, port: random_port(rng, &options.ports) };
                let directions = match rng.below(3) {
                    0 => vec![path],
                    1 => vec![path.back()],
                    _ => vec![path, path.back()],
                };
                for path in directions {
                    step(begin_ms, Fault::Cut(path));
                    step(end_ms, Fault::Heal(path));
                }
            }
            _ => {
                let Some(&(a, b)) = rng.pick(&options.disturb) else { continue };
                step(begin_ms, Fault::Reset(Path { from: a, to: b, port: random_port(rng, &options.ports) }));
            }
        }
    }
    steps
}

/// Draws one of the ports, or all.
fn random_port(rng: &mut Rng, ports: &[u16]) -> Option<u16> {
    if rng.chance(50) { rng.pick(ports).copied() } else { None }
}

/// Sorts a script by time; steps of one time keep their order.
pub fn sort<A>(script: &mut [ScriptStep<A>]) {
    script.sort_by_key(|step| step.at_ms);
}

/// The numbers of the steps of a script that are kept, as `3,5,9-12`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kept(pub BTreeSet<usize>);

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut numbers = self.0.iter().copied().peekable();
        let mut separator = "";
        if numbers.peek().is_none() {
            return f.write_str("none");
        }
        while let Some(first) = numbers.next() {
            let mut last = first;
            while numbers.next_if_eq(&(last + 1)).is_some() {
                last += 1;
            }
            match last - first {
                0 => write!(f, "{separator}{first}")?,
                _ => write!(f, "{separator}{first}-{last}")?,
            }
            separator = ",";
        }
        Ok(())
    }
}

impl FromStr for Kept {
    type Err = String;

    fn from_str(list: &str) -> Result<Self, Self::Err> {
        if list == "none" {
            return Ok(Self::default());
        }
        let mut kept = BTreeSet::new();
        let number =
            |text: &str| text.parse::<usize>().map_err(|_| format!("\"{text}\" is not a step's number"));
        for part in list.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            kept.extend(number(first)?..=number(last)?);
        }
        Ok(Self(kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_steps_are_read_as_they_are_printed() {
        for list in ["none", "0", "3,5,9-12", "0-1,7"] {
            assert_eq!(list.parse::<Kept>().unwrap().to_string(), list);
        }
        assert!("3,x".parse::<Kept>().is_err());
    }

    #[test]
    fn every_fault_that_lasts_is_mended_later() {
        let options = FaultOptions {
            count: 200,
            begin_ms: 0..=100,
            lasting_ms: 1..=50,
            freeze: vec![0, 1],
            crash: vec![1],
            disturb: vec![(0, 1), (1, 2)],
            ports: vec![7],
        };
        let mut script = random_faults::<()>(&mut Rng::new(3), &options);
        sort(&mut script);
        let mended = |fault: Fault| match fault {
            Fault::Cut(path) => Some(Fault::Heal(path)),
            Fault::Freeze(process) => Some(Fault::Thaw(process)),
            Fault::Kill(process) | Fault::Crash(process) => Some(Fault::Start(process)),
            _ => None,
        };
        let mut seen = BTreeSet::new();
        for (index, step) in script.iter().enumerate() {
            let ScriptEvent::Fault(fault) = step.event else { panic!() };
            seen.insert(format!("{fault:?}").split('(').next().unwrap().to_owned());
            if let Some(mending) = mended(fault) {
                assert!(script[index..].iter().any(|later| later.event == ScriptEvent::Fault(mending)));
            }
        }
        assert_eq!(seen.len(), 8, "{seen:?}");
    }
}
