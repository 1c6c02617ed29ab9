//! What `top` shows: plain data, without a terminal and a clock.
//!
//! It takes what the gateways answer, and keys. `draw` reads it.

use gatewayworker_admin::History;
use gatewayworker_admin::cluster::{ClusterLook, sum};
use gatewayworker_admin::growth::GROWING;
use gatewayworker_client::inspect::{GatewayReport, WorkerHandlers, WorkerReport};

/// What the numbers whose change is shown are called, in the order of [`GROWING`]. A gateway of another version may not
/// have all.
const NAMES: [&str; GROWING.len()] = [
    "messages",
    "deliveries",
    "bytes in",
    "bytes out",
    "closes",
    "rejections",
    "redeliveries",
    "events dropped",
];

/// What is shown.
#[derive(Debug)]
pub(super) struct State {
    pub(super) screen: Screen,
    pub(super) sort: MeshSort,
    /// How many rows of the mesh are above the first that is shown.
    pub(super) scroll: usize,
    pub(super) with_colour: bool,
    pub(super) gateways: Vec<GatewayReport>,
    /// What keeps the cluster from its work, or why nothing is known of it.
    pub(super) problems: Vec<String>,
    /// What the handlers of the workers do; asked only for the screen that shows it.
    pub(super) handlers: Vec<WorkerHandlers>,
    /// Nothing has been answered yet.
    pub(super) is_waiting: bool,
    /// The numbers of the last look, and how fast each grows.
    pub(super) rates: Vec<Rate>,
    /// The numbers of the last looks.
    history: History,
}

/// The screens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Screen {
    Overview,
    Mesh,
    Slow,
}

/// The order of the mesh; the highest number comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MeshSort {
    Unfinished,
    Clients,
    Gateway,
}

impl MeshSort {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Unfinished => "unfinished",
            Self::Clients => "clients",
            Self::Gateway => "gateway",
        }
    }
}

/// A number that only grows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rate {
    pub(super) name: &'static str,
    pub(super) total: u64,
    /// `None` at the first look.
    pub(super) per_second: Option<f64>,
}

/// A key that has a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Quit,
    Next,
    Previous,
    Sort,
    Down,
    Up,
    Redraw,
}

impl State {
    pub(super) fn new(with_colour: bool) -> Self {
        Self {
            screen: Screen::Overview,
            sort: MeshSort::Unfinished,
            scroll: 0,
            with_colour,
            gateways: Vec::new(),
            problems: Vec::new(),
            handlers: Vec::new(),
            is_waiting: true,
            rates: Vec::new(),
            history: History::default(),
        }
    }

    /// Takes a key. Returns whether to go on.
    pub(super) fn press(&mut self, key: Key) -> bool {
        match key {
            Key::Quit => return false,
            Key::Next | Key::Previous => {
                let all = [Screen::Overview, Screen::Mesh, Screen::Slow];
                let step = if key == Key::Next { 1 } else { all.len() - 1 };
                self.screen = all[(self.screen as usize + step) % all.len()];
            }
            Key::Sort => {
                self.sort = match self.sort {
                    MeshSort::Unfinished => MeshSort::Clients,
                    MeshSort::Clients => MeshSort::Gateway,
                    MeshSort::Gateway => MeshSort::Unfinished,
                };
            }
            Key::Down => self.scroll = (self.scroll + 1).min(self.mesh().len().saturating_sub(1)),
            Key::Up => self.scroll = self.scroll.saturating_sub(1),
            Key::Redraw => {}
        }
        true
    }

    /// Takes what the gateways have answered, or why they have not.
    pub(super) fn take(&mut self, view: Result<ClusterLook, String>, now_ms: u64) {
        self.is_waiting = false;
        let view = view.unwrap_or_else(ClusterLook::without_gateways);
        self.history.take(view.reports(), now_ms, now_ms);
        let growth = self.history.growth();
        let rate = |(stat, name)| {
            let total = sum(view.reports(), stat)?;
            Some(Rate { name, total, per_second: growth.per_second(stat) })
        };
        self.rates = GROWING.into_iter().zip(NAMES).filter_map(rate).collect();
        self.gateways = view.reports().cloned().collect();
        self.problems = [view.problems, view.notices].concat();
        self.scroll = self.scroll.min(self.mesh().len().saturating_sub(1));
    }

    /// Returns the clients at each of the last looks, the latest last.
    pub(super) fn clients(&self) -> Vec<u64> {
        self.history.fine().map(|point| point.clients.unwrap_or_default()).collect()
    }

    /// Returns gateways × workers, in the chosen order. A gateway without a worker has a row, too.
    pub(super) fn mesh(&self) -> Vec<(&GatewayReport, Option<&WorkerReport>)> {
        let mut rows = Vec::new();
        for gateway in &self.gateways {
            rows.extend(gateway.workers.iter().map(|worker| (gateway, Some(worker))));
            if gateway.workers.is_empty() {
                rows.push((gateway, None));
            }
        }
        // Stable: rows of the same number stay in the order of the gateways.
        let by = |number: fn(&WorkerReport) -> u64| {
            move |row: &(&GatewayReport, Option<&WorkerReport>)| {
                std::cmp::Reverse(row.1.map_or(u64::MAX, number))
            }
        };
        match self.sort {
            MeshSort::Unfinished => rows.sort_by_key(by(|worker| worker.unfinished)),
            MeshSort::Clients => rows.sort_by_key(by(|worker| worker.clients)),
            MeshSort::Gateway => {}
        }
        rows
    }

    /// Returns the sum of a number over all gateways; `None` where none has it.
    pub(super) fn total(&self, stat: &str) -> Option<u64> {
        sum(&self.gateways, stat)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use gatewayworker_admin::cluster::GatewayLook;
    use gatewayworker_client::inspect::InspectAnswer;

    use super::*;

    pub(crate) fn gateway(
        instance: &str,
        stats: &[(&str, u64)],
        workers: &[(&str, u64, u64)],
    ) -> GatewayReport {
        let worker = |(key, clients, unfinished): &(&str, u64, u64)| WorkerReport {
            key: (*key).into(),
            state: "open".into(),
            clients: *clients,
            unfinished: *unfinished,
            ..WorkerReport::default()
        };
        GatewayReport {
            address: format!("10.0.0.1:{instance}"),
            instance: instance.into(),
            version: "0.1.0".into(),
            uptime_ms: 61_000,
            stats: stats.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
            workers: workers.iter().map(worker).collect(),
            ..GatewayReport::default()
        }
    }

    pub(crate) fn view(gateways: Vec<GatewayReport>) -> ClusterLook {
        let look = |report: GatewayReport| {
            let address = report.address.clone();
            GatewayLook::new(address, Ok(InspectAnswer::Gateway(Box::new(report))))
        };
        ClusterLook::new(gateways.into_iter().map(look).collect())
    }

    fn per_second(state: &State, name: &str) -> Option<f64> {
        state.rates.iter().find(|rate| rate.name == name).and_then(|rate| rate.per_second)
    }

    #[test]
    fn a_rate_is_the_difference_of_two_looks_of_the_same_process() {
        let mut state = State::new(false);
        state.take(Ok(view(vec![gateway("1", &[("closed", 10), ("clients", 5)], &[])])), 1_000);
        assert_eq!(per_second(&state, "closes"), None, "at the first look");
        // The first gateway has closed 4 in 2 s; the second is new, whatever it has counted.
        let both =
            vec![gateway("1", &[("closed", 14), ("clients", 3)], &[]), gateway("2", &[("closed", 900)], &[])];
        state.take(Ok(view(both)), 3_000);
        assert_eq!(per_second(&state, "closes"), Some(2.0));
        // It starts again with another id, and counts from 0.
        let again = vec![gateway("3", &[("closed", 1)], &[]), gateway("2", &[("closed", 900)], &[])];
        state.take(Ok(view(again)), 4_000);
        assert_eq!(per_second(&state, "closes"), Some(0.0));
        assert_eq!(state.clients(), [5, 3, 0]);
        assert_eq!(per_second(&state, "messages"), None, "no gateway has it");
    }

    #[test]
    fn a_cluster_that_does_not_answer_has_a_problem_and_nothing_else() {
        let mut state = State::new(false);
        state.take(Ok(view(vec![gateway("1", &[("clients", 5)], &[("w", 1, 2)])])), 0);
        state.take(Err("no register".into()), 1_000);
        assert_eq!((state.problems.len(), state.gateways.len(), state.mesh().len()), (1, 0, 0));
    }

    #[test]
    fn the_mesh_is_sorted_as_the_key_says_and_a_gateway_without_a_worker_comes_first() {
        let mut state = State::new(false);
        let gateways = vec![
            gateway("1", &[], &[("a", 1, 9), ("b", 7, 2)]),
            gateway("2", &[], &[]),
            gateway("3", &[], &[("c", 3, 4)]),
        ];
        state.take(Ok(view(gateways)), 0);
        let keys = |state: &State| -> Vec<String> {
            state
                .mesh()
                .iter()
                .map(|(_, worker)| worker.map_or("none".into(), |one| one.key.clone()))
                .collect()
        };
        assert_eq!(keys(&state), ["none", "a", "c", "b"]);
        state.press(Key::Sort);
        assert_eq!(keys(&state), ["none", "b", "c", "a"]);
        state.press(Key::Sort);
        assert_eq!(keys(&state), ["a", "b", "none", "c"]);
    }

    #[test]
    fn the_keys_change_the_screen_and_scroll_within_the_mesh() {
        let mut state = State::new(false);
        assert!(state.press(Key::Down) && state.scroll == 0, "there is no row");
        state.take(Ok(view(vec![gateway("1", &[], &[("a", 1, 9), ("b", 7, 2)])])), 0);
        (0..5).for_each(|_| assert!(state.press(Key::Down)));
        assert_eq!(state.scroll, 1);
        state.take(Err("gone".into()), 1);
        assert_eq!(state.scroll, 0);
        assert!(state.press(Key::Next) && state.screen == Screen::Mesh);
        assert!(state.press(Key::Next) && state.screen == Screen::Slow);
        assert!(state.press(Key::Next) && state.screen == Screen::Overview);
        assert!(state.press(Key::Previous) && state.screen == Screen::Slow);
        assert!(!state.press(Key::Quit));
    }
}
