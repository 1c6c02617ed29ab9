//! Gateways that fall silent, and connections that belong to an epoch.

use super::*;
use crate::Liveness;

const INTERVAL: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(10);

const PING: u32 = 0;

fn watched() -> TestLink {
    let mut link = TestLink::connecting("");
    link.link = link.link.with_liveness(Liveness::new(INTERVAL, TIMEOUT));
    link.link.connected(Wire::default(), link.now).unwrap();
    link
}

impl TestLink {
    /// Lets time go by to the next deadline; returns how much that was.
    fn wait_for_deadline(&mut self) -> Duration {
        let wait = self.link.next_deadline().unwrap() - self.now;
        self.wait(wait);
        wait
    }

    /// Whether the shell was to close the connection, since the last call.
    fn is_given_up(&mut self) -> bool {
        self.link.take_effects().iter().any(|effect| matches!(effect, Effect::Close(_)))
    }
}

#[test]
fn an_idle_gateway_is_asked_for_a_sign_of_life_and_one_that_answers_is_kept() {
    let mut link = watched();
    for _ in 0..10 {
        assert_eq!(link.wait_for_deadline(), INTERVAL);
        assert_eq!(link.sent(), [is_online(PING)]);
        link.wait(TIMEOUT - INTERVAL - Duration::from_millis(1));
        link.receive(&framed("i:0;")).unwrap();
        assert!(!link.is_given_up());
    }
    assert_eq!(link.sent(), []);
}

#[test]
fn a_gateway_that_is_asked_by_others_gets_no_ping() {
    let mut link = watched();
    for _ in 0..10 {
        link.ask(1, "asker");
        link.wait(INTERVAL - Duration::from_millis(1));
        link.receive(&framed("i:1;")).unwrap();
    }
    assert_eq!(link.sent(), vec![is_online(1); 10]);
}

#[test]
fn a_silent_gateway_is_given_up_after_the_timeout() {
    let mut link = watched();
    link.wait_for_deadline();
    assert_eq!(link.wait_for_deadline(), TIMEOUT - INTERVAL);
    assert!(link.is_given_up());
    assert_eq!(link.link.next_deadline(), None);
}

#[test]
fn questions_of_a_silent_gateway_fail_in_their_own_time_before_it_is_given_up() {
    let mut link = watched();
    link.wait(Duration::from_secs(1));
    link.ask(1, "first");
    link.ask(2, "second");
    assert_eq!(link.wait_for_deadline(), LIMIT);
    let late = Err(Unreached::TimedOut);
    assert_eq!(link.outcomes(), [("first", late.clone()), ("second", late)]);
    link.ask(3, "third");
    assert_eq!(link.wait_for_deadline(), TIMEOUT - LIMIT - Duration::from_secs(1));
    let effects = link.link.take_effects();
    let [Effect::Settle { asker: "third", outcome: Err(Unreached::Lost) }, Effect::Close(_)] = &*effects
    else {
        panic!("{effects:?}")
    };
}

#[test]
fn a_late_answer_is_a_sign_of_life_and_goes_to_nobody() {
    let mut link = watched();
    link.ask(1, "late");
    link.wait(LIMIT);
    assert_eq!(link.outcomes(), [("late", Err(Unreached::TimedOut))]);
    link.wait(TIMEOUT - LIMIT - Duration::from_millis(1));
    link.receive(&framed("i:1;")).unwrap();
    link.ask(2, "next");
    link.receive(&framed("i:0;")).unwrap();
    assert_eq!(link.outcomes(), [answered("next", "i:0;")]);
    assert!(!link.is_given_up());
}

#[test]
fn a_long_answer_that_is_still_coming_is_a_sign_of_life() {
    let mut link = watched();
    link.ask(1, "long");
    for byte in framed("s:9:\"123456789\";") {
        link.wait(TIMEOUT - Duration::from_millis(1));
        assert!(!link.is_given_up());
        link.receive(&[byte]).unwrap();
    }
    assert_eq!(link.link.next_deadline(), Some(link.now + INTERVAL));
}

#[test]
fn a_gateway_that_takes_what_stands_before_the_question_is_not_silent() {
    let mut link = watched();
    let wire = link.link.connection().unwrap().clone();
    wire.0.takes.set(Some(0));
    let backlog = 100_000;
    link.link.connection().unwrap().clone().push(|out| out.resize(backlog, 0)).unwrap();
    assert_eq!(link.wait_for_deadline(), INTERVAL);
    for written in 1..20 {
        wire.0.takes.set(Some(written));
        assert_eq!(link.wait_for_deadline(), INTERVAL, "it looks again");
        assert!(!link.is_given_up());
    }
    let mut waited = Duration::ZERO;
    while !link.is_given_up() {
        waited += link.wait_for_deadline();
        assert!(waited <= 2 * TIMEOUT);
    }
    assert!((TIMEOUT..=TIMEOUT + INTERVAL).contains(&waited), "{waited:?}");
}

#[test]
fn what_the_socket_takes_behind_the_question_is_no_sign_of_life() {
    let mut link = watched();
    link.wait_for_deadline();
    let mut waited = INTERVAL;
    while !link.is_given_up() {
        // As the kernel of a frozen gateway does.
        link.link.connection().unwrap().clone().push(|out| out.resize(out.len() + 10, 0)).unwrap();
        let step = Duration::from_millis(500);
        link.wait(step);
        waited += step;
        assert!(waited <= TIMEOUT);
    }
    assert_eq!(waited, TIMEOUT);
}

#[test]
fn a_gateway_gives_signs_of_life_within_a_backlog_and_an_asker_need_not_wait_for_them() {
    let mut link = watched();
    for _ in 0..3 {
        link.link.probe_backlog(link.now);
    }
    link.ask(1, "asker");
    assert_eq!(link.sent(), [is_online(PING), is_online(PING), is_online(PING), is_online(1)]);
    for _ in 0..3 {
        link.wait(TIMEOUT - Duration::from_millis(1));
        link.receive(&framed("i:0;")).unwrap();
        assert!(!link.is_given_up());
    }
    link.ask(2, "second");
    assert_eq!(link.sent(), [], "one at a time");
    link.receive(&framed("i:1;")).unwrap();
    assert_eq!(link.sent(), [is_online(2)]);
}

#[test]
fn a_question_that_may_take_longer_than_the_timeout_gets_its_time() {
    let limit = 3 * TIMEOUT;
    let mut link = TestLink::connecting("");
    link.link = CallLink::new(SecretKey::default(), limit).with_liveness(Liveness::new(INTERVAL, TIMEOUT));
    link.link.connected(Wire::default(), link.now).unwrap();
    link.ask(1, "long");
    link.wait(limit - Duration::from_millis(1));
    assert!(!link.is_given_up());
    link.wait(Duration::from_millis(1));
    assert!(link.is_given_up());
}

#[test]
fn a_ping_that_is_late_has_all_of_its_time_nevertheless() {
    let mut link = watched();
    // The process was stopped for an hour.
    link.wait(Duration::from_secs(3600));
    assert_eq!(link.sent(), [is_online(PING)]);
    link.wait(TIMEOUT - INTERVAL - Duration::from_millis(1));
    link.receive(&framed("i:0;")).unwrap();
    assert!(!link.is_given_up());
}

#[test]
fn an_answer_that_came_while_the_shell_was_held_up_saves_its_gateway() {
    let mut link = watched();
    link.wait_for_deadline();
    // Nobody has called for an hour: the shell reads first, then the time is over.
    link.now += Duration::from_secs(3600);
    link.receive(&framed("i:0;")).unwrap();
    link.link.handle_timeout(link.now);
    assert!(!link.is_given_up());
}

#[test]
fn a_gateway_that_was_silent_is_not_connected_until_it_answers() {
    let mut link = watched();
    link.wait_for_deadline();
    link.wait_for_deadline();
    // Its kernel accepts connections, however often it is frozen.
    for _ in 0..2 {
        link.link.connected(Wire::default(), link.now).unwrap();
        assert_eq!(link.link.connection(), Err(Unreached::NotConnected));
        let asked = link.link.ask(question(Question::IsOnline(1)), "asker", link.now);
        assert_eq!(asked, Err(Unreached::NotConnected));
        assert_eq!(link.link.attach(1, 2, &[]), Err(Unreached::NotConnected));
        assert_eq!(link.wait_for_deadline(), TIMEOUT);
        assert!(link.is_given_up());
    }
    link.link.connected(Wire::default(), link.now).unwrap();
    link.receive(&framed("i:0;")).unwrap();
    assert!(link.link.take_effects().contains(&Effect::Proven));
    assert_eq!(link.sent(), [is_online(PING)]);
    // It is as any other from then on, and so are the next connections.
    link.link.disconnected();
    link.link.connected(Wire::default(), link.now).unwrap();
    link.ask(1, "asker");
    assert_eq!(link.sent(), [is_online(1)]);
}

#[test]
fn a_connection_says_which_closes_have_run_then_which_epoch_it_belongs_to() {
    let mut link = watched();
    let closed: Vec<u32> = (0..100_001).collect();
    link.link.attach(7, 0xabc, &closed).unwrap();
    assert_eq!(link.link.epoch(), Some(7));
    let attach = Command::Attach { epoch: 7, process: 0xabc };
    let [first, rest] = [closed[..100_000].to_vec(), closed[100_000..].to_vec()];
    assert_eq!(link.sent(), [Command::Closed(first), Command::Closed(rest), attach]);
    assert_eq!(link.link.take_effects(), [Effect::Flush]);
}

#[test]
fn a_connection_belongs_to_one_epoch_and_the_next_connection_to_none() {
    let mut link = watched();
    assert_eq!(link.link.epoch(), None);
    link.link.attach(7, 1, &[]).unwrap();
    assert_eq!(link.link.attach(8, 1, &[]), Err(Unreached::NotConnected));
    assert_eq!(link.link.epoch(), Some(7));
    link.link.disconnected();
    assert_eq!(link.link.epoch(), None);
    assert_eq!(link.link.attach(8, 1, &[]), Err(Unreached::NotConnected));
    link.link.connected(Wire::default(), link.now).unwrap();
    link.link.attach(8, 1, &[]).unwrap();
}
