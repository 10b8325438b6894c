//! The real `keytide` program, with an environment of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
};

use keytide_local::HOME_ACCOUNT;
use keytide_tests::{build, runtime_api::RuntimeApi};
use serde_json::Value;

use crate::world::{CHANNEL, TOKEN};

/// The program, built once for all stories.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| build::program("keytide", "dev").unwrap())
}

/// A new, empty folder for one story.
pub(crate) fn folder(stories: &str, story: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(stories).join(story);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// How a run ended.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        let ran = Self {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(!ran.stdout.contains(TOKEN) && !ran.stderr.contains(TOKEN), "the token is never shown");
        ran
    }

    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        for bug in ["this is a bug", "panicked", "stack backtrace"] {
            assert!(!self.stderr.contains(bug), "{}", self.stderr);
        }
        self
    }

    pub(crate) fn says(self, parts: &[&str]) -> Self {
        let all = format!("{}{}", self.stdout, self.stderr);
        for part in parts {
            assert!(all.contains(part), "{part:?} is missing in\n{all}");
        }
        self
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }

    pub(crate) fn json_lines(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// The program without credentials, and without any configuration of whoever runs this test.
pub(crate) fn command(within: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(arguments).current_dir(within).env_clear().stdin(Stdio::null());
    command.env("HOME", within).env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

/// The program in a company whose AWS is at an address, as nobody yet.
pub(crate) fn command_in(api: &RuntimeApi, within: &Path, arguments: &[&str]) -> Command {
    let mut command = command(within, arguments);
    command.env("AWS_ENDPOINT_URL", api.slack_url().replace("/slack/api/", "/aws"));
    command
}

/// The same as the owner of keytide's own account, with the company's Slack.
pub(crate) fn command_of_owner(api: &RuntimeApi, within: &Path, arguments: &[&str]) -> Command {
    let mut command = command_in(api, within, arguments);
    command
        // The bare id of an account signs for that account's owner in the local AWS.
        .env("AWS_ACCESS_KEY_ID", HOME_ACCOUNT)
        .env("AWS_SECRET_ACCESS_KEY", "local")
        .env("KEYTIDE_SLACK_URL", api.slack_url())
        .env("KEYTIDE_SLACK_TOKEN", TOKEN)
        .env("KEYTIDE_CHANNEL", CHANNEL);
    command
}

/// Runs it while the company answers.
pub(crate) async fn run(mut command: Command) -> Ran {
    Ran::of(tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap())
}

/// A terminal: where a person types, and what a program has of it.
pub(crate) fn terminal() -> (fs::File, fs::File) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let persons = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&persons).unwrap();
    unlockpt(&persons).unwrap();
    let name = ptsname(&persons, Vec::new()).unwrap().into_string().unwrap();
    let programs = fs::File::options().read(true).write(true).open(name).unwrap();
    (fs::File::from(persons), programs)
}
