//! What the page knows of a cluster: plain data, without sockets and clocks.
//!
//! `poller` gives it what it has seen, each second; `open_api` reads it. Unlike `gatewayworker status`, it remembers: a
//! gateway that no register lists any more is a problem for a while, as nobody else would say it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::cluster::{ClusterLook, GatewayLook};
use crate::history::History;

/// For how long a gateway is missed that no register lists any more, in milliseconds.
const MISSED_MS: u64 = 60_000;

/// What a look at the cluster has shown.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// The gateways that were asked, in the order of their addresses: those of [`Monitor::gateways_to_ask`].
    pub(crate) gateways: Vec<GatewayLook>,
    /// Those of them that a register lists.
    pub(crate) listed: Vec<String>,
    /// Why no register lists any, where that was found out.
    pub(crate) why_none: Option<String>,
    /// The registers, and whether they are connected.
    pub(crate) registers: Vec<RegisterLook>,
    /// The processes of a supervisor.
    pub(crate) daemons: Option<Vec<DaemonLook>>,
}

/// A register, as the page's process sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct RegisterLook {
    pub(crate) address: String,
    pub(crate) connected: bool,
}

/// A process of a daemon, or a daemon without one, as its supervisor sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DaemonLook {
    /// The daemon's name.
    pub name: String,
    /// The process's id; `None` where the daemon has no process.
    pub pid: Option<u32>,
    /// `starting`, `ready`, `draining` or `ended`.
    pub state: String,
    /// How often a process of the daemon has ended by itself.
    pub restarts: u64,
    /// Processor time since its start, where the system says so.
    pub cpu_ms: Option<u64>,
    /// In RAM, where the system says so.
    pub memory_bytes: Option<u64>,
    /// What keeps it from its work, and what an operator has to mend though it does its work, each a sentence.
    pub problems: Vec<String>,
}

/// The state of a cluster, and its past.
#[derive(Debug, Default)]
pub(crate) struct Monitor {
    cluster: ClusterLook,
    registers: Vec<RegisterLook>,
    daemons: Option<Vec<Value>>,
    history: History,
    /// The gateways that a register lists or has listed lately.
    known: BTreeMap<String, Known>,
    /// Processor time of each process at the last look.
    cpu: BTreeMap<u32, (u64, u64)>,
    at_ms: u64,
}

#[derive(Debug)]
struct Known {
    /// When a register last listed it.
    listed_ms: u64,
    /// It has said that it stops: nobody is to miss it.
    stopping: bool,
}

impl Monitor {
    /// Returns the gateways to ask, where registers list `listed`: those, and the ones that are missed.
    pub(crate) fn gateways_to_ask(&self, listed: &[String]) -> Vec<String> {
        let mut gateways: Vec<String> = listed.iter().chain(self.known.keys()).cloned().collect();
        gateways.sort_unstable();
        gateways.dedup();
        gateways
    }

    /// Takes what a look has shown. `now_ms` is a clock that is never set, `at_ms` the time since 1970.
    pub(crate) fn take(&mut self, look: Look, now_ms: u64, at_ms: u64) {
        let Look { gateways, listed, why_none, registers, daemons } = look;
        let gateways = gateways.into_iter().filter_map(|gateway| {
            let is_listed = listed.contains(&gateway.address);
            self.remember(gateway, is_listed, now_ms)
        });
        let mut cluster = ClusterLook::new(gateways.collect());
        if let Some(why) = why_none
            && cluster.gateways.is_empty()
        {
            cluster = ClusterLook::without_gateways(why);
        }
        // The page shows both in one list.
        cluster.problems.append(&mut cluster.notices);
        // A gateway says the same to its supervisor as to those who ask it.
        for problem in daemons.iter().flatten().flat_map(|daemon| &daemon.problems) {
            if !cluster.problems.iter().any(|known| known.ends_with(problem.as_str())) {
                cluster.problems.push(problem.clone());
            }
        }
        self.history.take(cluster.reports(), now_ms, at_ms);
        self.daemons = daemons.map(|daemons| self.daemons_to_json(daemons, now_ms));
        (self.cluster, self.registers, self.at_ms) = (cluster, registers, at_ms);
    }

    /// Remembers a gateway; `None` for one that is not missed any more.
    fn remember(&mut self, mut gateway: GatewayLook, is_listed: bool, now_ms: u64) -> Option<GatewayLook> {
        let stopping = gateway.answer.as_ref().map(|report| report.stopping);
        if is_listed {
            let known = Known { listed_ms: now_ms, stopping: stopping == Some(true) };
            self.known.insert(gateway.address.clone(), known);
            return Some(gateway);
        }
        let known = self.known.get_mut(&gateway.address)?;
        known.stopping |= stopping == Some(true);
        let is_missed = now_ms.saturating_sub(known.listed_ms) <= MISSED_MS;
        if gateway.answer.is_none() && (known.stopping || !is_missed) {
            self.known.remove(&gateway.address);
            return None;
        }
        if gateway.answer.is_none() {
            gateway.error = Some(format!(
                "the gateway at {} is gone: no register lists it any more; start it again, unless it was stopped on \
                 purpose",
                gateway.address
            ));
        }
        Some(gateway)
    }

    fn daemons_to_json(&mut self, daemons: Vec<DaemonLook>, now_ms: u64) -> Vec<Value> {
        let before = std::mem::take(&mut self.cpu);
        let to_json = |daemon: DaemonLook| {
            let cpu_ms = daemon.pid.zip(daemon.cpu_ms);
            if let Some((pid, cpu_ms)) = cpu_ms {
                self.cpu.insert(pid, (cpu_ms, now_ms));
            }
            let percent = cpu_ms.and_then(|(pid, cpu_ms)| {
                let (before, at_ms) = before.get(&pid)?;
                let ms = now_ms.checked_sub(*at_ms).filter(|ms| *ms > 0)?;
                Some((cpu_ms.saturating_sub(*before) as f64 / ms as f64 * 1000.0).round() / 10.0)
            });
            json!({
                "name": daemon.name,
                "pid": daemon.pid,
                "state": daemon.state,
                "restarts": daemon.restarts,
                "cpu_percent": percent,
                "memory_bytes": daemon.memory_bytes,
            })
        };
        daemons.into_iter().map(to_json).collect()
    }

    /// Returns the history.
    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    /// Returns when the last look was, in milliseconds since 1970.
    pub(crate) fn at_ms(&self) -> u64 {
        self.at_ms
    }

    /// Returns the cluster as the page shows it to everybody: without anything of a client.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "at_ms": self.at_ms,
            "registers": self.registers,
            "problems": self.cluster.problems,
            "gateways": self.cluster.gateways,
            "daemons": self.daemons,
        })
    }
}

#[cfg(test)]
mod tests {
    use gatewayworker_client::inspect::GatewayReport;

    use super::*;

    const ADDRESS: &str = "10.0.0.1:2300";

    fn answers(stopping: bool) -> GatewayLook {
        let report = GatewayReport { address: ADDRESS.into(), stopping, ..GatewayReport::default() };
        GatewayLook { address: ADDRESS.into(), answer: Some(Box::new(report)), error: None }
    }

    fn refuses() -> GatewayLook {
        GatewayLook { address: ADDRESS.into(), answer: None, error: Some("connection refused".into()) }
    }

    fn look(gateway: GatewayLook, is_listed: bool) -> Look {
        let listed = if is_listed { vec![ADDRESS.to_owned()] } else { vec![] };
        Look { gateways: vec![gateway], listed, ..Look::default() }
    }

    #[test]
    fn a_gateway_that_is_killed_is_a_problem_for_a_minute_or_until_it_is_back() {
        let mut monitor = Monitor::default();
        monitor.take(look(answers(false), true), 0, 0);
        assert_eq!(monitor.cluster.problems, [""; 0]);
        monitor.take(look(refuses(), true), 1_000, 1_000);
        assert_eq!(monitor.cluster.problems, ["connection refused"], "the register has not noticed it");
        assert_eq!(monitor.gateways_to_ask(&[]), [ADDRESS]);
        monitor.take(look(refuses(), false), 2_000, 2_000);
        let problem = monitor.cluster.problems[0].clone();
        assert!(problem.starts_with("the gateway at 10.0.0.1:2300 is gone: "), "{problem}");
        assert_eq!(monitor.to_json()["gateways"][0]["error"], problem);
        monitor.take(look(answers(false), true), 3_000, 3_000);
        assert_eq!(monitor.cluster.problems, [""; 0], "it is back");
        monitor.take(look(refuses(), false), 63_001, 63_001);
        assert_eq!((monitor.cluster.gateways.len(), monitor.gateways_to_ask(&[]).len()), (0, 0));
    }

    #[test]
    fn a_gateway_that_has_said_that_it_stops_is_not_missed() {
        let mut monitor = Monitor::default();
        monitor.take(look(answers(false), true), 0, 0);
        monitor.take(look(answers(true), false), 1_000, 1_000);
        assert_eq!((monitor.cluster.problems.len(), monitor.cluster.gateways.len()), (0, 1));
        monitor.take(look(refuses(), false), 2_000, 2_000);
        assert_eq!((monitor.cluster.problems.len(), monitor.cluster.gateways.len()), (0, 0));
    }

    #[test]
    fn without_a_gateway_the_reason_is_the_problem() {
        let mut monitor = Monitor::default();
        monitor.take(Look { why_none: Some("no register".into()), ..Look::default() }, 0, 0);
        assert_eq!(monitor.to_json()["problems"], json!(["no register"]));
        let mut missed = look(refuses(), true);
        missed.why_none = Some("no register".into());
        monitor.take(missed, 1_000, 1_000);
        assert_eq!(monitor.to_json()["problems"], json!(["connection refused"]));
    }

    #[test]
    fn the_processor_time_of_a_process_is_shown_as_a_part_of_the_time_since_the_last_look() {
        let daemon = |cpu_ms| DaemonLook { pid: Some(7), cpu_ms: Some(cpu_ms), ..DaemonLook::default() };
        let mut monitor = Monitor::default();
        let mut percent = |cpu_ms, now_ms| {
            let look = Look { daemons: Some(vec![daemon(cpu_ms)]), ..Look::default() };
            monitor.take(look, now_ms, now_ms);
            monitor.to_json()["daemons"][0]["cpu_percent"].clone()
        };
        assert_eq!(percent(500, 0), Value::Null);
        assert_eq!(percent(515, 1_000), json!(1.5));
        assert_eq!(percent(2_515, 3_000), json!(100.0));
    }

    #[test]
    fn a_problem_that_a_gateway_tells_its_supervisor_too_is_shown_once() {
        let mut gateway = answers(false);
        gateway.answer.as_mut().unwrap().problems = vec!["no worker is linked".into()];
        let mut seen = look(gateway, true);
        let problems = vec!["no worker is linked".into(), "the businessworker is not running".into()];
        seen.daemons = Some(vec![DaemonLook { problems, ..DaemonLook::default() }]);
        let mut monitor = Monitor::default();
        monitor.take(seen, 0, 0);
        let shown = ["10.0.0.1:2300: no worker is linked", "the businessworker is not running"];
        assert_eq!(monitor.cluster.problems, shown);
    }
}
