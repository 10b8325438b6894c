//! What we did not write and are judged by: two models of Block Kit, a Slack, an AWS, and what knows CloudFormation and IAM.
//!
//! The tools and what each of them judges stand in `tests/counterparts/README.md`. They are set up once, under
//! `target/counterparts/`; nothing here is skipped because a tool is missing.
#![cfg(feature = "counterparts")]

mod ministack;
mod tools;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

pub(crate) use ministack::{MiniStack, Refused};
use tools::tools;

/// Asserts that neither judge finds anything wrong with the messages.
///
/// A message is a name, by which it is reported, and the arguments of `chat.postMessage`: `text`, `blocks` and so on.
pub(crate) fn judge_messages(messages: &[(String, Value)]) {
    assert!(!messages.is_empty(), "there are no messages to judge");
    let by_sdk = problems_by_slack_sdk(messages);
    let by_types = problems_by_slack_types(messages);
    assert!(
        by_sdk.is_empty() && by_types.is_empty(),
        "slack_sdk says:\n{}\n@slack/types says:\n{}",
        by_sdk.join("\n"),
        by_types.join("\n")
    );
}

/// What `slack_sdk`'s models say against the messages: one line a problem, each beginning with its message's name.
pub(crate) fn problems_by_slack_sdk(messages: &[(String, Value)]) -> Vec<String> {
    let tools = tools();
    let mut judge = tools.python();
    judge.arg(tools.script("judge_slack.py"));
    problems(judge, messages)
}

/// What the types of `@slack/types` say against the messages' texts and blocks, in the same form.
pub(crate) fn problems_by_slack_types(messages: &[(String, Value)]) -> Vec<String> {
    let tools = tools();
    let mut judge = tools.node();
    judge.arg(tools.script("judge_types.mjs")).arg(&tools.packages);
    problems(judge, messages)
}

/// What cfn-lint says against CloudFormation templates, each given as its text.
pub(crate) fn problems_by_cfn_lint(templates: &[(String, Value)]) -> Vec<String> {
    problems(template_judge(&["lint"]), templates)
}

/// What CloudFormation Guard says against templates by our own rules, which stand in `infra/guard/`.
pub(crate) fn problems_by_guard(templates: &[(String, Value)]) -> Vec<String> {
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/guard/promises.guard");
    problems(template_judge(&["guard", rules]), templates)
}

/// What parliament says against IAM policies, each given as its text.
pub(crate) fn problems_by_parliament(policies: &[(String, Value)]) -> Vec<String> {
    problems(template_judge(&["policies"]), policies)
}

/// What the AWS CLI says against command lines that a document gives, each as its text.
pub(crate) fn problems_by_aws_cli(lines: &[(String, Value)]) -> Vec<String> {
    let tools = tools();
    let mut judge = tools.python();
    judge.arg(tools.script("judge_commands.py"));
    problems(judge, lines)
}

/// Templates as JSON, their intrinsic functions in long form.
pub(crate) fn templates_in_long_form(templates: &[(String, Value)]) -> Vec<Value> {
    answers(template_judge(&["read"]), templates)
}

/// Whether event patterns match events, by moto's matcher: questions are `{"pattern": …, "event": …}`.
pub(crate) fn matches_by_moto(questions: &[(String, Value)]) -> Vec<Value> {
    answers(template_judge(&["match"]), questions)
}

/// What IAM policies allow, by iam-simulate; how to ask stands in `judge_permissions.mjs`.
pub(crate) fn permissions(questions: &[(String, Value)]) -> Vec<Value> {
    let tools = tools();
    let mut judge = tools.node();
    judge.arg(tools.script("judge_permissions.mjs")).arg(&tools.packages);
    let answers = answers(judge, questions);
    for ((name, _), answer) in questions.iter().zip(&answers) {
        assert_eq!(answer.get("name"), Some(&json!(name)), "the answers stand in the questions' order");
    }
    answers.into_iter().map(|answer| answer.get("answer").cloned().unwrap_or_default()).collect()
}

/// What shellcheck says against a script and those that it reads, one line a problem.
pub(crate) fn problems_by_shellcheck(script: &Path) -> Vec<String> {
    let mut judge = Command::new(tools().program("shellcheck"));
    let output = must(
        "start shellcheck",
        judge.args(["--external-sources", "--check-sourced", "--format", "gcc"]).arg(script).output(),
    );
    let said = String::from_utf8_lossy(&output.stdout);
    let problems: Vec<String> = said.lines().map(str::to_owned).collect();
    assert_eq!(
        output.status.code(),
        Some(i32::from(!problems.is_empty())),
        "shellcheck itself failed: {said}"
    );
    problems
}

/// The AWS CLI, as a program.
pub(crate) fn aws_cli() -> PathBuf {
    tools().program("aws")
}

/// Python, with the pinned packages.
pub(crate) fn python() -> Command {
    tools().python()
}

fn template_judge(arguments: &[&str]) -> Command {
    let tools = tools();
    let mut judge = tools.python();
    judge.arg(tools.script("judge_templates.py")).args(arguments);
    judge
}

/// Hands questions to a judge as JSON lines, and reads a line of JSON on each.
fn answers(judge: Command, questions: &[(String, Value)]) -> Vec<Value> {
    let output = hand_over(judge, questions);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "the judge itself failed ({}):\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let answers: Vec<Value> =
        said.lines().map(|line| must(&format!("read {line:?}"), serde_json::from_str(line))).collect();
    assert_eq!(answers.len(), questions.len(), "an answer for each question");
    answers
}

/// Hands the messages to a judge as JSON lines, and reads the problems that it finds.
fn problems(judge: Command, messages: &[(String, Value)]) -> Vec<String> {
    let output = hand_over(judge, messages);
    let problems: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    let answered = match output.status.code() {
        Some(0) => problems.is_empty(),
        Some(1) => !problems.is_empty(),
        _ => false,
    };
    assert!(
        answered,
        "the judge itself failed ({}), having said {problems:?} and:\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    problems
}

fn hand_over(mut judge: Command, messages: &[(String, Value)]) -> Output {
    let mut lines = String::new();
    for (name, message) in messages {
        lines.push_str(&json!({ "name": name, "message": message }).to_string());
        lines.push('\n');
    }
    judge.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = must("start the judge", judge.spawn());
    let stdin = child.stdin.take();
    // On a thread, because a judge may say more than a pipe holds before it has read everything.
    thread::scope(|scope| {
        // A judge that ended early has said why: that its pipe broke adds nothing.
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(lines.as_bytes())));
        must("wait for the judge", child.wait_with_output())
    })
}

/// moto's AWS: IAM, STS, Organizations and more, its accounts apart.
///
/// The caller's account is 123456789012, unless the credentials are those of `AssumeRole`: then it is the role's. The role
/// need not exist. Signatures and permissions are not checked.
pub(crate) struct Moto {
    /// The endpoint of every service, such as `http://127.0.0.1:41234`.
    pub(crate) url: String,
    server: Server,
}

/// A session that somebody began by `AssumeRole`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Session {
    /// The role's ARN.
    pub(crate) role: String,
    /// The external id given.
    pub(crate) external_id: Option<String>,
    /// The inline policy that narrows it, as JSON.
    pub(crate) policy: Option<String>,
}

impl Moto {
    /// Sets moto's clock, which then goes on from there; its credential reports then say that they are of now.
    pub(crate) fn set_clock(&mut self, at: Timestamp) {
        self.server.ask(&format!("clock {}", at.strftime("%Y-%m-%dT%H:%M:%S")));
    }

    /// Gives a stack another status, such as one that only a failure in AWS leaves.
    pub(crate) fn set_stack(&mut self, account: &str, stack: &str, status: &str) {
        self.server.ask(&format!("stack {account} {stack} {status}"));
    }

    /// Every session that was begun, by moto's own books: no API shows them.
    pub(crate) fn sessions(&mut self) -> Vec<Session> {
        let said = self.server.ask("sessions");
        must(&format!("read the sessions of {said}"), serde_json::from_value(said.clone()))
    }
}

/// Starts moto on a free port of the loopback interface; it ends when the value is dropped.
pub(crate) fn start_moto() -> Moto {
    let tools = tools();
    let mut command = tools.python();
    command.arg(tools.script("serve_moto.py"));
    let (server, said) = Server::start(command);
    Moto { url: text(&said, "url"), server }
}

/// emulate's Slack with a seeded workspace, which holds tokens to their scopes.
pub(crate) struct EmulateSlack {
    /// Where it answers: the Web API is under `/api/`.
    pub(crate) url: String,
    /// keytide's bot token, with the scopes that keytide asks for, and those to read a conversation back.
    pub(crate) token: String,
    /// A token without `chat:write`.
    pub(crate) narrow_token: String,
    /// The ids of the members by name: alice, bruno, chiara, dario.
    pub(crate) users: BTreeMap<String, String>,
    /// The ids of the channels by name: `access-keys`; `retired`, which is archived; `board-only`, which the bot is not in.
    pub(crate) channels: BTreeMap<String, String>,
    server: Server,
}

impl EmulateSlack {
    /// From now on calls are answered (`up`), are answered with 503 (`down`), or are taken and never answered (`silent`).
    pub(crate) fn turn(&mut self, to: &str) {
        self.server.ask(to);
    }

    /// How many calls found it down or silent since it was last up.
    pub(crate) fn turned_away(&mut self) -> u64 {
        number(&self.server.ask("turned-away"), "count")
    }

    /// A channel's messages, the oldest first.
    pub(crate) fn channel(&mut self, id: &str) -> Vec<Value> {
        self.messages(&format!("channel {id}"))
    }

    /// The messages of the bot's conversation with a person, the oldest first.
    pub(crate) fn direct(&mut self, user: &str) -> Vec<Value> {
        self.messages(&format!("direct {user}"))
    }

    fn messages(&mut self, question: &str) -> Vec<Value> {
        let said = self.server.ask(question);
        must(&format!("find messages in {said}"), said.as_array().cloned().ok_or("they are not there"))
    }
}

/// Starts emulate's Slack on a free port of the loopback interface; it ends when the value is dropped.
pub(crate) fn start_emulate_slack() -> EmulateSlack {
    let tools = tools();
    let mut command = tools.node();
    command.arg(tools.script("serve_slack.mjs")).arg(&tools.packages);
    let (server, said) = Server::start(command);
    EmulateSlack {
        url: text(&said, "url"),
        token: text(&said, "token"),
        narrow_token: text(&said, "narrow_token"),
        users: ids(&said, "users"),
        channels: ids(&said, "channels"),
        server,
    }
}

/// A process that serves until this is dropped, or until the test run is gone: its standard input ends with us.
struct Server {
    child: Child,
    /// What it says, a line each. Read on also where nothing is asked: a server that writes once more must not fail for it.
    lines: Receiver<String>,
}

/// A server that says nothing for so long hangs.
const SILENCE: Duration = Duration::from_mins(3);

impl Server {
    /// Starts a server that says on one line of JSON where it is, once it is ready.
    fn start(mut command: Command) -> (Self, Value) {
        // Its complaints go where the test run's go.
        let mut child =
            must("start the server", command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn());
        let stdout = must("find the server's output", child.stdout.take().ok_or("it is not piped"));
        let (said, lines) = mpsc::channel();
        // Ends with the server's output, or once nobody listens.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if said.send(line).is_err() {
                    break;
                }
            }
        });
        let mut server = Self { child, lines };
        let said = server.hear(&format!("{command:?}"));
        (server, said)
    }

    /// Asks a server that answers each line with one of JSON.
    fn ask(&mut self, question: &str) -> Value {
        let stdin = must("find the server's input", self.child.stdin.as_mut().ok_or("it is not piped"));
        must(&format!("ask {question:?}"), writeln!(stdin, "{question}"));
        self.hear(question)
    }

    fn hear(&mut self, what: &str) -> Value {
        let line = must(&format!("hear the server on {what}"), self.lines.recv_timeout(SILENCE));
        must(&format!("read {line:?}, which the server said on {what}, as JSON"), serde_json::from_str(&line))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(said: &Value, field: &str) -> String {
    must(
        &format!("find the text {field:?} in {said}"),
        said.get(field).and_then(Value::as_str).ok_or("it is not there"),
    )
    .to_owned()
}

fn number(said: &Value, field: &str) -> u64 {
    must(
        &format!("find the number {field:?} in {said}"),
        said.get(field).and_then(Value::as_u64).ok_or("it is not there"),
    )
}

fn ids(said: &Value, field: &str) -> BTreeMap<String, String> {
    let ids = said.get(field).cloned().unwrap_or_default();
    must(&format!("read {field:?} of {said}"), serde_json::from_value(ids))
}

/// A step without which there is nothing to test.
#[expect(clippy::panic, reason = "outside of a #[test] function, yet in a test: this is how it fails")]
fn must<T, E: Display>(step: &str, result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("counterparts: could not {step}: {error}"))
}

mod sown_defects;
mod stand_ins;
