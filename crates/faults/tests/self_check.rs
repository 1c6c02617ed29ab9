//! The program sees what it looks for, or its table says nothing.

#![cfg(target_os = "linux")]

use std::process::Command;

#[test]
fn every_defect_is_caught_to_the_last_one() {
    let output = Command::new(env!("CARGO_BIN_EXE_faults")).args(["self-check", "--short"]).output().unwrap();
    let (found, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{found}{log}");
    assert_eq!(found.matches(": right").count(), 12, "{found}");
}
