//! Who is told, how loudly; and promise 11: quiet is only our own disable, under its own live claim.

use crate::common::{key_event, record, samples};
use jiff::{SignedDuration, Timestamp};
use keytide_core::{
    alert::{
        self, AlertRules, FailedAttempts, Severity, for_failed_call, for_key_event, for_other_call,
        for_owner_event, is_own_disable,
    },
    cloudtrail::{FailedCall, KeyEvent, Outcome, OwnerEvent, read},
    delivery::{Delivery, DeliveryName, Ending, Receipt, Recipient, Stage},
};
use serde_json::{Value, json};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn sample(name: &str) -> Outcome {
    let samples = samples();
    let (_, json) = samples.iter().find(|(file, _)| file == name).expect(name);
    read(json)
}

fn failed(name: &str) -> FailedCall {
    let Outcome::Failed(failed) = sample(name) else { panic!("{name} is a failed call") };
    failed
}

fn owner(name: &str) -> OwnerEvent {
    let Outcome::Owner(event) = sample(name) else { panic!("{name} is an owner event") };
    event
}

fn inactive_by(role: &str, role_account: &str, session: &str) -> Value {
    let mut event = record("UpdateAccessKey", "2026-06-01T09:00:10Z", "e1", "alice", "Inactive");
    event["userIdentity"] = json!({
        "type": "AssumedRole",
        "arn": format!("arn:aws:sts::{role_account}:assumed-role/{role}/{session}"),
        "accountId": role_account,
        "sessionContext": {"sessionIssuer": {"type": "Role", "accountId": role_account, "userName": role}},
    });
    event
}

fn claim(by: &str) -> Delivery {
    let name = DeliveryName { epoch: "1".to_owned(), stage: Stage::Disable, recipient: Recipient::Iam };
    let created = at("2026-06-01T09:00:00Z");
    Delivery::new(name, "f".to_owned(), Severity::Notice, created)
        .claim(by, created, SignedDuration::from_secs(60))
        .unwrap()
}

#[test]
fn our_own_disable_under_its_live_claim_is_quiet() {
    let rules = AlertRules::default();
    let event = key_event(&inactive_by("keytide-disabler", "111122223333", "sweep-1"));
    assert!(is_own_disable(&rules, &event, &[claim("sweep-1")]));
    assert!(for_key_event(&rules, &event, &[claim("sweep-1")]).names.is_empty());
    // The event is slower than the disable: by then the claim may be done.
    let receipt = Receipt { channel: "iam".to_owned(), ts: String::new(), note: None };
    let done = claim("sweep-1").end("sweep-1", at("2026-06-01T09:00:12Z"), Ending::Done(receipt)).unwrap();
    assert!(is_own_disable(&rules, &event, &[done]));
}

#[test]
fn anything_else_done_with_our_roles_is_critical() {
    let rules = AlertRules::default();
    let own = |role: &str, session: &str| key_event(&inactive_by(role, "111122223333", session));
    let cases: Vec<(&str, KeyEvent, Vec<Delivery>)> = vec![
        ("no claim", own("keytide-disabler", "sweep-1"), vec![]),
        ("another session's claim", own("keytide-disabler", "sweep-2"), vec![claim("sweep-1")]),
        ("the reader changes a key", own("keytide-reader", "sweep-1"), vec![claim("sweep-1")]),
        ("a function's own role", own("keytide-sweeper", "sweep-1"), vec![claim("sweep-1")]),
        (
            "a claim given up",
            own("keytide-disabler", "sweep-1"),
            vec![
                claim("sweep-1")
                    .end("sweep-1", at("2026-06-01T09:00:05Z"), Ending::GivenUp("x".into()))
                    .unwrap(),
            ],
        ),
        (
            "outside the claim's time",
            {
                let mut late = inactive_by("keytide-disabler", "111122223333", "sweep-1");
                late["eventTime"] = json!("2026-06-01T09:02:00Z");
                key_event(&late)
            },
            vec![claim("sweep-1")],
        ),
        (
            "reactivated by the disabler",
            {
                let mut active = inactive_by("keytide-disabler", "111122223333", "sweep-1");
                active["requestParameters"]["status"] = json!("Active");
                key_event(&active)
            },
            vec![claim("sweep-1")],
        ),
    ];
    for (why, event, claims) in cases {
        let announcement = for_key_event(&rules, &event, &claims);
        assert_eq!(announcement.severity, Severity::Critical, "{why}");
        assert!(announcement.names.iter().any(|name| name.recipient == Recipient::Channel), "{why}");
    }
    // A claim on something else than disabling licenses nothing.
    let mut message = claim("sweep-1");
    message.name.stage = Stage::Created;
    assert!(!is_own_disable(&rules, &own("keytide-disabler", "sweep-1"), &[message]));
}

#[test]
fn a_role_of_our_name_in_another_account_is_a_stranger() {
    let rules = AlertRules::default();
    let event = key_event(&inactive_by("keytide-disabler", "999900001111", "sweep-1"));
    assert!(!is_own_disable(&rules, &event, &[claim("sweep-1")]));
    assert!(!for_key_event(&rules, &event, &[claim("sweep-1")]).names.is_empty());
}

#[test]
fn every_key_event_of_the_samples_is_told_to_the_channel_and_root_is_critical() {
    let rules = AlertRules::default();
    let mut told = 0;
    for (name, json) in samples() {
        let Outcome::Key(event) = read(&json) else { continue };
        let announcement = for_key_event(&rules, &event, &[]);
        assert!(announcement.names.iter().any(|name| name.recipient == Recipient::Channel), "{name}");
        if name.starts_with("create-root") {
            assert_eq!(announcement.severity, Severity::Critical, "{name}");
            assert!(announcement.names.iter().all(|name| name.recipient != Recipient::Owner), "{name}");
        }
        told += 1;
    }
    assert!(told > 20);
}

#[test]
fn a_new_key_has_one_alert_whoever_tells_of_it() {
    let rules = AlertRules::default();
    let names = |id: &str| {
        let event = key_event(&record("CreateAccessKey", "2026-05-04T09:00:00Z", id, "alice", "Active"));
        for_key_event(&rules, &event, &[]).names
    };
    assert_eq!(names("one event"), names("the same, told again under another id"));
}

#[test]
fn refused_attempts_are_told_for_root_and_for_others_unless_the_rules_say_otherwise() {
    let told = |rules: &AlertRules, name: &str| !for_failed_call(rules, &failed(name)).names.is_empty();
    let rules = AlertRules::default();
    assert!(told(&rules, "create-access-denied.json"), "bruno tried for alice");
    assert!(told(&rules, "create-limit-exceeded.json"), "for whom cannot be told");
    let mut own = record("CreateAccessKey", "2026-05-04T09:00:00Z", "e1", "alice", "Active");
    own["errorCode"] = json!("AccessDenied");
    let Outcome::Failed(own) = read(own.to_string().as_bytes()) else { panic!("failed") };
    assert!(for_failed_call(&rules, &own).names.is_empty(), "one's own");
    let always = AlertRules { failed_attempts: FailedAttempts::Always, ..AlertRules::default() };
    assert!(!for_failed_call(&always, &own).names.is_empty());
    let never = AlertRules { failed_attempts: FailedAttempts::Never, ..AlertRules::default() };
    assert!(!told(&never, "create-access-denied.json"));
}

#[test]
fn changes_of_the_tags_that_decide_who_is_told_are_told() {
    let rules = AlertRules::default();
    let told = |name: &str| !for_owner_event(&rules, &owner(name)).names.is_empty();
    assert!(told("tag-user-slack-id.json"));
    assert!(told("untag-user-type.json"));
    assert!(told("update-user-rename.json"));
    assert!(!told("tag-user-unrelated.json"));
    assert!(!told("delete-user.json"));
}

#[test]
fn the_callers_namesake_in_another_account_is_somebody_else() {
    let mut foreign = record("CreateAccessKey", "2026-05-04T09:00:00Z", "e1", "alice", "Active");
    let event = key_event(&foreign);
    assert!(alert::is_same_user(&event.call, &event.subject));
    foreign["userIdentity"]["accountId"] = json!("999900001111");
    let event = key_event(&foreign);
    assert!(!alert::is_same_user(&event.call, &event.subject));
}

#[test]
fn a_role_with_a_functions_name_is_ours_only_where_the_functions_are() {
    let made_by_the_watcher = |rules: &AlertRules| {
        let event = key_event(&inactive_by("keytide-watcher", "111122223333", "loop"));
        for_key_event(rules, &event, &[]).severity == Severity::Critical
    };
    let mut rules = AlertRules::default();
    assert!(made_by_the_watcher(&rules), "where that is not known, the louder");
    rules.own_roles.functions_in = Some("999988887777".parse().unwrap());
    assert!(!made_by_the_watcher(&rules), "anybody may make a role of that name in their own account");
    rules.own_roles.functions_in = Some("111122223333".parse().unwrap());
    assert!(made_by_the_watcher(&rules));
}

#[test]
fn a_call_that_keytide_never_makes_is_told_where_the_role_is_ours_and_reading_is_not() {
    let mut rules = AlertRules::default();
    rules.own_roles.functions_in = Some("999988887777".parse().unwrap());
    let told = |name: &str, role: &str, account: &str| {
        let mut event = inactive_by(role, account, "somebody");
        event["eventName"] = json!(name);
        event["recipientAccountId"] = json!(account);
        let Outcome::NotOurs(partial) = read(event.to_string().as_bytes()) else {
            panic!("{name} is no event of keys")
        };
        for_other_call(&rules, "fact", &partial).map(|announcement| announcement.severity)
    };
    let critical = Some(Severity::Critical);
    assert_eq!(told("AttachUserPolicy", "keytide-disabler", "111122223333"), critical);
    assert_eq!(told("AttachUserPolicy", "keytide-watcher", "999988887777"), critical);
    assert_eq!(told("AttachUserPolicy", "keytide-watcher", "111122223333"), None, "anybody's, there");
    assert_eq!(told("AttachUserPolicy", "administrator", "111122223333"), None);
    // What every sweep does, and what only reads.
    for name in ["GenerateCredentialReport", "GetCredentialReport", "ListUserTags"] {
        assert_eq!(told(name, "keytide-reader", "111122223333"), None, "{name}");
    }
}
