//! The real `keytide` program: files, pipes, exit codes, and an environment of its own.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::Stdio,
};

use jiff::{SignedDuration, Timestamp};
use keytide_local::HOME_ACCOUNT;
use keytide_tests::runtime_api::{RuntimeApi, time_of_day};
use serde_json::{Value, json};

use crate::program::{self, Ran, command, command_of_owner};
use crate::world::{ALICE, KEY, PROD, TOKEN, World, event};

/// The repository's root: the samples' paths begin there.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

pub(crate) fn folder(story: &str) -> PathBuf {
    program::folder("cli", story)
}

pub(crate) fn run(within: &Path, arguments: &[&str]) -> Ran {
    Ran::of(command(within, arguments).output().unwrap())
}

fn run_with_input(within: &Path, arguments: &[&str], input: &[u8]) -> Ran {
    let mut child = command(within, arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    Ran::of(child.wait_with_output().unwrap())
}

fn samples(path: &str) -> String {
    root().join("events").join(path).to_string_lossy().into_owned()
}

pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Nothing in it that a terminal obeys or that turns a line around.
fn assert_harmless(text: &str) {
    let bad = text.chars().find(|&letter| {
        (letter.is_control() && letter != '\n')
            || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    });
    assert_eq!(bad, None, "{text:?}");
}

#[test]
fn explain_says_of_every_sample_what_the_oracle_says() {
    let ran = run(root(), &["explain", "--format", "json", "events/cloudtrail"]).expect(1);
    let oracle = fs::read_to_string(samples("expected.jsonl")).unwrap();
    let mut wanted: Vec<Value> = oracle.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut found = ran.json_lines();
    for lines in [&mut found, &mut wanted] {
        lines.sort_by_key(|line| line["file"].as_str().unwrap().to_owned());
    }
    assert_eq!(found.len(), wanted.len());
    for (found, wanted) in found.iter().zip(&wanted) {
        let names = |object: &Value| object.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(found), names(wanted), "all fields are always there");
        for (name, wanted_value) in wanted.as_object().unwrap() {
            let value = &found[name];
            let file = &wanted["file"];
            match (name.as_str(), wanted_value.as_str()) {
                ("reason", Some(part)) => {
                    let said = value.as_str().unwrap_or_else(|| panic!("{file}: a reason is missing"));
                    assert!(!said.is_empty(), "{file}");
                    if wanted["outcome"] == "unreadable" {
                        assert!(said.contains(part), "{file}: {said:?} does not name {part:?}");
                    }
                }
                _ => assert_eq!(value, wanted_value, "{file}: {name}"),
            }
        }
    }
}

#[test]
fn events_are_found_however_they_are_packed() {
    let here = folder("packed");
    let first = fs::read_to_string(samples("cloudtrail/create-own.json")).unwrap();
    let second = fs::read_to_string(samples("cloudtrail/record-without-envelope.json")).unwrap();
    let compact = |text: &str| serde_json::from_str::<Value>(text).unwrap().to_string();
    let ids = |ran: &Ran| -> Vec<String> {
        ran.json_lines().iter().map(|line| line["key_id"].as_str().unwrap().to_owned()).collect()
    };
    let wanted = ["AKIATIDEWATERALICE22", "AKIATIDEWATERBRUNO23"];
    for (name, text) in [
        ("pretty-one-after-another.json", format!("{first}\n{second}")),
        ("lines.jsonl", format!("{}\n{}\n", compact(&first), compact(&second))),
        ("list.json", format!("[{first},{second}]")),
        ("log.json", format!("{{\"Records\":[{first},{second}]}}")),
        // What is named is read whatever its name.
        ("events.txt", format!("\u{feff}{first}{second}")),
    ] {
        fs::write(here.join(name), &text).unwrap();
        let ran = run(&here, &["explain", "--format", "json", name]).expect(0);
        assert_eq!(ids(&ran), wanted, "{name}");
        assert!(ran.json_lines().iter().all(|line| line["file"] == name));
        let ran = run_with_input(&here, &["explain", "--format", "json", "-"], text.as_bytes()).expect(0);
        assert_eq!(ids(&ran), wanted, "{name} on standard input");
        assert!(ran.json_lines().iter().all(|line| line["file"] == "-"));
    }
    // CloudTrail's own way, and a folder, in the order of names.
    let logs = run(root(), &["explain", "--format", "json", "events/cloudtrail-logs"]).expect(0);
    let mut by_file = BTreeMap::<String, usize>::new();
    for line in logs.json_lines() {
        *by_file.entry(line["file"].as_str().unwrap().rsplit('.').next().unwrap().to_owned()).or_default() +=
            1;
    }
    assert_eq!(
        by_file,
        BTreeMap::from([("json".to_owned(), 5), ("gz".to_owned(), 3), ("jsonl".to_owned(), 4)])
    );
    let gz = fs::read(root().join(logs.json_lines()[5]["file"].as_str().unwrap())).unwrap();
    let ran = run_with_input(&here, &["explain", "--format", "json", "-"], &gz).expect(0);
    assert_eq!(ids(&ran), ["AKIATIDEWATERLOGS333"; 3]);
    // Other names in a folder are left alone, and said to be.
    let ran = run(&here, &["explain", "."]).expect(0);
    assert!(ran.stderr.contains("1 other file in folders left alone"), "{}", ran.stderr);
}

#[test]
fn bad_input_is_named_with_file_line_and_reason_and_the_rest_is_done() {
    let here = folder("bad-input");
    let event = |number: u32| {
        let id = format!("e-{number}");
        event("CreateAccessKey", &id, "2026-05-04T09:12:33Z", &format!("AKIABAD{number}"), "alice", "Active")
    };
    let broken = event(2).to_string();
    let lines = format!("{}\n{}\nno event\n{}\n", event(1), &broken[..broken.len() / 2], event(3));
    fs::write(here.join("b.jsonl"), lines).unwrap();
    fs::write(here.join("a-empty.json"), " \n").unwrap();
    let log = fs::read_dir(samples("cloudtrail-logs")).unwrap().map(|entry| entry.unwrap().path());
    let gz = log.into_iter().find(|path| path.extension().is_some_and(|ending| ending == "gz")).unwrap();
    let gz = fs::read(gz).unwrap();
    fs::write(here.join("c.json.gz"), &gz[..gz.len() / 2]).unwrap();
    fs::write(here.join("d.json"), event(4).to_string()).unwrap();

    let paths = ["a-empty.json", "b.jsonl", "not-there.json", "c.json.gz", "d.json"];
    let ran = run(&here, &[&["ingest"], &paths[..]].concat()).expect(1);
    for part in [
        "a-empty.json:1: unreadable: it is empty",
        "b.jsonl:2",
        "b.jsonl:3:1: unreadable: expected events as JSON",
        "not-there.json: does not exist",
        "c.json.gz: is damaged, as gzip",
    ] {
        assert!(ran.stderr.contains(part), "{part:?} is missing in\n{}", ran.stderr);
    }
    let listed = run(&here, &["ledger", "list", "--format", "csv"]).expect(0);
    for there in ["AKIABAD1", "AKIABAD3", "AKIABAD4"] {
        assert!(listed.stdout.contains(there), "{there}: {}", listed.stdout);
    }

    let ran = run(&here, &[&["explain", "--format", "json"], &paths[..]].concat()).expect(1);
    let unreadable: Vec<Value> =
        ran.json_lines().into_iter().filter(|line| line["outcome"] == "unreadable").collect();
    assert_eq!(unreadable.len(), 3, "{}", ran.stdout);
    assert_eq!(unreadable[1]["file"], "b.jsonl");
    assert!(unreadable[1]["reason"].as_str().unwrap().starts_with("line 2"), "{}", unreadable[1]);
    assert_eq!(unreadable[1].as_object().unwrap().len(), 14, "all fields are always there");
    assert!(ran.stderr.contains("not-there.json: does not exist"), "{}", ran.stderr);

    let ran = run(&here, &["explain", "not-there.json"]).expect(1);
    assert_eq!(ran.stdout, "");
}

#[test]
fn the_ledger_holds_what_was_ingested_and_a_second_time_changes_nothing() {
    let here = folder("ingest");
    let first = run(&here, &["ingest", "--ledger", "audit.db", &samples("story")]).expect(0);
    for part in ["the file audit.db", "AWS is not used", "posts nothing to Slack", "owners are not looked up"]
    {
        assert!(first.stderr.contains(part), "{part:?} is missing in\n{}", first.stderr);
    }
    assert!(first.stdout.contains("New access key: alice (111122223333)"), "{}", first.stdout);
    assert!(first.stdout.contains("to the channel, not posted"), "{}", first.stdout);
    assert!(first.stderr.contains("5 events in 5 files: 5 recorded"), "{}", first.stderr);
    assert_harmless(&first.stdout);
    assert_eq!(names_in(&here), ["audit.db"], "one file, whole");

    let show = |key: &str| {
        let arguments = ["ledger", "show", key, "--ledger", "audit.db", "--format", "json"];
        let shown: Value = serde_json::from_str(&run(&here, &arguments).expect(0).stdout).unwrap();
        shown
    };
    let key = "AKIATIDEWATERSTORY33";
    let before = show(key);
    assert_eq!(before["status"], "Deleted");
    assert_eq!(
        (before["facts"].as_array().unwrap().len(), before["deliveries"].as_array().unwrap().len()),
        (4, 0),
        "nobody is told, and each fact says so"
    );
    assert!(before["facts"].as_array().unwrap().iter().all(|fact| fact["untold"] == "by-hand"));
    let kinds: Vec<&str> = before["facts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fact| fact["body"]["effect"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["current"; 4], "the order of the files is the order of the ledger");
    for delivery in before["deliveries"].as_array().unwrap() {
        assert_eq!(delivery["state"]["is"], "given_up", "nothing read by hand is posted later: {delivery}");
    }

    let second = run(&here, &["ingest", "--ledger", "audit.db", &samples("story")]).expect(0);
    assert_eq!(second.stdout, "", "what is known is not drawn again");
    assert!(second.stderr.contains("0 recorded, 5 known already"), "{}", second.stderr);
    assert_eq!(show(key), before);
    let quiet = run(&here, &["ingest", "--quiet", &samples("cloudtrail/create-root.json")]).expect(0);
    assert_eq!(quiet.stdout, "");
    assert!(here.join("keytide.db").exists(), "the default");

    let list = |more: &[&str]| {
        let ran = run(&here, &[&["ledger", "list", "--ledger", "audit.db"], more].concat()).expect(0);
        (ran.stdout, ran.stderr)
    };
    let (table, remarks) = list(&[]);
    assert!(table.contains("AKIATIDEWATERSTORY22") && !table.contains(key), "{table}");
    assert!(remarks.contains("1 deleted key not shown"), "{remarks}");
    assert!(list(&["--status", "deleted"]).0.contains(key));
    assert!(list(&["--account", PROD]).0.contains("AKIATIDEWATERSTORY22"));
    assert_eq!(list(&["--account", "444455556666"]).0, "");
    assert_eq!(list(&["--owner", ALICE]).0, "");
    let keys: Value = serde_json::from_str(&list(&["--format", "json", "--status", "Active"]).0).unwrap();
    assert_eq!(
        (keys[0]["key_id"].as_str(), keys[0]["user"].as_str()),
        (Some("AKIATIDEWATERSTORY22"), Some("alice"))
    );
    let age = time_of_day().duration_since("2026-06-02T08:58:14Z".parse().unwrap()).as_hours() / 24;
    assert_eq!(keys[0]["age_days"], age);

    let shown = run(&here, &["ledger", "show", key, "--ledger", "audit.db"]).expect(0);
    let order = [
        "created  2026-06-02 23:41:07 by bruno",
        "WHEN (UTC)",
        "23:41:07  created",
        "06:12:30  set Inactive",
        "06:44:52  set Active",
        "07:05:19  deleted",
        "nobody: read by hand and not posted",
    ];
    let (text, mut at) = (&shown.stdout, 0);
    for part in order {
        let found =
            text[at..].find(part).unwrap_or_else(|| panic!("{part:?} is not in its place in\n{text}"));
        at += found;
    }
}

#[test]
fn a_ledger_that_is_none_is_an_error_and_is_not_made() {
    let here = folder("no-ledger");
    for arguments in [&["ledger", "list"][..], &["ledger", "show", KEY]] {
        let ran = run(&here, arguments).expect(2);
        assert!(ran.stderr.contains("keytide.db") && ran.stderr.contains("keytide ingest"), "{}", ran.stderr);
    }
    assert_eq!(names_in(&here), [""; 0]);
    fs::write(here.join("prose.db"), "no database").unwrap();
    for arguments in
        [&["ledger", "list", "--ledger", "prose.db"][..], &["ingest", "--ledger", "prose.db", "-"]]
    {
        assert!(run(&here, arguments).expect(2).stderr.contains("prose.db"), "{arguments:?}");
    }
    assert_eq!(fs::read_to_string(here.join("prose.db")).unwrap(), "no database");
    // An empty ledger is one.
    run_with_input(&here, &["ingest", "-"], b"[]").expect(0);
    assert!(run(&here, &["ledger", "list"]).expect(0).stderr.contains("No keys yet"));
    assert!(run(&here, &["ledger", "show", KEY]).expect(1).stderr.contains("is not in the file keytide.db"));
}

#[test]
fn what_attackers_write_is_shown_and_does_nothing() {
    let here = folder("hostile");
    let hostile = "=cmd|'/C calc'!A0\u{1b}[2J\u{202e}\u{9b}31m";
    let mut event =
        event("CreateAccessKey", "e-hostile", "2026-05-04T09:12:33Z", "+AKIAHOSTILE", hostile, "Active");
    event["detail"]["userAgent"] = json!("\u{7}\u{1b}]0;owned\u{7}");
    fs::write(here.join("evil\u{1b}[31m.json"), event.to_string()).unwrap();
    for arguments in [
        &["explain", "."][..],
        &["explain", "--format", "json", "."],
        &["explain", &samples("cloudtrail")],
        &["ingest", "."],
        &["ledger", "list"],
        &["ledger", "list", "--format", "json"],
        &["ledger", "list", "--format", "csv"],
        &["ledger", "show", "+AKIAHOSTILE"],
        &["ledger", "show", "+AKIAHOSTILE", "--format", "json"],
    ] {
        let ran = run(&here, arguments);
        assert!(!ran.stdout.is_empty(), "{arguments:?}: {}", ran.stderr);
        assert_harmless(&ran.stdout);
        assert_harmless(&ran.stderr);
    }
    let csv = run(&here, &["ledger", "list", "--format", "csv"]).expect(0).stdout;
    let row = csv.lines().nth(1).unwrap();
    assert!(row.starts_with("111122223333,'+AKIAHOSTILE,user,'=cmd|"), "{row}");
    let json = run(&here, &["ledger", "list", "--format", "json"]).expect(0).stdout;
    let keys: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(keys[0]["user"], hostile, "for programs it is what it is");
}

#[test]
fn the_demo_fits_a_screen_and_leaves_nothing_behind() {
    let here = folder("demo");
    let ran = run(&here, &["demo"]).expect(0);
    assert_eq!(ran.stderr, "");
    assert_harmless(&ran.stdout);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    // Each part fits a screen: one key's first days, the ninety-five days, and what is left of them.
    let begins = |text: &str| lines.iter().position(|line| line.starts_with(text)).unwrap();
    let (days, life) = (begins("Ninety-five days"), begins("What dario's phone said last"));
    for (what, lines) in [("story", days), ("days", life - days), ("life", lines.len() - life)] {
        assert!(lines <= 40, "{what}: {lines} lines:\n{}", ran.stdout);
    }
    for line in &lines {
        assert!(line.chars().count() <= 100, "{line}");
    }
    for part in [
        "bruno creates a second key for alice",
        "New access key: alice (prod)",
        "Its creator is not its owner",
        "had no MFA",
        "Active keys: 2 of 2",
        "alice sets it Inactive",
        "set Inactive",
        "deleted",
        "channel, owner",
        "its exemption ends on Mon 10 Aug",
        "notice 76, it ends on",
        "for a week nobody sweeps",
        "rotated in time",
        "dario's key is DISABLED at 91 days",
        "elena's key is set Active",
        "elena's key is DISABLED at 102 days",
        "no active key is older than ninety",
        "keytide scan",
        "keytide explain",
    ] {
        assert!(ran.stdout.contains(part), "{part:?} is missing in\n{}", ran.stdout);
    }
    let all = run(&here, &["demo", "--all"]).expect(0);
    assert_harmless(&all.stdout);
    assert!(all.stdout.contains("CRITICAL: New access key: root (security)"), "{}", all.stdout);
    assert!(all.stdout.contains("65 sample events"), "{}", all.stdout);
    assert_eq!(names_in(&here), [""; 0]);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let here = folder("pipe");
    let mut child =
        command(&here, &["demo", "--all"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(!line.is_empty());
    let ended = Ran::of(child.wait_with_output().unwrap()).expect(0);
    assert_eq!(ended.stderr, "");
}

#[test]
fn usage_is_told_and_helps() {
    let here = folder("usage");
    for arguments in [
        &[][..],
        &["nonsense"],
        &["ingest"],
        &["explain", "--format", "xml", "-"],
        &["ingest", "--ledger", "dynamodb:", "-"],
        &["ledger", "list", "--account", "12"],
        &["ledger", "list", "--owner", "alice"],
        &["man", "nonsense"],
    ] {
        assert!(!run(&here, arguments).expect(2).stderr.is_empty(), "{arguments:?}");
    }
    let help = run(&here, &["--help"]).expect(0).stdout;
    for part in [
        "keytide demo",
        "KEYTIDE_SLACK_TOKEN",
        "Exit codes",
        "some inputs or accounts failed",
        "refused for safety",
        "ingest",
        "explain",
    ] {
        assert!(help.contains(part), "{part:?} is missing in\n{help}");
    }
    assert!(run(&here, &["explain", "--help"]).expect(0).stdout.contains("Examples:"));
    assert!(run(&here, &["--version"]).expect(0).stdout.starts_with("keytide 0."));
    assert!(run(&here, &["completions", "bash"]).expect(0).stdout.contains("complete -F"));
    assert!(run(&here, &["man"]).expect(0).stdout.contains(".TH keytide 1"));
    assert!(run(&here, &["man", "ingest"]).expect(0).stdout.contains("\\-\\-post"));
    assert_eq!(names_in(&here), [""; 0]);
}

#[test]
fn posting_needs_a_token_and_a_channel() {
    let here = folder("post-without");
    let sample = samples("cloudtrail/create-own.json");
    let ran = run(&here, &["ingest", "--post", &sample]).expect(2);
    for part in ["KEYTIDE_SLACK_TOKEN", "--channel", "KEYTIDE_CHANNEL"] {
        assert!(ran.stderr.contains(part), "{part:?} is missing in {}", ran.stderr);
    }
    let ran = Ran::of(
        command(&here, &["ingest", "--post", "--channel", "#general", &sample])
            .env("KEYTIDE_SLACK_TOKEN", TOKEN)
            .output()
            .unwrap(),
    )
    .expect(2);
    assert!(ran.stderr.contains("#general") && !ran.stderr.contains(TOKEN), "{}", ran.stderr);
    assert_eq!(names_in(&here), [""; 0], "nothing was done");
}

#[test]
fn without_credentials_it_says_how_to_sign_in() {
    let here = folder("no-credentials");
    let ran = run(&here, &["ledger", "list", "--ledger", "dynamodb:keytide"]).expect(2);
    assert!(ran.stderr.contains("aws sso login"), "{}", ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 1, "no stack of causes: {}", ran.stderr);
}

/// A company whose AWS and Slack are at an address.
pub(crate) struct Served {
    pub(crate) world: World,
    api: RuntimeApi,
    here: PathBuf,
}

impl Served {
    pub(crate) async fn new(story: &str) -> Self {
        let world = World::new().await;
        let api = RuntimeApi::start(world.aws.clone(), world.slack.clone()).await.unwrap();
        Self { world, api, here: folder(story) }
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Ran {
        program::run(command_of_owner(&self.api, &self.here, arguments)).await
    }

    /// A key that was made that long ago, as a file.
    pub(crate) fn key_made(&self, minutes_ago: i64, key_id: &str) -> String {
        let at: Timestamp = time_of_day().checked_sub(SignedDuration::from_mins(minutes_ago)).unwrap();
        let at = at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let name = format!("{key_id}.json");
        let event = event("CreateAccessKey", &format!("e-{key_id}"), &at, key_id, "alice", "Active");
        fs::write(self.here.join(&name), event.to_string()).unwrap();
        name
    }
}

const TABLE: [&str; 2] = ["--ledger", "dynamodb:keytide"];

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_young_is_posted_and_only_once() {
    let served = Served::new("post").await;
    let (young, old) = (served.key_made(5, KEY), served.key_made(20 * 24 * 60, "AKIATIDEWATEROLD0001"));
    let role = ["--reader-role", "keytide-reader", "--external-id", "tidewater-7"];
    let arguments = [&["ingest", "--post", &young, &old], &TABLE[..], &role].concat();
    let ran = served.run(&arguments).await.expect(0);
    for part in
        ["the DynamoDB table keytide", HOME_ACCOUNT, "us-east-1", "posts to Slack's channel C0INFRA001"]
    {
        assert!(ran.stderr.contains(part), "{part:?} is missing in\n{}", ran.stderr);
    }
    assert_eq!(served.world.channel_texts().len(), 1);
    assert!(served.world.channel_texts()[0].contains(KEY));
    assert_eq!(served.world.owner_texts().len(), 1, "the owner was looked up, and told");
    assert!(ran.stdout.contains(&format!("{young}: to the channel, posted")), "{}", ran.stdout);
    assert!(ran.stdout.contains(&format!("{young}: to {ALICE}, posted")), "{}", ran.stdout);
    assert!(ran.stdout.contains(&format!("{old}: to the channel, not posted")), "{}", ran.stdout);

    let again = served.run(&arguments).await.expect(0);
    assert!(again.stderr.contains("2 known already"), "{}", again.stderr);
    assert_eq!(served.world.slack.messages().len(), 2, "nothing is posted twice");
    let owned =
        served.run(&[&["ledger", "list", "--owner", ALICE, "--format", "csv"], &TABLE[..]].concat()).await;
    assert!(owned.expect(0).stdout.contains(KEY));
}

#[tokio::test(flavor = "multi_thread")]
async fn into_the_real_ledger_nothing_young_goes_in_silence() {
    let served = Served::new("refused").await;
    let (young, old) = (served.key_made(5, KEY), served.key_made(20 * 24 * 60, "AKIATIDEWATEROLD0001"));
    let ran = served.run(&[&["ingest", &young], &TABLE[..]].concat()).await.expect(3);
    assert!(
        ran.stderr.contains(&format!("{young}:1: refused")) && ran.stderr.contains("--post"),
        "{}",
        ran.stderr
    );
    assert_eq!(served.world.ledger().all_keys().await.unwrap(), Vec::new());
    served.run(&[&["ingest", &young, &old], &TABLE[..]].concat()).await.expect(1);
    let keys = served.world.ledger().all_keys().await.unwrap();
    let ids: Vec<&str> = keys.iter().map(|key| key.value.key_id.as_str()).collect();
    assert_eq!(ids, ["AKIATIDEWATEROLD0001"]);
    assert_eq!(served.world.slack.calls(), [""; 0], "nobody was told");
    // Too old to be posted, and young enough to be in the watcher's queue.
    let queued = served.key_made(90, "AKIATIDEWATERQUEUE01");
    served.run(&[&["ingest", "--post", &queued], &TABLE[..]].concat()).await.expect(3);
    assert_eq!(served.world.ledger().all_keys().await.unwrap().len(), 1);
    // Into a file of one's own, it may.
    served.run(&["ingest", &young]).await.expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_is_said_once_per_event_and_is_not_shown() {
    let served = Served::new("bad-token").await;
    served.world.slack.rotate_token("xoxb-another");
    let young = served.key_made(5, KEY);
    let ran = served.run(&["ingest", "--post", &young]).await.expect(1);
    assert!(ran.stderr.contains("invalid_auth"), "{}", ran.stderr);
    assert_eq!(served.world.slack.messages(), Vec::new());
    // What was not told is told as soon as it can be.
    served.world.slack.rotate_token(TOKEN);
    served.run(&["ingest", "--post", &young]).await.expect(0);
    assert_eq!(served.world.channel_texts().len(), 1);
}
