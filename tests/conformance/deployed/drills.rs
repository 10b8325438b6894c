//! What fails, and what then must hold: nothing is lost, everything is told. infra/RUNBOOK.md has a section for each,
//! and quotes what is heard here.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::installation::{BEGIN, Installation, SECURITY, WHOLE};

fn after(minutes: i64) -> Timestamp {
    BEGIN.parse::<Timestamp>().unwrap() + SignedDuration::from_mins(minutes)
}

/// How often an event has come to the watcher in vain, at the most.
fn tries(keytide: &mut Installation) -> u64 {
    let log = keytide.log("keytide-watcher").into_iter();
    log.filter(|line| line["message"] == "a message failed and comes again")
        .filter_map(|line| line["received"].as_u64())
        .max()
        .unwrap_or(0)
}

#[tokio::test]
async fn slack_is_down_for_hours() {
    let mut keytide = Installation::new().await;
    let prod = keytide.prod.clone();
    keytide.slack.turn("down");
    let alice = keytide.user_with_key(&prod, "alice");
    keytide.created(&prod, &alice);
    // The pauses between tries grow to a quarter of an hour, and a fifth more.
    for hour in 0..4 {
        let before = tries(&mut keytide);
        keytide.aws.set_clock(after(60 * hour + 20));
        keytide.eventually("the event is tried again", |it| (tries(it) > before).then_some(())).await;
    }
    assert!(tries(&mut keytide) >= 4, "once an hour at least");
    assert!(keytide.items(&prod, &alice).iter().any(|(sort, _)| sort == "KEY"), "the ledger has it at once");
    assert_eq!(keytide.on_queue("keytide-events"), 1, "and the event waits");
    assert!(keytide.channel().is_empty());
    let log = keytide.log("keytide-watcher");
    let failed: Vec<_> =
        log.iter().filter(|line| line["message"] == "a message failed and comes again").collect();
    let is_slack = |line: &&Value| line["cause"].as_str().unwrap().starts_with("slack-");
    assert!(failed.iter().any(is_slack), "{failed:?}");

    keytide.slack.turn("up");
    keytide.aws.set_clock(after(5 * 60));
    keytide.hears(&[&alice.key_id]).await;
    keytide.is_done("keytide-events").await;
    assert_eq!(keytide.told_of(&alice).len(), 1, "once");
    assert_eq!(keytide.direct("alice").len(), 1, "once");

    // Over the run of the day on which the key is due to be told of: the digest comes by the second schedule, three hours
    // later; and the notice is not lost.
    keytide.sweep_after(1, alice.at).await;
    keytide.slack.turn("down");
    keytide.aws.set_clock("2026-08-17T06:00:01Z".parse().unwrap());
    keytide
        .eventually("the digest failed", |it| {
            let log = it.log("keytide-sweeper");
            log.into_iter().find(|line| line["message"] == "a run ended and its digest is still to be posted")
        })
        .await;
    keytide.slack.turn("up");
    let digests = |keytide: &mut Installation| {
        keytide.channel().iter().filter(|text| text.contains("Keys disabled: ")).count()
    };
    let before = digests(&mut keytide);
    keytide.aws.set_clock("2026-08-17T09:00:01Z".parse().unwrap());
    keytide.eventually("the digest comes", |it| (digests(it) > before).then_some(())).await;
    // The other account's message may have found it under way, and comes back two minutes later.
    keytide.aws.set_clock("2026-08-17T09:05:00Z".parse().unwrap());
    keytide.is_done("keytide-accounts").await;
    assert_eq!(digests(&mut keytide), before + 1, "{:?}", keytide.channel());
    keytide.sweep_after(77, alice.at).await;
    let told = keytide.told_of(&alice);
    assert_eq!(told.len(), 2, "the alert, and the notice once: {told:?}");
    assert!(told[1].contains("76 days old") || told[1].contains("77 days old"), "{told:?}");
    for queue in ["keytide-events-dead", "keytide-accounts-dead", "keytide-begins-dead"] {
        assert_eq!(keytide.on_queue(queue), 0, "{queue}");
    }
}

#[tokio::test]
async fn the_table_is_throttled() {
    let mut keytide = Installation::new().await;
    let prod = keytide.prod.clone();
    keytide.aws.fail("dynamodb", Some("ThrottlingException"));
    let alice = keytide.user_with_key(&prod, "alice");
    keytide.created(&prod, &alice);
    keytide.hears(&[&alice.key_id, "Not yet in the ledger"]).await;
    let failed = keytide
        .eventually("the watcher says so", |it| {
            let log = it.log("keytide-watcher");
            log.into_iter().find(|line| line["message"] == "a message failed and comes again")
        })
        .await;
    assert_eq!(failed["cause"], "ledger", "{failed}");
    // A run cannot begin either.
    keytide.aws.set_clock("2026-06-03T06:00:01Z".parse().unwrap());
    keytide
        .eventually("the run fails", |it| {
            let log = it.log("keytide-sweeper");
            log.into_iter().find(|line| line["message"] == "a run could not begin")
        })
        .await;
    assert_eq!(keytide.on_queue("keytide-events"), 1);
    // Lambda makes a begin again, twice, and then keeps it where it is seen. MiniStack's schedule does not hand it over as
    // Lambda's does, so it is handed over here.
    let begin = json!({
        "FunctionName": "keytide-sweeper", "InvocationType": "Event", "Payload": r#"{"keytide":"begin"}"#,
    });
    keytide.call(SECURITY, "lambda", "invoke", begin);
    keytide
        .eventually("the begin is given up", |it| (it.on_queue("keytide-begins-dead") == 1).then_some(()))
        .await;

    keytide.aws.fail("dynamodb", None);
    keytide.aws.set_clock("2026-06-03T08:00:00Z".parse().unwrap());
    keytide.is_done("keytide-events").await;
    let told = keytide.told_of(&alice);
    assert_eq!(told.len(), 2, "twice, because the ledger was silent: {told:?}");
    assert!(keytide.items(&prod, &alice).iter().any(|(sort, _)| sort == "KEY"));
    assert_eq!(keytide.direct("alice").len(), 1, "her owner, once the ledger answers");
    assert_eq!(keytide.on_queue("keytide-events-dead"), 0);
    // The second schedule begins the run that the first could not.
    keytide.aws.set_clock("2026-06-03T09:00:01Z".parse().unwrap());
    keytide.hears(&[WHOLE]).await;
}

#[tokio::test]
async fn one_accounts_roles_are_gone() {
    let mut keytide = Installation::new().await;
    let prod = keytide.prod.clone();
    let dario = keytide.user_with_key(SECURITY, "dario");
    keytide.sweep_after(1, dario.at).await;
    for stack in ["member", "enforced"] {
        keytide.call(
            &prod,
            "cloudformation",
            "delete_stack",
            json!({"StackName": format!("keytide-{stack}")}),
        );
    }
    for role in ["reader", "disabler"] {
        keytide
            .eventually("the roles are gone", |it| {
                it.aws.call(&prod, "iam", "get_role", json!({"RoleName": format!("keytide-{role}")})).err()
            })
            .await;
    }
    let digest = keytide.sweep_after(2, dario.at).await;
    assert!(digest.contains("This is not the whole: 1 of 2 accounts were swept"), "{digest}");
    let failed = keytide.log("keytide-sweeper");
    let failed =
        failed.iter().find(|line| line["message"] == "an account was not swept, or not wholly").unwrap();
    assert_eq!(failed["account"], json!(prod));
    assert!(failed["error"].as_str().unwrap().contains("keytide-reader"), "{failed}");

    // With its rules gone as well nobody hears of this key, until its account is back.
    let alice = keytide.user_with_key(&prod, "alice");
    keytide.created(&prod, &alice);
    keytide.enter(&prod).await;
    keytide.enforce(&prod).await;
    let digest = keytide.sweep_after(3, dario.at).await;
    assert!(digest.contains(WHOLE), "{digest}");
    let told = keytide.told_of(&alice);
    assert!(told.len() == 1 && told[0].contains("no event told of it"), "{told:?}");
}

#[tokio::test]
async fn an_event_is_poisoned() {
    let mut keytide = Installation::new().await;
    let prod = keytide.prod.clone();
    let queue = keytide.call(SECURITY, "sqs", "get_queue_url", json!({"QueueName": "keytide-events"}));
    for body in ["no JSON at all", "{\"detail\": [1, 2", "{}", "null"] {
        let message = json!({"QueueUrl": queue["QueueUrl"], "MessageBody": body});
        keytide.call(SECURITY, "sqs", "send_message", message);
    }
    let sample = include_str!("../../../events/cloudtrail/create-success-without-key.json");
    let mut poisoned: Value = serde_json::from_str(sample).unwrap();
    poisoned["detail"]["recipientAccountId"] = json!(prod);
    keytide.aws.event(&prod, &poisoned["detail"]);
    let alice = keytide.user_with_key(&prod, "alice");
    keytide.created(&prod, &alice);
    keytide.hears(&[&alice.key_id]).await;
    keytide.hears(&["could not be read, so keytide does not know what it did", "responseElements"]).await;
    keytide.is_done("keytide-events").await;
    assert_eq!(keytide.on_queue("keytide-events-dead"), 0);
    // One message each, however often it is received.
    let unreadable = keytide.channel().iter().filter(|text| text.contains("could not be read")).count();
    assert_eq!(unreadable, 5, "{:?}", keytide.channel());
    // And each is kept, as far as it could be read.
    let all = keytide.call(SECURITY, "dynamodb", "scan", json!({"TableName": "keytide-ledger"}));
    let all = all["Items"].as_array().unwrap().iter();
    let kept = all.filter(|item| {
        item["sk"]["S"].as_str().unwrap().starts_with("EVENT#")
            && ["STRAY#", "ACCOUNT#"]
                .iter()
                .any(|begins| item["pk"]["S"].as_str().unwrap().starts_with(begins))
    });
    assert_eq!(kept.count(), 5);
}

#[tokio::test]
async fn a_function_is_killed_in_the_middle() {
    let mut keytide = Installation::new().await;
    let prod = keytide.prod.clone();
    // The watcher, while it waits for Slack's answer: the key is in the ledger, the message is claimed.
    keytide.slack.turn("silent");
    let alice = keytide.user_with_key(&prod, "alice");
    keytide.created(&prod, &alice);
    keytide.eventually("Slack is asked", |it| (it.slack.turned_away() > 0).then_some(())).await;
    assert_eq!(keytide.aws.kill("keytide-watcher"), 1);
    keytide.slack.turn("up");
    // The queue hides the event from the others for six minutes.
    keytide.aws.set_clock(after(7));
    keytide.hears(&[&alice.key_id]).await;
    keytide.is_done("keytide-events").await;
    assert_eq!(keytide.told_of(&alice).len(), 1);
    assert_eq!(keytide.direct("alice").len(), 1);

    // The sweeper, in the same place: the account comes again, and then the digest.
    keytide.slack.turn("silent");
    keytide.aws.set_clock("2026-06-03T06:00:01Z".parse().unwrap());
    keytide.eventually("Slack is asked", |it| (it.slack.turned_away() > 0).then_some(())).await;
    assert!(keytide.aws.kill("keytide-sweeper") >= 1);
    keytide.slack.turn("up");
    keytide.aws.set_clock("2026-06-03T06:25:00Z".parse().unwrap());
    keytide.hears(&[WHOLE]).await;
    let texts = keytide.channel();
    let baselines = texts.iter().filter(|text| text.contains("for the first time")).count();
    assert_eq!(baselines, 2, "{texts:?}");
}
