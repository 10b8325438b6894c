//! Builds another package's program, since cargo tells a test only of its own package's.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::Value;

/// The path of a package's program of the same name, built now if it is not up to date.
///
/// `profile` is one of cargo's: `dev`, `release`, or the functions' own, `lambda`. The compiler's messages
/// go to the test's own stderr.
pub fn program(package: &str, profile: &str) -> Result<PathBuf, String> {
    // The very cargo that builds this test, into the same target folder.
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--locked", "--profile", profile]);
    if profile == "dev" {
        // Of what is selected cargo joins the features, and builds everything anew where they differ: so the very
        // selection of `cargo test --workspace`, which has just built it all.
        command.args(["--workspace", "--bins", "--tests"]);
        if cfg!(feature = "counterparts") {
            command.args(["--features", "keytide-tests/counterparts"]);
        }
    } else {
        command.args(["--package", package, "--bin", package]);
    }
    let output = command
        .arg("--message-format=json-render-diagnostics")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo could not be started to build {package}: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo could not build {package} ({}): its messages are above", output.status));
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| {
            message.pointer("/target/name").and_then(Value::as_str) == Some(package)
                && message.pointer("/target/kind/0").and_then(Value::as_str) == Some("bin")
                && message.pointer("/profile/test") == Some(&Value::Bool(false))
        })
        .find_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
        .ok_or_else(|| format!("cargo built {package} and named no program; expected an `executable`"))
}
