//! Every message that keytide writes, judged: by our own check of what others miss, and, with the feature
//! `counterparts`, by `slack_sdk`'s models and by `@slack/types`.

use jiff::Timestamp;
use keytide_core::{
    AccountId, AccountNames,
    alert::{self, AlertRules, FailedAttempts, Severity},
    cloudtrail::{Outcome, Status, read},
    delivery::{NoticeDay, Stage},
    fact::{DisabledKey, Fact, FactBody, ObservedKey, SeenAfter},
    key::{Effect, Ground, Key, LastUse, Sighting, sight},
    lifecycle::{Exemption, utc_date},
    owner::{ListedKey, Owner, OwnerReport, OwnerTags, SlackId},
    plan::{
        Finding, FindingKind, HeldBy, HeldDisable, News, PlannedDisable, PlannedNotice, Upcoming,
        UpcomingKind,
    },
    policy::{Mode, Policy},
};
use keytide_slack::{
    Message,
    check::faults_in,
    messages::{
        BaselineCounts, Digest, DigestDisabled, DueKey, Notice, OwnerReached, Totals, approved, baseline,
        cap_reached, digest, exemption_added, exemption_removed, for_channel, for_owner, halted, joined,
        ledger_accepted, ledger_changed, notices_for_channel, notices_for_owner, organization_cap_reached,
        owner_fallback, policy_applied, resumed,
    },
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
        facts.push((name, Fact::new(id, now(), body), severity));
    }
    assert!(facts.len() > 40);
    for (name, body) in swept() {
        facts.push((name.to_owned(), Fact::new(name, now(), body), Severity::Warning));
    }
    facts
}

fn prod() -> AccountId {
    "111122223333".parse().unwrap()
}

/// A key of a user of this name, as a listing shows it.
fn key(user: &str) -> Key {
    let sighting = Sighting {
        account: prod(),
        key_id: "AKIATIDEWATERALICE77".to_owned(),
        user: user.to_owned(),
        status: Status::Active,
        created: Some("2026-02-24T12:00:00Z".parse().unwrap()),
        at: now(),
    };
    let mut key = sight(None, &sighting, None);
    key.last_use = Some(LastUse {
        at: Some("2026-05-21T09:00:00Z".parse().unwrap()),
        service: Some("s3".to_owned()),
        region: Some("eu-west-1".to_owned()),
        seen_at: now(),
    });
    key
}

/// What a sweep saw and did.
fn swept() -> Vec<(&'static str, FactBody)> {
    let observed = |news| FactBody::Observed {
        observed: Box::new(ObservedKey { key: key("alice"), at: now(), news: vec![news] }),
    };
    let disabled = |seen| {
        let planned = PlannedDisable {
            key_id: "AKIATIDEWATERALICE77".to_owned(),
            user: "alice".to_owned(),
            epoch: "2026-02-24T12:00:00Z".to_owned(),
            ground: Ground::Age,
            age_days: 86,
            noticed_at: now(),
            named: utc_date(now()),
            beyond_cap: false,
        };
        FactBody::Disabled { disabled: Box::new(DisabledKey { key: key("alice"), at: now(), planned, seen }) }
    };
    vec![
        ("found", observed(News::Found)),
        ("found-again", observed(News::Reopened)),
        ("found-active", observed(News::Status { from: Some(Status::Inactive), to: Status::Active })),
        ("found-renamed", observed(News::Renamed { from: None, to: "alice".to_owned() })),
        ("found-gone", observed(News::Gone)),
        ("disabled", disabled(SeenAfter::Inactive)),
        ("disabled-unconfirmed", disabled(SeenAfter::Unconfirmed)),
    ]
}

/// The notices of age, to a user of this name.
fn due_messages(user: &str) -> Vec<(String, Message)> {
    let accounts = AccountNames::parse("111122223333=prod").unwrap();
    let policy = Policy::parse("[modes]\nenforce = [\"111122223333\"]").unwrap();
    let key = key(user);
    let account = prod();
    let today = utc_date(now());
    let mut messages = Vec::new();
    for (stage, severity) in [
        (Stage::Notice(NoticeDay::Age(76)), Severity::Notice),
        (Stage::Notice(NoticeDay::Age(86)), Severity::Notice),
        (Stage::Notice(NoticeDay::Unused), Severity::Notice),
        (Stage::Reminder(today), Severity::Critical),
        (Stage::ExemptionEnding(today), Severity::Notice),
    ] {
        let notice = PlannedNotice {
            key_id: key.key_id.clone(),
            user: user.to_owned(),
            epoch: "2026-02-24T12:00:00Z".to_owned(),
            stage,
            ground: Ground::Age,
            age_days: 86,
            disable_on: today,
            tell_owner: true,
            in_earnest: severity == Severity::Notice,
            severity,
        };
        let due = DueKey { account: &account, key: &key, notice: &notice, policy: &policy };
        for number in [1, 3, 40] {
            let keys = vec![due; number];
            let owner = notices_for_owner(&keys, &accounts, now());
            messages.push((format!("due-owner-{stage}-{number}"), owner));
            for (reached, how) in [
                (OwnerReached::Told { slack_id: SlackId::parse("U0ALICE01").unwrap() }, "told"),
                (OwnerReached::NoTag, "untagged"),
                (OwnerReached::Malformed(user.to_owned()), "malformed"),
                (OwnerReached::Unreachable("user_disabled".to_owned()), "unreachable"),
                (OwnerReached::NotInThisMode, "observe"),
                (OwnerReached::Unknown("no answer".to_owned()), "unknown"),
            ] {
                let keys: Vec<_> = keys.iter().map(|due| (*due, reached.clone())).collect();
                let channel = notices_for_channel(&account, &keys, &accounts, now());
                messages.push((format!("due-channel-{stage}-{number}-{how}"), channel));
            }
        }
    }
    messages
}

/// Digests, and what people decided.
fn other_messages(text: &str) -> Vec<(String, Message)> {
    let accounts = AccountNames::parse("111122223333=prod").unwrap();
    let today = utc_date(now());
    let digest_of = |number: usize| Digest {
        date: today,
        expected: number,
        failed: vec![(prod(), text.to_owned()); number / 2].into(),
        silent: vec![prod(); number / 3].into(),
        totals: Totals { keys: number, active: number, new: 1, notices: 2 },
        previous: Some(Totals::default()),
        disabled: vec![
            DigestDisabled {
                account: prod(),
                key_id: "AKIATIDEWATERALICE77".to_owned(),
                user: text.to_owned(),
                last_used: Some(now()),
                is_confirmed: false,
            };
            number
        ]
        .into(),
        held: vec![
            (
                prod(),
                HeldDisable {
                    key_id: text.to_owned(),
                    user: text.to_owned(),
                    by: HeldBy::Halt(text.to_owned())
                }
            );
            number
        ]
        .into(),
        undelivered: vec![(prod(), text.to_owned(), text.to_owned()); number].into(),
        findings: vec![
            (
                prod(),
                Finding { key_id: text.to_owned(), user: None, what: FindingKind::Tag(text.to_owned()) }
            );
            number
        ]
        .into(),
        upcoming: vec![
            (
                prod(),
                Upcoming {
                    on: today,
                    key_id: text.to_owned(),
                    user: text.to_owned(),
                    what: UpcomingKind::Disable
                }
            );
            number
        ]
        .into(),
        policy: "4f2c9d1e0b7a".to_owned(),
        ..Digest::default()
    };
    let exemption = Exemption {
        reason: text.to_owned(),
        author: text.to_owned(),
        granted_at: now(),
        until: "2026-08-31T00:00:00Z".parse().unwrap(),
    };
    let lines = vec![text.to_owned(); 30];
    let counts = BaselineCounts { keys: 9, active: 8, over_age: 7, root: 1, without_owner: 2 };
    let mut messages: Vec<(String, Message)> = [0, 1, 7, 300]
        .map(|number| (format!("digest-{number}"), digest(&digest_of(number), &accounts, now())))
        .into();
    for mode in Mode::ALL {
        messages.push((format!("baseline-{mode}"), baseline(&prod(), &counts, mode, &accounts, now())));
    }
    let announced = [
        ("policy", policy_applied(text, Some(text), text, &lines, now())),
        ("first-policy", policy_applied(text, None, text, &[], now())),
        ("exemption", exemption_added(&prod(), text, text, &exemption, &accounts, now())),
        (
            "exemption-removed",
            exemption_removed(&prod(), text, text, &exemption, (text, text), &accounts, now()),
        ),
        ("halt", halted(text, text, now())),
        ("resumption", resumed(text, text, now())),
        ("ledger-changed", ledger_changed(text, now())),
        ("ledger-accepted", ledger_accepted(text, text, text, now())),
        ("approval", approved(&prod(), text, text, 3, &accounts, now())),
        ("cap", cap_reached(&prod(), 2, 3, text, &accounts)),
        ("organization-cap", organization_cap_reached(&prod(), 50, 3, text, &accounts)),
    ];
    messages.extend(announced.map(|(name, message)| (format!("announced-{name}"), message)));
    messages
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
    let hostile = "<!channel> `x` \u{202e}\n".repeat(40);
    for (case, text) in [("plain", "alice"), ("hostile", hostile.as_str())] {
        for (name, message) in due_messages(text).into_iter().chain(other_messages(text)) {
            messages.push((format!("{name}-{case}"), serde_json::to_value(&message).unwrap()));
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
