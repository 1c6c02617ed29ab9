//! The systemd units of the Debian package, as systemd judges them.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The highest exposure that a unit may have, in tenths, of at most 100 (`systemd-analyze security`).
const MAX_EXPOSURE: &str = "20";

fn analyze(arguments: &[&str], units: &[String]) -> (bool, String) {
    let output = Command::new("systemd-analyze").args(arguments).args(units).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

pub(crate) async fn systemd_finds_nothing_wrong_and_little_exposed() {
    let directory = tempfile::tempdir().unwrap();
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ops/systemd");
    let copies: Vec<_> = fs::read_dir(units)
        .unwrap()
        .map(|unit| {
            let path = unit.unwrap().path();
            let copy = directory.path().join(path.file_name().unwrap());
            // The program is not installed here, and it looks whether it is.
            let text = fs::read_to_string(path).unwrap().replace("/usr/bin/gatewayworker", "/bin/true");
            fs::write(&copy, text).unwrap();
            copy.to_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(copies.len(), 4);
    let (valid, said) = analyze(&["verify", "--man=no"], &copies);
    assert!(valid && said.is_empty(), "{said}");
    for unit in copies {
        let (secure, said) = analyze(
            &["security", "--offline=true", "--threshold", MAX_EXPOSURE],
            std::slice::from_ref(&unit),
        );
        assert!(secure, "{unit}: {said}");
    }
}
