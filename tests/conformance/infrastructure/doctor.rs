//! The doctor, held to the templates: what it expects, what it may ask, and where it sends people to.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    file,
    permissions::{actions, context},
    template::{Deployed, PROD, SECURITY, member, member_with, security},
    ties::pattern,
};
use crate::counterparts::permissions;

#[test]
fn the_doctor_expects_the_patterns_that_the_templates_declare() {
    the_expected_patterns(&member(&[]));
    the_expected_patterns(&security());
}

pub(super) fn the_expected_patterns(deployed: &Deployed) {
    let expected = file("crates/cli/src/doctor/expected.json").replace("${Prefix}", "keytide");
    let expected: Value = serde_json::from_str(&expected).unwrap();
    let rules = deployed.ids("AWS::Events::Rule");
    assert!(!rules.is_empty());
    for rule in rules {
        let name = deployed.name(rule);
        let of_name = &expected["patterns"][name.strip_prefix("keytide-").unwrap()];
        assert_eq!(pattern(deployed, rule), *of_name, "{name}");
    }
}

/// Where the doctor sends people to, there is something to read.
#[test]
fn the_doctors_mends_name_sections_of_the_runbook_and_settings_that_there_are() {
    let (runbook, settings) = (file("infra/RUNBOOK.md"), file("infra/deployment.env.example"));
    let (mut sections, mut named) = (BTreeSet::new(), BTreeSet::new());
    for name in ["account", "installation", "mend", "rules", "slack", "trails"] {
        let text = file(&format!("crates/cli/src/doctor/judge/{name}.rs"));
        let code =
            text.split("#[cfg(test)]").next().unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        let code = code.replace("\\ ", "");
        for rest in code.split("infra/RUNBOOK.md, \\\"").skip(1) {
            sections.insert(rest.split("\\\"").next().unwrap().to_owned());
        }
        // Alarms are told apart before they are put into the sentence.
        let alarms = code.split('"').filter(|text| text.starts_with("keytide-"));
        sections.extend(alarms.map(|text| text.trim_end_matches('\\').to_owned()));
        let word = |c: char| !(c.is_ascii_uppercase() || c == '_');
        named.extend(code.split(word).filter(|word| word.len() > 8 && word.contains('_')).map(str::to_owned));
    }
    sections.remove("{section}");
    assert!(sections.len() >= 9, "{sections:?}");
    for section in sections {
        assert!(runbook.contains(&format!("\n### {section}\n")), "{section:?} is no section");
    }
    let known = |name: &String| {
        // Those of the code itself, of SQS and of CloudFormation.
        let others = [
            "SWEPT_WITHIN",
            "TOLD_WITHIN",
            "MISSED_FOR",
            "CLOCKS_AGREE",
            "ERROR_CODE",
            "ERROR_MESSAGE",
            "REVERT_DRIFT",
        ];
        others.contains(&name.as_str()) || settings.contains(&format!("\n{name}="))
    };
    assert!(named.len() >= 6, "{named:?}");
    assert!(named.iter().all(known), "{named:?}");
}

/// The rights that the doctor names with its calls, in these files of its own.
fn asked_in(files: &[&str]) -> BTreeSet<String> {
    let mut rights = BTreeSet::new();
    for name in files {
        let text = file(&format!("crates/cli/src/doctor/look/{name}.rs"));
        let quoted = text.split("asked(").skip(1).filter_map(|rest| rest.split('"').nth(1));
        rights.extend(quoted.filter(|right| right.contains(':')).map(str::to_owned));
    }
    rights
}

/// In a member account, by the reader.
pub(super) fn asked_in_members() -> BTreeSet<String> {
    asked_in(&["account", "mod", "trails"])
}

/// In the security account, where it looks at that account's own part as well; and what it takes to look into the others.
pub(super) fn asked_by_the_doctor() -> BTreeSet<String> {
    let mut rights = asked_in_members();
    rights.extend(asked_in(&["installation"]));
    rights.extend(["organizations:ListAccounts", "sts:AssumeRole"].map(str::to_owned));
    rights
}

#[test]
fn the_doctor_may_look_at_what_it_asks_for_and_nothing_else() {
    let granted = actions(&security().properties("DoctorPolicy")["PolicyDocument"]);
    assert!(granted.len() >= 15, "{granted:?}");
    assert_eq!(granted, asked_by_the_doctor());
    let reads = |action: &String| {
        let verb = action.split(':').nth(1).unwrap();
        ["Get", "List", "Describe"].iter().any(|reading| verb.starts_with(reading))
            || action == "sts:AssumeRole"
    };
    assert!(granted.iter().all(reads), "{granted:?}");
    // What it reads of the ledger it may by the other policy that it needs.
    let looking = actions(&security().properties("LookPolicy")["PolicyDocument"]);
    for of_ledger in ["dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:DescribeTable"] {
        assert!(looking.contains(of_ledger), "{of_ledger}");
    }
}

/// Each call of the doctor's, at the very thing that it is about, is allowed by the policies that it has there and no others:
/// in a member by the reader's, in the security account by `keytide-doctor` and `keytide-look`.
#[test]
fn the_doctors_rights_reach_what_it_looks_at() {
    let (security, member) = (security(), member(&[]));
    let people = ["DoctorPolicy", "LookPolicy"].map(|id| security.properties(id)["PolicyDocument"].clone());
    let trail = "arn:aws:cloudtrail:eu-west-1:555566667777:trail/organization";
    let own = |arn: String, account: &str| arn.replace(PROD, account);
    let in_every_account = |account: &str| {
        let mut calls = vec![
            ("cloudtrail:DescribeTrails", "*".to_owned()),
            ("cloudtrail:GetEventSelectors", trail.to_owned()),
            ("cloudtrail:GetTrailStatus", trail.to_owned()),
        ];
        for rule in ["ForwardKeyEvents", "ForwardOwnRoleEvents"] {
            calls.push(("events:DescribeRule", own(member.arn(rule), account)));
            calls.push(("events:ListTargetsByRule", own(member.arn(rule), account)));
        }
        for role in ["ReaderRole", "DisablerRole", "ForwarderRole"] {
            calls.push(("iam:GetRole", own(member_with(role).arn(role), account)));
        }
        for call in ["sqs:GetQueueUrl", "sqs:GetQueueAttributes"] {
            calls.push((call, own(member.arn("UndeliveredEvents"), account)));
        }
        calls
    };
    let mut in_security = in_every_account(SECURITY);
    for queue in ["Events", "EventsDead", "AccountsToSweep", "AccountsDead", "BeginsDead"] {
        in_security.push(("sqs:GetQueueUrl", security.arn(queue)));
        in_security.push(("sqs:GetQueueAttributes", security.arn(queue)));
    }
    let ledger = security.arn("Ledger");
    let secret = format!("arn:aws:secretsmanager:us-east-1:{SECURITY}:secret:keytide/slack-a1B2c3");
    let schedule = format!("arn:aws:scheduler:us-east-1:{SECURITY}:schedule/default/keytide-sweep");
    in_security.extend([
        ("dynamodb:BatchGetItem", ledger.clone()),
        ("dynamodb:DescribeContinuousBackups", ledger.clone()),
        ("dynamodb:DescribeTable", ledger.clone()),
        ("dynamodb:DescribeTimeToLive", ledger.clone()),
        ("dynamodb:Query", ledger.clone()),
        ("dynamodb:Query", format!("{ledger}/index/by-account")),
        ("events:DescribeEventBus", security.arn("EventBus")),
        ("events:DescribeRule", security.arn("KeyEventsRule")),
        ("events:ListTargetsByRule", security.arn("KeyEventsRule")),
        ("organizations:ListAccounts", "*".to_owned()),
        ("scheduler:GetSchedule", schedule),
        ("secretsmanager:GetSecretValue", secret),
        ("sns:ListSubscriptionsByTopic", security.arn("Alarms")),
        ("sts:AssumeRole", member.arn("ReaderRole")),
    ]);
    let of_calls = |calls: &[(&str, String)]| -> BTreeSet<String> {
        calls.iter().map(|(action, _)| (*action).to_owned()).collect()
    };
    let mut questions = Vec::new();
    let reader = member.policies("ReaderRole");
    for (account, calls, policies) in
        [(PROD, in_every_account(PROD), reader.as_slice()), (SECURITY, in_security.clone(), &people[..])]
    {
        for (action, resource) in calls {
            let question = json!({
                "principal": format!("arn:aws:sts::{account}:assumed-role/somebody/a-session"),
                "account": account, "action": action, "resource": resource, "policies": policies,
                "context": context(),
            });
            questions.push((format!("{action} of {resource} in {account}"), question));
        }
    }
    assert_eq!(of_calls(&in_every_account(PROD)), asked_in_members(), "no call is left out");
    let mut all = asked_by_the_doctor();
    all.extend(["dynamodb:BatchGetItem", "dynamodb:Query"].map(str::to_owned));
    assert_eq!(of_calls(&in_security), all, "no call is left out");
    for ((about, _), answer) in questions.iter().zip(permissions(&questions)) {
        assert_eq!(answer, "Allowed", "{about}");
    }
}
