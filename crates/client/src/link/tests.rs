//! A link whose task is held up, while its gateway is not.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

use bytes::BytesMut;
use gatewayworker_protocol::{Command, Pairing, Question, frame_answer};

use super::*;

const INTERVAL: Duration = Duration::from_millis(100);
const TIMEOUT: Duration = Duration::from_millis(200);

/// A link, and its gateway, which needs no task to answer.
async fn linked() -> (Arc<Link>, std::net::TcpStream, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let SocketAddr::V4(address) = listener.local_addr().unwrap() else { unreachable!() };
    let settings = LinkSettings {
        connector: LinkConnector::default(),
        secret_key: SecretKey::default(),
        question_timeout: TIMEOUT,
        liveness: Liveness::new(INTERVAL, TIMEOUT),
        process: 0,
        gather_writes: false,
        interest: Interest::Off,
        interest_runtime: None,
        left_out: None,
        journal: Arc::default(),
        questions: None,
    };
    let (changes, mut changed) = watch::channel(0);
    let link = Arc::new(Link::new(address, Arc::new(settings), changes));
    let running = link.clone().run(watch::channel(true).1);
    let running = AbortOnDropHandle::new(tokio::spawn(running));
    while !link.is_live() {
        changed.changed().await.unwrap();
    }
    let gateway = listener.accept().unwrap().0;
    gateway.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    (link, gateway, running)
}

/// Holds the thread up for that time, as a handler may that blocks.
fn hold_up(time: Duration) {
    let started = std::time::Instant::now();
    while started.elapsed() < time {
        std::thread::yield_now();
    }
}

fn is_online() -> Frame {
    Command::Ask(Question::IsOnline(1)).into_frame()
}

/// Reads the next question, and answers it.
fn answer(gateway: &mut std::net::TcpStream) {
    let mut question = BytesMut::new();
    is_online().encode(&mut question);
    gateway.read_exact(&mut question).unwrap();
    let mut framed = BytesMut::new();
    frame_answer(b"i:1;", &mut framed);
    gateway.write_all(&framed).unwrap();
}

#[tokio::test]
async fn a_link_that_was_held_up_reads_before_it_judges() {
    let (link, mut gateway, _running) = linked().await;
    let (asker, mut answered) = oneshot::channel();
    link.update(|core| core.ask(is_online(), asker, Instant::now().into_std())).unwrap();
    answer(&mut gateway);
    hold_up(2 * TIMEOUT);
    link.handle_timeout();
    assert!(link.is_live());
    assert_eq!(answered.try_recv().unwrap().unwrap(), "i:1;");
}

#[tokio::test]
async fn an_asker_that_was_held_up_gets_the_answer_that_has_come_meanwhile() {
    let (link, mut gateway, _running) = linked().await;
    let mut asking = std::pin::pin!(link.ask(is_online()));
    assert!(futures_util::poll!(&mut asking).is_pending());
    answer(&mut gateway);
    hold_up(2 * TIMEOUT);
    assert_eq!(asking.await.unwrap(), "i:1;");
}

#[tokio::test]
async fn a_link_that_was_held_up_and_has_nothing_to_read_is_given_up() {
    let (link, _gateway, _running) = linked().await;
    let (asker, mut answered) = oneshot::channel();
    link.update(|core| core.ask(is_online(), asker, Instant::now().into_std())).unwrap();
    hold_up(2 * TIMEOUT);
    link.handle_timeout();
    assert!(!link.is_live());
    assert_eq!(answered.try_recv().unwrap(), Err(Unreached::TimedOut));
}

#[tokio::test]
async fn what_a_connection_has_received_answers_no_question_of_the_next_one() {
    let (link, mut gateway, _running) = linked().await;
    let old = link.any_connection().unwrap();
    let (asker, _) = oneshot::channel();
    link.update(|core| core.ask(is_online(), asker, Instant::now().into_std())).unwrap();
    answer(&mut gateway);

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = LinkStream::connect(listener.local_addr().unwrap(), None).await.unwrap();
    let next = Arc::new(CallConnection::new(link.address, stream, OUTBOX));
    link.update(|core| core.connected(next, Instant::now().into_std())).unwrap();
    let (asker, mut answered) = oneshot::channel();
    link.update(|core| core.ask(is_online(), asker, Instant::now().into_std())).unwrap();
    assert!(old.read_directly(|received| link.receive(&old, received)).is_some());
    assert!(answered.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
}

#[tokio::test]
async fn who_listens_hears_whether_bytes_have_come_since_the_read_before() {
    let (link, mut gateway, _running) = linked().await;
    link.attach(Pairing { instance: 7, epoch: 1 }, &[]).unwrap();
    let (hear, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let hear = move |was_read_out| _ = hear.send(was_read_out);
    link.listen(1, hear).unwrap();
    let mut attach = BytesMut::new();
    Command::Attach { epoch: 1, process: 0 }.encode(&mut attach);
    gateway.read_exact(&mut attach).unwrap();
    let mut asking = std::pin::pin!(link.ask(is_online()));
    assert!(futures_util::poll!(&mut asking).is_pending());
    answer(&mut gateway);
    asking.await.unwrap();
    assert!(heard.recv().await.unwrap(), "there was nothing before");

    // More than is read at once.
    let (asker, answered) = oneshot::channel();
    link.update(|core| core.ask(is_online(), asker, Instant::now().into_std())).unwrap();
    let mut question = BytesMut::new();
    is_online().encode(&mut question);
    gateway.read_exact(&mut question).unwrap();
    let mut long = BytesMut::new();
    frame_answer(&[b'x'; 100_000], &mut long);
    gateway.write_all(&long).unwrap();
    link.handle_timeout();
    assert_eq!(answered.await.unwrap().unwrap().len(), 100_000);
    assert!(heard.recv().await.unwrap());
    assert!(!heard.recv().await.unwrap(), "that had come with it");
}
