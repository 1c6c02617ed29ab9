//! A request over HTTP, byte for byte, on a connection of its own. Tests send it as a whole or in parts.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::soon;

/// A request. [`HttpRequest::send`] sends it.
#[derive(Debug, Clone)]
pub struct HttpRequest {
    server: SocketAddr,
    line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// The answer to a request.
#[derive(Debug)]
pub struct HttpAnswer {
    /// The status.
    pub status: u16,
    /// The body as JSON, a string if it is of another type, or null without a body.
    pub body: Value,
    headers: Vec<(String, String)>,
}

impl HttpRequest {
    /// Returns a request without a body.
    pub fn new(server: SocketAddr, method: &str, path: &str) -> Self {
        Self { server, line: format!("{method} {path} HTTP/1.1"), headers: Vec::new(), body: Vec::new() }
    }

    /// Returns a POST with a JSON body.
    pub fn post(server: SocketAddr, path: &str, body: &Value) -> Self {
        let request = Self::new(server, "POST", path).header("content-type", "application/json");
        request.body(body.to_string())
    }

    /// Adds a header. A `host` takes the place of the server's address.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds the bearer token.
    pub fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The head, with the length of the body.
    fn head(&self) -> String {
        let mut head = format!("{}\r\nconnection: close\r\n", self.line);
        if !self.headers.iter().any(|(name, _)| name == "host") {
            head += &format!("host: {}\r\n", self.server);
        }
        if !self.body.is_empty() {
            head += &format!("content-length: {}\r\n", self.body.len());
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head + "\r\n"
    }

    /// Sends the request, and waits for the answer.
    ///
    /// # Panics
    /// There is no answer in time.
    pub async fn send(&self) -> HttpAnswer {
        self.begin(self.body.len()).await.finish().await
    }

    /// Sends the head, and waits until the server asks for the body: then the request is accepted, and running.
    ///
    /// # Panics
    /// The server does not ask for it.
    pub async fn admitted(self) -> Begun {
        let mut begun = self.header("expect", "100-continue").begin(0).await;
        let mut answer = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
        soon("the server to want the body", begun.stream.read_exact(&mut answer)).await.expect("an answer");
        assert!(answer.starts_with(b"HTTP/1.1 100 "), "{}", String::from_utf8_lossy(&answer));
        begun
    }

    /// Sends the head and `len` bytes of the body.
    ///
    /// # Panics
    /// The server does not listen.
    pub async fn begin(&self, len: usize) -> Begun {
        let connected = soon("a TCP connection", TcpStream::connect(self.server)).await;
        let mut begun = Begun {
            stream: connected.expect("the server listens"),
            rest: self.body[len..].to_vec(),
            expects_body: !self.line.starts_with("HEAD"),
        };
        begun.write(self.head().as_bytes()).await;
        begun.write(&self.body[..len]).await;
        begun
    }
}

/// A request whose head is sent.
pub struct Begun {
    stream: TcpStream,
    rest: Vec<u8>,
    expects_body: bool,
}

impl Begun {
    async fn write(&mut self, bytes: &[u8]) {
        // A server that refuses a request may stop reading it.
        let _ = soon("room to write", self.stream.write_all(bytes)).await;
    }

    /// Sends the rest of the body, and waits for the answer.
    ///
    /// # Panics
    /// There is no answer in time.
    pub async fn finish(mut self) -> HttpAnswer {
        let rest = std::mem::take(&mut self.rest);
        self.write(&rest).await;
        self.answer().await
    }

    /// Sends the rest of the body, and waits for nothing.
    pub async fn send_rest(&mut self) {
        let rest = std::mem::take(&mut self.rest);
        self.write(&rest).await;
    }

    /// Reads the answer until `text` has come.
    ///
    /// # Panics
    /// It does not come in time.
    pub async fn read_until(&mut self, text: &str) {
        let mut read = Vec::new();
        while !String::from_utf8_lossy(&read).contains(text) {
            let more = soon(text, self.stream.read_buf(&mut read)).await.expect("the connection stands");
            assert!(more > 0, "it has ended before {text}: {}", String::from_utf8_lossy(&read));
        }
    }

    /// Reads what is left of the answer, as text.
    ///
    /// # Panics
    /// It does not end in time.
    pub async fn answer_rest(mut self) -> String {
        let mut rest = Vec::new();
        soon("the end of the answer", self.stream.read_to_end(&mut rest))
            .await
            .expect("the connection stands");
        String::from_utf8_lossy(&rest).into_owned()
    }

    /// Sends `bytes` instead of the rest of the body, and waits for the answer.
    ///
    /// # Panics
    /// There is no answer in time.
    pub async fn finish_with(mut self, bytes: &[u8]) -> HttpAnswer {
        self.write(bytes).await;
        self.answer().await
    }

    /// Sends nothing more, and waits for the answer.
    ///
    /// # Panics
    /// There is no answer in time.
    pub async fn answer(mut self) -> HttpAnswer {
        let mut bytes = Vec::new();
        let read = soon("the answer", self.stream.read_to_end(&mut bytes)).await;
        let text = String::from_utf8(bytes).expect("the answer is text");
        let (head, body) =
            text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{read:?}: no answer: {text:?}"));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").expect("a header");
            (name.to_ascii_lowercase(), value.to_owned())
        };
        let headers: Vec<_> = lines.map(header).collect();
        let is_json =
            headers.iter().any(|(name, value)| name == "content-type" && value == "application/json");
        let body = match body {
            "" => Value::Null,
            json if is_json => serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}")),
            text => text.into(),
        };
        assert!(self.expects_body || body.is_null(), "{body}");
        HttpAnswer { status: status.expect("a status"), body, headers }
    }
}

impl HttpAnswer {
    /// Returns a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Returns the result of a successful call.
    ///
    /// # Panics
    /// The call has failed.
    pub fn result(&self) -> &Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body.get("result").unwrap_or_else(|| panic!("no result: {}", self.body))
    }

    /// Returns the status and the error code of a failed call.
    ///
    /// # Panics
    /// The call has succeeded, or the error has no message.
    pub fn problem(&self) -> (u16, &str) {
        let error = &self.body["error"];
        assert!(error["message"].is_string(), "{} {}", self.status, self.body);
        (self.status, error["code"].as_str().expect("a code"))
    }
}
