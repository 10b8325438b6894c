//! Keys that a sweep found before their event came, and what nobody brings back any more.

use std::time::Duration;

use keytide_aws::inventory::Inventory;
use keytide_core::delivery::{DeliveryState, Stage};
use keytide_local::KeyStatus;
use serde_json::json;

use crate::{
    sweep::Tide,
    world::{CHANNEL, KEY, PROD, event},
};

const FOUND: &str = "AKIATIDEWATERFOUND01";

/// A day on which alice made a key, the sweep found it, and then the event of it comes.
async fn found(tide: &Tide) -> serde_json::Value {
    tide.run().await.unwrap();
    tokio::time::sleep(Duration::from_hours(12)).await;
    let made = tide.world.now();
    tide.world.aws.iam().add_access_key(PROD, "alice", FOUND, made, KeyStatus::Active).unwrap();
    tide.days(1).await;
    assert_eq!((tide.world.channel_texts().len(), tide.world.owner_texts().len()), (1, 1));
    let at = made.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    event("CreateAccessKey", "e-found", &at, FOUND, "alice", "Active")
}

#[tokio::test(start_paused = true)]
async fn the_event_of_a_key_that_a_sweep_found_adds_who_made_it_in_the_thread_once() {
    let tide = Tide::new("notify").await;
    let late = found(&tide).await;
    for received in 1..3 {
        tide.world.receive(&late, received).await.unwrap().unwrap();
    }
    tide.days(1).await;
    let messages = tide.world.slack.messages_in(CHANNEL);
    let [alert, answer] = messages.as_slice() else { panic!("{messages:?}") };
    assert_eq!(answer.thread_ts.as_ref(), Some(&alert.ts));
    let whole = answer.to_value().to_string();
    for words in ["Who made it", "created access key", FOUND, "203.0.113.24", "aws-cli/2.27.41"] {
        assert!(whole.contains(words), "{words} in {whole}");
    }
    assert_eq!(tide.world.owner_texts().len(), 1, "the owner was told when it was found");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_our_own_role_made_is_critical_in_the_channel_though_a_sweep_had_found_it() {
    let tide = Tide::new("notify").await;
    let mut late = found(&tide).await;
    late["detail"]["userIdentity"] = json!({
        "type": "AssumedRole", "accountId": PROD,
        "arn": format!("arn:aws:sts::{PROD}:assumed-role/keytide-disabler/thief"),
        "sessionContext": {"sessionIssuer": {"userName": "keytide-disabler", "accountId": PROD}},
    });
    tide.world.receive(&late, 1).await.unwrap().unwrap();
    let messages = tide.world.slack.messages_in(CHANNEL);
    let last = messages.last().unwrap();
    assert!(messages.len() == 2 && last.thread_ts.is_none(), "{messages:?}");
    assert!(last.text.starts_with("CRITICAL"), "{}", last.text);
}

/// Its queue gave an event up after days without Slack: the next sweep tells of it.
#[tokio::test(start_paused = true)]
async fn an_alert_whose_event_nobody_brings_back_is_told_by_a_sweep() {
    let tide = Tide::new("notify").await;
    tide.run().await.unwrap();
    tide.world.slack.set_down(true);
    let at = tide.world.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let off = event("UpdateAccessKey", "e-off", &at, KEY, "alice", "Inactive");
    tide.world.aws.iam().set_status(PROD, KEY, KeyStatus::Inactive).unwrap();
    tide.world.receive(&off, 1).await.unwrap().unwrap_err();
    tide.world.slack.set_down(false);
    tokio::time::sleep(Duration::from_hours(1)).await;
    tide.run().await.unwrap();
    assert!(
        tide.world.channel_texts().is_empty(),
        "its queue may still bring it: {:?}",
        tide.world.channel_texts()
    );
    tide.days(1).await;
    let story = tide.world.story_of(KEY).await;
    let told = story.deliveries.iter().filter(|delivery| {
        delivery.value.name.stage == Stage::Deactivated
            && matches!(delivery.value.state, DeliveryState::Done { .. })
    });
    assert_eq!(told.count(), 1, "{:?}", story.deliveries);
    tide.days(2).await;
    assert_eq!(tide.world.channel_texts().len(), 1, "once");
}

/// The credential report alone shows root's keys, and without an id.
#[tokio::test(start_paused = true)]
async fn a_key_of_root_that_no_event_told_of_is_critical_once() {
    let tide = Tide::new("notify").await;
    let before = "2026-04-01T12:00:00Z".parse().unwrap();
    tide.world
        .aws
        .iam()
        .add_root_access_key(PROD, "AKIATIDEWATERROOT001", before, KeyStatus::Active)
        .unwrap();
    tide.run().await.unwrap();
    assert!(tide.world.channel_texts().is_empty(), "the baseline's summary tells of it");
    tokio::time::sleep(Duration::from_hours(12)).await;
    let made = tide.world.now();
    tide.world.aws.iam().add_root_access_key(PROD, "AKIATIDEWATERROOT002", made, KeyStatus::Active).unwrap();
    tide.days(3).await;
    let texts = tide.world.channel_texts();
    assert_eq!(texts.iter().filter(|text| text.starts_with("CRITICAL")).count(), 1, "{texts:?}");
}

/// No event comes of any of it: what happens for the second time is news as it was the first time.
#[tokio::test(start_paused = true)]
async fn a_user_renamed_to_and_fro_is_followed_each_time() {
    let tide = Tide::new("notify").await;
    tide.run().await.unwrap();
    for (from, to) in [("alice", "al"), ("al", "alice"), ("alice", "al"), ("al", "alice")] {
        tide.world.aws.iam().rename_user(PROD, from, to).unwrap();
        tide.days(1).await;
        let key = tide.world.story_of(KEY).await.key.unwrap().value;
        assert_eq!(key.holder.subject.user(), Some(to));
    }
}

/// The first sweep's report was made before the key was: no summary told of it.
#[tokio::test(start_paused = true)]
async fn a_key_of_root_that_the_first_report_is_too_old_for_is_told_of() {
    let tide = Tide::new("notify").await;
    let account = PROD.parse().unwrap();
    let inventory = Inventory::direct(&tide.world.aws.sdk_config_in(PROD), &account);
    let deadline = tokio::time::Instant::now() + Duration::from_mins(2);
    inventory.credential_report(tide.world.now(), deadline).await;
    tokio::time::sleep(Duration::from_hours(2)).await;
    let made = tide.world.now();
    tide.world.aws.iam().add_root_access_key(PROD, "AKIATIDEWATERROOT002", made, KeyStatus::Active).unwrap();
    tokio::time::sleep(Duration::from_hours(1)).await;
    tide.run().await.unwrap();
    assert!(tide.world.channel_texts().is_empty(), "{:?}", tide.world.channel_texts());
    tide.days(2).await;
    let texts = tide.world.channel_texts();
    assert_eq!(texts.iter().filter(|text| text.starts_with("CRITICAL")).count(), 1, "{texts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_key_of_root_that_its_event_told_of_is_not_told_of_again() {
    let tide = Tide::new("notify").await;
    tide.run().await.unwrap();
    tokio::time::sleep(Duration::from_hours(12)).await;
    let (made, key_id) = (tide.world.now(), "AKIATIDEWATERROOT002");
    tide.world.aws.iam().add_root_access_key(PROD, key_id, made, KeyStatus::Active).unwrap();
    let at = made.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut event = event("CreateAccessKey", "e-root", &at, key_id, "root", "Active");
    event["detail"]["userIdentity"] =
        json!({"type": "Root", "accountId": PROD, "arn": format!("arn:aws:iam::{PROD}:root")});
    event["detail"]["requestParameters"] = json!(null);
    event["detail"]["responseElements"]["accessKey"]["userName"] = json!(null);
    tide.world.receive(&event, 1).await.unwrap().unwrap();
    tide.days(2).await;
    let texts = tide.world.channel_texts();
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert!(texts[0].starts_with("CRITICAL"));
}

/// The sweep's alert hangs in Slack as the event comes: who made it is told all the same.
#[tokio::test(start_paused = true)]
async fn who_made_a_key_is_told_though_the_sweeps_alert_is_still_on_its_way() {
    let tide = Tide::new("notify").await;
    tide.run().await.unwrap();
    tokio::time::sleep(Duration::from_hours(12)).await;
    let made = tide.world.now();
    tide.world.aws.iam().add_access_key(PROD, "alice", FOUND, made, KeyStatus::Active).unwrap();
    tide.world.slack.set_down(true);
    tokio::time::sleep(Duration::from_hours(12)).await;
    assert!(!tide.run().await.unwrap().troubles.is_empty());
    tide.world.slack.set_down(false);
    let at = made.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let late = event("CreateAccessKey", "e-found", &at, FOUND, "alice", "Active");
    for received in 1..3 {
        let _ = tide.world.receive(&late, received).await.unwrap();
        tokio::time::sleep(Duration::from_mins(2)).await;
    }
    tide.days(1).await;
    let texts = tide.world.channel_texts();
    assert!(texts.iter().any(|text| text.contains("`alice` created access key")), "{texts:?}");
}
