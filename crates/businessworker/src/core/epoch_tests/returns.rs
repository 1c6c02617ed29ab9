//! What a worker that drains gives back, and keeps until its gateway has let go or is lost.

use super::*;

/// What the gateway is told: so many events of client 1 are given back.
fn one(events: u32) -> EventCounts {
    EventCounts(vec![(1, events)])
}

/// An event comes that is given back at once.
fn receive_late(worker: &Paired, command: Command) {
    let mut event = Event::from_command(command).unwrap();
    event.epoch = Some(worker.epoch.clone());
    assert!(worker.clients.return_arrived(event, &worker.epoch).is_none());
}

#[test]
fn a_worker_that_drains_gives_back_what_it_has_not_begun() {
    let worker = Paired::new();
    let running = worker.receive(message(1, ""));
    worker.receive(message(1, ""));
    worker.receive(message(1, ""));
    worker.receive(message(2, ""));
    assert_eq!(worker.clients.return_unbegun(&worker.epoch), one(2));
    assert_eq!(worker.clients.return_unbegun(&worker.epoch), EventCounts::default(), "once");
    assert_eq!(worker.handle(running), ["1 message []"], "it had begun");
    assert_eq!(worker.clients.unfinished(), Unfinished { events: 1, given_to_others: 1 });
}

#[test]
fn a_client_whose_events_are_given_back_is_gone_when_its_gateway_says_so() {
    for is_let_go in [false, true] {
        let worker = Paired::new();
        let started = worker.receive(connect(1)).unwrap();
        worker.receive(message(1, ""));
        let (counts, next) = worker.clients.return_started(started, &worker.epoch);
        assert_eq!(counts, one(2));
        assert!(next.is_none());
        receive_late(&worker, message(1, ""));
        let kept = Kept { clients: 1, returned: 3 };
        assert_eq!(worker.clients.kept_for(&worker.epoch), kept, "the gateway may die before others have it");
        assert_eq!(worker.clients.unfinished(), Unfinished::default());
        if is_let_go {
            worker.epoch.end();
            worker.clients.supersede(&worker.epoch);
        } else {
            worker.clients.forget(&worker.epoch, &[1]);
        }
        worker.assert_nothing_is_left();
    }
}

#[test]
fn what_was_given_back_runs_in_order_before_the_close_when_the_gateway_is_lost() {
    let worker = Paired::new();
    let started = worker.receive(connect(1)).unwrap();
    worker.receive(message(1, "1"));
    worker.clients.return_started(started, &worker.epoch);
    receive_late(&worker, message(1, "2"));
    worker.epoch.end();
    worker.clients.hold(&worker.epoch);
    let seen =
        ["1 connect again []", "1 message again [1]", "1 message again [2]", "1 gateway-lost again []"];
    assert_eq!(close_all(&worker, &worker.epoch), seen);
    worker.assert_nothing_is_left();
}

#[test]
fn what_was_given_back_to_one_gateway_is_kept_when_something_is_given_back_to_another() {
    let mut worker = Paired::new();
    worker.come(1);
    receive_late(&worker, message(1, ""));
    let pairing = Pairing { instance: 9, epoch: 1 };
    let (other, _) = worker.pairings.begin(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 2301), pairing, 0);
    assert_eq!(worker.clients.return_unbegun(&other), EventCounts::default());
    worker.epoch.end();
    assert_eq!(close_all(&worker, &worker.epoch).len(), 2);
}

#[test]
fn what_was_given_back_runs_behind_the_handler_that_had_begun() {
    let worker = Paired::new();
    let running = worker.receive(message(1, "1"));
    worker.receive(message(1, "2"));
    worker.clients.return_unbegun(&worker.epoch);
    receive_late(&worker, message(1, "3"));
    worker.epoch.end();
    assert!(close_all(&worker, &worker.epoch).is_empty(), "a handler runs");
    let seen = ["message again [1]", "message again [2]", "message again [3]", "gateway-lost again []"];
    assert_eq!(worker.handle(running), seen.map(|seen| format!("1 {seen}")));
    worker.assert_nothing_is_left();
}

#[test]
fn a_close_that_was_given_back_runs_once_and_its_gateway_hears_of_it_if_it_comes_back() {
    let worker = Paired::new();
    worker.come(1);
    let started = worker.receive(message(1, "")).unwrap();
    worker.receive(close(1));
    worker.clients.return_started(started, &worker.epoch);
    worker.epoch.end();
    assert_eq!(worker.clients.lose(&worker.epoch), [id(1)]);
    let seen = worker.handle(worker.clients.close_lost(id(1)));
    assert_eq!(seen, ["1 message again []", "1 unknown again []"]);
    worker.assert_nothing_is_left();
}

#[test]
fn what_was_given_back_takes_no_room_until_its_gateway_is_lost() {
    let worker = Paired::with_budget(3 * COST);
    let started = worker.receive(message(1, "")).unwrap();
    worker.receive(message(1, ""));
    worker.clients.return_started(started, &worker.epoch);
    receive_late(&worker, message(1, ""));
    worker.epoch.end();
    worker.clients.hold(&worker.epoch);
    assert!(worker.has_room_for(3));
    let lost = worker.clients.lose(&worker.epoch);
    assert!(!worker.has_room_for(1));
    assert_eq!(lost.len(), 1);
    assert_eq!(worker.handle(worker.clients.close_lost(id(1))).len(), 4);
    worker.assert_nothing_is_left();
}

#[test]
fn an_event_behind_those_that_were_given_back_is_given_back_too() {
    let worker = Paired::new();
    worker.come(1);
    let started = worker.receive(message(1, "1")).unwrap();
    worker.clients.return_started(started, &worker.epoch);
    // The reader did not know yet that the worker drains.
    let mut event = Event::from_command(message(1, "2")).unwrap();
    event.epoch = Some(worker.epoch.clone());
    assert!(worker.clients.try_reserve(&event));
    assert!(matches!(worker.clients.enqueue(event), Enqueued::Returned(_)));
    assert!(worker.clients.budget().is_whole());
    worker.epoch.end();
    let seen = ["1 message again [1]", "1 message again [2]", "1 gateway-lost again []"];
    assert_eq!(close_all(&worker, &worker.epoch), seen);
}

#[test]
fn an_event_that_is_about_to_be_given_back_runs_if_its_gateway_is_lost_meanwhile() {
    let worker = Paired::new();
    let started = worker.receive(message(1, "")).unwrap();
    worker.epoch.end();
    assert_eq!(worker.clients.lose(&worker.epoch), [id(1)]);
    assert!(worker.clients.close_lost(id(1)).is_none(), "the event is before it");
    let (counts, next) = worker.clients.return_started(started, &worker.epoch);
    assert_eq!(counts, EventCounts::default());
    assert_eq!(worker.handle(next), ["1 message again []", "1 gateway-lost again []"]);
    worker.assert_nothing_is_left();
}

#[test]
fn a_client_of_another_process_with_the_same_id_comes_behind_what_was_given_back() {
    for has_close in [false, true] {
        let mut worker = Paired::new();
        worker.come(1);
        receive_late(&worker, message(1, ""));
        if has_close {
            receive_late(&worker, close(1));
        }
        let Some(Previous::Lost(before)) = worker.pair_again(8) else { panic!("another process") };
        assert_eq!(worker.clients.lose(&before), [id(1)]);
        let started = worker.receive(connect(1));
        let closed = if has_close { "1 unknown again []" } else { "1 gateway-lost again []" };
        assert_eq!(worker.handle(started), ["1 message again []", closed, "1 connect []"]);
        assert!(worker.clients.close_lost(id(1)).is_none(), "it was closed");
        assert!(worker.clients.has_clients_of(&worker.epoch), "the new one is there");
        worker.handle(worker.receive(close(1)));
        worker.assert_nothing_is_left();
    }
}
