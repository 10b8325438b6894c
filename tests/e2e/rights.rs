//! What each of people's rights is for: the calls that its commands make in the security account, by the real program.
//! `tests/conformance/infrastructure/permissions.rs` holds the managed policies to this list.

use std::{collections::BTreeSet, time::Duration};

use keytide_app::copy::Copy;
use keytide_local::HOME_ACCOUNT;
use serde_json::json;

use crate::{
    sweep_cli::{OLD, REASON, Served, days_ago},
    world::{EXTERNAL_ID, PROD},
};

/// The right, and what its commands call.
const CALLED: [(&str, &[&str]); 7] = [
    (
        "look",
        &[
            "dynamodb:BatchGetItem",
            "dynamodb:DescribeTable",
            "dynamodb:Query",
            "dynamodb:Scan",
            "sts:AssumeRole",
        ],
    ),
    (
        "policy",
        &[
            "dynamodb:BatchGetItem",
            "dynamodb:DescribeTable",
            "dynamodb:Query",
            "dynamodb:Scan",
            "dynamodb:TransactWriteItems",
        ],
    ),
    (
        "approve",
        &[
            "dynamodb:BatchGetItem",
            "dynamodb:DescribeTable",
            "dynamodb:Query",
            "dynamodb:TransactWriteItems",
            "sts:AssumeRole",
        ],
    ),
    ("halt", &["dynamodb:BatchGetItem", "dynamodb:TransactWriteItems"]),
    (
        "exempt",
        &[
            "dynamodb:BatchGetItem",
            "dynamodb:DescribeTable",
            "dynamodb:Query",
            "dynamodb:Scan",
            "dynamodb:TransactWriteItems",
        ],
    ),
    (
        "accept",
        &[
            "dynamodb:BatchGetItem",
            "dynamodb:DescribeTable",
            "dynamodb:Query",
            "dynamodb:Scan",
            "dynamodb:TransactWriteItems",
        ],
    ),
    (
        "redrive",
        &[
            "sqs:ChangeMessageVisibility",
            "sqs:DeleteMessage",
            "sqs:GetQueueAttributes",
            "sqs:GetQueueUrl",
            "sqs:ReceiveMessage",
            "sqs:SendMessage",
        ],
    ),
];

/// What a person's own credentials called: what a role in an account does is that role's right.
fn called(served: &Served) -> BTreeSet<String> {
    let calls = served.world.aws.calls().list();
    let own = calls.into_iter().filter(|call| call.role.is_none());
    own.map(|call| format!("{}:{}", call.service, call.operation)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_commands_of_each_right_call() {
    let served = Served::new("rights").await;
    served.license().await;
    let add_queue =
        |name: &str| served.world.aws.queues().add(HOME_ACCOUNT, name, Duration::from_mins(6)).unwrap();
    let (dead, _) = (add_queue("keytide-events-dead"), add_queue("keytide-events"));
    // Under which a cap holds the key that is due.
    let caps = "[caps]\naccount-percent = 0\naccount-at-least = 0\n";
    let policy = served.file("policy.toml", &format!("[modes]\nenforce = [\"{PROD}\"]\n{caps}"));
    let until = days_ago(-100).strftime("%Y-%m-%d").to_string();
    let copies = Copy::of_exemptions(&PROD.parse().unwrap(), days_ago(1), &[].into());
    let kept = served.file("kept.log", &copies[0].line().unwrap());
    let in_account = ["--account", PROD, "--external-id", EXTERNAL_ID];
    let reason = ["--reason", REASON];

    let mut found = Vec::new();
    for (right, _) in CALLED {
        served.world.aws.calls().restart();
        match right {
            "look" => {
                served.in_table(&["ledger", "list"]).await.expect(0);
                served.in_table(&["ledger", "list", "--account", PROD]).await.expect(0);
                served.in_table(&["ledger", "show", OLD]).await.expect(0);
                served.in_table(&["exempt", "list"]).await.expect(0);
                served.in_table(&["upcoming"]).await.expect(0);
                served.in_table(&["policy", "try", &policy]).await.expect(0);
                served.in_table(&[&["sweep"][..], &in_account].concat()).await.expect(0);
            }
            "halt" => {
                served.in_table(&[&["halt"][..], &reason].concat()).await.expect(0);
                served.in_table(&[&["resume"][..], &reason].concat()).await.expect(0);
            }
            "exempt" => {
                let key = [OLD, "--account", PROD];
                let add = [&["exempt", "add"][..], &key, &["--until", &until], &reason].concat();
                served.in_table(&add).await.expect(0);
                served.in_table(&[&["exempt", "remove"][..], &key, &reason].concat()).await.expect(0);
                served.in_table(&["exempt", "restore", &kept]).await.expect(0);
            }
            "accept" => {
                served.world.delete_item("ACCEPTED", "ACCEPTED").await;
                served.world.aws.calls().restart();
                served.in_table(&[&["ledger", "accept", "--yes"][..], &reason].concat()).await.expect(0);
            }
            "policy" => drop(served.in_table(&["policy", "apply", &policy, "--yes"]).await.expect(0)),
            "approve" => {
                let plan = served.sweep(&[]).await.expect(0).stdout;
                let hash = plan.lines().find_map(|line| line.strip_prefix("plan ")).unwrap();
                served.world.aws.calls().restart();
                served.in_table(&[&["approve", hash][..], &in_account].concat()).await.expect(0);
            }
            _ => {
                let sqs = aws_sdk_sqs::Client::new(&served.world.aws.sdk_config());
                let event = json!({"detail": {"eventID": "e-1"}}).to_string();
                sqs.send_message().queue_url(&dead).message_body(event).send().await.unwrap();
                served.world.aws.calls().restart();
                served.run(&["redrive"]).await.expect(3);
                served.run(&["redrive", "--yes"]).await.expect(0);
                served.run(&["redrive"]).await.expect(0);
            }
        }
        let mut calls = called(&served);
        // AWS refuses this to nobody.
        calls.remove("sts:GetCallerIdentity");
        found.push((right, calls));
    }
    let expected =
        CALLED.map(|(right, calls)| (right, calls.iter().map(|call| (*call).to_owned()).collect()));
    assert_eq!(found, expected);
}
