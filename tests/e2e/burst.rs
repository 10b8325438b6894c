//! A thousand keys in one account at once: nothing is lost, Slack's rate holds, and the channel stays
//! readable.

use std::time::Duration;

use jiff::SignedDuration;
use keytide_app::watch::WatchError;
use keytide_aws::ledger::Place;
use keytide_core::delivery::{DeliveryState, Recipient};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::world::{CHANNEL, PROD, World, event};

fn keys(count: usize) -> Vec<Value> {
    (0..count)
        .map(|number| {
            let id = format!("AKIATIDEWATER{number:07}");
            let mut event = event(
                "CreateAccessKey",
                &format!("burst-{number}"),
                "2026-05-04T09:12:33Z",
                &id,
                // Users that do not exist any more: the attacker cleans up; only the channel is told.
                &format!("mallory-{number}"),
                "Active",
            );
            event["detail"]["userIdentity"]["userName"] = json!(format!("mallory-{number}"));
            event
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_thousand_new_keys_are_all_told_in_few_messages() {
    let world = World::new().await;
    let events = keys(1000);
    world.drain(&events, &Notify::new()).await;

    let messages = world.slack.messages_in(CHANNEL);
    assert!(messages.len() <= 60, "joined: {} messages", messages.len());
    let told = world.all_said();
    let ledger = world.ledger();
    for key in ledger.all_keys().await.unwrap() {
        let id = &key.value.key_id;
        assert!(told.contains(id.as_str()), "{id} was not told");
        let story = world.story_of(id).await;
        let channel = story
            .deliveries
            .iter()
            .filter(|item| item.value.name.recipient == Recipient::Channel)
            .collect::<Vec<_>>();
        assert_eq!(channel.len(), 1);
        assert!(matches!(channel[0].value.state, DeliveryState::Done { .. }), "{id}: {channel:?}");
    }
    assert_eq!(ledger.all_keys().await.unwrap().len(), 1000);
    let took = world.started.elapsed();
    println!("{} messages for 1,000 keys in {} s", messages.len(), took.as_secs());
    assert!(took < Duration::from_mins(30), "{took:?}");
}

/// Who joins the others must not take their message for its own: its event stays on the queue.
#[tokio::test(start_paused = true)]
async fn a_joined_message_answers_only_for_what_it_joined() {
    let world = World::new().await;
    let events = keys(13);
    for event in &events {
        let _ = world.receive(event, 1).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(61)).await;
    // Another invocation holds a live claim on one of the three that wait.
    let id = "AKIATIDEWATER0000011";
    let place = Place::Key { account: PROD.parse().unwrap(), key_id: id.to_owned() };
    let state = async || {
        let story = world.story_of(id).await;
        story.deliveries.into_iter().find(|item| item.value.name.recipient == Recipient::Channel).unwrap()
    };
    let waiting = state().await;
    assert_eq!(waiting.value.state.as_str(), "pending");
    let claimed = waiting.value.claim("another", world.now(), SignedDuration::from_secs(60)).unwrap();
    world.ledger().save_delivery(&place, &claimed, waiting.version).await.unwrap().unwrap();
    let Some(Err(WatchError::Undelivered { troubles, .. })) = world.receive(&events[11], 2).await else {
        panic!("its own message is not out")
    };
    assert!(troubles.iter().any(|trouble| trouble.recipient == Recipient::Channel), "{troubles:?}");
    assert_eq!(state().await.value.state.as_str(), "doing");
    assert!(world.all_said().contains("AKIATIDEWATER0000012"), "the others are out");
    tokio::time::sleep(Duration::from_secs(61)).await;
    world.receive(&events[11], u32::MAX).await.unwrap().unwrap();
    assert_eq!(state().await.value.state.as_str(), "done");
    assert!(world.all_said().contains(id));
}

#[tokio::test(start_paused = true)]
async fn critical_ones_always_stand_alone() {
    let world = World::new().await;
    let mut events = keys(30);
    for event in &mut events {
        event["detail"]["userIdentity"] = json!({"type": "Root", "accountId": "111122223333"});
        event["detail"]["requestParameters"] = Value::Null;
        event["detail"]["responseElements"]["accessKey"].as_object_mut().unwrap().remove("userName");
    }
    world.drain(&events, &Notify::new()).await;
    assert_eq!(world.slack.messages_in(CHANNEL).len(), 30);
}
