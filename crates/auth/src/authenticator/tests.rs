//! Keys from a real HTTP server on loopback, which does what a test wants.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::sign::SigningKey;
use crate::testing::{base64url, claims};

const LIMIT: Duration = Duration::from_secs(20);

/// An HTTP server that gives the same answer to everybody. It ends when it is dropped.
struct Server {
    address: SocketAddr,
    answer: Arc<Mutex<Vec<u8>>>,
    requests: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (answer, requests) = (Arc::new(Mutex::new(answer)), Arc::<AtomicUsize>::default());
        let (given, counted) = (answer.clone(), requests.clone());
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                let mut head = [0; 4096];
                let _ = stream.read(&mut head).await;
                let answer = given.lock().unwrap().clone();
                let _ = stream.write_all(&answer).await;
            }
        });
        Self { address, answer, requests, task }
    }

    fn give(&self, answer: Vec<u8>) {
        *self.answer.lock().unwrap() = answer;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// A key pair with a name.
struct Pair(&'static str, rcgen::KeyPair);

impl Pair {
    fn new(kid: &'static str) -> Self {
        Self(kid, rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap())
    }

    fn token(&self) -> String {
        let claims = claims(serde_json::json!({"sub": "u1", "exp": unix_s() + 60}));
        SigningKey::from_pem(&self.1.serialize_pem()).unwrap().sign(&claims, Some(self.0)).unwrap()
    }
}

/// The answer with the key set of these pairs.
fn key_set(pairs: &[&Pair]) -> Vec<u8> {
    let keys: Vec<_> = pairs
        .iter()
        .map(|Pair(kid, pair)| {
            let x = base64url(pair.public_key_raw());
            serde_json::json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "use": "sig", "x": x})
        })
        .collect();
    answer("200 OK", "", serde_json::json!({"keys": keys}).to_string().as_bytes())
}

/// An authenticator that fetches the keys of a server, with a pause of 100 ms in place of 10 s.
fn authenticator(address: SocketAddr) -> Arc<Authenticator> {
    let config = Config { jwks_url: Some(format!("http://{address}/keys?secret=x")), ..Config::default() };
    let limits = Limits { max_groups: 10, max_name_bytes: 100, max_session_bytes: 1000 };
    let mut authenticator = Authenticator::new(&config, limits).unwrap();
    let remote = authenticator.remote.as_mut().unwrap();
    remote.schedule = Mutex::new(Schedule::with_pause(300_000, 100));
    let authenticator = Arc::new(authenticator);
    let refreshed = authenticator.clone();
    tokio::spawn(async move { refreshed.refresh().await });
    authenticator
}

/// Waits until a token is worth this; `None` stands for an accepted one.
async fn comes_to(authenticator: &Authenticator, token: &str, expected: Option<Refusal>) {
    let is_so = async {
        while authenticator.check(token).await.err() != expected {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LIMIT, is_so).await.expect("it comes to that in time");
}

#[tokio::test]
async fn keys_are_rotated_without_a_restart_and_old_ones_end_with_their_set() {
    let (old, new) = (Pair::new("old"), Pair::new("new"));
    let server = Server::start(key_set(&[&old])).await;
    let authenticator = authenticator(server.address);
    assert!(authenticator.check(&old.token()).await.is_ok());
    assert_eq!(authenticator.check(&Pair("new", Pair::new("x").1).token()).await, Err(Refusal::Key));
    server.give(key_set(&[&old, &new]));
    comes_to(&authenticator, &new.token(), None).await;
    assert!(authenticator.check(&old.token()).await.is_ok());
    server.give(key_set(&[&new]));
    // An unknown key brings about the next fetch.
    let unknown = Pair::new("unknown").token();
    comes_to(&authenticator, &unknown, Some(Refusal::Key)).await;
    let gone = async {
        while authenticator.check(&old.token()).await.is_ok() {
            let _ = authenticator.check(&unknown).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, gone).await.expect("the old key is forgotten");
    assert!(authenticator.check(&new.token()).await.is_ok());
}

#[tokio::test]
async fn a_flood_of_unknown_keys_is_no_flood_of_fetches() {
    let pair = Pair::new("a");
    let server = Server::start(key_set(&[&pair])).await;
    let authenticator = authenticator(server.address);
    comes_to(&authenticator, &pair.token(), None).await;
    let unknown = Pair::new("unknown").token();
    let (since, before) = (Instant::now(), server.requests.load(Ordering::Relaxed));
    for _ in 0..200 {
        assert_eq!(authenticator.check(&unknown).await, Err(Refusal::Key));
    }
    let fetches = server.requests.load(Ordering::Relaxed) - before;
    let allowed = since.elapsed().as_millis() as usize / 100 + 1;
    assert!(fetches <= allowed, "{fetches} fetches, and {allowed} are allowed");
}

#[tokio::test]
async fn a_server_that_is_down_at_the_start_makes_a_problem_until_it_is_up() {
    let pair = Pair::new("a");
    let server = Server::start(answer("500 Internal Server Error", "", b"")).await;
    let authenticator = authenticator(server.address);
    assert_eq!(authenticator.check(&pair.token()).await, Err(Refusal::KeysAway));
    let problem = authenticator.problem().unwrap();
    assert!(
        problem.starts_with("auth.jwks_url: the keys cannot be fetched, clients with tokens of its keys are")
    );
    let url = format!("http://{}/keys: ", server.address);
    assert!(problem.contains("500") && problem.contains(&url) && !problem.contains("secret"), "{problem}");
    assert_eq!(authenticator.notice(), None, "there are no keys that could be old");
    server.give(key_set(&[&pair]));
    comes_to(&authenticator, &pair.token(), None).await;
    assert_eq!(authenticator.problem(), None);
}

#[tokio::test]
async fn a_gateway_without_keys_has_a_problem_before_the_first_fetch_has_ended() {
    let config = Config { jwks_url: Some("http://127.0.0.1:1/".into()), ..Config::default() };
    let limits = Limits { max_groups: 10, max_name_bytes: 100, max_session_bytes: 1000 };
    let problem = Authenticator::new(&config, limits).unwrap().problem().unwrap();
    assert!(problem.starts_with("auth.jwks_url: the keys are not fetched yet"), "{problem}");
}

#[tokio::test]
async fn keys_stay_when_their_server_goes_down_or_answers_nonsense_and_a_notice_says_so() {
    let pair = Pair::new("a");
    let server = Server::start(key_set(&[&pair])).await;
    let authenticator = authenticator(server.address);
    comes_to(&authenticator, &pair.token(), None).await;
    assert_eq!(authenticator.notice(), None);
    let mut begun = None;
    let elsewhere = format!("Location: http://{}/\r\n", server.address);
    let huge = [b"{\"keys\": [".as_slice(), &vec![b' '; 2 << 20]].concat();
    for (given, says) in [
        (answer("200 OK", "", b"<html>"), "it is no JSON Web Key Set"),
        (answer("200 OK", "", b"{\"keys\": []}"), "it has no key for"),
        (answer("200 OK", "", &huge), "it answers with more than 1048576 bytes"),
        (answer("302 Found", &elsewhere, b""), "it answers 302"),
        (b"nonsense\r\n\r\n".to_vec(), "error sending request"),
    ] {
        server.give(given);
        let unknown = Pair::new("unknown").token();
        let is_noticed = async {
            while !authenticator.notice().is_some_and(|notice| notice.contains(says)) {
                let _ = authenticator.check(&unknown).await;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(LIMIT, is_noticed).await.unwrap_or_else(|_| panic!("{says}: {:?}", authenticator.notice()));
        assert!(authenticator.check(&pair.token()).await.is_ok(), "{says}");
        assert_eq!(authenticator.problem(), None, "clients are served: the gateway stays ready");
        let notice = authenticator.notice().unwrap();
        let url = format!("http://{}/keys: ", server.address);
        assert!(notice.contains(&url) && !notice.contains("secret"), "{notice}");
        let (since, _) = notice.split_once(';').unwrap();
        let begun = begun.get_or_insert_with(|| since.to_owned());
        assert_eq!(since, begun, "it is since the first failure");
    }
    server.give(key_set(&[&pair]));
    let is_over = async {
        while authenticator.notice().is_some() {
            let _ = authenticator.check(&Pair::new("unknown").token()).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LIMIT, is_over).await.expect("the notice ends");
}

#[test]
fn a_new_secret_is_taken_when_its_file_is_read_again_and_a_bad_file_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    let write = |text: String| std::fs::write(&file, text).unwrap();
    let (old, new) = ("o".repeat(32), "n".repeat(32));
    write(old.clone());
    let config = Config { hs256_secret_file: Some(file.clone()), ..Config::default() };
    let limits = Limits { max_groups: 10, max_name_bytes: 100, max_session_bytes: 1000 };
    let authenticator = Authenticator::new(&config, limits).unwrap();
    let takes = |secret: &str| {
        let claims = claims(serde_json::json!({"exp": unix_s() + 60}));
        authenticator.verify(&SigningKey::hs256(secret).sign(&claims, None).unwrap()).is_ok()
    };
    assert_eq!((takes(&old), takes(&new)), (true, false));
    write("short".into());
    assert!(authenticator.reload(&config).is_err());
    assert_eq!((takes(&old), takes(&new)), (true, false));
    write(format!("{old}\n{new}\n"));
    authenticator.reload(&config).unwrap();
    assert_eq!((takes(&old), takes(&new)), (true, true));
}
