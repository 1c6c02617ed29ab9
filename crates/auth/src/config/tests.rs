use super::*;

const LIMITS: Limits =
    Limits { max_groups: usize::MAX, max_name_bytes: usize::MAX, max_session_bytes: usize::MAX };

fn refused(toml: &str) -> String {
    let config: Config = toml::from_str(toml).unwrap();
    config.check_files(LIMITS).unwrap_err().to_string()
}

#[test]
fn it_is_off_without_a_key_and_rules_without_a_key_are_an_error() {
    let off = Config::default();
    assert!(!off.is_on() && off.validate().is_ok());
    assert!(refused("audience = 'a'").starts_with("auth: there is no key: set hs256_secret_file"));
}

#[test]
fn what_cannot_work_is_named_by_its_key_and_a_secret_does_not_show_itself() {
    let secret = "hs256_secret = '0123456789abcdef0123456789abcdef'\n";
    for (toml, says) in [
        ("hs256_secret = 'hunter2'", "auth.hs256_secret: it has 7 bytes, and HS256 needs 32 at least"),
        ("hs256_secret_file = '/nowhere'", "auth.hs256_secret_file: cannot read /nowhere: "),
        ("public_key_file = '/dev/null'", "auth.public_key_file: it has no key"),
        ("jwks_file = '/dev/null'", "auth.jwks_file: it is no JSON Web Key Set"),
        ("jwks_url = 'example.com'", "auth.jwks_url = \"example.com\": write it as https://"),
        (
            "jwks_url = 'https://example.com/'\nca_file = '/nowhere/ca.pem'",
            "auth.ca_file: /nowhere/ca.pem: No such file",
        ),
        (
            "jwks_url = 'https://example.com/'\nca_file = '/dev/null'",
            "auth.ca_file: /dev/null: it has no certificate",
        ),
        ("jwks_url = 'http://127.0.0.1/'\nca_file = 'ca.pem'", "auth.ca_file is set, and jwks_url does not"),
        (&format!("{secret}ca_file = 'ca.pem'"), "auth.ca_file is set, and jwks_url does not"),
        ("jwks_url = 'file:///etc/passwd'", "auth.jwks_url = \"file:///etc/passwd\": write it as"),
        (
            "jwks_url = 'http://example.com/'",
            "auth.jwks_url = \"http://example.com/\": whoever is on the way",
        ),
        ("jwks_url = 'https://u:hunter2@example.com/'", "auth.jwks_url has a name or a password"),
        ("jwks_url = 'http://hunter2@example.com/'", "auth.jwks_url has a name or a password"),
        (&format!("{secret}leeway_s = 3601"), "auth.leeway_s = 3601: from 0 to 3600"),
        (&format!("{secret}jwks_refresh_s = 1"), "auth.jwks_refresh_s = 1: from 10"),
        (&format!("{secret}token_in = []"), "auth.token_in is empty"),
        (&format!("{secret}cookie = 'a b'"), "auth.cookie = \"a b\""),
    ] {
        let error = refused(toml);
        assert!(error.starts_with(says) && !error.contains("hunter2"), "{toml}: {error}");
    }
    let config: Config = toml::from_str(secret).unwrap();
    assert!(!format!("{:?}", (&config, config.verifier(LIMITS).unwrap())).contains("0123456789"));
    assert!(toml::from_str::<Config>("token_in = ['body']").is_err());
}

#[test]
fn keys_over_http_are_for_loopback_or_for_whoever_says_so() {
    for url in ["https://example.com/jwks", "http://127.0.0.1:1/", "http://localhost/", "http://[::1]/"] {
        let config = Config { jwks_url: Some(url.into()), ..Config::default() };
        assert!(config.validate().is_ok(), "{url}");
    }
    let open =
        Config { jwks_url: Some("http://10.0.0.1/".into()), allow_insecure: true, ..Config::default() };
    assert!(open.validate().is_ok());
}

#[test]
fn paths_are_relative_to_the_configuration_and_a_file_may_have_a_secret_on_each_line() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("s"), format!("{}\n\n{}\n", "a".repeat(32), "b".repeat(32)))
        .unwrap();
    let config = Config { hs256_secret_file: Some("s".into()), ..Config::default() }
        .with_paths_relative_to(Some(&directory.path().join("gateway.toml")));
    assert_eq!(config.verifier(LIMITS).unwrap().own_keys.len(), 2);
    let secrets: Vec<_> = (b'a'..b'k').map(|letter| char::from(letter).to_string().repeat(32)).collect();
    std::fs::write(directory.path().join("s"), secrets.join("\n")).unwrap();
    assert!(config.verifier(LIMITS).unwrap().own_keys.len() < MAX_TRIES, "all secrets are tried");
    std::fs::write(directory.path().join("s"), "\n").unwrap();
    let error = config.verifier(LIMITS).unwrap_err().to_string();
    assert_eq!(error, "auth.hs256_secret_file: it has 0 lines with a secret: give 1 to 10");
}

#[test]
fn more_keys_without_a_name_than_are_tried_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys.pem");
    let config = Config { public_key_file: Some(file.clone()), ..Config::default() };
    let pem = include_str!("../testing/ed.pub.pem");
    std::fs::write(&file, pem.repeat(MAX_TRIES)).unwrap();
    assert_eq!(config.verifier(LIMITS).unwrap().own_keys.len(), MAX_TRIES);
    std::fs::write(&file, pem.repeat(MAX_TRIES + 1)).unwrap();
    let error = config.verifier(LIMITS).unwrap_err().to_string();
    assert!(error.starts_with("auth.public_key_file: there are 17 keys of one kind"), "{error}");
}
