use std::time::Duration;

use super::*;

/// A register, a worker and a gateway on simulated time.
struct Test {
    cluster: Cluster,
    now: Instant,
}

impl Test {
    fn new() -> Self {
        let daemons = [
            ("register", OnReload::Nothing),
            ("worker", OnReload::Replace),
            ("gateway", OnReload::ReadFiles),
        ];
        let mut test = Self { cluster: Cluster::new(daemons), now: Instant::now() };
        test.cluster.start(test.now);
        test
    }

    /// A cluster whose daemons all listen.
    fn ready() -> Self {
        let mut test = Self::new();
        for daemon in 0..3 {
            test.becomes_ready(daemon, 0);
        }
        test.actions();
        assert!(test.cluster.is_ready());
        test
    }

    fn becomes_ready(&mut self, daemon: usize, number: u64) {
        self.cluster.child_ready(ChildId { daemon, number }, self.now);
    }

    fn ends(&mut self, daemon: usize, number: u64) {
        self.cluster.child_ended(ChildId { daemon, number }, "exit status: 3", self.now);
    }

    /// Takes all actions but those about listeners.
    fn actions(&mut self) -> Vec<Action> {
        let actions = std::iter::from_fn(|| self.cluster.next_action());
        actions.filter(|action| !matches!(action, Action::ReleaseListeners { .. })).collect()
    }
}

fn start(daemon: usize) -> Action {
    Action::Start(ChildId { daemon, number: 0 })
}

fn drain(daemon: usize) -> Action {
    Action::Drain(ChildId { daemon, number: 0 })
}

#[test]
fn the_others_start_once_the_first_daemon_listens() {
    let mut test = Test::new();
    assert_eq!(test.actions(), [start(0)]);
    test.becomes_ready(0, 0);
    assert_eq!(test.actions(), [start(1), start(2)]);
    test.becomes_ready(2, 0);
    assert!(!test.cluster.is_ready());
    test.becomes_ready(1, 0);
    assert!(test.cluster.is_ready());
}

#[test]
fn a_restarted_register_starts_nothing_else() {
    let mut test = Test::ready();
    test.ends(0, 0);
    test.cluster.handle_deadline(test.cluster.next_deadline().unwrap());
    assert_eq!(test.actions(), [Action::Start(ChildId { daemon: 0, number: 1 })]);
    test.becomes_ready(0, 1);
    assert_eq!(test.actions(), []);
}

#[test]
fn a_stop_drains_the_daemons_one_after_the_other_the_last_one_first() {
    let mut test = Test::ready();
    test.cluster.stop(test.now);
    test.cluster.stop(test.now);
    assert_eq!(test.actions(), [drain(2)]);
    test.ends(2, 0);
    assert_eq!(test.actions(), [drain(1)]);
    test.ends(1, 0);
    assert_eq!(test.actions(), [drain(0)]);
    assert_eq!(test.cluster.result(), None);
    test.ends(0, 0);
    assert_eq!(test.cluster.result(), Some(Ok(())));
}

#[test]
fn a_daemon_that_ends_out_of_its_turn_is_not_waited_for() {
    let mut test = Test::ready();
    test.cluster.stop(test.now);
    test.ends(1, 0);
    test.ends(0, 0);
    assert_eq!(test.actions(), [drain(2)]);
    test.ends(2, 0);
    assert_eq!((test.actions(), test.cluster.result()), (vec![], Some(Ok(()))));
}

#[test]
fn a_stop_before_all_have_started_ends_those_that_have() {
    let mut test = Test::new();
    test.actions();
    test.cluster.stop(test.now);
    assert_eq!(test.actions(), [drain(0)]);
    test.becomes_ready(0, 0);
    test.ends(0, 0);
    assert_eq!((test.actions(), test.cluster.result()), (vec![], Some(Ok(()))));
}

#[test]
fn a_daemon_that_does_not_start_takes_the_others_along_and_is_the_reason() {
    let mut test = Test::new();
    test.becomes_ready(0, 0);
    test.actions();
    test.ends(1, 0);
    assert_eq!(test.actions(), [drain(2)]);
    test.ends(2, 0);
    assert_eq!(test.actions(), [drain(0)]);
    test.ends(0, 0);
    let error = "the worker ended by itself (exit status: 3)".to_owned();
    assert_eq!(test.cluster.result(), Some(Err(error)));
}

#[test]
fn a_kill_ends_all_processes_at_once() {
    let mut test = Test::ready();
    test.cluster.stop(test.now);
    test.actions();
    test.cluster.kill(test.now);
    let killed: Vec<_> = (0..3).map(|daemon| Action::Kill(ChildId { daemon, number: 0 })).collect();
    assert_eq!(test.actions(), killed);
}

#[test]
fn a_reload_is_over_when_all_daemons_have_answered_and_a_failure_of_one_leaves_no_other_out() {
    let mut test = Test::ready();
    let reload = test.cluster.reload(test.now);
    let (worker, gateway) = (ChildId { daemon: 1, number: 1 }, ChildId { daemon: 2, number: 0 });
    assert_eq!(test.actions(), [Action::Start(worker), Action::ReadFiles(gateway, reload)]);
    test.cluster.files_read(gateway, reload, Err("no such file".into()), test.now);
    assert_eq!(test.cluster.next_reloaded(), None);
    test.becomes_ready(1, 1);
    while test.cluster.reloaded.is_empty() {
        for action in test.actions() {
            match action {
                Action::AskStatus(child) => test.cluster.child_status(child, 1, test.now),
                Action::Drain(ChildId { daemon: 1, number: 0 }) => test.ends(1, 0),
                action => panic!("{action:?}"),
            }
        }
        test.now += Duration::from_millis(20);
        test.cluster.handle_deadline(test.now);
    }
    let (answered, result) = test.cluster.next_reloaded().unwrap();
    assert_eq!(answered, reload);
    assert_eq!(result, Err("the gateway: no such file; the worker was replaced".to_owned()));
}
