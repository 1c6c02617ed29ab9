//! The Debian package's parts belong together: what `Cargo.toml` lists exists, the units' commands are ones of this tool,
//! and the scripts know all units. `tests/package` installs the package itself.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of a package's `Cargo.toml`, from which its assets start.
const HERE: &str = env!("CARGO_MANIFEST_DIR");

fn ops(path: &str) -> PathBuf {
    Path::new(HERE).join("../../ops").join(path)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the units, each with its file's name.
fn units() -> Vec<(String, String)> {
    let files = fs::read_dir(ops("systemd")).unwrap().map(|file| file.unwrap().path());
    let mut units: Vec<_> =
        files.map(|file| (file.file_name().unwrap().to_str().unwrap().to_owned(), read(&file))).collect();
    units.sort();
    units
}

/// Returns the values of a unit's key.
fn values<'u>(unit: &'u str, key: &str) -> Vec<&'u str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

fn assets() -> Vec<(String, String)> {
    let manifest: toml::Table = toml::from_str(&read(&Path::new(HERE).join("Cargo.toml"))).unwrap();
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array().unwrap().clone();
    let text = |value: &toml::Value| value.as_str().unwrap().to_owned();
    assets.iter().map(|asset| (text(&asset[0]), text(&asset[1]))).collect()
}

#[test]
fn each_file_of_the_package_exists_or_is_made() {
    let script = read(&ops("deb-build"));
    for (source, _) in assets() {
        if let Some(made) = source.strip_prefix("target/release/deb-files/") {
            let stem = made.split(['*', '.']).next().unwrap().trim_end_matches('/');
            assert!(script.contains(stem), "ops/deb-build does not make {source}");
            continue;
        }
        if source.starts_with("target/release/") {
            continue;
        }
        let path = Path::new(HERE).join(&source);
        let found = match source.split_once('*') {
            None => path.is_file(),
            Some((_, end)) => {
                let mut files = fs::read_dir(path.parent().unwrap()).unwrap();
                files.any(|file| file.unwrap().file_name().to_str().unwrap().ends_with(end))
            }
        };
        assert!(found, "{source} does not exist");
    }
}

#[test]
fn the_units_start_commands_with_configurations_that_are_valid() {
    let destinations: BTreeSet<_> = assets().into_iter().map(|(_, destination)| destination).collect();
    assert!(destinations.contains("etc/gatewayworker/"));
    let config = Path::new(HERE).join("../../config").to_str().unwrap().to_owned();
    let units = units();
    assert_eq!(units.len(), 4);
    for (name, unit) in units {
        let [start] = values(&unit, "ExecStart")[..] else { panic!("{name} has one ExecStart") };
        let arguments = start.strip_prefix("/usr/bin/gatewayworker ").unwrap();
        let mut check = Command::new(env!("CARGO_BIN_EXE_gatewayworker"));
        for (variable, _) in std::env::vars().filter(|(name, _)| name.starts_with("GATEWAYWORKER_")) {
            check.env_remove(variable);
        }
        for setting in values(&unit, "Environment").iter().flat_map(|line| line.split(' ')) {
            let (variable, value) = setting.split_once('=').unwrap();
            check.env(variable, value.replace("/etc/gatewayworker", &config));
        }
        check.args(arguments.split(' ').map(|argument| argument.replace("/etc/gatewayworker", &config)));
        let checked = check.arg("--check-config").output().unwrap();
        assert!(checked.status.success(), "{name}: {}", String::from_utf8_lossy(&checked.stderr));

        let command = arguments.split(' ').next().unwrap();
        let page =
            if command == "start" { "gatewayworker".into() } else { format!("gatewayworker-{command}") };
        assert_eq!(values(&unit, "Documentation"), [format!("man:{page}(1)")], "{name}");
    }
}

/// Whoever changes the sandbox of one unit means all of them.
#[test]
fn the_units_have_one_sandbox() {
    let sandbox = |unit: &str| {
        let (_, sandbox) = unit.split_once("# Nothing but its sockets").expect("a sandbox");
        sandbox.to_owned()
    };
    let units = units();
    for (name, unit) in &units {
        assert_eq!(sandbox(unit), sandbox(&units[0].1), "{name}");
        assert_eq!(values(unit, "EnvironmentFile"), ["-/etc/gatewayworker/environment"], "{name}");
    }
}

#[test]
fn the_scripts_and_the_cluster_know_all_units() {
    let prerm = read(&ops("debian/prerm"));
    let units = units();
    for (name, _) in &units {
        assert!(prerm.contains(name.as_str()), "prerm does not stop {name}");
    }
    let cluster = &units.iter().find(|(name, _)| name == "gatewayworker.service").unwrap().1;
    let excluded: BTreeSet<_> = values(cluster, "Conflicts")[0].split(' ').map(str::to_owned).collect();
    let others = units.iter().map(|(name, _)| name.clone()).filter(|name| name != "gatewayworker.service");
    assert_eq!(excluded, others.collect());
}

#[test]
fn the_environment_file_names_settings() {
    let settings: BTreeSet<_> = gatewayworker_daemon::settings().collect();
    let text = read(&ops("environment"));
    let names: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix('#')?.split_once('='))
        .map(|(name, _)| name)
        .filter(|name| name.starts_with("GATEWAYWORKER_"))
        .collect();
    assert!(names.contains(&"GATEWAYWORKER_SECRET_KEY"));
    for name in names {
        assert!(settings.contains(name), "{name} is no setting");
    }
}

#[test]
fn the_containers_have_settings_and_services_that_exist() {
    let settings: BTreeSet<_> = gatewayworker_daemon::settings().collect();
    let compose = read(&ops("compose.yaml"));
    let variables = compose.lines().filter_map(|line| line.trim().split_once(": "));
    let variables: Vec<_> =
        variables.map(|(name, _)| name).filter(|name| name.starts_with("GATEWAYWORKER_")).collect();
    assert!(variables.len() >= 5, "{variables:?}");
    for variable in variables {
        assert!(settings.contains(variable), "{variable} is no setting");
    }
    let nginx = read(&ops("compose-nginx.conf"));
    let servers: Vec<_> = nginx
        .lines()
        .filter_map(|line| line.trim().strip_prefix("server ")?.strip_suffix(":8289;"))
        .collect();
    assert_eq!(servers, ["gateway1", "gateway2"]);
    for server in servers {
        assert!(compose.contains(&format!("\n  {server}:")), "{server} is no service");
    }
}
