//! Clients of `gw.1` that have agreed on compression, and come back with another agreement. Real daemons, byte for byte.

use std::net::SocketAddr;

use flate2::{Compress, Compression, FlushCompress};
use gatewayworker_tests::conformance::{FIN, TEXT, client_frame};
use gatewayworker_tests::{WsClient, eventually, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::resume::{builder, cut};
use crate::rfc7692::{OFFER, RSV1, compressed, compressed_within, json};

/// A connection of a client that has offered this.
struct Line(TcpStream);

impl Line {
    /// Opens it, with this as its first message.
    async fn open(listener: SocketAddr, offer: Option<&str>, first: &str) -> Self {
        Self::open_with(listener, offer, first, None).await
    }

    /// Does the same, and compresses the message with this, whatever the answer to the offer was.
    async fn open_with(
        listener: SocketAddr,
        offer: Option<&str>,
        first: &str,
        unasked: Option<&mut Compress>,
    ) -> Self {
        let stream = TcpStream::connect(listener).await.unwrap();
        let mut request = format!("ws://{listener}/").into_client_request().unwrap();
        let headers = request.headers_mut();
        headers.insert("Sec-WebSocket-Protocol", "gw.1".parse().unwrap());
        if let Some(offer) = offer {
            headers.insert("Sec-WebSocket-Extensions", offer.parse().unwrap());
        }
        let mut tcp = WsClient::over(stream, request).await.unwrap().into_inner();
        let first = format!("\u{1}{first}");
        match unasked {
            None => tcp.write_all(&client_frame(FIN | TEXT, first.as_bytes())).await.unwrap(),
            Some(compress) => tcp.write_all(&deflated(compress, &first)).await.unwrap(),
        }
        Self(tcp)
    }

    async fn resume(
        listener: SocketAddr,
        offer: Option<&str>,
        (token, attempt, got): (&str, u64, u64),
    ) -> Self {
        let resume = serde_json::json!({"resume": {"token": token, "try": attempt, "got": got}});
        let mut line = Self::open(listener, offer, &resume.to_string()).await;
        let (_, resumed) = line.frame().await;
        assert!(resumed.starts_with(b"\x01{\"resumed\""), "{}", String::from_utf8_lossy(&resumed));
        line
    }

    /// Waits for the next frame: its first byte, and its payload.
    async fn frame(&mut self) -> (u8, Vec<u8>) {
        let read = async {
            let [first, len] = [self.0.read_u8().await.unwrap(), self.0.read_u8().await.unwrap()];
            let len = if len == 126 { self.0.read_u16().await.unwrap().into() } else { usize::from(len) };
            let mut payload = vec![0; len];
            self.0.read_exact(&mut payload).await.unwrap();
            (first, payload)
        };
        soon("a frame", read).await
    }
}

/// The frame of a message that is compressed and refers to those before.
fn deflated(compress: &mut Compress, message: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 100);
    compress.compress_vec(message.as_bytes(), &mut out, FlushCompress::Sync).unwrap();
    out.truncate(out.len() - 4);
    client_frame(FIN | RSV1 | TEXT, &out)
}

/// As Safari of iOS 15 does.
#[tokio::test]
async fn a_client_that_compresses_unasked_from_its_first_message_on_is_understood() {
    let cluster = builder().secret_key("a key").gateways(2).start().await;
    let [own, other] = [0, 1].map(|n| cluster.gateways[n].listeners[0]);
    let new = || Compress::new(Compression::fast(), false);
    let mut compress = new();
    let mut line = Line::open_with(own, Some(OFFER), r#"{"start":{}}"#, Some(&mut compress)).await;
    let (_, hello) = line.frame().await;
    let hello: serde_json::Value = serde_json::from_slice(&hello[1..]).unwrap();
    let token = hello["hello"]["token"].as_str().unwrap();
    line.frame().await;
    let said = "a message that is like {\"start\":{}} and refers to it";
    for _ in 0..2 {
        line.0.write_all(&deflated(&mut compress, said)).await.unwrap();
        assert_eq!(line.frame().await, (FIN | TEXT, said.into()), "the worker echoes");
    }
    drop(line);
    cut(&cluster).await;

    // What is said on a new connection refers to its own first message.
    let resume =
        |attempt: u64| serde_json::json!({"resume": {"token": token, "try": attempt, "got": 3}}).to_string();
    let mut compress = new();
    let mut line = Line::open_with(own, Some(OFFER), &resume(1), Some(&mut compress)).await;
    assert!(line.frame().await.1.starts_with(b"\x01{\"resumed\""));
    line.0.write_all(&deflated(&mut compress, &resume(1))).await.unwrap();
    assert_eq!(line.frame().await.1, resume(1).as_bytes());
    drop(line);
    cut(&cluster).await;

    // The gateway that has the client would not know what that message was: better a new client than one that ends with 1007.
    let mut compress = new();
    let mut line = Line::open_with(other, Some(OFFER), &resume(2), Some(&mut compress)).await;
    assert_eq!(line.frame().await.1, b"\x01{\"lost\":{\"why\":\"unknown\"}}");
    assert!(line.frame().await.1.starts_with(b"\x01{\"hello\""));
    line.frame().await;
    line.0.write_all(&deflated(&mut compress, &resume(2))).await.unwrap();
    assert_eq!(line.frame().await.1, resume(2).as_bytes());
}

#[tokio::test]
async fn a_client_comes_back_with_another_agreement_to_any_gateway_and_can_read_all_that_it_missed() {
    let compressing = |config: &mut gatewayworker_gateway::Config| {
        config.resume = true;
        config.compression = true;
    };
    let cluster = builder().secret_key("a key").gateways(2).gateway(compressing).start().await;
    let [own, other] = [0, 1].map(|n| cluster.gateways[n].listeners[0]);
    let api = cluster.api().await;
    let text = json(5000);
    let message = || String::from_utf8(text.clone()).unwrap();
    let plain = (FIN | TEXT, text.clone());

    let mut line = Line::open(own, Some(OFFER), r#"{"start":{}}"#).await;
    let (_, hello) = line.frame().await;
    let hello: serde_json::Value = serde_json::from_slice(&hello[1..]).unwrap();
    let token = hello["hello"]["token"].as_str().unwrap();
    let id = hello["hello"]["client"].as_str().unwrap().parse().unwrap();
    line.frame().await;
    eventually("the admission", async || api.is_online(id).await.unwrap()).await;
    api.send_to_client(id, message()).await.unwrap();
    assert_eq!(line.frame().await, (FIN | RSV1 | TEXT, compressed(&text)));
    // It has the greeting; what came behind that is in doubt.
    drop(line);
    cut(&cluster).await;
    api.send_to_all(message()).await.unwrap();

    for (attempt, listener, offer, first, sent) in [
        (1, other, None, FIN | TEXT, text.clone()),
        (2, own, Some(OFFER), FIN | RSV1 | TEXT, compressed(&text)),
        (3, other, Some("permessage-deflate; server_max_window_bits=10"), FIN | RSV1 | TEXT, {
            compressed_within(10, &text)
        }),
        (4, own, None, FIN | TEXT, text.clone()),
        (5, other, Some(OFFER), FIN | RSV1 | TEXT, compressed(&text)),
    ] {
        let mut line = Line::resume(listener, offer, (token, attempt, 1)).await;
        for _ in 0..=attempt {
            assert!(line.frame().await == plain, "what is sent again is plain, attempt {attempt}");
        }
        api.send_to_client(id, message()).await.unwrap();
        assert!(line.frame().await == (first, sent), "attempt {attempt}");
        drop(line);
        cut(&cluster).await;
    }
}
