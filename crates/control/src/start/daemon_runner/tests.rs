use super::super::leaving::DRAIN_TIMEOUT;
use super::*;

const RELOAD: ReloadId = ReloadId(7);
const NEXT_RELOAD: ReloadId = ReloadId(8);

/// A runner on simulated time, with what it has decided since the last look.
struct Test {
    runner: DaemonRunner,
    now: Instant,
    out: Decisions,
}

impl Test {
    fn new(on_reload: OnReload) -> Self {
        let now = Instant::now();
        let mut runner = DaemonRunner::new("worker", 0, on_reload);
        let mut out = Decisions::default();
        runner.start(now, &mut out);
        Self { runner, now, out }
    }

    /// A runner whose first process listens.
    fn ready(on_reload: OnReload) -> Self {
        let mut test = Self::new(on_reload);
        assert_eq!(test.actions(), [Action::Start(child(0))]);
        test.runner.started(child(0), 100);
        assert!(test.runner.child_ready(child(0), test.now, &mut test.out), "it is the first");
        assert_eq!(test.actions(), []);
        test
    }

    fn actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.out.actions)
    }

    fn reloaded(&mut self) -> Vec<(ReloadId, Reloaded)> {
        std::mem::take(&mut self.out.reloaded)
    }

    /// Goes to the next deadline, and returns how long that takes.
    fn wait(&mut self) -> Duration {
        let deadline = self.runner.next_deadline().expect("there is a deadline");
        let waited = deadline.saturating_duration_since(self.now);
        self.now = deadline;
        self.runner.handle_deadline(deadline, &mut self.out);
        waited
    }

    fn ends(&mut self, number: u64) {
        self.runner.child_ended(child(number), "exit status: 1", self.now, &mut self.out);
    }

    fn becomes_ready(&mut self, number: u64) {
        assert!(!self.runner.child_ready(child(number), self.now, &mut self.out), "it is not the first");
    }

    fn reload(&mut self, reload: ReloadId) {
        self.runner.reload(reload, self.now, &mut self.out);
    }

    /// Answers as a process that is linked to so many gateways until nothing is asked any more.
    fn answers_with(&mut self, gateways: u64) -> Vec<Action> {
        loop {
            let actions = self.actions();
            match &*actions {
                [Action::AskStatus(asked)] => {
                    self.runner.child_status(*asked, gateways, self.now, &mut self.out);
                }
                [] => drop(self.wait()),
                _ => return actions,
            }
        }
    }
}

fn child(number: u64) -> ChildId {
    ChildId { daemon: 0, number }
}

fn release(except_of: Option<u64>) -> Action {
    Action::ReleaseListeners { daemon: 0, except_of: except_of.map(child) }
}

fn error(text: &str) -> Reloaded {
    Err(text.to_owned())
}

#[test]
fn a_first_process_that_ends_before_it_is_ready_is_a_failure() {
    let mut test = Test::new(OnReload::Replace);
    test.ends(0);
    assert_eq!(test.out.failure.as_deref(), Some("the worker ended by itself (exit status: 1)"));
    assert_eq!(test.runner.next_deadline(), None, "it is not tried again");
}

#[test]
fn a_program_that_cannot_be_started_is_a_failure() {
    let mut test = Test::new(OnReload::Replace);
    test.runner.start_failed(child(0), "no such file".into(), test.now, &mut test.out);
    assert_eq!(test.out.failure.as_deref(), Some("no such file"));
}

#[test]
fn an_end_is_followed_by_a_start_after_waits_that_grow_and_begin_anew_after_a_success() {
    let mut test = Test::ready(OnReload::Replace);
    let mut waits = Vec::new();
    for number in 0..9 {
        test.ends(number);
        waits.push(test.wait());
        assert_eq!(test.actions(), [Action::Start(child(number + 1))]);
    }
    assert!((FIRST_WAIT / 2..=FIRST_WAIT).contains(&waits[0]), "{waits:?}");
    assert!((FIRST_WAIT..=FIRST_WAIT * 2).contains(&waits[1]), "{waits:?}");
    assert!((LONGEST_WAIT / 2..=LONGEST_WAIT).contains(&waits[8]), "{waits:?}");
    assert_eq!(test.runner.restarts(), 9);
    test.now += SUCCESS + Duration::from_secs(1);
    test.ends(9);
    assert!(test.wait() <= FIRST_WAIT);
}

#[test]
fn a_start_that_fails_later_is_tried_again() {
    let mut test = Test::ready(OnReload::Replace);
    test.ends(0);
    test.wait();
    assert_eq!(test.actions(), [Action::Start(child(1))]);
    test.runner.start_failed(child(1), "no such file".into(), test.now, &mut test.out);
    test.wait();
    assert_eq!(test.actions(), [Action::Start(child(2))]);
    test.becomes_ready(2);
    assert_eq!(test.actions(), [release(Some(2))], "listeners that only the old one wanted are closed");
    assert!(test.out.failure.is_none() && test.runner.restarts() == 1);
}

#[test]
fn a_successor_takes_the_place_when_it_is_able_and_then_the_old_one_drains() {
    let mut test = Test::ready(OnReload::Replace);
    test.reload(RELOAD);
    assert_eq!(test.actions(), [Action::Start(child(1))]);
    test.runner.started(child(1), 101);
    test.becomes_ready(1);
    assert_eq!(test.actions(), [Action::AskStatus(child(0))], "how many links does the old one have?");
    test.runner.child_status(child(0), 2, test.now, &mut test.out);
    assert_eq!(test.answers_with(2), [release(Some(1)), Action::Drain(child(0))]);
    assert_eq!(test.reloaded(), [], "the old one still drains");
    test.ends(0);
    assert_eq!(test.reloaded(), [(RELOAD, Ok(()))]);
    assert_eq!((test.runner.restarts(), test.actions()), (0, vec![]));
    test.ends(1);
    test.wait();
    assert_eq!(test.actions(), [Action::Start(child(2))], "the new one is kept running");
}

#[test]
fn a_successor_without_links_is_killed_and_the_old_one_goes_on() {
    let mut test = Test::ready(OnReload::Replace);
    test.reload(RELOAD);
    test.actions();
    test.becomes_ready(1);
    test.actions();
    test.runner.child_status(child(0), 1, test.now, &mut test.out);
    assert_eq!(test.answers_with(0), [release(Some(0)), Action::Kill(child(1))]);
    assert_eq!(test.reloaded(), [], "it is answered when the new one is gone");
    test.ends(1);
    let why = "the new worker has reached 0 of 1 gateways after 10 s; the old one goes on";
    assert_eq!(test.reloaded(), [(RELOAD, error(why))]);
    assert_eq!((test.runner.next_deadline(), test.runner.restarts()), (None, 0));
}

#[test]
fn a_successor_that_ends_by_itself_leaves_the_old_one_in_its_place() {
    let mut test = Test::ready(OnReload::Replace);
    test.reload(RELOAD);
    test.actions();
    test.ends(1);
    let why = "the new worker ended by itself (exit status: 1); the old one goes on";
    assert_eq!(test.reloaded(), [(RELOAD, error(why))]);
    assert_eq!(test.actions(), [release(Some(0))], "nothing is killed");
    test.reload(NEXT_RELOAD);
    assert_eq!(test.actions(), [Action::Start(child(2))]);
    test.runner.start_failed(child(2), "no such file".into(), test.now, &mut test.out);
    assert_eq!(test.reloaded(), [(NEXT_RELOAD, error("no such file; the old one goes on"))]);
}

#[test]
fn an_old_process_that_ends_meanwhile_is_followed_by_the_successor() {
    let mut test = Test::ready(OnReload::Replace);
    test.reload(RELOAD);
    test.ends(0);
    assert_eq!(test.actions(), [Action::Start(child(1))], "the successor is enough");
    test.becomes_ready(1);
    assert_eq!(test.answers_with(1), [release(Some(1))]);
    assert_eq!(test.reloaded(), [(RELOAD, Ok(()))]);
}

#[test]
fn an_old_process_that_ends_before_it_has_answered_is_not_waited_for() {
    let mut test = Test::ready(OnReload::Replace);
    test.reload(RELOAD);
    test.becomes_ready(1);
    test.ends(0);
    let asked = [Action::AskStatus(child(0)), Action::AskStatus(child(1))];
    assert_eq!(test.actions()[1..], asked);
}

#[test]
fn if_both_end_during_a_reload_another_one_is_started() {
    let mut test = Test::ready(OnReload::Replace);
    test.reload(RELOAD);
    test.ends(0);
    test.ends(1);
    let why = "the new worker ended by itself (exit status: 1), and the old one has ended too";
    assert_eq!(test.reloaded(), [(RELOAD, error(why))]);
    test.actions();
    test.wait();
    assert_eq!(test.actions(), [Action::Start(child(2))]);
}

#[test]
fn a_reload_during_the_wait_for_the_next_start_starts_at_once_and_waits_until_it_is_able() {
    let mut test = Test::ready(OnReload::Replace);
    test.ends(0);
    test.reload(RELOAD);
    assert_eq!(test.actions(), [Action::Start(child(1))]);
    test.becomes_ready(1);
    assert_eq!(test.actions(), [release(Some(1)), Action::AskStatus(child(1))]);
    test.runner.child_status(child(1), 1, test.now, &mut test.out);
    while test.out.reloaded.is_empty() {
        test.wait();
        assert_eq!(test.actions(), [Action::AskStatus(child(1))]);
        test.runner.child_status(child(1), 1, test.now, &mut test.out);
    }
    assert_eq!(test.reloaded(), [(RELOAD, Ok(()))]);
    assert_eq!(test.runner.next_deadline(), None, "the start that waited is not made too");
}

#[test]
fn one_reload_waits_for_the_one_under_way_and_no_more() {
    let mut test = Test::ready(OnReload::Replace);
    test.reload(RELOAD);
    test.reload(NEXT_RELOAD);
    test.reload(ReloadId(9));
    let busy = error("the worker is being reloaded already, and the next reload waits");
    assert_eq!(test.reloaded(), [(ReloadId(9), busy)]);
    assert_eq!(test.actions(), [Action::Start(child(1))]);
    test.ends(1);
    assert_eq!(test.reloaded().len(), 1);
    assert_eq!(test.actions(), [release(Some(0)), Action::Start(child(2))], "now it is the next one's turn");
}

#[test]
fn a_daemon_that_holds_connections_reads_its_files_and_stays() {
    let mut test = Test::ready(OnReload::ReadFiles);
    test.reload(RELOAD);
    assert_eq!(test.actions(), [Action::ReadFiles(child(0), RELOAD)]);
    test.runner.files_read(RELOAD, Err("no such file".into()), &mut test.out);
    assert_eq!(test.reloaded(), [(RELOAD, error("the worker: no such file"))]);
    let mut test = Test::ready(OnReload::Nothing);
    test.reload(RELOAD);
    assert_eq!((test.actions(), test.reloaded()), (vec![], vec![(RELOAD, Ok(()))]));
}

#[test]
fn a_restarted_daemon_without_links_is_reloaded_when_it_is_ready() {
    let mut test = Test::ready(OnReload::ReadFiles);
    test.ends(0);
    test.reload(RELOAD);
    assert_eq!(test.actions(), [Action::Start(child(1))]);
    test.becomes_ready(1);
    assert_eq!(test.reloaded(), [(RELOAD, Ok(()))]);
}

#[test]
fn a_process_that_does_not_drain_is_killed_after_a_minute() {
    let mut test = Test::ready(OnReload::Replace);
    test.runner.stop_starting(&mut test.out);
    test.runner.drain(test.now, &mut test.out);
    assert_eq!(test.actions(), [release(None), Action::Drain(child(0))]);
    assert_eq!(test.wait(), DRAIN_TIMEOUT);
    assert_eq!(test.actions(), [Action::Kill(child(0))]);
    assert!(!test.runner.has_ended());
    test.ends(0);
    assert!(test.runner.has_ended());
    assert_eq!(test.runner.next_deadline(), None);
}

#[test]
fn an_old_process_that_does_not_drain_fails_the_reload() {
    let mut test = Test::ready(OnReload::Replace);
    test.reload(RELOAD);
    test.becomes_ready(1);
    test.actions();
    test.runner.child_status(child(0), 1, test.now, &mut test.out);
    test.answers_with(1);
    assert_eq!(test.wait(), DRAIN_TIMEOUT);
    assert_eq!(test.actions(), [Action::Kill(child(0))]);
    test.ends(0);
    let why = "the worker, process 100, had not drained after 60 s, and was killed";
    assert_eq!(test.reloaded(), [(RELOAD, error(why))]);
}

#[test]
fn nothing_is_started_after_a_stop() {
    let mut test = Test::ready(OnReload::Replace);
    test.runner.stop_starting(&mut test.out);
    test.ends(0);
    assert!(test.runner.has_ended());
    test.reload(RELOAD);
    assert_eq!(test.reloaded(), [(RELOAD, error("the worker is ending"))]);
    assert_eq!((test.actions(), test.runner.next_deadline()), (vec![release(None)], None));

    let mut test = Test::ready(OnReload::Replace);
    test.ends(0);
    test.runner.stop_starting(&mut test.out);
    assert!(test.runner.has_ended(), "the next start is given up");
}

#[test]
fn a_stop_ends_a_reload_and_its_successor() {
    let mut test = Test::ready(OnReload::Replace);
    test.reload(RELOAD);
    test.reload(NEXT_RELOAD);
    test.actions();
    test.runner.stop_starting(&mut test.out);
    assert_eq!(test.actions(), [Action::Kill(child(1))]);
    test.runner.drain(test.now, &mut test.out);
    test.ends(0);
    assert!(!test.runner.has_ended(), "the successor is still there");
    test.ends(1);
    assert!(test.runner.has_ended());
    let ending = error("the worker is ending");
    assert_eq!(test.reloaded(), [(NEXT_RELOAD, ending.clone()), (RELOAD, ending)]);
}

#[test]
fn a_kill_ends_all_processes() {
    let mut test = Test::ready(OnReload::Replace);
    test.reload(RELOAD);
    test.actions();
    test.runner.kill(&mut test.out);
    assert_eq!(test.actions(), [Action::Kill(child(0)), Action::Kill(child(1))]);
}
