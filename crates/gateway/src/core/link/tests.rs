//! What a link's peer says, and what becomes of it.

use bytes::Bytes;
use gatewayworker_protocol::EventCounts;

use super::*;

const SHARDS: usize = 2;

fn link() -> LinkState {
    LinkState::new(SecretKey::default(), MAX_FRAME_LEN, SHARDS)
}

/// Returns what the link says of these commands, until one says something that is not for the shards.
fn take(link: &mut LinkState, commands: impl IntoIterator<Item = Command>) -> Taken {
    let mut bytes = BytesMut::new();
    commands.into_iter().for_each(|command| command.encode(&mut bytes));
    link.next(&mut bytes, || 1)
}

type Taken = Result<Option<LinkEvent>, LinkProtocolError>;

fn hello(features: Option<Features>, process: Option<u64>) -> Command {
    let (worker_key, secret_key) = (Some("worker:0".into()), Some(SecretKey::default()));
    Command::WorkerConnect(Hello { worker_key, secret_key, features, process })
}

fn done(epoch: u32) -> Command {
    Command::Done { epoch, counts: EventCounts(vec![(2, 1), (4, 1), (3, 2)]) }
}

fn returned(epoch: u32) -> Command {
    Command::Return { epoch, counts: EventCounts(vec![(2, 1)]), is_begun: false }
}

fn set_session(connection_id: u32) -> Command {
    Command::SetSession { connection_id, session: Bytes::from_static(b"session") }
}

/// Returns the names of the commands that wait for each shard, in their order.
fn pending(link: &LinkState) -> Vec<Vec<String>> {
    let name = |command: &ShardCommand| {
        let debug = format!("{command:?}");
        debug[..debug.find('(').unwrap()].to_owned()
    };
    link.pending.iter().map(|pending| pending.iter().map(name).collect()).collect()
}

#[test]
fn a_worker_acknowledges_events_if_it_says_so_and_names_its_process() {
    let none = Features { acknowledged_events: false, ..Features::ALL };
    for (listed, named, acknowledges) in [
        (Some(Features::ALL), Some(7), true),
        (Some(Features::ALL), None, false),
        (Some(none), Some(7), false),
        (None, Some(7), false),
    ] {
        let event = take(&mut link(), [hello(listed, named)]);
        let Ok(Some(LinkEvent::Worker { key, features, is_ours, process })) = event else {
            panic!("{event:?}")
        };
        assert_eq!((key.as_str(), is_ours), ("worker:0", listed.is_some()));
        assert_eq!((features.acknowledged_events, process.is_some()), (acknowledges, acknowledges));
    }
}

#[test]
fn only_a_greeting_with_a_pairing_lists_acknowledged_events() {
    let pairing = Pairing { instance: 1, epoch: 2 };
    for pairing in [None, Some(pairing)] {
        let Command::Ping(body) = link().greeting(pairing) else { panic!("no ping") };
        let Some(PingBody::Welcome { features, pairing: named }) = PingBody::parse(&body) else {
            panic!("no greeting")
        };
        assert_eq!((features.acknowledged_events, named), (pairing.is_some(), pairing));
    }
}

#[test]
fn events_are_done_behind_the_commands_that_were_said_before() {
    let mut link = link();
    link.attach(7);
    let said = [set_session(2), done(7), set_session(4), returned(7)];
    assert!(matches!(take(&mut link, said), Ok(None)));
    assert_eq!(pending(&link), [vec!["SetSession", "Done", "SetSession", "Return"], vec!["Done"]]);
}

#[test]
fn events_of_another_epoch_are_not_done() {
    let mut link = link();
    for command in [done(7), returned(7)] {
        assert!(matches!(take(&mut link, [command]), Ok(Some(LinkEvent::Ignored(_)))));
    }
    link.attach(7);
    for command in [done(6), returned(6), done(0)] {
        assert!(matches!(take(&mut link, [command]), Ok(Some(LinkEvent::Ignored(_)))));
    }
    assert_eq!(pending(&link), [vec![""; 0], vec![]]);
}

#[test]
fn closes_count_when_the_link_is_attached_and_stand_before_what_comes_later() {
    let mut link = link();
    let attach = Command::Attach { epoch: 7, process: 1 };
    let said = [Command::Closed(vec![2, 3, 4]), Command::Closed(vec![6]), attach];
    assert!(matches!(take(&mut link, said), Ok(Some(LinkEvent::Attach { epoch: 7, process: 1 }))));
    assert_eq!(pending(&link), [vec![""; 0], vec![]]);
    assert!(link.attach(7));
    assert!(matches!(take(&mut link, [set_session(2)]), Ok(None)));
    assert_eq!(pending(&link), [vec!["Closed", "SetSession"], vec!["Closed"]]);
    let late = take(&mut link, [Command::Closed(vec![2])]);
    assert!(matches!(late, Ok(Some(LinkEvent::Ignored(_)))));
    assert!(!self::link().attach(7), "nothing was closed");
}

#[test]
fn a_link_that_is_attached_or_a_workers_is_not_attached_again() {
    let attach = || Command::Attach { epoch: 7, process: 1 };
    let mut attached = link();
    attached.attach(6);
    let mut event_link = link();
    take(&mut event_link, [hello(Some(Features::ALL), Some(1))]).unwrap();
    for link in [&mut attached, &mut event_link] {
        assert!(matches!(take(link, [attach()]), Err(LinkProtocolError::OtherUse("ATTACH"))));
    }
    let late = take(&mut attached, [hello(Some(Features::ALL), Some(1))]);
    assert!(matches!(late, Err(LinkProtocolError::OtherUse("WORKER_CONNECT"))));
}

#[test]
fn an_event_link_belongs_to_one_epoch() {
    let mut paired = link();
    take(&mut paired, [hello(Some(Features::ALL), Some(1))]).unwrap();
    let again = take(&mut paired, [hello(Some(Features::ALL), Some(1))]);
    assert!(matches!(again, Err(LinkProtocolError::OtherUse("WORKER_CONNECT"))));
    // As in the original.
    let mut php = link();
    for _ in 0..2 {
        assert!(matches!(take(&mut php, [hello(None, None)]), Ok(Some(LinkEvent::Worker { .. }))));
    }
}

#[test]
fn joins_are_collected_where_names_are_announced() {
    for has_interest in [true, false] {
        let mut link = link().with_interest(has_interest);
        let mut bytes = BytesMut::new();
        Command::JoinGroup { connection_id: 1, group: "a".into() }.encode(&mut bytes);
        Command::LeaveGroup { connection_id: 1, group: "b".into() }.encode(&mut bytes);
        Command::BindUid { connection_id: 1, uid: "c".into() }.encode(&mut bytes);
        assert!(link.next(&mut bytes, || 0).unwrap().is_none());
        let joined = [Name::group(b"a"), Name::uid(b"c")];
        assert_eq!(link.joined, if has_interest { &joined[..] } else { &[] });
    }
}

#[test]
fn a_link_is_an_interest_link_only_where_names_are_announced() {
    let features = Some(Features { interest: true, ..Features::default() });
    let hello = Hello { worker_key: None, secret_key: Some(SecretKey::default()), features, process: None };
    let report = Command::InterestReport(InterestReport::Applied(3));
    for has_interest in [true, false] {
        let mut link = link().with_interest(has_interest);
        let mut bytes = BytesMut::new();
        Command::ClientConnect(hello.clone()).encode(&mut bytes);
        report.clone().encode(&mut bytes);
        let first = link.next(&mut bytes, || 0).unwrap();
        assert_eq!(matches!(first, Some(LinkEvent::Subscribe)), has_interest, "{first:?}");
        let second = link.next(&mut bytes, || 0).unwrap();
        assert_eq!(matches!(second, Some(LinkEvent::InterestReport(_))), has_interest, "{second:?}");
        let names: Vec<_> = match link.greeting(None) {
            Command::Ping(body) => match PingBody::parse(&body) {
                Some(PingBody::Welcome { features, .. }) => features.names().collect(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        assert_eq!(names.contains(&"interest"), has_interest);
    }
}

#[test]
fn a_report_comes_only_from_a_worker_that_lists_it_and_is_for_no_shard() {
    let report = |number| Command::Report { number, body: r#"{"version":"0.1.0"}"#.into() };
    let silent = Features { worker_reports: false, ..Features::ALL };
    for (features, is_taken) in [(Some(Features::ALL), true), (Some(silent), false), (None, false)] {
        let mut link = link();
        take(&mut link, [hello(features, Some(1))]).unwrap();
        let event = take(&mut link, [report(7)]).unwrap();
        match event {
            Some(LinkEvent::Report { number: 7, body }) if is_taken => {
                let read = link.read_report(&body, 0).unwrap().unwrap();
                assert_eq!(read.report.version, "0.1.0");
                assert_eq!(link.read_report(&body, 1), Ok(None), "too soon");
            }
            Some(LinkEvent::Ignored(_)) if !is_taken => {}
            event => panic!("{features:?}: {event:?}"),
        }
        assert_eq!(pending(&link), [vec![""; 0], vec![]]);
    }
    assert!(matches!(take(&mut link(), [report(1)]), Ok(Some(LinkEvent::Ignored(_)))), "a call link");
    let keyed = LinkState::new(SecretKey::new("key"), MAX_FRAME_LEN, SHARDS);
    assert!(matches!(take(&mut { keyed }, [report(1)]), Err(LinkProtocolError::Unauthorized(218))));
}
