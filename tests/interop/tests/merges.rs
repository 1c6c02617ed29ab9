//! Sessions with objects and references in them, merged as the original's gateway merges them.

use std::process::Stdio;

use gatewayworker::php::merge_sessions;
use gatewayworker_interop::php::php;
use serde_json::Value;

/// Pairs that PHP draws and merges; another thousand at each run.
#[test]
fn what_php_draws_is_merged_as_php_merges_it() {
    let Some(php) = php() else { return };
    let seed = std::process::id().to_string();
    let output =
        php.script("merge.php").args([&seed, "1000"]).stderr(Stdio::inherit()).output().expect("php runs");
    assert!(output.status.success());
    let lines = String::from_utf8(output.stdout).expect("php writes JSON");
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

fn unhex(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("it is hex");
    (0..hex.len()).step_by(2).map(byte).collect()
}
