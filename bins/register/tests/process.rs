//! The register as a process: what a shell, a service manager and a parent see of
//! it. What is seen here is the same for every daemon.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

fn register(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_register"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(arguments: &[&str]) -> Output {
    register(arguments).output().unwrap()
}

/// A running register, its standard output, and the address it said it listens on.
fn start() -> (Child, BufReader<ChildStdout>, String) {
    let mut child = register(&["--listen=127.0.0.1:0", "--supervised"]).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let address = line.trim_end().strip_prefix("ready ").expect("a line that says ready").to_owned();
    (child, output, address)
}

/// How `child` ends; one that does not in time is killed.
fn end(mut child: Child) -> ExitStatus {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    panic!("the register has not ended in time");
}

/// The one line that a refusal is.
fn refusal(output: &Output) -> &str {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = std::str::from_utf8(&output.stderr).unwrap();
    assert!(text.starts_with("error: ") && text.trim_end().lines().count() == 1, "{text}");
    text.trim_end()
}

#[test]
fn a_flag_that_does_not_exist_is_status_2() {
    assert_eq!(run(&["--lisen=127.0.0.1:0"]).status.code(), Some(2));
}

#[test]
fn a_configuration_can_be_checked() {
    let output = run(&["--check-config"]);
    assert!(output.status.success());
    assert_eq!(output.stdout, b"configuration is valid\n");
    let output = run(&["--check-config", "--listen=0.0.0.0:1236"]);
    assert!(refusal(&output).contains("allow_insecure"));
}

#[test]
fn a_configuration_that_cannot_be_is_one_line_and_status_1() {
    let output = run(&["--config=/nowhere/at-all.toml"]);
    assert!(refusal(&output).contains("/nowhere/at-all.toml"));
    let output = run(&["--listen=nonsense"]);
    assert!(refusal(&output).contains("listen = \"nonsense\""));
}

#[test]
fn a_port_in_use_is_one_line_and_status_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(&["--listen", &address]);
    assert!(refusal(&output).contains(&format!("cannot listen on {address}: address already in use")));
}

#[test]
fn a_supervised_one_ends_well_when_its_parent_closes_its_input() {
    let (mut child, mut output, address) = start();
    let mut client = TcpStream::connect(address).unwrap();
    drop(child.stdin.take());
    assert!(end(child).success());
    let (mut from_register, mut more_output) = (Vec::new(), Vec::new());
    let _ = client.read_to_end(&mut from_register);
    output.read_to_end(&mut more_output).unwrap();
    assert!(from_register.is_empty() && more_output.is_empty());
}

#[test]
fn a_supervised_one_answers_a_question_about_its_status() {
    let (mut child, output, address) = start();
    let _client = TcpStream::connect(address).unwrap();
    let mut input = child.stdin.take().unwrap();
    let (sender, answers) = std::sync::mpsc::channel();
    std::thread::spawn(move || output.lines().try_for_each(|line| sender.send(line.unwrap())));
    let mut ask = || {
        input.write_all(b"status\n").unwrap();
        answers.recv_timeout(Duration::from_secs(10))
    };
    let mut answer = ask();
    // It listens a moment before it counts.
    while answer.as_deref() == Ok("status {}") {
        answer = ask();
    }
    drop(input);
    if answer.is_err() {
        // A register that does not answer may not end either.
        child.kill().unwrap();
    }
    let ended_well = end(child).success();
    let answer = answer.expect("it answers");
    assert!(answer.starts_with("status {\"gateways\":0,\"connections\":"), "{answer}");
    assert!(ended_well);
}

#[test]
fn it_drains_when_its_parent_is_gone_with_all_pipes() {
    let (mut child, _, address) = start();
    let _client = TcpStream::connect(address).unwrap();
    drop((child.stderr.take(), child.stdin.take()));
    assert!(end(child).success());
}

#[cfg(unix)]
#[test]
fn an_interrupt_and_a_termination_end_it_well() {
    for signal in ["-INT", "-TERM"] {
        let (child, _output, _) = start();
        // The shell's own: a minimal Debian has no program of that name.
        let kill = format!("kill {signal} {}", child.id());
        let sent = Command::new("sh").args(["-c", &kill]).status().unwrap();
        assert!(sent.success());
        assert!(end(child).success(), "{signal}");
    }
}
