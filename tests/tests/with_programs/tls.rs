//! TLS with other implementations: openssl and a browser.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use gatewayworker_tests::tls::{self, Certificate};
use gatewayworker_tests::{Cluster, browser, soon};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use tokio_rustls::rustls::{ALL_VERSIONS, ProtocolVersion};

/// `openssl s_client` with these arguments.
fn s_client(address: SocketAddr, arguments: &[&str]) -> Command {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address.to_string()]).args(arguments).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(crate) async fn openssl_talks_lines_of_text_over_tls() {
    let certificate = Certificate::default();
    let cluster = Cluster::builder().listen(&certificate.listeners()).start().await;
    let text = cluster.gateways[0].listeners[2];
    let chain = certificate.chain();
    let trust = ["-CAfile", chain.to_str().unwrap(), "-verify_return_error", "-quiet"];
    for version in ["-tls1_2", "-tls1_3"] {
        let mut command = s_client(text, &[&trust[..], &[version]].concat());
        let mut openssl = command.spawn().unwrap();
        let mut heard = BufReader::new(openssl.stdout.take().unwrap()).lines();
        let greeting = soon("a greeting", heard.next_line()).await.unwrap();
        assert_eq!(greeting.map(|id| id.len()), Some(20), "a client id");
        let mut say = openssl.stdin.take().unwrap();
        say.write_all("你好\n".as_bytes()).await.unwrap();
        let echo = soon("an echo", heard.next_line()).await.unwrap();
        assert_eq!(echo.as_deref(), Some("你好"), "over {version}");
        openssl.kill().await.unwrap();
        cluster.events().next_close().await;
    }
}

pub(crate) async fn tls_below_the_listeners_minimum_is_refused() {
    let certificate = Certificate::default();
    let strict = certificate.listener("wss://127.0.0.1:0") + "tls_min_version = '1.3'\n";
    let listen = certificate.listeners() + &strict;
    let cluster = Cluster::builder().listen(&listen).start().await;
    let listeners = &cluster.gateways[0].listeners;
    let old = ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"];
    for (listener, arguments) in [(listeners[1], &old[..]), (listeners[3], &["-tls1_2"])] {
        let mut command = s_client(listener, arguments);
        let output = soon("openssl's end", command.output()).await.unwrap();
        assert!(!output.status.success(), "{arguments:?} was let in");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("SSL alert number"), "{said}");
    }
    let both = tls::connect(&certificate.connector(ALL_VERSIONS), listeners[3]).await.unwrap();
    assert_eq!(both.get_ref().1.protocol_version(), Some(ProtocolVersion::TLSv1_3));
}

pub(crate) async fn the_chat_page_works_over_wss_in_a_browser() {
    // No authority has signed the test's certificate.
    let browser = browser::launch(&["--ignore-certificate-errors"]).await;
    let certificate = Certificate::default();
    let cluster = Cluster::builder().workers(0).listen(&certificate.listeners()).start().await;
    let _chat = cluster.start_application(chat::Chat::default());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/client.html").canonicalize().unwrap();
    let url = format!("file://{}?lang=en&url=wss://{}", file.display(), cluster.gateways[0].listeners[1]);
    let page = browser.open(&url).await.unwrap();
    page.type_into("#username", "Alice").await.unwrap();
    page.click("#login-btn").await.unwrap();
    let limit = Duration::from_secs(20);
    page.wait_for("document.querySelector('#status').dataset.state === 'connected'", limit).await.unwrap();
    page.type_into("#message-input", "over wss").await.unwrap();
    page.press_enter().await.unwrap();
    let shown = "[...document.querySelectorAll('.message[data-kind=chat] .content')].some(c => c.textContent === 'over wss')";
    page.wait_for(shown, limit).await.unwrap();
}
