//! Clients that talk to each other through two gateways and a worker.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use super::{Run, all_hear};
use crate::client::Client;

pub(super) async fn run(run: &mut Run) {
    handshake(run).await;
    messages(run).await;
    compressed(run).await;
    conversation(run).await;
    ends(run).await;
    strangers(run).await;
}

async fn handshake(run: &mut Run) {
    let path = "/room?list[]=1&list[]=2&c.d=x&name=%E5%B0%8F%E6%98%8E&map[k]=v";
    let listener = run.cluster.gateways[0].listener;
    let mut client = Client::connect(listener, path).await.expect("it is let in");
    let answer = client.ask("handshake").await;
    run.note("what a handler sees of the handshake", answer);
    client.leave().await;

    let headers = "X-Interop: a\r\nX-Interop: b\r\nCookie: one=1\r\nCookie: two=2\r\n";
    let by_url = Client::connect_by_hand(listener, "http://example.com/room?x=1", headers).await;
    let mut client = by_url.expect("it is let in");
    let answer = client.ask("handshake").await;
    run.note("what a handler sees of a URL, and of headers in several lines", answer);
    client.leave().await;

    let mut client = Client::connect(listener, "/?refuse=go+away").await.expect("it is greeted first");
    let heard = client.heard_before("").await;
    run.note("a client that the handler of the handshake closes", heard);
}

async fn messages(run: &mut Run) {
    let mut client = run.client("Ann", 0).await;
    for text in ["hello", "大家好 🐘", "", "a\u{0}b\r\n"] {
        let answer = client.ask(text).await;
        run.note(format!("echo of {text:?}"), answer);
    }
    for length in [125, 126, 65_535, 65_536, 1_000_000] {
        let text = "x".repeat(length);
        let answer = client.ask(&text).await == text;
        run.note(format!("echo of {length} bytes"), answer);
    }
    for n in 0..100 {
        client.say(&n.to_string()).await;
    }
    let mut echoes = Vec::new();
    for _ in 0..100 {
        echoes.push(client.hear().await);
    }
    run.note("100 messages at once", echoes);
    client.send(Message::Ping(b"there?".as_slice().into())).await;
    let pong = client.hear().await;
    run.note("a ping frame", pong);
    client.send(Message::binary(b"plain".as_slice())).await;
    let echo = client.hear().await;
    run.note("a binary message", echo);
    client.leave().await;

    let mut client = run.client("Ann", 0).await;
    client.send(Message::binary(b"\xff\x00\xfe".as_slice())).await;
    let echo = client.hear().await;
    run.note("a binary message that is not UTF-8", echo);
    client.vanish();
}

/// A client that compresses without an agreement, as Safari of iOS 15 does.
async fn compressed(run: &mut Run) {
    let listener = run.cluster.gateways[0].listener;
    let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let mut client = Client::connect_by_hand(listener, "/", offer).await.expect("it is let in");
    // "Hello" twice, the second time as a reference to the first: RFC 7692 section 7.2.3.2.
    let hello: [&[u8]; 2] = [&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], &[0xf2, 0x00, 0x11, 0x00, 0x00]];
    for message in hello {
        client.send_compressed(message).await;
        let echo = client.hear().await;
        run.note("a compressed message", echo);
    }
    client.leave().await;
}

async fn conversation(run: &mut Run) {
    let mut ann = run.client("Ann", 0).await;
    let mut bob = run.client("Bob", 1).await;
    let mut cat = run.client("Cat", 0).await;
    let mut nobody = run.client("Nobody", 1).await;
    for (client, name) in [(&mut ann, "Ann"), (&mut bob, "Bob"), (&mut cat, "Cat")] {
        let answer = client.ask(&format!("login {name}")).await;
        run.note(format!("{name} logs in"), answer);
    }
    for (client, groups) in
        [(&mut ann, ["room", "room"]), (&mut bob, ["room", "7"]), (&mut cat, ["7", "other"])]
    {
        for group in groups {
            client.ask(&format!("join {group}")).await;
        }
    }
    let (only, except) = (format!("only {} you", bob.id), format!("except {} not you", bob.id));
    for said in [
        "say hi all",
        "group room hi room",
        "group 7 hi 7",
        "others room hi others",
        "uid Bob psst",
        "uid No psst",
        &only,
        &except,
    ] {
        ann.say(said).await;
        let heard = all_hear(&mut [&mut ann, &mut bob, &mut cat, &mut nobody]).await;
        run.note(format!("Ann: {said}").replace(&bob.id, "Bob"), heard);
    }
    let question = format!("uid-of {}", bob.id);
    for asked in ["members room", "members 7", "members lobby", "members none", &question] {
        let answer = ann.ask(asked).await;
        run.note(format!("a handler asks: {asked}").replace(&bob.id, "Bob"), answer);
    }
    survey(run, "a handler asks all that can be asked", &mut ann).await;
    ann.ask(&format!(r#"set {} {{"name":"Robert"}}"#, bob.id)).await;
    ann.ask(&format!(r#"update {} {{"name":"Bob","n":[1]}}"#, bob.id)).await;
    let dump = bob.ask("dump").await;
    run.note("what a handler wrote into another client's session", dump);
    ann.ask("ungroup 7").await;
    cat.ask("unbind Cat").await;
    survey(run, "and again without a group and a uid", &mut ann).await;
    bob.ask("leave room").await;
    ann.say("group room who is left?").await;
    let heard = all_hear(&mut [&mut ann, &mut bob, &mut cat, &mut nobody]).await;
    run.note("Bob has left the room", heard);
    for client in [&mut bob, &mut cat] {
        let mut counts = Vec::new();
        for _ in 0..3 {
            counts.push(client.ask("count").await);
        }
        run.note("counting in the session", counts);
    }
    nobody.leave().await;
    cat.leave().await;
    let heard = ann.hear().await;
    run.note("Cat leaves", heard);
    bob.vanish();
    let heard = ann.hear().await;
    run.note("Bob's connection ends without a word", heard);
    ann.leave().await;
}

async fn survey(run: &mut Run, name: &str, by: &mut Client) {
    // Commands and questions of different handlers may use different links.
    run.settle().await;
    let answers = by.ask("survey").await;
    run.note(name, serde_json::from_str::<serde_json::Value>(&answers).unwrap_or(answers.into()));
}

async fn ends(run: &mut Run) {
    let mut ann = run.client("Ann", 0).await;
    ann.say("quit bye").await;
    let heard = ann.heard_before("").await;
    run.note("a handler closes its own client", heard);
    let mut ann = run.client("Ann", 0).await;
    for place in [0, 1] {
        let mut bob = run.client("Bob", place).await;
        ann.say(&format!("kick {} bye", bob.id)).await;
        let heard = bob.heard_before("").await;
        run.note(format!("a handler closes a client of gateway {}", place + 1), heard);
        let mut bob = run.client("Bob", place).await;
        ann.say(&format!("destroy {}", bob.id)).await;
        let heard = bob.heard_before("").await;
        run.note(format!("a handler destroys a client of gateway {}", place + 1), heard);
    }
    ann.leave().await;
}

/// Connections that are no WebSocket clients, or not yet.
async fn strangers(run: &mut Run) {
    run.nobody_left().await;
    let mut ann = run.client("Ann", 0).await;
    let listener = run.cluster.gateways[0].listener;
    let silent = TcpStream::connect(listener).await.expect("it listens");
    // The gateway has had time to process it.
    ann.heard().await;
    ann.heard().await;
    let count = run.count().await;
    run.note("how many clients are counted, with a connection that has said nothing", count);
    drop(silent);
    let mut plain = TcpStream::connect(listener).await.expect("it listens");
    plain
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await
        .expect("it reads");
    let mut answer = Vec::new();
    let _ = gatewayworker_tests::soon("the end of the answer", plain.read_to_end(&mut answer)).await;
    let status = String::from_utf8_lossy(&answer).split(' ').nth(1).map(str::to_owned);
    run.note("the status that plain HTTP is answered with", status);
    ann.leave().await;
}
