//! An OpenTelemetry collector of the test's own: it takes spans by OTLP over HTTP, and keeps them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

/// How the collector behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// It takes what comes.
    Takes,
    /// It accepts connections, and answers nothing.
    Silent,
}

/// The collector. Its threads end with the test's process.
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    received: Receiver<Received>,
}

/// A span, and who has sent it.
#[derive(Clone)]
pub(crate) struct Received {
    pub(crate) service: String,
    pub(crate) span: Span,
    /// The header `authorization` of the request.
    pub(crate) authorization: String,
}

impl Received {
    pub(crate) fn attribute(&self, key: &str) -> Option<String> {
        text(&self.span.attributes, key)
    }

    pub(crate) fn is_child_of(&self, parent: &Self) -> bool {
        self.span.trace_id == parent.span.trace_id && self.span.parent_span_id == parent.span.span_id
    }

    pub(crate) fn is_within(&self, other: &Self) -> bool {
        let times = |span: &Span| (span.start_time_unix_nano, span.end_time_unix_nano);
        let ((start, end), (from, until)) = (times(&self.span), times(&other.span));
        from <= start && start <= end && end <= until
    }
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let value = &attributes.iter().find(|one| one.key == key)?.value;
    Some(match value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::BoolValue(value) => value.to_string(),
        Value::IntValue(value) => value.to_string(),
        other => format!("{other:?}"),
    })
}

impl Collector {
    pub(crate) fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (give, received) = channel();
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                match behaviour {
                    Behaviour::Silent => held.push(stream),
                    Behaviour::Takes => take(stream, &give),
                }
            }
        });
        Self { address, received }
    }

    /// Returns all spans that have come. To be asked when nobody is left who could send any.
    pub(crate) fn spans(&self) -> Vec<Received> {
        self.received.try_iter().collect()
    }
}

/// The names of spans, with the event that they are about.
pub(crate) fn names(spans: &[Received]) -> Vec<String> {
    let about = |one: &Received| {
        one.attribute("gatewayworker.event").or(one.attribute("gatewayworker.command")).unwrap_or_default()
    };
    spans.iter().map(|one| format!("{} {}", one.span.name, about(one)).trim().to_owned()).collect()
}

/// Reads a request, keeps its spans, and answers.
fn take(mut stream: TcpStream, give: &Sender<Received>) {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    let (head, body) = loop {
        let Ok(read @ 1..) = stream.read(&mut chunk) else { return };
        bytes.extend_from_slice(&chunk[..read]);
        let Some(head) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else { continue };
        let text = String::from_utf8(bytes[..head].to_vec()).unwrap().to_lowercase();
        let length = header(&text, "content-length").parse::<usize>().unwrap();
        if bytes.len() >= head + 4 + length {
            break (text, bytes[head + 4..].to_vec());
        }
    };
    assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
    assert_eq!(header(&head, "content-type"), "application/x-protobuf");
    let request = ExportTraceServiceRequest::decode(&*body).unwrap();
    for resource in request.resource_spans {
        let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
        let service = text(&attributes, "service.name").unwrap_or_default();
        for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            let authorization = header(&head, "authorization").to_owned();
            // The test may have seen enough.
            let _ = give.send(Received { service: service.clone(), span, authorization });
        }
    }
    // Behind the spans: a daemon that has stopped has waited for the answer.
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
}

fn header<'h>(head: &'h str, name: &str) -> &'h str {
    let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().trim()
}
