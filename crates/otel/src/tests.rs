//! The exporter against collectors that take spans, are full, or do not answer.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter as OtlpExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use prost::Message;
use rustls::pki_types::PrivateKeyDer;

use crate::Exporter;
use crate::http::HttpClient;
use crate::limits::{BATCH, QUEUE};

const LIMIT: Duration = Duration::from_secs(15);

fn span(n: u64) -> SpanData {
    let now = std::time::SystemTime::now();
    let (trace_id, span_id) = (TraceId::from(7), SpanId::from(n + 1));
    SpanData {
        span_context: SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, false, TraceState::default()),
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: "a span".into(),
        start_time: now,
        end_time: now,
        attributes: vec![KeyValue::new("n", n as i64)],
        dropped_attributes_count: 0,
        events: Default::default(),
        links: Default::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("test").build(),
    }
}

/// A collector in memory. It takes no batch before its gate is open.
#[derive(Debug, Clone, Default)]
struct Memory {
    is_open: Arc<(Mutex<bool>, Condvar)>,
    /// How many spans each batch had.
    batches: Arc<Mutex<Vec<usize>>>,
    refuses: bool,
}

impl Memory {
    fn open(&self) {
        *self.is_open.0.lock().unwrap() = true;
        self.is_open.1.notify_all();
    }

    fn batches(&self) -> Vec<usize> {
        self.batches.lock().unwrap().clone()
    }
}

impl SpanExporter for Memory {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.batches.lock().unwrap().push(batch.len());
        let is_open = self.is_open.0.lock().unwrap();
        drop(self.is_open.1.wait_while(is_open, |is_open| !*is_open).unwrap());
        if self.refuses { Err(OTelSdkError::InternalFailure("as asked".to_owned())) } else { Ok(()) }
    }
}

fn exporter(memory: &Memory) -> Exporter {
    Exporter::with(memory.clone(), Resource::builder_empty().build(), "memory".to_owned()).unwrap()
}

#[test]
fn spans_are_sent_together_in_batches_with_a_bound() {
    let memory = Memory::default();
    memory.open();
    let exporter = exporter(&memory);
    for n in 0..BATCH as u64 + 10 {
        exporter.export(span(n));
    }
    exporter.shutdown(LIMIT);
    let batches = memory.batches();
    assert_eq!(batches.iter().sum::<usize>(), BATCH + 10);
    assert!(batches.iter().all(|spans| *spans <= BATCH), "{batches:?}");
    assert_eq!(exporter.lost(), 0);
    let started = Instant::now();
    exporter.shutdown(LIMIT);
    assert!(started.elapsed() < LIMIT, "nothing waits any more");
}

#[test]
fn spans_that_a_full_queue_has_no_room_for_are_lost_and_counted_and_nobody_waits() {
    let memory = Memory::default();
    let exporter = exporter(&memory);
    let sent = QUEUE + 10 * BATCH;
    for n in 0..sent as u64 {
        exporter.export(span(n));
    }
    let lost = exporter.lost() as usize;
    // A batch or more may have left the queue.
    assert!((sent - QUEUE - 2 * BATCH..=sent - QUEUE).contains(&lost), "{lost}");
    let started = Instant::now();
    exporter.shutdown(Duration::from_millis(50));
    assert!(started.elapsed() < LIMIT, "a collector that hangs does not hold up the end");
    memory.open();
    exporter.shutdown(LIMIT);
    assert_eq!(memory.batches().iter().sum::<usize>() + lost, sent);
}

#[test]
fn spans_that_a_collector_does_not_take_are_lost_and_counted() {
    let memory = Memory { refuses: true, ..Memory::default() };
    memory.open();
    let exporter = exporter(&memory);
    exporter.export(span(1));
    exporter.export(span(2));
    exporter.shutdown(LIMIT);
    assert_eq!(exporter.lost(), 2);
}

/// Answers one request with `answer`, and returns its body.
fn answer_one(mut stream: impl Read + Write, answer: &str) -> Vec<u8> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut chunk).unwrap();
        bytes.extend_from_slice(&chunk[..read]);
        let Some(head) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else { continue };
        let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
        let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
        if bytes.len() == head + 4 + length.parse::<usize>().unwrap() {
            stream.write_all(answer.as_bytes()).unwrap();
            stream.flush().unwrap();
            return bytes.split_off(head + 4);
        }
    }
}

/// Sends a span to a collector that a thread plays with `serve`, and returns whether it was taken, and what the
/// collector got.
fn send_one(
    scheme: &str,
    client: HttpClient,
    serve: impl FnOnce(TcpStream) -> Vec<u8> + Send + 'static,
) -> (OTelSdkResult, Vec<u8>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("{scheme}://localhost:{}/v1/traces", listener.local_addr().unwrap().port());
    let collector = std::thread::spawn(move || serve(listener.accept().unwrap().0));
    let otlp = OtlpExporter::builder().with_http().with_http_client(client).with_endpoint(endpoint);
    let sent = futures_executor::block_on(otlp.build().unwrap().export(vec![span(5)]));
    (sent, collector.join().unwrap())
}

fn is_the_span(body: &[u8]) -> bool {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    request.resource_spans[0].scope_spans[0].spans[0].name == "a span"
}

#[test]
fn a_collector_gets_spans_over_http_and_its_status_counts() {
    for (answer, is_taken) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
        ("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy", false),
        ("HTTP/1.1 404 Not Found\r\n\r\n", false),
    ] {
        let client = HttpClient::from_environment("http://localhost").unwrap();
        let (sent, body) = send_one("http", client, move |stream| answer_one(stream, answer));
        assert_eq!(sent.is_ok(), is_taken, "{sent:?}");
        assert!(is_the_span(&body));
    }
}

#[test]
fn a_collector_is_reached_by_tls_with_the_authority_of_a_file() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let authority = directory.path().join("ca.pem");
    std::fs::write(&authority, made.cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let serve = move |stream| {
        let connection = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        answer_one(rustls::StreamOwned::new(connection, stream), answer)
    };
    let (sent, body) = send_one("https", HttpClient::with_authorities(authority).unwrap(), serve);
    sent.unwrap();
    assert!(is_the_span(&body));
    let missing = HttpClient::with_authorities(directory.path().join("missing.pem"));
    assert!(missing.unwrap_err().to_string().contains("missing.pem"));
}
