//! `keytide` by hand, where it is easily wrong: what cannot be read, what was tried twice, who did it, and whether
//! its own pages tell the truth.

use std::{collections::BTreeSet, fs, os::unix::fs::symlink, path::Path};

use keytide_local::slack::SlackFault;
use serde_json::{Value, json};

use crate::{
    cli::{Served, folder, names_in, root, run},
    world::{KEY, PROD, event},
};

const SHOWN: &str = "AKIATIDEWATERSHOWN01";

fn created(key_id: &str) -> String {
    event("CreateAccessKey", &format!("e-{key_id}"), "2026-05-04T09:12:33Z", key_id, "alice", "Active")
        .to_string()
}

/// The same call by another session of one role.
fn by_session(mut event: Value, session: &str) -> String {
    event["detail"]["userIdentity"] = json!({
        "type": "AssumedRole",
        "principalId": format!("AROATIDEWATERROLE001:{session}"),
        "arn": format!("arn:aws:sts::{PROD}:assumed-role/security-responder/{session}"),
        "accountId": PROD,
        "sessionContext": {
            "sessionIssuer": { "type": "Role", "accountId": PROD, "userName": "security-responder" },
        },
    });
    event.to_string()
}

#[test]
fn two_sessions_of_one_role_are_told_apart_in_a_keys_history() {
    let here = folder("sessions");
    let change = |id: &str, at: &str, status: &str| event("UpdateAccessKey", id, at, SHOWN, "alice", status);
    let events = [
        created(SHOWN),
        by_session(change("e-off", "2026-05-05T09:00:00Z", "Inactive"), "chiara.conti@tidewater.example"),
        by_session(change("e-on", "2026-05-05T10:00:00Z", "Active"), "chiara.costa@tidewater.example"),
    ];
    fs::write(here.join("events.jsonl"), events.join("\n")).unwrap();
    run(&here, &["ingest", "--quiet", "events.jsonl"]).expect(0);
    let shown = run(&here, &["ledger", "show", SHOWN]).expect(0).stdout;
    for (deed, session) in [("set Inactive", "chiara.conti"), ("set Active", "chiara.costa")] {
        let line = shown.lines().find(|line| line.contains(deed)).unwrap();
        let whole = format!("security-responder/{session}@tidewater.example");
        assert!(line.ends_with(&whole), "{whole:?} is not at the end of {line:?}");
    }
}

/// The block of code in README.md that begins with this line.
fn excerpt(first: &str) -> Vec<String> {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let lines = readme.lines().skip_while(|line| !line.starts_with(first));
    lines.take_while(|line| !line.starts_with("```")).map(str::to_owned).collect()
}

#[test]
fn the_readme_shows_what_the_demo_prints() {
    let shown = excerpt("keytide demo: one access key's story");
    let printed = run(&folder("readme"), &["demo"]).expect(0).stdout;
    let (end, shown) = shown.split_last().unwrap();
    assert_eq!(end, "…", "the excerpt says that it is one");
    assert!(shown.len() > 50, "{shown:?}");
    for (number, (shown, printed)) in shown.iter().zip(printed.lines()).enumerate() {
        assert_eq!(shown, printed, "line {} of the excerpt", number + 1);
    }
    assert!(printed.lines().count() > shown.len(), "the excerpt is longer than the demo");
}

#[test]
fn linked_folders_are_read_once_and_links_that_lead_nowhere_are_named() {
    let here = folder("links");
    let (logs, elsewhere) = (here.join("logs"), here.join("elsewhere"));
    fs::create_dir_all(&logs).unwrap();
    fs::create_dir_all(&elsewhere).unwrap();
    fs::write(logs.join("a.json"), created("AKIALINKED01")).unwrap();
    fs::write(logs.join("notes.txt"), "none of ours").unwrap();
    fs::write(elsewhere.join("b.json"), created("AKIALINKED02")).unwrap();
    let link = |to: &Path, from: &Path| symlink(to, from).unwrap();
    link(&elsewhere, &logs.join("june"));
    link(&elsewhere, &logs.join("june-again"));
    link(&logs, &elsewhere.join("back"));
    link(&elsewhere.join("b.json"), &logs.join("linked.json"));

    let ids = |ran: &crate::program::Ran| -> Vec<String> {
        ran.json_lines().iter().map(|line| line["key_id"].as_str().unwrap().to_owned()).collect()
    };
    let ran = run(&here, &["explain", "--format", "json", "logs"]).expect(0);
    // The folder once, although three ways lead into it; the linked file by its own name as well.
    assert_eq!(ids(&ran), ["AKIALINKED01", "AKIALINKED02", "AKIALINKED02"], "{}", ran.stdout);
    assert!(ran.stderr.contains("1 other file in folders left alone"), "{}", ran.stderr);

    link(Path::new("gone.json"), &logs.join("b.json"));
    link(Path::new("/not/mounted"), &logs.join("july"));
    link(Path::new("itself.json"), &logs.join("itself.json"));
    let named = [
        "logs/b.json: is a link to what does not exist",
        "logs/july: is a link to what does not exist",
        "logs/itself.json: is a link that cannot be followed",
    ];
    for command in ["explain", "ingest"] {
        let ran = run(&here, &[command, "logs"]).expect(1);
        for part in named {
            assert!(ran.stderr.contains(part), "{command}: {part:?} is missing in\n{}", ran.stderr);
        }
        assert!(ran.stderr.contains("3 files could not be read"), "{}", ran.stderr);
    }
    let listed = run(&here, &["ledger", "list", "--format", "csv"]).expect(0).stdout;
    assert!(listed.contains("AKIALINKED01") && listed.contains("AKIALINKED02"), "{listed}");
}

#[test]
fn what_cannot_be_read_at_all_makes_no_ledger() {
    let here = folder("nothing-to-read");
    fs::create_dir(here.join("empty")).unwrap();
    for (input, reason) in [("nofile", "nofile: does not exist"), ("empty", "empty: holds no file to read")] {
        let ran = run(&here, &["ingest", input]).expect(1);
        assert!(ran.stderr.contains(reason), "{}", ran.stderr);
        assert!(ran.stderr.contains("1 file could not be read"), "{}", ran.stderr);
        assert_eq!(names_in(&here), ["empty"], "{input}");
    }
    fs::write(here.join("one.json"), created("AKIAONE00001")).unwrap();
    let ran = run(&here, &["ingest", "nofile", "one.json"]).expect(1);
    assert!(ran.stderr.contains("1 recorded"), "what can be read is read: {}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_took_two_tries_is_told_of_as_one_and_is_perhaps_posted_twice() {
    let served = Served::new("two-tries").await;
    let young = served.key_made(5, KEY);
    // The first answer says nothing of whether the message was taken.
    served.world.slack.set_faults(|number, _| (number == 1).then_some(SlackFault::LostAfter));
    let ran = served.run(&["ingest", "--post", &young]).await.expect(0);
    assert!(ran.stderr.contains("1 event in 1 file: 1 recorded, 1 of all these may have been posted twice"));
    assert!(!ran.stderr.contains("known already"), "{}", ran.stderr);
    assert!(ran.stderr.contains(&format!("{young}:1: it was not clear whether Slack")), "{}", ran.stderr);
    assert!(ran.stdout.contains(&format!("{young}: to the channel, posted")), "{}", ran.stdout);
    assert_eq!(served.world.channel_texts().len(), 2, "the one whose answer was lost, and the one after it");

    let again = served.run(&["ingest", "--post", &young]).await.expect(0);
    assert!(again.stderr.contains("0 recorded, 1 known already"), "{}", again.stderr);
    assert_eq!(served.world.channel_texts().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_slack_answers_in_riddles_is_posted_once_more_and_not_again() {
    let served = Served::new("riddles").await;
    let young = served.key_made(5, KEY);
    served.world.slack.set_faults(|_, _| Some(SlackFault::Error("fatal_error")));
    let ran = served.run(&["ingest", "--post", &young]).await.expect(1);
    assert_eq!(served.world.slack.calls(), ["chat.postMessage"; 2], "{}", ran.stderr);
    for part in ["fatal_error", "1 failed", "1 of all these may have been posted twice"] {
        assert!(ran.stderr.contains(part), "{part:?} is missing in\n{}", ran.stderr);
    }
}

/// The commands that a help text lists.
fn listed(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = lines.take_while(|line| line.starts_with("  ")).filter(|line| !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

/// The options in a text, as `--post`.
fn options(text: &str) -> BTreeSet<String> {
    let is_part = |letter: char| letter.is_ascii_lowercase() || letter == '-';
    let words = text.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let options = words.flat_map(|line| line.split(|letter| !is_part(letter)).collect::<Vec<_>>());
    options.filter(|word| word.len() > 2 && word.starts_with("--")).map(str::to_owned).collect()
}

#[test]
fn the_manual_is_one_page_that_holds_every_command_with_its_options() {
    let here = folder("manual");
    let page = run(&here, &["man"]).expect(0).stdout;
    let of_program = run(&here, &["-h"]).expect(0).stdout;
    let mut left: Vec<Vec<String>> = listed(&of_program).into_iter().map(|name| vec![name]).collect();
    assert!(left.len() > 10, "{of_program}");
    let mut with_options = 0;
    while let Some(command) = left.pop() {
        let arguments: Vec<&str> = command.iter().map(String::as_str).chain(["-h"]).collect();
        let help = run(&here, &arguments).expect(0).stdout;
        left.extend(listed(&help).into_iter().map(|name| [command.clone(), vec![name]].concat()));
        let heading = format!(".SS \"keytide {}\"\n", command.join(" "));
        let (_, section) =
            page.split_once(&heading).unwrap_or_else(|| panic!("{heading:?} is missing in\n{page}"));
        let section = section.split("\n.SS ").next().unwrap().replace("\\-", "-");
        for option in options(&help).into_iter().filter(|option| option != "--help") {
            assert!(section.contains(&option), "{option} is missing in\n{heading}{section}");
            with_options += 1;
        }
    }
    assert!(with_options > 40, "{with_options}");
    for part in [".TH keytide 1", "KEYTIDE_SLACK_TOKEN", "Exit codes", "some inputs or accounts failed"] {
        assert!(page.contains(part), "{part:?} is missing in\n{page}");
    }
    assert!(!page.contains("(1)"), "it leads to pages that do not exist");
    // One command's page holds what is below it.
    let of_ledger = run(&here, &["man", "ledger"]).expect(0).stdout;
    assert!(of_ledger.contains(".SS \"keytide ledger show\"") && !of_ledger.contains("keytide scan"));
}
