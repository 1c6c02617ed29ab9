//! The examples, copied out of the repository as the beginning of a project of one's own.

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

/// Copies folders and files, and nothing else: a cluster that runs or was killed leaves its socket here.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy(&entry.path(), &to);
        } else if kind.is_file() {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// This machine's platform, as Cargo calls it.
fn host() -> String {
    let output = Command::new("rustc").arg("-vV").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
}

#[test]
fn a_copied_example_builds_after_the_two_documented_changes() {
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
        // Other platforms' crates were never fetched.
        metadata.args(["metadata", "--offline", "--format-version", "1", "--filter-platform", &host()]);
        metadata.current_dir(&mine);
        let output = metadata.output().unwrap();
        assert!(
            output.status.success(),
            "{}: {}",
            example.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
