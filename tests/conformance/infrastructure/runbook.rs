//! The runbook is held to what it is about: the template's alarms, the drills that are played, the log's lines.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
};

use keytide_app::copy::Copy;
use keytide_aws::ledger::{Halt, PolicyInForce};
use serde_json::{Value, json};

use super::{
    TEMPLATES, file,
    template::{Deployed, security},
    template_text,
};
use crate::counterparts::problems_by_aws_cli;

/// The headings of this level under a heading of the level above.
fn sections<'a>(runbook: &'a str, chapter: &str) -> Vec<&'a str> {
    let chapter = runbook.split("\n## ").find(|part| part.starts_with(chapter)).unwrap_or_default();
    chapter.lines().filter_map(|line| line.strip_prefix("### ")).collect()
}

fn every_alarm_has_its_section(runbook: &str, deployed: &Deployed) {
    let alarms = deployed.ids("AWS::CloudWatch::Alarm").into_iter();
    let alarms = alarms.map(|id| deployed.properties(id)["AlarmName"].as_str().unwrap().to_owned());
    let alarms: BTreeSet<String> = alarms.collect();
    assert!(alarms.len() >= 15, "{alarms:?}");
    let told = sections(runbook, "Alarms");
    assert_eq!(told.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(), alarms);
    assert_eq!(told.len(), alarms.len(), "none twice: {told:?}");
    // What is named anywhere else is there, too.
    let names = runbook.split('`').skip(1).step_by(2).filter(|text| text.starts_with("keytide-"));
    let known = |name: &str| {
        let declared = name.replacen("keytide", "${Prefix}", 1);
        alarms.contains(name) || TEMPLATES.iter().any(|template| template_text(template).contains(&declared))
    };
    for name in names.filter(|name| !name.contains(char::is_whitespace)) {
        assert!(known(name), "{name} is neither an alarm nor anything else of the templates");
    }
}

fn every_drill_has_its_section(runbook: &str) {
    let drills = file("tests/conformance/deployed/drills.rs");
    let played: Vec<String> = drills
        .split("#[tokio::test]\nasync fn ")
        .skip(1)
        .map(|rest| rest.split('(').next().unwrap().replace('_', " "))
        .collect();
    assert!(played.len() >= 5, "{played:?}");
    let told = sections(runbook, "When something fails");
    let told: Vec<String> = told.iter().map(|name| name.to_lowercase().replace('\'', "")).collect();
    for drill in &played {
        assert!(told.contains(drill), "{drill:?} has no section among {told:?}");
    }
}

/// A log line's text as the runbook quotes it stands in the code that writes it.
fn every_line_is_one_that_the_log_has(runbook: &str) {
    let code = ["crates/watcher/src/observe.rs", "crates/sweeper/src/observe.rs"].map(file).concat();
    // Quoted over the end of a line as well.
    let runbook = runbook.split_whitespace().collect::<Vec<_>>().join(" ");
    let quoted = runbook.split('`').skip(1).step_by(2);
    let lines: BTreeSet<&str> =
        quoted.filter(|text| ["a ", "an "].iter().any(|article| text.starts_with(article))).collect();
    assert!(lines.len() >= 7, "{lines:?}");
    for line in lines {
        assert!(code.contains(&format!("\"{line}\"")), "no function logs {line:?}");
    }
}

/// The command lines in the indented blocks, each whole.
fn command_lines(runbook: &str) -> Vec<String> {
    let blocks: Vec<&str> = runbook.lines().filter(|line| line.starts_with("    ")).collect();
    let lines = blocks.join("\n").replace("\\\n", " ");
    lines.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn every_aws_command_of_the_runbook_is_one_that_there_is() {
    let named = |line: String| (line.clone(), json!(line));
    let lines = command_lines(&file("infra/RUNBOOK.md")).into_iter();
    let lines: Vec<(String, Value)> = lines.filter(|line| line.starts_with("aws ")).map(named).collect();
    assert!(lines.len() >= 25, "{}", lines.len());
    assert_eq!(problems_by_aws_cli(&lines), [""; 0]);
    let wrong = [
        "aws dynamodb restore-table --target-table-name keytide-ledger --backup-arn …",
        "aws dynamodb wait table-restored --table-name keytide-ledger",
        "aws cloudformation create-stack-instances --stack-set-name … --accounts-of … --regions us-east-1",
        "aws lambda invoke --function keytide-sweeper /dev/stdout",
        "aws logs tail /aws/lambda/keytide-watcher --last 3h",
    ];
    let wrong: Vec<(String, Value)> = wrong.map(str::to_owned).into_iter().map(named).collect();
    let found = problems_by_aws_cli(&wrong);
    for (line, _) in &wrong {
        assert!(found.iter().any(|problem| problem.starts_with(line.as_str())), "{line}: {found:?}");
    }
}

/// What the runbook has the log and jq look for stands in the lines that a sweep writes.
#[test]
fn what_the_runbook_looks_for_stands_in_the_copies_lines() {
    let at = "2026-06-02T06:10:00Z".parse().unwrap();
    let policy = PolicyInForce {
        text: "[modes]\nenforce = [\"111122223333\"]\n".to_owned(),
        hash: "0a".to_owned(),
        author: "vera".to_owned(),
        at,
    };
    let halt = Halt { reason: "an incident".to_owned(), author: "vera".to_owned(), at };
    let in_force = Copy::InForce { at, policy: Some(policy.clone()), halt: Some(halt) };
    let exemptions = Copy::of_exemptions(&"111122223333".parse().unwrap(), at, &[].into());
    let lines = command_lines(&file("infra/RUNBOOK.md"));
    for (copy, jq) in
        [(&in_force, "'[.[] | fromjson] | max_by(.at) | .policy.text'"), (&exemptions[0], "'.[]'")]
    {
        let written: Value = serde_json::from_str(&copy.line().unwrap()).unwrap();
        let filter = format!("'{{ $.keytide = {} }}'", written["keytide"]);
        let line = lines.iter().find(|line| line.contains(&filter)).unwrap_or_else(|| panic!("no {filter}"));
        // Of pages of text, `--query` would see each by itself, and `jq` no list.
        for words in ["--start-time …", "--output json", "--query 'events[].message'", &format!("jq -r {jq}")]
        {
            assert!(line.contains(words), "{words}: {line}");
        }
        assert!(written["at"].is_string(), "{written}");
    }
    let written: Value = serde_json::from_str(&in_force.line().unwrap()).unwrap();
    assert_eq!(written["policy"]["text"], json!(policy.text));
    assert_eq!(written["halt"]["reason"], "an incident");
    // The help of the command says the same as the runbook.
    let help = file("crates/cli/src/lost.rs");
    assert!(help.contains("--output json --query 'events[].message' | jq -r '.[]' > "));
    // What the stack would have made of the table, and what a restored one lacks.
    let definition: Value = serde_json::from_str(&file("infra/ledger-table.json")).unwrap();
    let expiry = definition["TimeToLiveSpecification"]["AttributeName"].as_str().unwrap();
    let table = security().properties("Ledger");
    for (key, words) in [
        (&table["TimeToLiveSpecification"]["Enabled"], format!("Enabled=true,AttributeName={expiry}")),
        (
            &table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"],
            format!(
                "PointInTimeRecoveryEnabled=true,RecoveryPeriodInDays={}",
                table["PointInTimeRecoverySpecification"]["RecoveryPeriodInDays"]
            ),
        ),
        (&table["DeletionProtectionEnabled"], "--deletion-protection-enabled".to_owned()),
        (&table["SSESpecification"]["SSEEnabled"], "--sse-specification Enabled=true,SSEType=KMS".to_owned()),
    ] {
        assert_eq!(*key, json!(true), "{words}");
        assert!(lines.iter().any(|line| line.contains(&words)), "{words}");
    }
    // The item that is taken out of a table that was left.
    let accepted = file("crates/aws/src/ledger/accept.rs");
    assert!(
        accepted.contains("const ACCEPTED: &str = \"ACCEPTED\";")
            && accepted.contains("document(ACCEPTED, ACCEPTED)")
    );
    assert!(lines.iter().any(|line| line.contains(r#"{"pk": {"S": "ACCEPTED"}, "sk": {"S": "ACCEPTED"}}"#)));
}

fn is_kept(runbook: &str, deployed: &Deployed) {
    every_alarm_has_its_section(runbook, deployed);
    every_drill_has_its_section(runbook);
    every_line_is_one_that_the_log_has(runbook);
}

#[test]
fn the_runbook_has_a_section_for_each_alarm_and_each_drill_and_quotes_the_log() {
    let (runbook, deployed) = (file("infra/RUNBOOK.md"), security());
    is_kept(&runbook, &deployed);
    // One that has fallen behind is found out.
    for (good, bad) in [
        ("### keytide-halted", "### keytide-stopped"),
        ("### keytide-halted\n", "### keytide-halted\n\n### keytide-resumed\n"),
        ("### keytide-halted\n", ""),
        ("`keytide-undelivered`", "`keytide-not-delivered`"),
        ("### An event is poisoned", "### An event is odd"),
        ("`a run could not begin`", "`a run did not begin`"),
    ] {
        assert!(runbook.contains(good), "{good}");
        let spoilt = runbook.replacen(good, bad, 1);
        let caught = catch_unwind(AssertUnwindSafe(|| is_kept(&spoilt, &deployed))).is_err();
        assert!(caught, "{bad:?} in place of {good:?} was not seen");
    }
}
