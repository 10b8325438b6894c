//! The ledger's table is lost, or comes back from a backup: nothing is disabled by it until a person accepts it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keytide_app::{
    copy::latest_exemptions,
    decide::{Decide, DecideError, compare},
};
use keytide_aws::ledger::{Accepted, LedgerReader};
use keytide_core::{AccountId, cloudtrail::Status, decision::PutBack, plan::HeldBy, policy::Policy};
use keytide_local::{Fault, KeyStatus};
use serde_json::Value;

use crate::{
    run::Company,
    sweep::Tide,
    world::{ALICE, KEY, PROD, TABLE},
};

const AUTHOR: &str = "arn:aws:sts::999988887777:assumed-role/security/bruno";
const VENDOR: &str = "AKIATIDEWATERVENDOR1";
const ANOTHER: &str = "is not the one that people went by";

fn account() -> AccountId {
    PROD.parse().unwrap()
}

fn decide(tide: &Tide) -> Decide {
    Decide::new(tide.world.ledger(), AUTHOR.to_owned())
}

fn in_days(tide: &Tide, days: i64) -> Timestamp {
    tide.world.now().checked_add(SignedDuration::from_hours(days * 24)).unwrap()
}

fn said(tide: &Tide, words: &str) -> usize {
    tide.world.channel_texts().iter().filter(|text| text.contains(words)).count()
}

/// The policy of the log's line, by the path that the runbook gives to jq.
fn policy_kept(log: &str) -> String {
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let in_force: Vec<Value> = lines.filter(|line| line["keytide"] == "in-force").collect();
    assert_eq!(in_force.len(), 1, "{log}");
    in_force[0]["policy"]["text"].as_str().unwrap().to_owned()
}

fn is_unaccepted(by: &HeldBy) -> bool {
    matches!(by, HeldBy::Unaccepted(_))
}

#[tokio::test(start_paused = true)]
async fn the_drill_table_lost() {
    let tide = Tide::new("enforce").await;
    let born = "2026-05-04T09:12:33Z".parse().unwrap();
    tide.world.aws.iam().add_user(PROD, "vendor", "/", &[("slack-id", ALICE)]).unwrap();
    tide.world.aws.iam().add_access_key(PROD, "vendor", VENDOR, born, KeyStatus::Active).unwrap();
    tide.run().await.unwrap();
    let until = in_days(&tide, 170);
    decide(&tide).exempt(&account(), VENDOR, until, "the vendor rotates it", tide.world.now()).await.unwrap();
    // Alice was told of day 91, and it is the day before: every licence for her key stands in the ledger. What that
    // day's run left in the log is all that there will be.
    tide.days(89).await;
    tokio::time::sleep(Duration::from_hours(24)).await;
    let company = Company::over(tide.world.beside());
    let log = company.day().await.join("\n");

    // The table is gone, and the stack makes a new one, which has no idea of anything.
    let client = aws_sdk_dynamodb::Client::new(&tide.world.aws.sdk_config());
    client.delete_table().table_name(TABLE).send().await.unwrap();
    let ledger = tide.world.ledger();
    ledger.create_table().await.unwrap();
    tide.world.delete_item("ACCEPTED", "ACCEPTED").await;
    // A person puts back the policy that the log kept.
    let text = policy_kept(&log);
    let policy = Policy::parse(&text).unwrap();
    let before = compare(&LedgerReader::of(&ledger), &policy, tide.world.now()).await.unwrap();
    assert_eq!((before.before.version, policy.hash()), (0, tide.policy.hash()));
    decide(&tide).apply_policy(&text, &policy, &before, tide.world.now()).await.unwrap();
    tokio::time::sleep(Duration::from_hours(24)).await;
    let stock = tide.run().await.unwrap();
    assert!(stock.plan.is_baseline && stock.disabled.is_empty(), "{}", stock.plan);
    assert_eq!(said(&tide, ANOTHER), 1, "{:?}", tide.world.channel_texts());
    // What it knows, which is nothing, must not stand in the log above what was known before.
    tokio::time::sleep(Duration::from_hours(24)).await;
    assert_eq!(company.day().await, [""; 0]);

    // However long nobody comes: told, and not disabled.
    let held = tide.days(11).await;
    assert!(held.plan.held.iter().any(|held| held.key_id == KEY && is_unaccepted(&held.by)), "{}", held.plan);
    assert_eq!(said(&tide, ANOTHER), 1, "once for a table");
    assert_eq!(tide.status().await, Status::Active);

    // The exemptions, too; then it is accepted.
    let kept = latest_exemptions(&log, None);
    assert_eq!((kept.broken.len(), kept.accounts[&account()].exemptions.len()), (0, 1), "{log}");
    for (account, latest) in kept.accounts {
        for (key_id, exemption) in latest.exemptions {
            let now = tide.world.now();
            let put_back = decide(&tide).restore_exemption(&account, &key_id, &exemption, now).await;
            assert_eq!(put_back.unwrap(), PutBack::Until(until));
            let again = decide(&tide).restore_exemption(&account, &key_id, &exemption, now).await;
            assert_eq!(again.unwrap(), PutBack::Known);
        }
    }
    decide(&tide).accept("the table was lost, drill", tide.world.now()).await.unwrap();
    let twice = decide(&tide).accept("the table was lost, drill", tide.world.now()).await;
    assert!(matches!(twice, Err(DecideError::Refused(_))));

    // What was said by the unaccepted ledger counts for nothing: five dates from here on.
    for day in 1..=5 {
        let swept = tide.days(1).await;
        assert!(swept.disabled.is_empty(), "day {day}: {}", swept.plan);
    }
    let told = ["accepted the ledger", "exempted access key", "put back the exemption of access key"];
    assert_eq!(told.map(|words| said(&tide, words)), [1, 1, 1]);
    let disabled = tide.days(1).await.disabled;
    assert_eq!(disabled, [(KEY.to_owned(), true)], "and never the vendor's, which is exempt");
}

#[tokio::test(start_paused = true)]
async fn a_table_that_was_restored_disables_nothing() {
    let tide = Tide::new("enforce").await;
    tide.run().await.unwrap();
    tide.days(90).await;
    // From a backup everything comes back, the old table's acceptance too.
    let ledger = tide.world.ledger();
    let old = ledger.accepted().await.unwrap().unwrap().value;
    let of_another = Accepted { table_id: "00000000-0000-4000-8000-000000000000".to_owned(), ..old };
    ledger.set_accepted(&of_another).await.unwrap();
    let held = tide.days(1).await;
    assert!(held.disabled.is_empty() && is_unaccepted(&held.plan.held[0].by), "{}", held.plan);
    assert_eq!(said(&tide, ANOTHER), 1);
    assert_eq!(tide.status().await, Status::Active);
}

#[tokio::test(start_paused = true)]
async fn another_table_or_none_that_is_known_stops_a_disable_that_is_under_way() {
    for is_restored in [true, false] {
        let tide = Tide::new("enforce").await;
        let deed = async {
            if is_restored {
                tide.world.delete_item("ACCEPTED", "ACCEPTED").await;
            } else {
                let faults = tide.world.aws.faults();
                faults.plan(|call| (call.operation == "DescribeTable").then_some(Fault::ServerError));
            }
        };
        let swept = tide.disable_while(Box::pin(deed)).await;
        assert!(is_unaccepted(&swept.refused[0].by), "{:?}", swept.refused);
        assert_eq!(tide.status().await, Status::Active);
    }
}
