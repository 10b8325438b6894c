//! Every message that keytide writes, judged: by our own check of what others miss, and, with the feature
//! `counterparts`, by `slack_sdk`'s models and by `@slack/types`.

use jiff::Timestamp;
use keytide_core::{
    AccountNames,
    alert::{self, AlertRules, FailedAttempts, Severity},
    cloudtrail::{Outcome, Status, read},
    fact::{Fact, FactBody},
    key::Effect,
    owner::{ListedKey, Owner, OwnerReport, OwnerTags},
};
use keytide_slack::{
    check::faults_in,
    messages::{Notice, for_channel, for_owner, joined, owner_fallback},
};
use serde_json::Value;

fn now() -> Timestamp {
    "2026-05-21T12:00:00Z".parse().unwrap()
}

/// What may be known of an owner.
fn reports() -> Vec<(&'static str, OwnerReport)> {
    let found = |tags: &[(&str, &str)], keys| OwnerReport::Found {
        owner: Owner {
            user_id: "AIDATIDEWATERALICE01".to_owned(),
            path: "/engineering/".to_owned(),
            tags: OwnerTags::from_tags(tags.iter().copied()),
            seen_at: now(),
        },
        keys,
    };
    let keys = (0..3)
        .map(|number| ListedKey {
            key_id: format!("AKIATIDEWATERLISTED{number}"),
            status: Status::Active,
            created: Some(now()),
        })
        .collect();
    let hostile = "<!channel> `x` \u{202e}\n".repeat(40);
    vec![
        (
            "found",
            found(&[("slack-id", "U0ALICE01"), ("full-name", "Alice Adler"), ("type", "human")], Ok(keys)),
        ),
        ("untagged", found(&[], Err("iam:ListAccessKeys of alice: no answer within 2 s".to_owned()))),
        ("malformed", found(&[("slack-id", &hostile), ("full-name", &hostile)], Ok(Vec::new()))),
        ("nobody", OwnerReport::NoUser),
        ("gone", OwnerReport::NotFound),
        ("failed", OwnerReport::Failed(hostile.clone())),
    ]
}

fn facts() -> Vec<(String, Fact, Severity)> {
    let rules = AlertRules { failed_attempts: FailedAttempts::Always, ..AlertRules::default() };
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../events/cloudtrail");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut facts = Vec::new();
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let (id, severity, body) = match read(&std::fs::read(&file).unwrap()) {
            Outcome::Key(event) => {
                let severity = alert::for_key_event(&rules, &event, &[]).severity;
                (event.fact_id(), severity, FactBody::Key { event, effect: Effect::Superseded })
            }
            Outcome::Failed(failed) => {
                let severity = alert::for_failed_call(&rules, &failed).severity;
                (failed.fact_id(), severity, FactBody::FailedCall { failed })
            }
            Outcome::Owner(event) => {
                let severity = alert::for_owner_event(&rules, &event).severity;
                (event.fact_id(), severity, FactBody::Owner { event })
            }
            Outcome::Unreadable(partial) => {
                ("stray".to_owned(), Severity::Warning, FactBody::Unreadable { partial })
            }
            Outcome::NotOurs(_) => continue,
        };
        facts.push((name, Fact { id, recorded_at: now(), body, untold: None }, severity));
    }
    assert!(facts.len() > 40);
    facts
}

/// Every message over every sample and everything that may be known of its owner.
fn every_message() -> Vec<(String, Value)> {
    let rules = AlertRules::default();
    let accounts = AccountNames::parse("111122223333=prod,444455556666=staging").unwrap();
    let facts = facts();
    let mut messages = Vec::new();
    for (case, owner) in &reports() {
        let notice = |fact, severity, in_ledger| Notice {
            fact,
            severity,
            owner,
            accounts: &accounts,
            rules: &rules,
            in_ledger,
        };
        for (name, fact, severity) in &facts {
            for (kind, message) in [
                ("channel", for_channel(&notice(fact, *severity, true))),
                ("early", for_channel(&notice(fact, *severity, false))),
                ("owner", for_owner(&notice(fact, *severity, true))),
                ("fallback", owner_fallback(&notice(fact, *severity, true), "user_disabled")),
            ] {
                let value = serde_json::to_value(&message).unwrap();
                messages.push((format!("{name}-{case}-{kind}"), value));
            }
        }
        let many: Vec<_> = facts.iter().map(|(_, fact, severity)| notice(fact, *severity, true)).collect();
        let account = "111122223333".parse().unwrap();
        for (number, message) in joined("prod", &account, &many).iter().enumerate() {
            messages.push((format!("joined-{case}-{number}"), serde_json::to_value(message).unwrap()));
        }
    }
    messages
}

#[test]
fn every_message_passes_our_own_check() {
    let messages = every_message();
    for (name, message) in &messages {
        assert_eq!(faults_in(message), Vec::<String>::new(), "{name}: {message:#}");
    }
    assert!(messages.len() > 1000);
}

#[cfg(feature = "counterparts")]
#[test]
fn every_message_passes_slack_sdk_and_slack_types() {
    crate::counterparts::judge_messages(&every_message());
}
