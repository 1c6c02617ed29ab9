//! PHP values: a session, an answer of a thousand clients, and a question.

#![allow(missing_docs, clippy::unwrap_used)]

use bytes::{Bytes, BytesMut};
use gatewayworker_microbench::Suite;
use gatewayworker_protocol::php::{self, Array, Value};
use gatewayworker_protocol::{Command, Field, Filter, Question, Select, frame_answer, parse_answer};

fn main() {
    let mut suite = Suite::default();
    let session = session(7);
    let large = Array::list((0..1000).map(self::session)).into();
    value(&mut suite, ["session/serialize", "session/unserialize"], session.clone());
    value(&mut suite, ["1000 sessions/serialize", "1000 sessions/unserialize"], large);

    let stored = php::serialize(&session);
    let update = php::serialize(&Array::from_iter([("room", "elsewhere")]).into());
    suite.add("session/merge", move || php::merge_sessions(&stored, &update, 1 << 20).unwrap());
    let stored = php::serialize(&session);
    suite.add("session/json", move || php::json_encode(&stored).unwrap());

    let filters = vec![Filter::Groups(vec![Bytes::from_static(b"room 7")])];
    let select = Select { fields: vec![Field::Uid, Field::Session], filters };
    let question = Command::Ask(Question::Select(Some(select)));
    let (asked, mut out) = (question.clone(), BytesMut::with_capacity(4096));
    suite.add("question/write", move || {
        out.clear();
        asked.clone().encode(&mut out);
    });
    let frame = question.into_frame();
    suite.add("question/read", move || Command::decode(frame.clone()).unwrap());
    let answer = php::serialize(&1.into());
    let mut buffer = BytesMut::with_capacity(4096);
    suite.add("answer/write and read", move || {
        buffer.reserve(64);
        frame_answer(&answer, &mut buffer);
        let answer = parse_answer(&mut buffer, 4096).unwrap().unwrap();
        php::unserialize(&answer).unwrap()
    });
    suite.measure();
}

fn value(suite: &mut Suite, [write, read]: [&'static str; 2], value: Value) {
    let bytes = php::serialize(&value);
    suite.add(write, move || php::serialize(&value));
    suite.add(read, move || php::unserialize(&bytes).unwrap());
}

fn session(n: i64) -> Value {
    let fields: [(&str, Value); 6] = [
        ("uid", n.into()),
        ("name", format!("client {n}").into()),
        ("room", "lobby".into()),
        ("since", 1_700_000_000_i64.into()),
        ("score", 0.5.into()),
        ("muted", false.into()),
    ];
    Array::from_iter(fields).into()
}
