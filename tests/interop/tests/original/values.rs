//! PHP values that PHP draws at random, others at each run: floats, and sessions with objects and references
//! in them, which are merged as the original's gateway merges them.

use std::process::Stdio;

use gatewayworker::php::{json_encode, merge_sessions, serialize, unserialize};
use gatewayworker_interop::php::php;
use serde_json::Value;

#[test]
fn a_float_is_written_as_php_writes_it() {
    let (seed, lines) = drawn("floats.php", 3000);
    assert!(lines.lines().count() > 6000);
    for line in lines.lines() {
        let (serialized, json) = line.split_once(' ').expect("two forms");
        let value = unserialize(serialized.as_bytes()).expect("a float");
        assert_eq!(String::from_utf8(serialize(&value)).as_deref(), Ok(serialized), "seed {seed}");
        assert_eq!(json_encode(serialized.as_bytes()).as_deref(), Some(json), "seed {seed}: {serialized}");
    }
}

#[test]
fn random_sessions_are_merged_as_php_merges_them() {
    let (seed, lines) = drawn("merge.php", 1000);
    assert_eq!(lines.lines().count(), 1000);
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).expect("php writes JSON");
        let bytes = |name: &str| line[name].as_str().map(unhex);
        let [session, update] = ["session", "update"].map(|name| bytes(name).expect("it is there"));
        let ours = merge_sessions(&session, &update, 10 << 20).ok();
        let show = |bytes: Option<Vec<u8>>| bytes.map(|bytes| bytes.escape_ascii().to_string());
        assert_eq!(
            show(ours),
            show(bytes("merged")),
            "seed {seed}: {} with {}",
            session.escape_ascii(),
            update.escape_ascii()
        );
    }
}

/// What a script of `php/` writes, and the seed that it drew from.
fn drawn(script: &str, count: u32) -> (u32, String) {
    let php = php();
    let seed = std::process::id();
    let mut command = php.script(script);
    command.args([seed.to_string(), count.to_string()]).stderr(Stdio::inherit());
    let output = command.output().expect("php runs");
    assert!(output.status.success());
    (seed, String::from_utf8(output.stdout).expect("php writes text"))
}

fn unhex(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("it is hex");
    (0..hex.len()).step_by(2).map(byte).collect()
}
