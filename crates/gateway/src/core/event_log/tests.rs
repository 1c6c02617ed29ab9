use gatewayworker_protocol::frame::FLAG_PLAIN;

use super::*;

type Log = EventLog<()>;

fn log(events: &[&[u8]], given: usize) -> Log {
    let mut log = Log::default();
    for body in events {
        log.push(code::ON_MESSAGE, FLAG_PLAIN, body);
    }
    (0..given).for_each(|_| log.give_next(100));
    log
}

fn waiting(log: &mut Log) -> Vec<(Vec<u8>, bool, u8)> {
    let mut waiting = Vec::new();
    while let Some((event, body)) = log.next() {
        waiting.push((body.to_vec(), event.flag & FLAG_REDELIVERED != 0, event.tries));
        log.give_next(100);
    }
    waiting
}

#[test]
fn events_are_finished_from_the_front_and_no_more_than_were_given() {
    let mut log = log(&[b"one", b"two", b"three"], 2);
    assert_eq!(log.finish(1), Ended { events: 1, bytes: 100, ..Ended::default() });
    assert_eq!(log.finish(5).events, 1);
    assert_eq!(log.next().map(|(_, body)| body), Some(&b"three"[..]));
    log.check().unwrap();
}

#[test]
fn events_are_taken_back_from_the_end_and_keep_their_order_without_a_mark() {
    let mut log = log(&[b"one", b"two", b"three"], 3);
    assert_eq!(log.take_back(2, false), Ended { events: 2, bytes: 200, ..Ended::default() });
    assert_eq!(log.given(), 1);
    log.check().unwrap();
    assert_eq!(waiting(&mut log), [(b"two".to_vec(), false, 0), (b"three".to_vec(), false, 0)]);
}

#[test]
fn of_events_that_are_taken_back_the_first_is_marked_where_it_was_begun() {
    let mut log = log(&[b"one", b"two", b"three", b"four"], 3);
    log.take_back(2, true);
    log.check().unwrap();
    let unmarked = |text: &[u8]| (text.to_vec(), false, 0);
    assert_eq!(waiting(&mut log), [(b"two".to_vec(), true, 0), unmarked(b"three"), unmarked(b"four")]);
    assert_eq!(log.take_back(9, true).events, 4);
    assert!(waiting(&mut log)[0].1);
}

#[test]
fn what_a_gone_worker_had_waits_again_and_only_the_first_counts_a_try() {
    for (has_ended, tries) in [(true, 1), (false, 0)] {
        let mut log = log(&[b"one", b"two", b"three"], 2);
        let settled = log.settle(DeliveryMode::AtLeastOnce, has_ended);
        assert_eq!((settled.ended.events, settled.ended.bytes, settled.again), (2, 200, 2));
        assert_eq!(settled.tries, tries);
        let all = [(b"one".to_vec(), true, tries), (b"two".to_vec(), true, 0), (b"three".to_vec(), false, 0)];
        assert_eq!(waiting(&mut log), all);
        log.check().unwrap();
    }
}

#[test]
fn at_most_once_drops_what_a_gone_worker_had_but_closes() {
    let mut log = log(&[b"one", b"two"], 2);
    log.push(code::ON_CLOSE, FLAG_PLAIN, b"left");
    log.give_next(10);
    let settled = log.settle(DeliveryMode::AtMostOnce, true);
    assert_eq!((settled.dropped, settled.again), (2, 1));
    log.check().unwrap();
    assert_eq!(waiting(&mut log), [(b"left".to_vec(), true, 0)]);
}

#[test]
fn an_adopt_is_not_given_again_and_the_event_behind_it_counts_the_try() {
    let mut log = log(&[b"one"], 0);
    log.push_adopt(FLAG_PLAIN);
    log.give_next(30);
    log.give_next(40);
    let settled = log.settle(DeliveryMode::AtLeastOnce, true);
    assert_eq!((settled.ended.events, settled.ended.bytes, settled.again, settled.tries), (2, 70, 1, 1));
    assert_eq!(waiting(&mut log), [(b"one".to_vec(), true, 1)]);
}

#[test]
fn the_bytes_of_finished_events_are_dropped_in_time() {
    let mut log = Log::default();
    for n in 0..1000_u32 {
        log.push_given(code::ON_MESSAGE, FLAG_PLAIN, &n.to_be_bytes(), 32);
        if n >= 10 {
            log.finish(1);
        }
        log.check().unwrap();
    }
    assert!(log.bodies.len() <= 2 * 4 * 11, "{} bytes", log.bodies.len());
    log.settle(DeliveryMode::AtLeastOnce, false);
    assert_eq!(log.next().map(|(_, body)| body.to_vec()), Some(990_u32.to_be_bytes().to_vec()));
}

#[test]
fn a_suspect_counts_until_it_is_finished_taken_back_or_settled() {
    let suspect = || {
        let mut log = log(&[b"one", b"two"], 1);
        log.settle(DeliveryMode::AtLeastOnce, true);
        log.give_next(1);
        log.give_next(1);
        log.is_suspect_given = true;
        log
    };
    assert!(suspect().finish(1).was_suspect);
    let mut log = suspect();
    assert!(!log.take_back(1, false).was_suspect && log.take_back(1, false).was_suspect);
    let settled = suspect().settle(DeliveryMode::AtLeastOnce, true);
    assert!(settled.ended.was_suspect && settled.tries == 2);
}
