//! What keytide is for, from end to end.

use std::io::{self, Write as _};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::installation::{EXTERNAL_ID, Installation, Made, SECURITY, WHOLE, command_line};
use super::packages::packages;
use crate::counterparts::Refused;

#[tokio::test]
async fn a_new_key_is_in_the_ledger_in_the_channel_and_with_its_owner() {
    // Not counted: what is built and installed once.
    packages();
    command_line();
    drop(crate::counterparts::start_emulate_slack());
    let began = Instant::now();
    let mut keytide = Installation::new().await;
    let installed = began.elapsed();
    let prod = keytide.prod.clone();
    let alice = keytide.user_with_key(&prod, "alice");
    let happened = Instant::now();
    keytide.created(&prod, &alice);
    let alert = keytide.hears(&[&alice.key_id]).await;
    let _ = writeln!(
        io::stderr(),
        "deployed: {:.1} s from nothing to the first alert: {:.1} s for the stacks, {:.1} s from the event",
        began.elapsed().as_secs_f64(),
        installed.as_secs_f64(),
        happened.elapsed().as_secs_f64()
    );
    assert!(alert.starts_with("`alice` created access key"), "{alert}");
    assert!(alert.contains(&format!("prod ({prod})")), "{alert}");

    keytide.is_done("keytide-events").await;
    let direct = keytide.direct("alice");
    assert!(direct.len() == 1 && direct[0].contains(&alice.key_id), "{direct:?}");
    let items = keytide.items(&prod, &alice);
    let sorts: Vec<&str> = items.iter().map(|(sort, _)| sort.as_str()).collect();
    assert!(sorts.contains(&"KEY") && sorts.iter().any(|sort| sort.starts_with("EVENT#")), "{sorts:?}");
    let (_, key) = &items[sorts.iter().position(|sort| *sort == "KEY").unwrap()];
    assert_eq!(key["owner_slack_id"]["S"], json!(keytide.slack.users["alice"]), "{key}");
    for recipient in ["channel", "owner"] {
        let name = format!("OUT#key#created#{recipient}");
        let (_, delivery) = items.iter().find(|(sort, _)| *sort == name).unwrap();
        assert_eq!(delivery["state"]["M"]["is"]["S"], "done", "{delivery}");
    }

    // The same event once more, and one that somebody made up: neither is told.
    keytide.created(&prod, &alice);
    let forged = json!({"Entries": [{
        "Source": "aws.iam", "DetailType": "AWS API Call via CloudTrail", "Detail": "{}", "EventBusName": "keytide",
    }]});
    let answer = keytide.call(SECURITY, "events", "put_events", forged);
    assert_eq!(answer["Entries"][0]["ErrorCode"], "NotAuthorizedForSourceException");
    keytide
        .eventually("the watcher has seen it twice", |it| {
            let log = it.log("keytide-watcher");
            log.iter().any(|line| line["outcome"] == "known").then_some(())
        })
        .await;
    keytide.is_done("keytide-events").await;
    assert_eq!(keytide.told_of(&alice).len(), 1);
    assert_eq!(keytide.on_queue("keytide-events-dead"), 0);
}

#[tokio::test]
async fn ninety_one_days_of_the_schedule_end_with_the_key_disabled_in_the_other_account() {
    let mut keytide = Installation::new().await;
    let prod = keytide.prod.clone();
    // Born before the hour of the sweep, so that at it they are so many days old.
    keytide.aws.set_clock("2026-06-03T02:30:00Z".parse().unwrap());
    let alice = keytide.user_with_key(&prod, "alice");
    // In an account that stays in `observe`, and has no disabler.
    let dario = keytide.user_with_key(SECURITY, "dario");
    let birth = alice.at;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let policy = folder.path().join("policy.toml");
    std::fs::write(&policy, format!("[modes]\nenforce = [\"{prod}\"]\n")).unwrap();
    let said = keytide.keytide(&["policy", "apply", policy.to_str().unwrap(), "--yes"]);
    assert!(said.contains("observe becomes enforce"), "{said}");

    let digest = keytide.sweep_after(1, birth).await;
    assert!(digest.contains(WHOLE), "{digest}");
    keytide.hears(&["swept prod", "for the first time", "1 access key"]).await;
    assert!(keytide.told_of(&alice).is_empty(), "the first sweep takes stock");

    // A key that no event told of.
    let bruno = keytide.user_with_key(&prod, "bruno");
    keytide.sweep_after(2, birth).await;
    let found = keytide.told_of(&bruno);
    assert!(found.len() == 1 && found[0].contains("sweep"), "{found:?}");
    assert!(keytide.told_of(&alice).is_empty());

    for (day, words) in [(76, "in 15 days"), (81, "in 10 days"), (86, "This is the last notice.")] {
        keytide.sweep_after(day, birth).await;
        let told = keytide.told_of(&alice);
        let notice = told.last().unwrap();
        assert!(notice.contains("will be disabled on Wed 2 September") && notice.contains(words), "{notice}");
        let direct = keytide.direct("alice");
        assert!(direct.last().unwrap().contains(words), "{direct:?}");
    }
    keytide.sweep_after(90, birth).await;
    assert_eq!(keytide.status(&prod, &alice), "Active");
    let digest = keytide.sweep_after(91, birth).await;
    assert!(digest.contains("Keys disabled: 1;"), "{digest}");
    assert_eq!(keytide.status(&prod, &alice), "Inactive");
    let told = keytide.told_of(&alice);
    assert!(told.last().unwrap().contains("keytide disabled access key"), "{told:?}");
    let direct = keytide.direct("alice");
    assert!(direct.last().unwrap().contains("It is disabled, not deleted."), "{direct:?}");
    assert_eq!(keytide.status(&prod, &bruno), "Active", "a day younger");
    assert_eq!(keytide.status(SECURITY, &dario), "Active", "nobody may");
    for queue in ["keytide-accounts-dead", "keytide-begins-dead", "keytide-events-dead"] {
        assert_eq!(keytide.on_queue(queue), 0, "{queue}");
    }
}

/// A session as a function has it: MiniStack lets the account's root begin what Lambda begins.
fn session_of(keytide: &mut Installation, role: &str) -> Value {
    let arn = format!("arn:aws:iam::{SECURITY}:role/{role}");
    let begun = json!({"RoleArn": arn, "RoleSessionName": role});
    keytide.call(SECURITY, "sts", "assume_role", begun)["Credentials"].take()
}

/// What the holder of a session gets for a role in prod.
fn assumed(
    keytide: &mut Installation,
    session: &Value,
    role: &str,
    external_id: Option<&str>,
    policy: Option<Value>,
) -> Result<Value, Refused> {
    let arn = format!("arn:aws:iam::{}:role/{role}", keytide.prod);
    let mut asked = json!({"RoleArn": arn, "RoleSessionName": "keytide"});
    if let Some(external_id) = external_id {
        asked["ExternalId"] = json!(external_id);
    }
    if let Some(policy) = policy {
        asked["Policy"] = json!(policy.to_string());
    }
    let begun = keytide.aws.call_with(session, SECURITY, "sts", "assume_role", asked);
    begun.map(|mut begun| begun["Credentials"].take())
}

fn assert_denied<T: std::fmt::Debug>(result: Result<T, Refused>, what: &str) {
    let refused = result.expect_err(what);
    assert!(refused.code.contains("AccessDenied"), "{what}: {refused:?}");
}

#[tokio::test]
async fn a_call_that_no_role_grants_is_refused() {
    let mut keytide = Installation::new().await;
    let prod = keytide.prod.clone();
    let alice = keytide.user_with_key(&prod, "alice");
    let bruno = keytide.user_with_key(&prod, "bruno");
    let inactive =
        |made: &Made| json!({"UserName": made.user, "AccessKeyId": made.key_id, "Status": "Inactive"});

    // The watcher reads what strangers wrote: it may look, and change nothing.
    let watcher = session_of(&mut keytide, "keytide-watcher");
    let update = keytide.aws.call_with(&watcher, SECURITY, "iam", "update_access_key", inactive(&alice));
    assert_denied(update, "the watcher changes a key of its own account");
    let all = json!({"TableName": "keytide-ledger"});
    assert_denied(
        keytide.aws.call_with(&watcher, SECURITY, "dynamodb", "scan", all),
        "it reads the ledger whole",
    );
    let queue = keytide.call(SECURITY, "sqs", "get_queue_url", json!({"QueueName": "keytide-accounts"}));
    let message = json!({"QueueUrl": queue["QueueUrl"], "MessageBody": "{}"});
    assert_denied(
        keytide.aws.call_with(&watcher, SECURITY, "sqs", "send_message", message),
        "it puts an account on the queue",
    );
    let disabler = assumed(&mut keytide, &watcher, "keytide-disabler", Some(EXTERNAL_ID), None);
    assert_denied(disabler, "it takes the disabler's role");
    let reader = assumed(&mut keytide, &watcher, "keytide-reader", Some(EXTERNAL_ID), None).unwrap();
    let listed = json!({"UserName": "alice"});
    keytide.aws.call_with(&reader, &prod, "iam", "list_access_keys", listed.clone()).unwrap();
    let update = keytide.aws.call_with(&reader, &prod, "iam", "update_access_key", inactive(&alice));
    assert_denied(update, "the reader changes a key");

    // The sweeper needs the external id, and its disabler can no more than disable, whom its session names.
    let sweeper = session_of(&mut keytide, "keytide-sweeper");
    assert_denied(assumed(&mut keytide, &sweeper, "keytide-disabler", None, None), "without the external id");
    let wrong = assumed(&mut keytide, &sweeper, "keytide-disabler", Some("tidewater-8"), None);
    assert_denied(wrong, "with another external id");
    let disabler = assumed(&mut keytide, &sweeper, "keytide-disabler", Some(EXTERNAL_ID), None).unwrap();
    let key = json!({"UserName": "alice", "AccessKeyId": alice.key_id});
    let deleted = keytide.aws.call_with(&disabler, &prod, "iam", "delete_access_key", key);
    assert_denied(deleted, "the disabler deletes a key");
    let made = keytide.aws.call_with(&disabler, &prod, "iam", "create_access_key", listed);
    assert_denied(made, "the disabler makes a key");
    let narrow = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Action": ["iam:UpdateAccessKey", "iam:ListAccessKeys"],
        "Resource": format!("arn:aws:iam::{prod}:user/alice"),
    }]});
    let narrow =
        assumed(&mut keytide, &sweeper, "keytide-disabler", Some(EXTERNAL_ID), Some(narrow)).unwrap();
    let others = keytide.aws.call_with(&narrow, &prod, "iam", "update_access_key", inactive(&bruno));
    assert_denied(others, "a session for one user changes another's key");
    keytide.aws.call_with(&narrow, &prod, "iam", "update_access_key", inactive(&alice)).unwrap();
    assert_eq!(keytide.status(&prod, &alice), "Inactive");
    assert_eq!(keytide.status(&prod, &bruno), "Active");

    // Somebody else in the security account has the external id, and is let in nowhere.
    let stranger = json!({"RoleName": "administrator", "AssumeRolePolicyDocument": json!({
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{SECURITY}:root")},
            "Action": "sts:AssumeRole"}],
    }).to_string()});
    keytide.call(SECURITY, "iam", "create_role", stranger);
    let everything =
        json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]});
    let policy =
        json!({"RoleName": "administrator", "PolicyName": "all", "PolicyDocument": everything.to_string()});
    keytide.call(SECURITY, "iam", "put_role_policy", policy);
    let administrator = session_of(&mut keytide, "administrator");
    for role in ["keytide-reader", "keytide-disabler"] {
        assert_denied(assumed(&mut keytide, &administrator, role, Some(EXTERNAL_ID), None), role);
    }
}
