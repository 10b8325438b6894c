//! The workspace's directions, as cargo sees them: core knows nobody, functions carry one TLS stack.

use std::{collections::BTreeSet, process::Command};

/// The packages that a package is built from, by name and version.
fn tree(package: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges", "normal", "--prefix", "none", "--no-dedupe"])
        .args(["--package", package])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo tree starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let words = |line: &str| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    lines.lines().filter(|line| !line.is_empty()).map(words).collect()
}

fn names(packages: &BTreeSet<String>) -> BTreeSet<&str> {
    packages.iter().filter_map(|package| package.split(' ').next()).collect()
}

#[test]
fn core_has_no_runtime_no_network_and_no_environment() {
    let core = tree("keytide-core");
    let direct_and_below = names(&core);
    for banned in ["tokio", "hyper", "reqwest", "aws-config", "tracing", "keytide-aws", "keytide-slack"] {
        assert!(!direct_and_below.contains(banned), "core depends on {banned}");
    }
    let own =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/core/Cargo.toml")).unwrap();
    let section = own.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    let direct: Vec<&str> = section.lines().filter_map(|line| line.split(['.', ' ']).next()).collect();
    let direct: Vec<&str> = direct.into_iter().filter(|name| !name.is_empty()).collect();
    assert_eq!(direct, ["csv", "jiff", "serde", "serde_json", "sha2", "thiserror", "toml"]);
}

#[test]
fn adapters_do_not_know_their_users() {
    for (package, banned) in [
        ("keytide-aws", ["keytide-slack", "keytide-app", "keytide-local"]),
        ("keytide-slack", ["keytide-aws", "keytide-app", "keytide-local"]),
        ("keytide-app", ["keytide-local", "keytide-watcher", "keytide"]),
        ("keytide-app", ["keytide-function", "keytide-sweeper", "lambda_runtime"]),
        ("keytide-function", ["keytide-local", "keytide-app", "keytide"]),
        ("keytide-watcher", ["keytide-local", "keytide", "dynoxide-rs"]),
        ("keytide-sweeper", ["keytide-local", "keytide", "dynoxide-rs"]),
    ] {
        let tree = tree(package);
        for banned in banned {
            assert!(!names(&tree).contains(banned), "{package} depends on {banned}");
        }
    }
}

#[test]
fn a_function_carries_one_tls_stack_and_no_engineers_logins() {
    for function in ["keytide-watcher", "keytide-sweeper"] {
        let tree = tree(function);
        for single in ["hyper", "h2", "rustls", "hyper-rustls", "tokio-rustls", "aws-lc-rs", "http"] {
            let versions: Vec<&String> =
                tree.iter().filter(|package| package.split(' ').next() == Some(single)).collect();
            assert_eq!(versions.len(), 1, "{function}, {single}: {versions:?}");
        }
        for banned in [
            "ring",
            "openssl",
            "native-tls",
            "aws-sdk-sso",
            "aws-sdk-ssooidc",
            "aws-sdk-signin",
            // The doctor's.
            "aws-sdk-cloudtrail",
            "aws-sdk-eventbridge",
            "aws-sdk-scheduler",
            "aws-sdk-sns",
        ] {
            assert!(!names(&tree).contains(banned), "{function} carries {banned}");
        }
    }
}
