//! A gateway behind a real nginx, with the shipped configuration.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use gatewayworker::{Admission, Client, ClientId, CloseReason, Events, Handshake, Message, Result};
use gatewayworker_gateway::Config;
use gatewayworker_tests::process::free_port;
use gatewayworker_tests::programs;
use gatewayworker_tests::{Application, Cluster, WsClient, eventually, soon};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::Request;

/// An address that belongs neither to nginx nor to the gateway.
const PERSON: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

const HTTP: &str = include_str!("../../../config/nginx/gatewayworker.conf");
const STREAM: &str = include_str!("../../../config/nginx/gatewayworker-stream.conf");

/// Tells clients where they come from, echoes, and notes who leaves.
struct Mirror(mpsc::UnboundedSender<CloseReason>);

impl Events for Mirror {
    async fn on_connect(&self, client: &Client) -> Result {
        let address = client.remote_addr().ok_or("no address")?;
        client.send(format!("{}", address.ip())).await?;
        Ok(())
    }

    async fn on_websocket_connect(&self, client: &Client, handshake: &Handshake) -> Result<Admission> {
        let address = handshake.remote_addr().ok_or("no address")?;
        client.send(format!("{} at {}", address.ip(), handshake.path())).await?;
        Ok(Admission::Admit)
    }

    async fn on_message(&self, client: &Client, message: Message) -> Result {
        client.send(message).await?;
        Ok(())
    }

    async fn on_close(&self, _: &Client, reason: CloseReason) -> Result {
        let _ = self.0.send(reason);
        Ok(())
    }
}

/// A gateway, and nginx before it.
struct Fronted {
    nginx: Nginx,
    /// The gateway's own, which only nginx should use.
    listener: SocketAddr,
    closed: mpsc::UnboundedReceiver<CloseReason>,
    _mirror: Application,
    _cluster: Cluster,
}

async fn fronted() -> Fronted {
    // As the comments in the files have it.
    let listen = [HTTP, STREAM].map(|file| {
        let shown = file.lines().filter_map(|line| line.strip_prefix("#   "));
        let toml: String = shown.flat_map(|line| [line, "\n"]).collect();
        assert!(toml.starts_with("[[listen]]"), "{toml}");
        toml
    });
    let cluster = Cluster::builder().workers(0).listen(&listen.concat()).start().await;
    let (left, closed) = mpsc::unbounded_channel();
    let mirror = cluster.start_application(Mirror(left));
    let [web, text] = cluster.gateways[0].listeners[..] else { panic!("two listeners") };
    let nginx = Nginx::start(&[web], text).await;
    Fronted { nginx, listener: web, closed, _mirror: mirror, _cluster: cluster }
}

/// An nginx of the shipped files, with other ports and a certificate of its own.
pub(super) struct Nginx {
    directory: TempDir,
    process: Child,
    pub(super) web: SocketAddr,
    text: SocketAddr,
}

impl Nginx {
    pub(super) async fn start(web_listeners: &[SocketAddr], text_listener: SocketAddr) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let certificate = rcgen::generate_simple_self_signed(["example.com".to_owned()]).unwrap();
        std::fs::write(path("fullchain.pem"), certificate.cert.pem()).unwrap();
        std::fs::write(path("privkey.pem"), certificate.signing_key.serialize_pem()).unwrap();
        let [web, text] = [free_port(), free_port()].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));

        let upstream: String = web_listeners.iter().map(|listener| format!("server {listener};\n")).collect();
        let live = "/etc/letsencrypt/live/example.com/";
        let http = HTTP
            .replace("listen 443", &format!("listen {web}"))
            .replace("server 127.0.0.1:8289;", &upstream)
            .replace(live, &path(""));
        let stream = STREAM
            .replace("listen 8290", &format!("listen {text}"))
            .replace("127.0.0.1:18290;", &format!("{text_listener};"));
        for (file, original) in [(&http, HTTP), (&stream, STREAM)] {
            assert_ne!(file, original, "the ports of the shipped files are others");
        }
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {};\n", path(kind)))
            .concat();
        let load = programs::nginx_load_stream();
        let main = format!(
            "{load}daemon off;\nmaster_process off;\npid {};\nevents {{}}\n\
             http {{\naccess_log off;\n{temporary}{http}\n}}\n{stream}",
            path("nginx.pid")
        );
        std::fs::write(path("nginx.conf"), main).unwrap();
        let process = run(&directory);
        let mut nginx = Self { directory, process, web, text };
        nginx.is_there().await;
        nginx
    }

    /// Waits until it takes connections.
    async fn is_there(&mut self) {
        eventually("nginx to listen", async || {
            if let Some(status) = self.process.try_wait().unwrap() {
                let log = std::fs::read_to_string(self.directory.path().join("error.log"));
                panic!("nginx ended: {status}, {log:?}");
            }
            TcpStream::connect(self.web).await.is_ok() && TcpStream::connect(self.text).await.is_ok()
        })
        .await;
    }

    /// Kills it, and starts it anew.
    async fn restart(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = run(&self.directory);
        self.is_there().await;
    }

    /// Connects to it as a person's browser does, with headers of its own.
    async fn wss(&self, headers: &[(&'static str, &'static str)]) -> WsClient<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        let certificate = self.directory.path().join("fullchain.pem");
        roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from("example.com").unwrap();
        let stream = person(self.web).await;
        let stream = soon("TLS", TlsConnector::from(Arc::new(config)).connect(name, stream)).await.unwrap();
        WsClient::over(stream, request("wss://example.com/ws?token=1", headers)).await.unwrap()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn run(directory: &TempDir) -> Child {
    let path = |name: &str| directory.path().join(name);
    let mut command = Command::new(programs::nginx().unwrap());
    command
        .arg("-p")
        .arg(directory.path())
        .arg("-c")
        .arg(path("nginx.conf"))
        .arg("-e")
        .arg(path("error.log"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

async fn person(to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((PERSON, 0).into()).unwrap();
    soon("a connection", socket.connect(to)).await.unwrap()
}

fn request(url: &str, headers: &[(&'static str, &'static str)]) -> Request<()> {
    let mut request = url.into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    request
}

pub(crate) async fn behind_nginx_the_worker_sees_the_clients_address_and_messages_go_both_ways() {
    let fronted = fronted().await;
    let mut client = fronted.nginx.wss(&[]).await;
    assert_eq!([client.text().await, client.text().await], ["127.0.0.2", "127.0.0.2 at /ws"]);
    for message in ["hello", &"x".repeat(100_000)] {
        client.send(message).await;
        assert_eq!(client.text().await, message);
    }
}

pub(crate) async fn a_forged_address_is_ignored() {
    let fronted = fronted().await;
    let forged = [("x-forwarded-for", "203.0.113.7"), ("x-real-ip", "203.0.113.7")];
    let mut through = fronted.nginx.wss(&forged).await;
    assert_eq!(through.text().await, "127.0.0.2");
    // Nor where the gateway is reached past nginx.
    let past = request(&format!("ws://{}/ws", fronted.listener), &forged);
    let mut past = WsClient::over(person(fronted.listener).await, past).await.unwrap();
    assert_eq!(past.text().await, "127.0.0.2");
}

pub(crate) async fn a_text_client_keeps_its_address_behind_nginxs_stream() {
    let fronted = fronted().await;
    let mut client = BufReader::new(person(fronted.nginx.text).await);
    let line = async |client: &mut BufReader<TcpStream>| {
        let mut line = String::new();
        soon("a line", client.read_line(&mut line)).await.unwrap();
        line
    };
    assert_eq!(line(&mut client).await, "127.0.0.2\n");
    client.write_all(b"hello\n").await.unwrap();
    assert_eq!(line(&mut client).await, "hello\n");
}

pub(crate) async fn clients_reconnect_after_nginx_restarts() {
    let mut fronted = fronted().await;
    let mut client = fronted.nginx.wss(&[]).await;
    client.text().await;
    fronted.nginx.restart().await;
    assert_eq!(client.close_code().await, 0);
    assert_eq!(soon("the close", fronted.closed.recv()).await, Some(CloseReason::ClientLeft));
    let mut client = fronted.nginx.wss(&[]).await;
    assert_eq!(client.text().await, "127.0.0.2");
}

pub(crate) async fn clients_of_a_gateway_that_stops_go_to_the_next_one() {
    let cluster = Cluster::builder().gateways(2).gateway(|config| config.shutdown_spread_ms = 60_000);
    let cluster = cluster.start().await;
    let [one, two] = &cluster.gateways[..] else { panic!("two gateways") };
    let nginx = Nginx::start(&[one.listener, two.listener], one.listener).await;
    // They stay, so that nginx gives the next clients to the gateway that has fewer.
    let mut clients = Vec::new();
    let mut gateway_of_a_new_client = async || {
        let mut client = nginx.wss(&[]).await;
        let id: ClientId = client.text().await.parse().expect("a client id as greeting");
        clients.push(client);
        id.gateway()
    };
    let before = [gateway_of_a_new_client().await, gateway_of_a_new_client().await];
    assert!(before.contains(&one.inner) && before.contains(&two.inner), "{before:?}");
    one.begin_stop();
    eventually("the first gateway to refuse clients", async || {
        TcpStream::connect(one.listener).await.is_err()
    })
    .await;
    for _ in 0..4 {
        assert_eq!(gateway_of_a_new_client().await, two.inner);
    }
}

pub(crate) async fn a_silent_client_is_pinged_before_nginx_closes_it() {
    let ping_interval = Config::default().ping_interval;
    for (file, key) in [(HTTP, "proxy_read_timeout"), (HTTP, "proxy_send_timeout"), (STREAM, "proxy_timeout")]
    {
        let set = file.lines().find_map(|line| line.trim().strip_prefix(key)?.trim().strip_suffix("s;"));
        let seconds: f64 = set.unwrap_or_else(|| panic!("{key}")).parse().unwrap();
        assert!(seconds > ping_interval + 5.0, "{key} = {seconds}: nginx is first");
    }
}
