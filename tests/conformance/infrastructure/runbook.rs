//! The runbook is held to what it is about: the template's alarms, the drills that are played, the log's lines.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
};

use super::{
    file,
    template::{Deployed, security},
};

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
        alarms.contains(name)
            || file("infra/security-account.yaml").contains(&name.replacen("keytide", "${Prefix}", 1))
            || file("infra/member-account.yaml").contains(&name.replacen("keytide", "${Prefix}", 1))
            || file("infra/enforced-account.yaml").contains(&name.replacen("keytide", "${Prefix}", 1))
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
