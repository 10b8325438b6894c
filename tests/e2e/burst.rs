//! A thousand keys in one account at once: nothing is lost, Slack's rate holds, and the channel stays
//! readable.

use std::time::Duration;

use keytide_core::delivery::{DeliveryState, Recipient};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::world::{CHANNEL, World, event};

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
