//! The daemons' command lines: wrong flags, wrong files, ports in use.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use gatewayworker_tests::process::{binary, free_port};

const DAEMONS: [&str; 3] = ["register", "gateway", "businessworker"];

/// Runs a daemon that is to end by itself.
fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("GATEWAYWORKER_")) {
        command.env_remove(name);
    }
    command.args(arguments).output().expect("the binary runs")
}

/// Asserts that it ended with `status` and one line on standard error with all `words`.
fn assert_refused(output: &Output, status: i32, words: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{error}");
    let last = error.lines().last().unwrap_or_default();
    assert!(last.starts_with("error: "), "{error}");
    for word in words {
        assert!(last.contains(word), "{word:?} is not said: {last}");
    }
}

/// A configuration file with these lines.
fn file(lines: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.toml");
    std::fs::write(&path, lines).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (directory, path)
}

#[test]
fn a_wrong_flag_is_status_2() {
    for daemon in DAEMONS {
        assert_eq!(run(&[daemon, "--dance"]).status.code(), Some(2), "{daemon}");
    }
}

#[test]
fn each_program_prints_its_version() {
    let version = env!("CARGO_PKG_VERSION");
    let said = |arguments: &[&str]| String::from_utf8(run(arguments).stdout).unwrap();
    assert_eq!(said(&["--version"]), format!("gatewayworker {version}\n"));
    for daemon in DAEMONS {
        assert_eq!(said(&[daemon, "--version"]), format!("gatewayworker-{daemon} {version}\n"));
    }
}

#[test]
fn an_unknown_key_is_named_with_its_file_and_line() {
    for daemon in DAEMONS {
        let (_directory, path) = file("secret_key = \"x\"\nsecrte_key = \"y\"\n");
        assert_refused(&run(&[daemon, "--config", &path]), 1, &["secrte_key", "test.toml", "2"]);
    }
}

#[test]
fn an_invalid_gateway_setting_is_named_with_a_remedy() {
    for (arguments, words) in [
        (&["--ping-interval", "-5"][..], &["ping_interval = -5", "from 0 (none) to 1000000"][..]),
        (&["--listen", "127.0.0.1:80000"], &["80000", "from 1 to 65535"]),
        (&["--listen", "websocket://127.0.0.1:8289/ws"], &["path = \"/ws\""]),
        (&["--listen", "udp://127.0.0.1:1"], &["speaks websocket, frame, tcp, text"]),
        (&["--allowed-origins", "https://example.com/"], &["allowed_origins", "without a path"]),
        (&["--shutdown-spread-ms", "3600001"], &["shutdown_spread_ms = 3600001", "at most 3600000"]),
        (&["--lan-listen", "0.0.0.0"], &["lan_listen = \"0.0.0.0\"", "127.0.0.1:1236"]),
        (&["--health-path", "healthz"], &["health_path", "/healthz"]),
        (&["--max-message-bytes", "67108865"], &["max_message_bytes = 67108865: at most 67108864"]),
    ] {
        assert_refused(&run(&[&["gateway", "--check-config"], arguments].concat()), 1, words);
    }
    let (_directory, path) = file("listen = [\"127.0.0.1:0\"]\n\n[[listen]]\nurl = \"127.0.0.1:0\"\n");
    let twice = run(&["gateway", "--check-config", "--config", &path]);
    assert_refused(&twice, 1, &["test.toml:3: listen is set twice", "line 1"]);
}

#[test]
fn a_gateway_that_cannot_find_out_its_address_says_what_to_set() {
    assert!(run(&["gateway", "--lan-ip", "auto", "--check-config"]).status.success());
    let no_way = run(&["gateway", "--lan-ip", "auto", "--register-address", "[::1]:1"]);
    assert_refused(&no_way, 1, &["lan_ip = \"auto\"", "[::1]:1: it has no IPv4 address", "register_address"]);
    let (_directory, path) = file("lan_ip = 'automatic'");
    let wrong = run(&["gateway", "--check-config", "--config", &path]);
    assert_refused(&wrong, 1, &["test.toml:1: lan_ip", "\"auto\""]);
}

#[test]
fn a_mistyped_key_is_named_with_a_suggestion() {
    for (daemon, lines, words) in [
        ("register", "lisen = '127.0.0.1:0'", ["1: lisen", "did you mean `listen`?"]),
        (
            "gateway",
            "lan_ip = '127.0.0.1'\npingInterval = 5",
            ["2: pingInterval", "did you mean `ping_interval`?"],
        ),
        ("gateway", "routing = 'round-robbin'", ["1: routing", "did you mean `round-robin`?"]),
        (
            "gateway",
            "[[listen]]\nurl = 'tcp://127.0.0.1:1'\nmax_conections = 5",
            ["3: max_conections", "did you mean `max_connections`?"],
        ),
        ("businessworker", "http_listn = '127.0.0.1:0'", ["1: http_listn", "did you mean `http.listen`?"]),
    ] {
        let (_directory, path) = file(lines);
        let output = run(&[daemon, "--config", &path, "--check-config"]);
        assert_refused(&output, 1, &words);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!error.contains("expected one of"), "{error}");
    }
    assert_refused(
        &run(&["gateway", "--routing", "randon", "--check-config"]),
        1,
        &["did you mean `random`?"],
    );
}

#[test]
fn a_former_name_of_a_key_is_accepted_with_a_warning() {
    let (_directory, path) = file("http_max_batch = 7");
    let output = run(&["businessworker", "--config", &path, "--check-config"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        said.starts_with("warning: ") && said.contains("test.toml:1: http_max_batch is an old name"),
        "{said}"
    );
    let (_directory, path) = file("http_max_batch = 7\n[http]\nmax_batch = 8");
    let output = run(&["businessworker", "--config", &path, "--check-config"]);
    assert_refused(&output, 1, &["test.toml:1: http_max_batch", "[http]", "move it there"]);
}

#[test]
fn a_mistyped_variable_is_named_with_a_suggestion() {
    let check = |arguments: &[&str]| {
        let mut check = Command::new(binary());
        check.args(arguments).env("GATEWAYWORKER_GATEWAY_PING_INTERVALL", "5").env("GATEWAYWORKER_MINE", "6");
        check.output().unwrap()
    };
    for arguments in [&["gateway", "--check-config"][..], &["start", "--check-config"]] {
        let output = check(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert_eq!(said.matches("is GATEWAYWORKER_GATEWAY_PING_INTERVAL meant?").count(), 1, "{said}");
        assert!(!said.contains("GATEWAYWORKER_MINE"), "{said}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let output = check(&["register", "--listen", &taken.local_addr().unwrap().to_string()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(" WARN the environment has GATEWAYWORKER_GATEWAY_PING_INTERVALL"), "{said}");
}

#[test]
fn a_negative_number_is_a_value_and_not_a_flag() {
    for flags in [
        ["gateway", "--shards"],
        ["gateway", "--max-links"],
        ["businessworker", "--concurrency"],
        ["businessworker", "--http-max-batch"],
        ["register", "--max-connections"],
    ] {
        let output = run(&[&flags[..], &["-5"]].concat());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.starts_with(&format!("error: invalid value '-5' for '{} <", flags[1])), "{error}");
    }
    let output = run(&["gateway", "--ping-interval", "-5", "--check-config"]);
    assert_refused(&output, 1, &["ping_interval = -5"]);
}

#[test]
fn a_missing_file_is_named() {
    for daemon in DAEMONS {
        assert_refused(&run(&[daemon, "--config", "/nowhere/x.toml"]), 1, &["/nowhere/x.toml"]);
    }
}

#[test]
fn the_shipped_files_are_valid() {
    for daemon in DAEMONS {
        let path = format!("{}/../config/{daemon}.toml", env!("CARGO_MANIFEST_DIR"));
        let output = run(&[daemon, "--config", &path, "--check-config"]);
        assert!(output.status.success(), "{daemon}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let port = taken.local_addr().unwrap().port().to_string();
    assert_refused(&run(&["register", "--listen", &address]), 1, &[&address, "in use"]);
    assert_refused(&run(&["gateway", "--lan-port", &port]), 1, &[&address, "in use"]);
    let (url, free) = (format!("websocket://{address}"), free_port().to_string());
    assert_refused(&run(&["gateway", "--lan-port", &free, "--listen", &url]), 1, &[&address, "in use"]);
}

#[test]
fn an_address_that_does_not_resolve_is_named() {
    assert_refused(
        &run(&["register", "--listen", "no.such.host.invalid:1236"]),
        1,
        &["no.such.host.invalid"],
    );
    let port = free_port().to_string();
    let listen = ["gateway", "--lan-port", &port, "--listen", "websocket://no.such.host.invalid:8289"];
    assert_refused(&run(&listen), 1, &["no.such.host.invalid"]);
    assert_refused(&run(&["gateway", "--listen", "carrier-pigeon://127.0.0.1:1"]), 1, &["carrier-pigeon"]);
}

#[test]
fn a_public_inner_port_needs_a_key() {
    assert_refused(&run(&["register", "--listen", "0.0.0.0:0"]), 1, &["secret_key", "allow_insecure"]);
    for inner in [["--lan-listen", "0.0.0.0:0"], ["--lan-ip", "192.0.2.2"]] {
        let check = ["gateway", inner[0], inner[1], "--check-config"];
        assert_refused(&run(&check), 1, &["secret_key", "allow_insecure"]);
        assert_refused(&run(&check[..3]), 1, &["secret_key", "allow_insecure"]);
    }
}

#[test]
fn calls_over_http_need_a_token_of_their_own() {
    let key = "0123456789abcdef";
    let check = |more: &[&str]| {
        let listen = ["businessworker", "--check-config", "--http-listen", "127.0.0.1:0"];
        run(&[&listen, more].concat())
    };
    assert_refused(&check(&[]), 1, &["http.token"]);
    assert_refused(&check(&["--http-token", "short"]), 1, &["http.token", "16"]);
    assert_refused(&check(&["--http-token", key, "--secret-key", key]), 1, &["http.token", "secret_key"]);
    assert_refused(
        &check(&["--http-token", key, "--http-allowed-origins", "*"]),
        1,
        &["http.allowed_origins"],
    );
    assert!(check(&["--http-token", key, "--secret-key", "another"]).status.success());
    let (_directory, path) = file("http_token = 12345678901234567890");
    let output = run(&["businessworker", "--config", &path]);
    assert_refused(&output, 1, &["http_token", "quoted"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("1234567890"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let busy = ["businessworker", "--http-listen", &address, "--http-token", key];
    assert_refused(&run(&busy), 1, &["http.listen", &address, "in use"]);
}

#[test]
fn a_worker_logs_its_http_address_and_never_the_token() {
    let token = "a-token-that-is-not-shown";
    let mut command = Command::new(binary());
    command.args(["businessworker", "--supervised", "--http-listen", "127.0.0.1:0"]);
    command.env("GATEWAYWORKER_HTTP_TOKEN", token).env("RUST_LOG", "trace");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut ready = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    let address = ready.trim().strip_prefix("ready http://127.0.0.1:").unwrap_or_else(|| panic!("{ready}"));
    assert_ne!(address.parse::<u16>().unwrap(), 0);
    // The end of its input asks it to drain.
    let output = child.wait_with_output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    assert!(log.contains(&format!("127.0.0.1:{address}")) && log.contains("requests=0"), "{log}");
    assert!(!log.contains(token), "{log}");
}

#[test]
fn a_token_is_made_and_a_gateway_says_what_it_is_worth() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("secret"), "a secret of more than thirty-two bytes\n").unwrap();
    std::fs::write(path("gateway.toml"), "[auth]\nhs256_secret_file = 'secret'\naudience = 'chat'\n")
        .unwrap();
    let make = |more: &[&str]| {
        let secret = path("secret");
        let made = run(&[&["token", "--hs256-secret-file", &secret, "--uid", "u1"], more].concat());
        assert!(made.status.success(), "{made:?}");
        String::from_utf8(made.stdout).unwrap().trim().to_owned()
    };
    let check = |token: &str| run(&["token", "--check", token, "--config", &path("gateway.toml")]);
    let good =
        make(&["--audience", "chat", "--group", "room-1", "--session", r#"{"name":"A"}"#, "--expires", "1h"]);
    let said = check(&good);
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.status.success(), "{said:?}");
    let expected = "accepted\nuid: u1\ngroups: room-1\nsession: {\"name\":\"A\"}\nexpires: in ";
    assert!(text.starts_with(expected), "{text}");
    assert_refused(&check(&make(&[])), 1, &["refused: audience: "]);
    assert_refused(&check("nonsense"), 1, &["refused: malformed: "]);
    std::fs::write(path("gateway.toml"), "").unwrap();
    assert_refused(&check(&good), 1, &["this gateway asks for no tokens"]);
}
