//! A worker says at its start which tables of its file have no effect: the stock worker follows all of them, and an
//! application of one's own those that it makes its handlers from. Each runs as a process, and its log is read.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use clap::Parser;
use gatewayworker::businessworker::{self, Cli, ClientCalls};
use gatewayworker::{BoxError, Events, Start};
use gatewayworker_webhook::HttpEvents;

/// Names the application that the process is to be, and its file.
const APPLICATION: &str = "TEST_APPLICATION";
const FILE: &str = "TEST_FILE";

const EVENTS: &str = "[events]\nurl = 'http://127.0.0.1:1/events'\nsecret = '0123456789abcdef'\n";
const CALLS: &str = "[client_calls]\njoin = ['room-*']\n";

struct Own;

impl Events for Own {}

/// No test of its own: a process of this program that is an application (`log_of`).
#[test]
fn application() {
    let Ok(application) = std::env::var(APPLICATION) else { return };
    let cli = Cli::parse_from(["own", "--config", &std::env::var(FILE).unwrap()]);
    match &*application {
        "own" => businessworker::run(cli, async |_: Start| Ok(Own)),
        "calls" => businessworker::run(cli, async |start: Start| Ok(ClientCalls::from_start(&start, Own))),
        "events" => businessworker::run(cli, async |start: Start| {
            HttpEvents::from_start(&start).map_err(BoxError::from)
        }),
        "events of its own" => businessworker::run(cli, async |start: Start| {
            start.events.mark_used();
            Ok(Own)
        }),
        _ => panic!("{application}"),
    };
}

/// Starts a worker with this file; returns the warnings in its log about tables without effect, until it has started.
fn warnings(application: &str, text: &str) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("businessworker.toml");
    std::fs::write(&file, format!("register_address = '127.0.0.1:1'\n{text}")).unwrap();
    let mut worker = command(application, &file).stderr(Stdio::piped()).spawn().unwrap();
    let mut warnings = Vec::new();
    let mut has_started = false;
    for line in BufReader::new(worker.stderr.take().unwrap()).lines().map(Result::unwrap) {
        has_started = line.contains("the worker has started");
        if has_started {
            break;
        }
        if line.contains("is without effect") {
            warnings.push(line);
        }
    }
    worker.kill().unwrap();
    worker.wait().unwrap();
    assert!(has_started);
    warnings
}

fn command(application: &str, file: &Path) -> Command {
    let mut command = match application {
        "stock" => Command::new(env!("CARGO_BIN_EXE_businessworker")),
        _ => Command::new(std::env::current_exe().unwrap()),
    };
    match application {
        "stock" => command.arg("--config").arg(file),
        _ => command.args(["--exact", "application", "--nocapture"]),
    };
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("GATEWAYWORKER_")) {
        command.env_remove(name);
    }
    // Tests that run side by side cannot all have its port.
    command.env("GATEWAYWORKER_ADMIN_LISTEN", "off").env(APPLICATION, application).env(FILE, file);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

#[test]
fn an_application_that_ignores_a_table_is_told_its_key_and_what_to_do() {
    let both = warnings("own", &[EVENTS, CALLS].concat());
    let [events, calls] = &both[..] else { panic!("{both:?}") };
    assert!(events.contains("WARN") && events.contains("events.url: "), "{events}");
    assert!(events.contains("HttpEvents") && events.contains("remove the table [events]"), "{events}");
    assert!(calls.contains("WARN") && calls.contains("client_calls: "), "{calls}");
    assert!(calls.contains("ClientCalls") && calls.contains("remove the table [client_calls]"), "{calls}");
    assert!(warnings("own", "").is_empty());
}

#[test]
fn a_table_that_is_followed_needs_no_warning() {
    for (application, text, expected) in [
        ("stock", [EVENTS, CALLS].concat(), 0),
        ("stock", String::new(), 0),
        ("calls", CALLS.to_owned(), 0),
        ("calls", [EVENTS, CALLS].concat(), 1),
        ("events", EVENTS.to_owned(), 0),
        ("events of its own", EVENTS.to_owned(), 0),
    ] {
        let warnings = warnings(application, &text);
        assert_eq!(warnings.len(), expected, "{application}: {warnings:?}");
    }
}
