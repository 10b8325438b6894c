//! Slack is down for a day, then it is not: everything is told, once.

use std::time::Duration;

use serde_json::Value;
use tokio::{sync::Notify, time::Instant};

use crate::world::{CHANNEL, World, event};

#[tokio::test(start_paused = true)]
async fn slack_is_down_for_a_day() {
    let world = World::new().await;
    world.slack.set_down(true);
    let events: Vec<Value> = (0..25)
        .map(|number| {
            let id = format!("AKIATIDEWATERDOWN{number:03}");
            event("CreateAccessKey", &format!("e{number}"), "2026-05-04T09:12:33Z", &id, "alice", "Active")
        })
        .collect();
    let slack = world.slack.clone();
    let back = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_hours(24)).await;
        slack.set_down(false);
        Instant::now()
    });
    world.drain(&events, &Notify::new()).await;
    let back = back.await.unwrap();
    let messages = world.slack.messages();
    assert!(messages.iter().all(|message| message.at >= back));
    let told = world.all_said();
    for number in 0..25 {
        assert!(told.contains(&format!("AKIATIDEWATERDOWN{number:03}")), "{number}");
    }
    assert_eq!(world.owner_texts().len(), 25, "the owner is told of each");
    let channel = world.slack.messages_in(CHANNEL).len();
    assert!(channel < 25, "joined, after such a day: {channel}");
}
