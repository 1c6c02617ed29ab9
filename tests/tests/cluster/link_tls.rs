//! TLS between the daemons: a cluster whose daemons all have it, and peers that have not.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

use gatewayworker::{Gateway, LinkTlsConfig, SecretKey};
use gatewayworker_tests::process::{Process, binary, free_port};
use gatewayworker_tests::{Line, WsClient, eventually};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::Message;

/// Writes the certificate of an authority, and one that it has signed for `gatewayworker`, with its key.
fn certificates() -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority =
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["gatewayworker".to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, &authority).expect("a certificate");
    for (file, text) in
        [("ca.pem", authority.pem()), ("cert.pem", certificate.pem()), ("key.pem", key.serialize_pem())]
    {
        std::fs::write(directory.path().join(file), text).expect("a file");
    }
    directory
}

/// The key of the cluster: with it, gateways read each other's tokens.
const SECRET_KEY: &str = "--secret-key=a key";

fn flags(directory: &Path) -> Vec<String> {
    let tls = [("certificate", "cert"), ("key", "key"), ("ca", "ca")]
        .map(|(flag, file)| format!("--link-tls-{flag}={}", directory.join(format!("{file}.pem")).display()));
    tls.into_iter().chain([SECRET_KEY.to_owned()]).collect()
}

/// The daemons of a cluster with TLS, but for its worker.
struct Daemons {
    files: TempDir,
    register: String,
    listener: SocketAddr,
    /// The listener of a second gateway.
    other_listener: SocketAddr,
    _running: [Process; 3],
}

impl Daemons {
    fn start() -> Self {
        let files = certificates();
        let register = format!("127.0.0.1:{}", free_port());
        let [listener, other_listener] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
        let tls = flags(files.path());
        let with_tls = |arguments: &[&str]| {
            let all: Vec<&str> = arguments.iter().copied().chain(tls.iter().map(String::as_str)).collect();
            Process::start(&all)
        };
        let gateway = |listener: SocketAddr| {
            with_tls(&[
                "gateway",
                "--listen",
                &format!("websocket://{listener}"),
                "--lan-port",
                &free_port().to_string(),
                "--register-address",
                &register,
                "--worker-wait-ms=500",
                "--resume",
            ])
        };
        let running =
            [with_tls(&["register", "--listen", &register]), gateway(listener), gateway(other_listener)];
        Self { files, register, listener, other_listener, _running: running }
    }

    fn start_worker(&self, tls: &[String]) -> Process {
        let mut arguments = vec!["businessworker", "--register-address", &self.register];
        arguments.extend(tls.iter().map(String::as_str));
        Process::start(&arguments)
    }

    fn count_clients(&self, tls: &[String]) -> Output {
        let mut command = Command::new(binary());
        command.args(["call", "--register-address", &self.register, "--question-timeout-ms", "2000"]);
        command.args(tls).arg("client-count").output().expect("it runs")
    }
}

/// A backend with TLS.
fn backend(daemons: &Daemons) -> Gateway {
    let path = |file: &str| daemons.files.path().join(file);
    let config =
        LinkTlsConfig::default().with_certificate(path("cert.pem"), path("key.pem")).with_ca(path("ca.pem"));
    Gateway::builder([&daemons.register])
        .secret_key(SecretKey::new("a key"))
        .link_tls(config.load().expect("the files are right"))
        .connect()
}

#[tokio::test]
async fn a_cluster_with_tls_serves_clients_workers_backends_and_the_shell() {
    let daemons = Daemons::start();
    let tls = flags(daemons.files.path());
    let _worker = daemons.start_worker(&tls);
    let mut client = None;
    eventually("the chat to greet", async || {
        let Ok(mut next) = WsClient::try_connect(daemons.listener, "/").await else { return false };
        let is_greeted = matches!(next.next().await, Some(Message::Text(_)));
        client = Some(next);
        is_greeted
    })
    .await;
    let mut client = client.expect("it is greeted");
    client.send(r#"{"type":"chat","content":"over TLS"}"#).await;
    assert_eq!(client.json().await["content"], "over TLS");

    let backend = backend(&daemons);
    assert_eq!(backend.client_count().await.expect("it is answered"), 1);
    // Larger than what TLS seals at once.
    let long = "字".repeat(100_000);
    backend.send_to_all(&*long).await.expect("it is sent");
    assert_eq!(client.text().await, long);

    let counted = daemons.count_clients(&tls);
    assert_eq!(String::from_utf8_lossy(&counted.stdout).trim(), "1", "{counted:?}");
}

#[tokio::test]
async fn a_client_that_comes_back_to_another_gateway_goes_through_tls() {
    let daemons = Daemons::start();
    let tls = flags(daemons.files.path());
    let _worker = daemons.start_worker(&tls);
    let mut first = None;
    eventually("the chat to greet", async || {
        let Some(mut line) = Line::try_open(daemons.listener).await else { return false };
        line.control(json!({"start": {}})).await;
        let is_new = matches!(line.0.next().await, Some(Message::Text(hello)) if hello.contains("hello"));
        first = Some(line);
        is_new
    })
    .await;
    drop(first);
    let mut line = Line::open(daemons.listener).await;
    line.control(json!({"start": {}})).await;
    let hello = line.expect_control().await["hello"].take();
    line.data().await;
    let mut newer = Line::open(daemons.other_listener).await;
    newer.resume(hello["token"].as_str().expect("a token"), 1, 1).await;
    assert_eq!(newer.expect_control().await["resumed"]["client"], hello["client"]);
    let longest = "字".repeat(4096);
    for said in ["over TLS", &longest] {
        newer.0.send(&json!({"type": "chat", "content": said}).to_string()).await;
        loop {
            let heard: Value = serde_json::from_str(&newer.data().await).expect("JSON");
            if heard["type"] == "chat" {
                assert!(heard["content"] == said);
                break;
            }
        }
    }
    // Larger than what TLS seals at once.
    let long = "字".repeat(100_000);
    let backend = backend(&daemons);
    backend.send_to_all(&*long).await.expect("it is sent");
    assert!(newer.data().await == long);
}

#[tokio::test]
async fn a_peer_without_tls_or_of_another_authority_is_no_part_of_the_cluster() {
    let daemons = Daemons::start();
    let others = certificates();
    let _plain = daemons.start_worker(&[SECRET_KEY.to_owned()]);
    let _foreign = daemons.start_worker(&flags(others.path()));
    eventually("the gateway to be known", async || {
        daemons.count_clients(&flags(daemons.files.path())).status.success()
    })
    .await;
    // Neither worker is linked, so that nobody is let in.
    assert!(WsClient::try_connect(daemons.listener, "/").await.is_err());
    for tls in [&[SECRET_KEY.to_owned()][..], &flags(others.path())] {
        let refused = daemons.count_clients(tls);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    }
}
