//! How a process of a federation gets into a real NATS: as a user with a password, with an NKey, with a credentials file, over TLS; and what
//! it says if it does not.

use std::path::PathBuf;

use gatewayworker::SecretKey;
use gatewayworker::federation::{Federation, Options};
use gatewayworker_tests::{NatsServer, eventually};
use nkeys::KeyPair;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::federation::{KEY, join, join_all_to, name, reach_each_other};

/// A nats-server with a configuration file of its own, and with a log.
struct Configured {
    nats: NatsServer,
    directory: TempDir,
}

impl Configured {
    fn start(configuration: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(file("nats.conf"), configuration).unwrap();
        let nats = NatsServer::start_with(&["-c", &file("nats.conf"), "-l", &file("nats.log")]);
        Self { nats, directory }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("nats.log")).unwrap()
    }

    /// The URL with a user and a password.
    fn url_of(&self, user: &str) -> String {
        self.nats.url().replace("nats://", &format!("nats://{user}@"))
    }

    fn options(&self) -> Options {
        options(self.nats.url())
    }
}

fn options(url: String) -> Options {
    Options::new([url], name("sh-1"), SecretKey::new(KEY))
}

async fn connects(options: Options) -> Federation {
    let federation = Federation::join(options).await.unwrap();
    eventually("the process to be connected to NATS", async || federation.stats().is_connected).await;
    assert_eq!(federation.stats().problems, [""; 0]);
    federation
}

/// Waits until the process names this as the reason for which it is not connected.
async fn is_refused(options: Options, why: &str) {
    let federation = Federation::join(options).await.unwrap();
    let mut problems = Vec::new();
    eventually("the process to say why it is not connected", async || {
        problems = federation.stats().problems;
        problems.iter().any(|problem| problem.contains("NATS is not connected") && problem.contains(why))
    })
    .await;
    assert!(!federation.stats().is_connected);
}

/// The permissions that `docs/guide/clusters.md` shows, as a configuration in which the user's password is "p@ss word".
fn guide_permissions() -> String {
    let guide = include_str!("../../../docs/guide/clusters.md");
    let (_, block) = guide.split_once("\nauthorization {\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    format!("PASSWORD: \"p@ss word\"\nauthorization {{\n{block}")
}

pub(crate) async fn with_the_permissions_of_the_guide_everything_works_and_nothing_is_refused() {
    let server = Configured::start(&guide_permissions());
    let url = server.url_of("gatewayworker:p%40ss%20word");
    let mut clusters = vec![join("sh-1", vec![url.clone()]).await, join("bj-1", vec![url.clone()]).await];
    reach_each_other(&mut clusters).await;
    join_all_to(&clusters, "news").await;
    let api = clusters[0].apis[0].clone();
    assert!(api.send_to_group(["news"], "group").await.unwrap().is_complete());
    assert!(api.send_to_uid(["news-uid"], "uid").await.unwrap().is_complete());
    assert!(api.send_to_all("all").await.unwrap().is_complete());
    for client in clusters.iter_mut().flat_map(|joined| &mut joined.clients) {
        for text in ["group", "uid", "all"] {
            assert_eq!(client.text().await, text);
        }
    }
    assert_eq!(api.client_count().await.unwrap(), 4);
    for worker in &mut clusters[1].cluster.workers {
        worker.stop().await;
    }
    eventually("the cluster that stops to be gone", async || api.client_count().await.ok() == Some(2)).await;
    let log = server.log();
    assert!(!log.contains("iolation"), "{log}");

    // Another prefix is refused, and the process says so though it is connected.
    let other = Federation::join(options(url).with_prefix("elsewhere")).await.unwrap();
    eventually("the refusal to be a problem", async || {
        let is_refusal = |problem: &String| problem.contains("Permissions Violation");
        other.stats().problems.iter().any(is_refusal)
    })
    .await;
    assert!(other.stats().is_connected);
    assert!(server.log().contains("Violation"));
}

pub(crate) async fn a_wrong_password_is_named_as_the_reason() {
    let server = Configured::start(&guide_permissions());
    is_refused(options(server.url_of("gatewayworker:wrong")), "authorization violation").await;
    is_refused(server.options(), "authorization violation").await;
}

pub(crate) async fn an_nkey_authenticates() {
    let (known, unknown) = (KeyPair::new_user(), KeyPair::new_user());
    let users = format!("authorization {{ users = [ {{ nkey: {} }} ] }}", known.public_key());
    let server = Configured::start(&users);
    let with = |pair: &KeyPair| server.options().with_nkey(SecretKey::new(pair.seed().unwrap()));
    connects(with(&known)).await;
    is_refused(with(&unknown), "authorization violation").await;
}

/// A JSON Web Token as NATS has them: signed with the issuer's key, about the subject's.
fn jwt(issuer: &KeyPair, subject: &KeyPair, nats: Value) -> String {
    let encoded = |value: Value| data_encoding::BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let header = encoded(json!({"typ": "JWT", "alg": "ed25519-nkey"}));
    let claims = json!({
        "jti": "1", "iat": 1_700_000_000, "iss": issuer.public_key(), "name": "test", "sub": subject.public_key(), "nats": nats,
    });
    let signed = format!("{header}.{}", encoded(claims));
    let signature = data_encoding::BASE64URL_NOPAD.encode(&issuer.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

pub(crate) async fn a_credentials_file_authenticates() {
    let (operator, account, user) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_user());
    let unlimited = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
    });
    let operator_jwt = jwt(&operator, &operator, json!({"type": "operator", "version": 2}));
    let account_jwt = jwt(&operator, &account, json!({"type": "account", "version": 2, "limits": unlimited}));
    let user_jwt = |issuer| {
        jwt(issuer, &user, json!({"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1}))
    };
    let server = Configured::start(&format!(
        "operator: {operator_jwt}\nresolver: MEMORY\nresolver_preload: {{ {}: {account_jwt} }}\n",
        account.public_key()
    ));
    let file = |name: &str, jwt: &str| -> PathBuf {
        let path = server.directory.path().join(name);
        let seed = user.seed().unwrap();
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        std::fs::write(&path, text).unwrap();
        path
    };
    connects(server.options().with_credentials(file("good.creds", &user_jwt(&account)))).await;
    let stranger = file("bad.creds", &user_jwt(&KeyPair::new_account()));
    is_refused(server.options().with_credentials(stranger), "authorization violation").await;
}

/// The files of an authority, and of certificates that it has signed.
struct Authority {
    directory: TempDir,
    issuer: CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { directory, issuer }
    }

    fn ca(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// The files of a certificate and its key.
    fn certificate(&self, name: &str, purpose: ExtendedKeyUsagePurpose) -> (PathBuf, PathBuf) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages = vec![purpose];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let path = |kind: &str| self.directory.path().join(format!("{name}-{kind}.pem"));
        std::fs::write(path("certificate"), certificate.pem()).unwrap();
        std::fs::write(path("key"), key.serialize_pem()).unwrap();
        (path("certificate"), path("key"))
    }

    /// The configuration of a nats-server with a certificate; `more` is about those of clients.
    fn server(&self, more: &str) -> Configured {
        let (certificate, key) = self.certificate("server", ExtendedKeyUsagePurpose::ServerAuth);
        let (certificate, key) = (certificate.display(), key.display());
        Configured::start(&format!("tls {{ cert_file: \"{certificate}\", key_file: \"{key}\", {more} }}"))
    }
}

fn over_tls(server: &Configured) -> Options {
    options(server.nats.url().replace("nats://", "tls://"))
}

pub(crate) async fn over_tls_the_servers_certificate_is_checked() {
    let authority = Authority::new();
    let server = authority.server("");
    connects(over_tls(&server).with_ca(authority.ca())).await;
    // An authority requires TLS, whatever the URL says.
    connects(server.options().with_ca(authority.ca())).await;
    // The authorities of the system have not signed it, and another one has not either.
    is_refused(over_tls(&server), "UnknownIssuer").await;
    is_refused(over_tls(&server).with_ca(Authority::new().ca()), "invalid peer certificate").await;
    // What would be sent in the clear is not sent.
    let plain = Configured::start("");
    is_refused(over_tls(&plain).with_ca(authority.ca()), "").await;
}

pub(crate) async fn a_nats_that_wants_a_certificate_gets_the_one_that_is_set() {
    let authority = Authority::new();
    let server = authority.server(&format!("ca_file: \"{}\", verify: true", authority.ca().display()));
    let own = authority.certificate("worker", ExtendedKeyUsagePurpose::ClientAuth);
    let options = || over_tls(&server).with_ca(authority.ca());
    connects(options().with_certificate(own)).await;
    is_refused(options(), "").await;
    let other = Authority::new();
    let foreign = other.certificate("worker", ExtendedKeyUsagePurpose::ClientAuth);
    is_refused(options().with_certificate(foreign), "").await;
}
