//! The ledger sees each kind of violation, and nothing else.

use super::*;

const A: u32 = 100;
const B: u32 = 200;
const ID: u128 = 0xabc;
const CONNECTION: Connection = Connection { client: 1, number: 1 };

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

/// A client that has connected through worker A, and has sent messages 1 to `messages` at their numbers' millisecond.
fn ledger(messages: u32) -> Ledger {
    let mut ledger = Ledger::default();
    ledger.opened(CONNECTION, 0, ms(0), ms(0));
    (1..=messages).for_each(|number| ledger.sent(CONNECTION, number, ms(number.into())));
    handle(&mut ledger, A, Kind::Connect);
    handle(&mut ledger, A, Kind::Handshake);
    ledger
}

fn event(worker: u32, kind: Kind, redelivered: bool) -> Event {
    let connection = matches!(kind, Kind::Handshake | Kind::Message(_)).then_some(CONNECTION);
    // As good a session as there can be.
    Event { worker, thread: 1, client_id: ID, kind, connection, redelivered, session: u32::MAX }
}

fn begin(ledger: &mut Ledger, worker: u32, kind: Kind) {
    ledger.enter(Record::Begin(event(worker, kind, false)), ms(1000));
}

fn end(ledger: &mut Ledger, worker: u32, kind: Kind) {
    ledger.enter(Record::End(event(worker, kind, false)), ms(1000));
}

fn handle(ledger: &mut Ledger, worker: u32, kind: Kind) {
    begin(ledger, worker, kind);
    end(ledger, worker, kind);
}

fn redeliver(ledger: &mut Ledger, worker: u32, kind: Kind) {
    ledger.enter(Record::Begin(event(worker, kind, true)), ms(1000));
    ledger.enter(Record::End(event(worker, kind, true)), ms(1000));
}

fn messages(ledger: &mut Ledger, worker: u32, numbers: impl IntoIterator<Item = u32>) {
    numbers.into_iter().for_each(|number| handle(ledger, worker, Kind::Message(number)));
}

/// The client leaves without waiting for answers, and its close is handled.
fn closed(ledger: &mut Ledger, worker: u32) -> Counts {
    ledger.ended(CONNECTION, Ending::Left, ms(2000));
    handle(ledger, worker, Kind::Close);
    ledger.counts(ms(2000))
}

#[test]
fn a_connection_without_faults_has_zeros() {
    let mut ledger = ledger(3);
    messages(&mut ledger, A, 1..=3);
    assert!(ledger.counts(ms(5)).unanswered == 3 && !ledger.is_settled());
    (1..=3).for_each(|number| ledger.answered(CONNECTION, number, ms(10)));
    let counts = closed(&mut ledger, A);
    assert_eq!(counts, Counts { messages: 3, closes: 1, longest_stall_ms: 9, ..Counts::default() });
    assert!(ledger.is_settled());
}

#[test]
fn a_message_that_is_not_handled_is_lost() {
    let mut ledger = ledger(5);
    messages(&mut ledger, A, [1, 3]);
    begin(&mut ledger, A, Kind::Message(4));
    ledger.enter(Record::Abandoned(event(A, Kind::Message(4), false)), ms(1000));
    let counts = closed(&mut ledger, A);
    assert_eq!((counts.lost, counts.reordered, counts.doubled), (3, 0, 0), "2, 4 and 5");
}

#[test]
fn a_connect_that_is_not_handled_is_lost() {
    let mut ledger = Ledger::default();
    ledger.opened(CONNECTION, 0, ms(0), ms(0));
    ledger.sent(CONNECTION, 1, ms(1));
    messages(&mut ledger, A, [1]);
    assert_eq!(closed(&mut ledger, A).lost, 2, "on_connect and the handshake's handler");
}

#[test]
fn a_message_that_the_system_did_not_accept_is_not_owed() {
    let mut ledger = ledger(2);
    ledger.not_accepted(CONNECTION, 2);
    messages(&mut ledger, A, [1]);
    assert_eq!(closed(&mut ledger, A), Counts { messages: 1, closes: 1, ..Counts::default() });
}

#[test]
fn what_was_with_a_harmed_gateway_is_not_lost_but_a_gap_is() {
    let mut ledger = ledger(6);
    messages(&mut ledger, A, [1, 3]);
    assert_eq!(ledger.gateway_harmed(0, ms(500)), 1);
    ledger.ended(CONNECTION, Ending::Broken, ms(600));
    handle(&mut ledger, A, Kind::Close);
    let counts = ledger.counts(ms(1000));
    assert_eq!((counts.lost, counts.gone_with_gateway, counts.cut_off), (1, 3, 0));
    assert_eq!(counts.detection_ms, Some(500), "its close was handled at 1000");
}

#[test]
fn what_a_gateway_had_time_to_pass_on_is_not_gone_with_it() {
    let mut ledger = ledger(6);
    messages(&mut ledger, A, [1, 2]);
    (3..=4).for_each(|number| ledger.sent(CONNECTION, number, ms(900)));
    (5..=6).for_each(|number| ledger.sent(CONNECTION, number, ms(1900)));
    ledger.gateway_harmed(0, ms(2000));
    ledger.ended(CONNECTION, Ending::Broken, ms(2000));
    handle(&mut ledger, A, Kind::Close);
    let counts = ledger.counts(ms(2000));
    assert_eq!((counts.lost, counts.gone_with_gateway), (2, 2));
}

#[test]
fn the_close_of_a_client_that_was_leaving_is_no_sign_that_its_gateway_was_given_up() {
    let mut ledger = ledger(1);
    ledger.leaves(CONNECTION);
    assert_eq!(ledger.gateway_harmed(0, ms(500)), 0);
    messages(&mut ledger, A, [1]);
    assert_eq!(closed(&mut ledger, A).detection_ms, None);
}

#[test]
fn a_connection_that_a_gateway_ends_without_harm_is_cut_off() {
    let mut ledger = ledger(2);
    messages(&mut ledger, A, [1]);
    ledger.ended(CONNECTION, Ending::Closed(1011), ms(600));
    handle(&mut ledger, A, Kind::Close);
    let counts = ledger.counts(ms(1000));
    assert_eq!((counts.cut_off, counts.lost, counts.unanswered), (1, 1, 2));
    assert_eq!(counts.longest_stall_ms, 599, "the first message waited from 1 to 600");
}

#[test]
fn events_given_out_again_after_a_death_are_doubles_and_not_reordered() {
    let mut ledger = ledger(6);
    messages(&mut ledger, A, 1..=3);
    begin(&mut ledger, A, Kind::Message(4));
    assert_eq!(ledger.watch_worker(A, ms(900)), 1);
    ledger.worker_killed(A);
    redeliver(&mut ledger, B, Kind::Message(3));
    redeliver(&mut ledger, B, Kind::Message(4));
    messages(&mut ledger, B, [5, 6]);
    let counts = closed(&mut ledger, B);
    let Counts { doubled, doubled_unmarked, reordered, overlapped, lost, .. } = counts;
    assert_eq!((doubled, doubled_unmarked, reordered, overlapped, lost), (2, 0, 0, 0, 0));
    assert_eq!(counts.detection_ms, Some(100));
}

#[test]
fn a_double_without_its_mark_is_seen() {
    let mut ledger = ledger(2);
    messages(&mut ledger, A, [1, 2]);
    messages(&mut ledger, B, [2]);
    let counts = closed(&mut ledger, B);
    assert_eq!((counts.doubled, counts.doubled_unmarked, counts.reordered), (1, 1, 0));
}

#[test]
fn a_message_behind_its_successor_is_reordered() {
    let mut ledger = ledger(4);
    messages(&mut ledger, A, [1, 3, 2, 4]);
    assert_eq!(closed(&mut ledger, A).reordered, 1);
}

#[test]
fn a_message_behind_its_successor_is_reordered_also_when_it_is_given_out_again() {
    let mut ledger = ledger(4);
    messages(&mut ledger, A, 1..=4);
    [2, 4, 3].into_iter().for_each(|number| redeliver(&mut ledger, B, Kind::Message(number)));
    let counts = closed(&mut ledger, B);
    assert_eq!((counts.reordered, counts.doubled, counts.doubled_unmarked), (1, 3, 0));
}

#[test]
fn a_message_behind_the_close_is_reordered() {
    let mut ledger = ledger(2);
    messages(&mut ledger, A, [1]);
    handle(&mut ledger, A, Kind::Close);
    messages(&mut ledger, A, [2]);
    ledger.ended(CONNECTION, Ending::Left, ms(2000));
    let counts = ledger.counts(ms(2000));
    assert_eq!((counts.reordered, counts.lost), (1, 0));
}

#[test]
fn a_message_that_comes_first_behind_the_close_is_reordered_also_when_it_follows_a_repeated_one() {
    let mut ledger = ledger(3);
    messages(&mut ledger, A, [1, 2]);
    handle(&mut ledger, A, Kind::Close);
    redeliver(&mut ledger, B, Kind::Message(2));
    messages(&mut ledger, B, [3]);
    redeliver(&mut ledger, B, Kind::Close);
    ledger.ended(CONNECTION, Ending::Left, ms(2000));
    let counts = ledger.counts(ms(2000));
    assert_eq!((counts.reordered, counts.lost, counts.doubled_unmarked), (1, 0, 0));
    // A gateway that was taken for lost may come back, and goes on with the client.
    ledger.gateway_harmed(0, ms(500));
    let counts = ledger.counts(ms(2000));
    assert_eq!((counts.reordered, counts.behind_close_with_gateway), (0, 1));
}

#[test]
fn a_message_that_a_run_has_passed_over_is_reordered_also_in_the_next_run() {
    let mut ledger = ledger(3);
    messages(&mut ledger, A, [1, 3]);
    redeliver(&mut ledger, B, Kind::Message(1));
    messages(&mut ledger, B, [2]);
    redeliver(&mut ledger, B, Kind::Message(3));
    assert_eq!(closed(&mut ledger, B).reordered, 1);
}

#[test]
fn two_handlers_of_a_client_at_once_overlap() {
    let mut ledger = ledger(3);
    begin(&mut ledger, A, Kind::Message(1));
    begin(&mut ledger, B, Kind::Message(2));
    end(&mut ledger, B, Kind::Message(2));
    end(&mut ledger, A, Kind::Message(1));
    messages(&mut ledger, B, [3]);
    assert_eq!(closed(&mut ledger, B).overlapped, 1);
}

#[test]
fn what_two_workers_have_done_for_a_harmed_gateway_is_counted_apart_if_it_is_marked() {
    let mut ledger = ledger(4);
    messages(&mut ledger, A, 1..=4);
    let mark = |worker, kind| Record::Begin(event(worker, kind, true));
    begin(&mut ledger, A, Kind::Close);
    ledger.enter(mark(B, Kind::Message(2)), ms(1000));
    end(&mut ledger, A, Kind::Close);
    end(&mut ledger, B, Kind::Message(2));
    redeliver(&mut ledger, B, Kind::Message(4));
    redeliver(&mut ledger, B, Kind::Message(3));
    let counts = ledger.counts(ms(2000));
    assert_eq!((counts.overlapped, counts.reordered, counts.in_two_workers), (1, 1, 0));
    ledger.gateway_harmed(0, ms(500));
    let counts = ledger.counts(ms(2000));
    assert_eq!((counts.overlapped, counts.reordered, counts.in_two_workers), (0, 0, 2));
    begin(&mut ledger, A, Kind::Message(4));
    begin(&mut ledger, A, Kind::Close);
    assert_eq!(ledger.counts(ms(2000)).overlapped, 1, "without the mark");
}

#[test]
fn a_handler_that_the_cut_has_caught_is_counted_apart() {
    let mut ledger = ledger(4);
    begin(&mut ledger, A, Kind::Message(1));
    ledger.worker_cut(A);
    redeliver(&mut ledger, B, Kind::Message(1));
    messages(&mut ledger, B, [3]);
    end(&mut ledger, A, Kind::Message(1));
    ledger.worker_back(A);
    // A handler that begins after that has no excuse.
    begin(&mut ledger, A, Kind::Message(2));
    begin(&mut ledger, B, Kind::Message(2));
    let counts = ledger.counts(ms(2000));
    assert_eq!((counts.overlapped_at_the_cut, counts.overlapped), (1, 1));
    assert_eq!((counts.doubled, counts.doubled_unmarked), (2, 1));
}

#[test]
fn a_session_that_an_earlier_handler_has_changed_is_stale_without_the_change() {
    let mut ledger = ledger(4);
    let mut begin = |number, session| {
        let event = Event { session, ..event(A, Kind::Message(number), false) };
        ledger.enter(Record::Begin(event), ms(1000));
        ledger.enter(Record::End(event), ms(1000));
    };
    begin(1, 0);
    begin(2, 1);
    begin(3, 1);
    begin(4, 3);
    ledger.ended(CONNECTION, Ending::Left, ms(2000));
    assert_eq!(ledger.counts(ms(2000)).stale, 1, "3 follows 2");
    // Its gateway stores the session, and had it to the end.
    ledger.gateway_harmed(0, ms(1500));
    let counts = ledger.counts(ms(2000));
    assert_eq!((counts.stale, counts.stale_with_gateway), (0, 1));
}

#[test]
fn closes_that_are_missing_or_doubled_are_seen() {
    let mut ledger = ledger(1);
    messages(&mut ledger, A, [1]);
    ledger.ended(CONNECTION, Ending::Left, ms(2000));
    assert_eq!(ledger.counts(ms(2000)).closes_missing, 1);
    handle(&mut ledger, A, Kind::Close);
    handle(&mut ledger, B, Kind::Close);
    redeliver(&mut ledger, B, Kind::Close);
    let counts = ledger.counts(ms(2000));
    assert_eq!((counts.closes, counts.closes_missing), (1, 0));
    assert_eq!((counts.closes_doubled, counts.closes_doubled_unmarked), (2, 1));
    assert_eq!((counts.doubled, counts.reordered), (0, 0), "closes have their own columns");
}

#[test]
fn a_close_that_is_given_out_again_with_a_message_before_it_is_in_order() {
    let mut ledger = ledger(2);
    messages(&mut ledger, A, [1, 2]);
    handle(&mut ledger, A, Kind::Close);
    ledger.ended(CONNECTION, Ending::Left, ms(2000));
    redeliver(&mut ledger, B, Kind::Message(2));
    redeliver(&mut ledger, B, Kind::Close);
    let counts = ledger.counts(ms(2000));
    assert_eq!((counts.reordered, counts.doubled, counts.closes_doubled), (0, 1, 1));
}

#[test]
fn a_client_that_is_told_to_try_again_before_its_first_answer_was_not_admitted() {
    let mut one = ledger(3);
    messages(&mut one, A, [1]);
    one.ended(CONNECTION, Ending::Closed(1013), ms(2000));
    handle(&mut one, A, Kind::Close);
    let counts = one.counts(ms(2000));
    assert_eq!((counts.not_admitted, counts.cut_off, counts.unanswered), (1, 0, 0));
    assert_eq!((counts.lost, counts.gone_with_gateway), (0, 0), "2 and 3 are not owed");
    let mut other = ledger(3);
    messages(&mut other, A, 1..=3);
    other.answered(CONNECTION, 1, ms(10));
    other.ended(CONNECTION, Ending::Closed(1013), ms(2000));
    handle(&mut other, A, Kind::Close);
    let counts = other.counts(ms(2000));
    assert_eq!((counts.not_admitted, counts.cut_off, counts.unanswered), (0, 1, 2));
}

#[test]
fn of_a_worker_that_wakes_up_each_thread_may_run_the_handler_that_it_was_about_to_run() {
    let mut ledger = ledger(3);
    ledger.worker_cut(A);
    redeliver(&mut ledger, B, Kind::Message(1));
    redeliver(&mut ledger, B, Kind::Message(2));
    redeliver(&mut ledger, B, Kind::Message(3));
    ledger.worker_awake(A);
    handle(&mut ledger, A, Kind::Message(1));
    let counts = ledger.counts(ms(2000));
    assert_eq!((counts.doubled, counts.doubled_unmarked, counts.reordered), (1, 0, 0));
    assert_eq!((counts.overlapped, counts.overlapped_at_the_cut), (0, 1));
    // The thread has gone on since: it knew, or could know, what the worker had lost.
    handle(&mut ledger, A, Kind::Message(2));
    assert_eq!(ledger.counts(ms(2000)).doubled_unmarked, 1);
    // Another one.
    let late = Event { thread: 2, ..event(A, Kind::Message(3), false) };
    ledger.enter(Record::Begin(late), ms(1000));
    assert_eq!(ledger.counts(ms(2000)).doubled_unmarked, 1);
}

#[test]
fn a_worker_that_wakes_up_excuses_no_successor_without_the_mark() {
    let mut ledger = ledger(1);
    ledger.worker_cut(A);
    handle(&mut ledger, B, Kind::Message(1));
    ledger.worker_awake(A);
    handle(&mut ledger, A, Kind::Message(1));
    assert_eq!(ledger.counts(ms(2000)).doubled_unmarked, 1);
}

/// The ledger of a client at gateway 0 with so many messages, and an observer at gateway 1.
fn observed(messages: u32) -> (Ledger, Connection) {
    let observer = Connection { client: 2, number: 1 };
    let mut ledger = ledger(messages);
    ledger.opened(observer, 1, ms(0), ms(0));
    ledger.observes(observer, Ipv4Addr::new(127, 0, 0, 11));
    (ledger, observer)
}

fn hear(ledger: &mut Ledger, observer: Connection, worker: u32, numbers: impl IntoIterator<Item = u32>) {
    numbers.into_iter().for_each(|number| ledger.heard(observer, worker, CONNECTION, number));
}

fn said(ledger: &Ledger) -> SaidCounts {
    ledger.counts(ms(2000)).said.unwrap()
}

#[test]
fn what_a_handler_has_said_and_no_observer_has_heard_is_lost() {
    let (mut ledger, observer) = observed(4);
    messages(&mut ledger, A, 1..=3);
    begin(&mut ledger, A, Kind::Message(4));
    hear(&mut ledger, observer, A, [1, 3]);
    let expected = SaidCounts { owed: 3, arrived: 2, lost: 1, ..SaidCounts::default() };
    assert_eq!(said(&ledger), expected, "2 was handled, 4 was not");
}

#[test]
fn what_a_handler_was_told_about_is_not_lost() {
    let (mut ledger, _) = observed(3);
    let event = |number| event(A, Kind::Message(number), false);
    ledger.enter(Record::Unreached(event(1), Ipv4Addr::new(127, 0, 0, 11)), ms(1000));
    ledger.enter(Record::Unreached(event(2), Ipv4Addr::new(127, 0, 0, 10)), ms(1000));
    ledger.enter(Record::Fenced(event(3)), ms(1000));
    messages(&mut ledger, A, 1..=3);
    let SaidCounts { unreached, fenced, lost, .. } = said(&ledger);
    assert_eq!((unreached, fenced, lost), (1, 1, 1), "the observer of 2 was reached");
}

#[test]
fn what_was_said_on_a_call_link_that_was_cut_is_gone_with_it() {
    let (mut ledger, observer) = observed(4);
    ledger.call_link_cut(A, Ipv4Addr::new(127, 0, 0, 11));
    messages(&mut ledger, A, [1]);
    messages(&mut ledger, B, [2]);
    ledger.call_links_whole();
    messages(&mut ledger, A, [3, 4]);
    hear(&mut ledger, observer, A, [4]);
    let SaidCounts { gone_with_link, lost, .. } = said(&ledger);
    assert_eq!((gone_with_link, lost), (1, 2), "neither another worker nor another time is an excuse");
}

#[test]
fn an_observer_is_owed_what_was_sent_before_its_gateway_was_gone() {
    let (mut ledger, observer) = observed(4);
    messages(&mut ledger, A, 1..=4);
    hear(&mut ledger, observer, A, [1, 3]);
    ledger.gateway_harmed(1, ms(500));
    ledger.ended(observer, Ending::Broken, ms(600));
    ledger.sent(CONNECTION, 5, ms(700));
    messages(&mut ledger, A, [5]);
    let SaidCounts { owed, gone_with_gateway, lost, .. } = said(&ledger);
    assert_eq!((owed, gone_with_gateway, lost), (4, 1, 1), "2 is a gap");
}

#[test]
fn what_arrives_more_often_than_it_was_said_is_seen() {
    let (mut ledger, observer) = observed(2);
    messages(&mut ledger, A, 1..=2);
    redeliver(&mut ledger, B, Kind::Message(2));
    hear(&mut ledger, observer, A, [1, 1, 2]);
    hear(&mut ledger, observer, B, [2]);
    let SaidCounts { doubled, doubled_unsaid, reordered, .. } = said(&ledger);
    assert_eq!((doubled, doubled_unsaid, reordered), (2, 1, 0));
}

#[test]
fn what_one_worker_has_said_is_to_arrive_in_order() {
    let (mut ledger, observer) = observed(5);
    messages(&mut ledger, A, 1..=5);
    hear(&mut ledger, observer, A, [1, 3, 2]);
    hear(&mut ledger, observer, B, [5]);
    hear(&mut ledger, observer, A, [4]);
    let SaidCounts { reordered, reordered_between_workers, lost, .. } = said(&ledger);
    assert_eq!((reordered, reordered_between_workers, lost), (1, 1, 0));
}

#[test]
fn the_report_says_what_happened_to_a_client() {
    let mut ledger = ledger(9);
    messages(&mut ledger, A, [1, 3, 2, 4, 6]);
    let counts = closed(&mut ledger, A);
    assert_eq!((counts.lost, counts.reordered), (4, 1));
    let report = ledger.report();
    assert_eq!(report.len(), 1);
    let says = |text: &str| assert!(report[0].contains(text), "{text}: {}", report[0]);
    says("client 1 connection 1, id 00000000000000000abc, at gateway 0");
    says("lost messages 5, 7-9, 5 was sent at 0.0050 s; 1 out of order");
    says("1.0000 s: in worker 100 message 2 begins");
}

#[test]
fn the_report_shows_the_records_around_the_violation() {
    let mut ledger = ledger(200);
    messages(&mut ledger, A, (1..=50).chain([52, 51]).chain(53..=200));
    closed(&mut ledger, A);
    let report = ledger.report();
    assert!(report[0].contains("message 52 ends") && !report[0].contains("message 100 "), "{}", report[0]);
}

#[test]
fn the_report_about_clients_with_which_nothing_is_wrong_is_empty() {
    let mut ledger = ledger(3);
    messages(&mut ledger, A, 1..=3);
    closed(&mut ledger, A);
    assert!(ledger.report().is_empty());
}
