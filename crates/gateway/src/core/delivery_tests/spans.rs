//! Which events are traced, what a worker is told of that, and when their spans end.

use gatewayworker_protocol::frame::FLAG_REDELIVERED;
use gatewayworker_protocol::{CloseReason, FLAG_TRACE_CONTEXT, Features, Frame, TraceContext, code};

use super::{Gateway, Link, crash};
use crate::core::Shard;
use crate::core::delivery_settings::{DeliveryMode, DeliverySettings};
use crate::core::effects::Effect;
use crate::core::event_spans::{SpanChange, SpanEnd, SpanSettings};
use crate::core::testing::{self, told};
use crate::core::worker_link::{Gone, Peer};

/// A gateway of one shard that traces this part of the events.
fn traced(sample: f64) -> Gateway {
    traced_with(sample, DeliverySettings::default())
}

fn traced_with(sample: f64, settings: DeliverySettings) -> Gateway {
    let mut gateway = Gateway::with(settings);
    let shard = Shard::new(gateway.shards[0].settings.clone(), gateway.workers.clone());
    gateway.shards = vec![shard.with_spans(SpanSettings { sample, seed: 7 })];
    gateway
}

/// What a worker was sent: the command, the flags, the trace, and the body without it.
fn frames(link: &Link) -> Vec<(u8, u8, Option<TraceContext>, String)> {
    let mut written = std::mem::take(&mut *link.buffer.written.borrow_mut());
    let frames = std::iter::from_fn(|| Frame::parse(&mut written, usize::MAX).unwrap());
    frames
        .map(|mut frame| {
            let is_traced = frame.flag & FLAG_TRACE_CONTEXT != 0;
            let context = is_traced.then(|| TraceContext::take(&mut frame.body).unwrap());
            (frame.cmd, frame.flag, context, String::from_utf8(frame.body.to_vec()).unwrap())
        })
        .collect()
}

impl Gateway {
    /// The spans that have begun or ended since the last call.
    fn spans(&mut self) -> Vec<SpanChange> {
        let spans = self.effects.extract_if(.., |effect| matches!(effect, Effect::Span(_)));
        spans
            .filter_map(|effect| match effect {
                Effect::Span(change) => Some(*change),
                _ => None,
            })
            .collect()
    }

    /// How spans have ended since the last call, and whether their events were redelivered.
    fn ends(&mut self) -> Vec<(SpanEnd, bool)> {
        let ends = self.spans().into_iter().filter_map(|change| match change {
            SpanChange::Ended { end, is_redelivered, .. } => Some((end, is_redelivered)),
            SpanChange::Begun { .. } => None,
        });
        ends.collect()
    }
}

#[test]
fn an_event_that_is_not_sampled_is_byte_for_byte_as_ever() {
    let written = |mut gateway: Gateway| {
        let worker = gateway.worker("a", 1);
        let key = gateway.connect(7, &worker);
        gateway.say(key, "hi");
        gateway.close(key, CloseReason::ClientLeft);
        assert_eq!(gateway.spans(), []);
        std::mem::take(&mut *worker.buffer.written.borrow_mut())
    };
    assert_eq!(written(traced(0.0)), written(Gateway::new()));
}

#[test]
fn the_span_of_a_sampled_event_goes_from_its_coming_to_its_done() {
    let mut gateway = traced(1.0);
    let worker = gateway.worker("a", 1);
    let key = gateway.connect(7, &worker);
    gateway.say(key, "hi");
    gateway.close(key, CloseReason::ClientLeft);
    let told = frames(&worker);
    let commands: Vec<_> = told.iter().map(|(cmd, _, _, body)| (*cmd, body.as_str())).collect();
    assert_eq!(commands, [(code::ON_CONNECT, ""), (code::ON_MESSAGE, "hi"), (code::ON_CLOSE, "client-left")]);
    let begun = gateway.spans();
    for ((cmd, _, context, _), change) in told.iter().zip(&begun) {
        let SpanChange::Begun { context: of_span, parent: None, cmd: of, .. } = change else { panic!() };
        assert_eq!((Some(*of_span), of), (*context, cmd));
        assert!(of_span.is_sampled);
    }
    assert_ne!(told[0].2.unwrap().trace_id, told[1].2.unwrap().trace_id, "each event has its own trace");
    gateway.done(&worker, 7, 2);
    assert_eq!(gateway.ends(), [(SpanEnd::Done, false); 2]);
    gateway.done(&worker, 7, 1);
    let ended = gateway.spans();
    let span_id = told[2].2.unwrap().span_id;
    assert_eq!(
        ended,
        [SpanChange::Ended { span_id, worker: "a".into(), end: SpanEnd::Done, is_redelivered: false }]
    );
}

#[test]
fn about_as_many_events_are_sampled_as_the_setting_says() {
    let mut gateway = traced(0.25);
    let worker = gateway.worker("a", 1);
    let key = gateway.connected(7, &worker);
    let before = gateway.spans().iter().filter(|change| matches!(change, SpanChange::Begun { .. })).count();
    for _ in 0..1000 {
        gateway.say(key, "x");
        gateway.done(&worker, 7, 1);
    }
    let begun = gateway.spans().iter().filter(|change| matches!(change, SpanChange::Begun { .. })).count();
    assert!((200..300).contains(&begun), "{begun} (before that: {before})");
    assert_eq!(frames(&worker).iter().filter(|(_, _, context, _)| context.is_some()).count(), begun);
}

#[test]
fn a_redelivered_event_keeps_its_trace_and_its_span_says_so() {
    let mut gateway = traced(1.0);
    let worker = gateway.worker("a", 1);
    let key = gateway.connected(7, &worker);
    gateway.say(key, "hi");
    let first = frames(&worker).pop().unwrap();
    gateway.spans();
    let next = crash(&mut gateway, &worker, Gone::Ended);
    let again = frames(&next).pop().unwrap();
    assert_eq!((again.2, again.3.as_str()), (first.2, "hi"));
    assert!(again.1 & FLAG_REDELIVERED != 0);
    assert_eq!(gateway.spans(), [], "it goes on");
    gateway.done(&next, 7, 2);
    assert_eq!(gateway.ends(), [(SpanEnd::Done, true)], "an ADOPT has no span");
}

#[test]
fn a_worker_that_knows_no_trace_contexts_gets_the_event_without() {
    let mut gateway = traced(1.0);
    let features = Features { trace_context: false, event_context: false, ..Features::ALL };
    let ours = gateway.workers.join("a", 1 << 20, Peer { features, epoch: 1, process: Some(1) });
    gateway.settle();
    let key = gateway.connect(7, &ours);
    gateway.say(key, "hi");
    assert!(frames(&ours).iter().all(|(_, _, context, _)| context.is_none()));
    gateway.done(&ours, 7, 2);
    assert_eq!(gateway.ends(), [(SpanEnd::Done, false); 2]);
    gateway.gone(&ours, Gone::Ended);
    let php = gateway.php("b");
    gateway.say(key, "hi");
    let frames = frames(&php);
    assert_eq!((frames[0].1 & FLAG_TRACE_CONTEXT, frames[0].3.as_str()), (0, "hi"));
    assert_eq!(gateway.ends(), [(SpanEnd::Given, false)], "it does not say when it has finished");
}

#[test]
fn the_span_of_an_event_that_nobody_finishes_ends_when_it_is_dropped() {
    let at_most_once = DeliverySettings { mode: DeliveryMode::AtMostOnce, ..DeliverySettings::default() };
    let mut gateway = traced_with(1.0, at_most_once);
    let worker = gateway.worker("a", 1);
    let key = gateway.connected(7, &worker);
    gateway.say(key, "hi");
    gateway.spans();
    gateway.gone(&worker, Gone::Ended);
    assert_eq!(gateway.ends(), [(SpanEnd::Dropped, false)]);
    gateway.say(key, "waits, and its client is refused");
    gateway.close(key, CloseReason::Refused);
    assert_eq!(gateway.ends(), [(SpanEnd::Dropped, false)], "its close waits on");
}

#[test]
fn an_event_that_ends_one_worker_after_another_has_a_span_that_ends() {
    let mut gateway = traced_with(1.0, DeliverySettings { max_deliveries: 1, ..DeliverySettings::default() });
    let worker = gateway.worker("a", 1);
    let key = gateway.connected(7, &worker);
    gateway.say(key, "poison");
    gateway.spans();
    let next = crash(&mut gateway, &worker, Gone::Ended);
    assert_eq!(gateway.ends(), [(SpanEnd::Dropped, false)]);
    assert_eq!(told(&next), ["adopt 7", "close 7"]);
}

#[test]
fn a_client_that_names_a_parent_decides_for_its_connect_alone() {
    for (sample, is_sampled) in [(0.0, true), (1.0, false)] {
        let mut gateway = traced(sample);
        let worker = gateway.worker("a", 1);
        let parent = TraceContext { trace_id: 0xabc, span_id: 0xdef, is_sampled };
        let (key, _) = testing::client(&mut gateway.shards[0], 7, &worker, testing::policy());
        gateway.shards[0].tell_connected_within(parent, key, Some(b"handshake"), 0);
        gateway.settle();
        gateway.say(key, "hi");
        let traces: Vec<_> = frames(&worker).iter().map(|frame| frame.2.map(|c| c.trace_id)).collect();
        let parents: Vec<_> = gateway
            .spans()
            .iter()
            .map(|change| match change {
                SpanChange::Begun { parent, .. } => *parent,
                SpanChange::Ended { .. } => panic!("nothing is done"),
            })
            .collect();
        if is_sampled {
            assert_eq!((traces, parents), (vec![Some(0xabc), Some(0xabc), None], vec![Some(0xdef); 2]));
        } else {
            assert_eq!((&traces[..2], parents), (&[None, None][..], vec![None]));
            assert!(traces[2].is_some_and(|trace| trace != 0xabc), "the message is the gateway's decision");
        }
    }
}

#[test]
fn a_message_that_leaves_no_room_in_its_frame_is_not_traced() {
    let mut gateway = traced(1.0);
    let features = Features { large_frames: false, event_context: false, ..Features::ALL };
    let worker = gateway.workers.join("a", usize::MAX, Peer { features, epoch: 1, process: Some(1) });
    gateway.settle();
    let key = gateway.connected(7, &worker);
    gateway.spans();
    let fits = features.max_frame_len() - gatewayworker_protocol::HEADER_LEN;
    gateway.say(key, &"x".repeat(fits));
    assert_eq!(frames(&worker)[0].2, None);
    gateway.done(&worker, 7, 1);
    gateway.say(key, &"x".repeat(fits - TraceContext::LEN));
    assert!(frames(&worker)[0].2.is_some());
}
