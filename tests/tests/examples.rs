//! The examples, as somebody takes one away who goes on from there.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The folders below `examples/` that are programs.
fn examples() -> Vec<PathBuf> {
    let folders = fs::read_dir(repository().join("examples")).unwrap().map(|entry| entry.unwrap().path());
    let examples: Vec<_> = folders.filter(|folder| folder.join("Cargo.toml").is_file()).collect();
    assert!(examples.len() >= 6, "{examples:?}");
    examples
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else if entry.file_type().unwrap().is_file() {
            // Not the socket of a cluster that runs there, or was killed.
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn a_copied_example_needs_nothing_but_the_two_changes_that_are_told() {
    let command = "sed -i.bak -e 's|\"../../|\"/path/to/gatewayworker/|' -e '/^\\[lints\\]/,$d' Cargo.toml";
    let told = fs::read_to_string(repository().join("examples/README.md")).unwrap();
    assert!(told.contains(command), "examples/README.md does not say: {command}");
    for example in examples() {
        let directory = tempfile::tempdir().unwrap();
        let mine = directory.path().join("mine");
        copy(&example, &mine);
        // The versions that are here, so that none has to be fetched.
        fs::copy(repository().join("Cargo.lock"), mine.join("Cargo.lock")).unwrap();
        let here = command.replace("/path/to/gatewayworker", repository().to_str().unwrap());
        assert!(Command::new("sh").args(["-c", &here]).current_dir(&mine).status().unwrap().success());
        let mut metadata = Command::new(env!("CARGO"));
        metadata.args(["metadata", "--offline", "--format-version", "1"]).current_dir(&mine);
        let output = metadata.output().unwrap();
        assert!(
            output.status.success(),
            "{}: {}",
            example.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
