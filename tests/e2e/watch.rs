//! An event in; the ledger, the channel and the owner out.

use keytide_app::watch::{Incoming, Telling, Watched};
use keytide_core::{
    cloudtrail::Subject,
    delivery::{DeliveryState, Recipient},
    fact::Untold,
};
use keytide_local::{Fault, KeyStatus, Service, slack::Person};
use serde_json::json;
use tokio::sync::Notify;

use crate::world::{
    ALICE, ALICE_IS_BREAK_GLASS, CHANNEL, KEY, PROD, TOKEN, World, created, deactivated, event, renamed,
    tagged, unreadable,
};

#[tokio::test(start_paused = true)]
async fn a_new_key_is_in_the_ledger_in_the_channel_and_with_its_owner() {
    let world = World::new().await;
    let Some(Ok(Watched::Recorded(record))) = world.receive(&created(), 1).await else { panic!("done") };
    assert!(!record.known_before);
    assert_eq!(
        record.sent.iter().map(|(to, _)| *to).collect::<Vec<_>>(),
        [Recipient::Channel, Recipient::Owner]
    );
    let story = world.story_of(KEY).await;
    let key = story.key.unwrap().value;
    assert_eq!(key.holder.subject, Subject::User("alice".to_owned()));
    assert_eq!(key.standing_word(), "Active");
    assert_eq!(key.creation.unwrap().at.to_string(), "2026-05-04T09:12:33Z");
    assert_eq!(key.owner.unwrap().tags.slack_id().unwrap().as_str(), ALICE);
    assert_eq!(story.facts.len(), 1);
    assert_eq!(story.deliveries.len(), 2);
    for delivery in &story.deliveries {
        let DeliveryState::Done { receipt, .. } = &delivery.value.state else { panic!("{delivery:?}") };
        assert!(!receipt.ts.is_empty() && !receipt.channel.is_empty(), "where it stands is kept");
    }
    assert_eq!(world.channel_texts().len(), 1);
    assert!(world.channel_texts()[0].contains("alice"), "{:?}", world.channel_texts());
    assert_eq!(world.owner_texts().len(), 1);
}

/// Promise 6.
#[tokio::test(start_paused = true)]
async fn the_same_event_again_changes_nothing() {
    let world = World::new().await;
    for received in 1..=4 {
        assert!(matches!(world.receive(&created(), received).await, Some(Ok(_))));
    }
    assert_eq!(world.slack.messages().len(), 2);
    let before = world.story_of(KEY).await;
    world.receive(&created(), 1).await.unwrap().unwrap();
    assert_eq!(world.story_of(KEY).await, before);
    // The same key told of under another event id: one more fact, not one more alert.
    let again = event("CreateAccessKey", "e-other", "2026-05-04T09:12:33Z", KEY, "alice", "Active");
    world.receive(&again, 1).await.unwrap().unwrap();
    assert_eq!(world.slack.messages().len(), 2);
    assert_eq!(world.story_of(KEY).await.facts.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn two_invocations_with_the_same_event_alert_once() {
    let world = World::new().await;
    // Slow enough that both read before either writes.
    world.aws.faults().set_latency(std::time::Duration::from_millis(5));
    let event = created();
    let (one, two) = tokio::join!(world.receive(&event, 1), world.receive(&event, 1));
    // The slower may have to come again: a live claim is no success.
    for outcome in [one, two] {
        if let Some(Err(_)) = outcome {
            world.receive(&event, 2).await.unwrap().unwrap();
        }
    }
    assert_eq!(world.channel_texts().len(), 1);
    assert_eq!(world.owner_texts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_second_active_key_is_seen() {
    let world = World::new().await;
    let older = "2026-01-01T00:00:00Z".parse().unwrap();
    world.aws.iam().add_access_key(PROD, "alice", "AKIATIDEWATEROLDER01", older, KeyStatus::Active).unwrap();
    world.receive(&created(), 1).await.unwrap().unwrap();
    let message = world.slack.messages_in(CHANNEL)[0].blocks.to_string();
    assert!(message.contains("not the only active key"), "{message}");
}

/// Promise 5: whatever cannot be found out is said, and the alert goes out.
#[tokio::test(start_paused = true)]
async fn a_directory_that_does_not_answer_delays_the_alert_by_its_bound_and_no_more() {
    let world = World::new().await;
    world
        .aws
        .faults()
        .plan(|call| matches!(call.service, Service::Iam | Service::Sts).then_some(Fault::TimeoutBefore));
    let began = tokio::time::Instant::now();
    let outcome = world.receive(&created(), 1).await.unwrap();
    assert!(outcome.is_err(), "the owner is still to be told");
    let posted = world.slack.messages_in(CHANNEL);
    assert_eq!(posted.len(), 1);
    assert!((posted[0].at - began).as_secs_f64() < 2.5);
    assert!(posted[0].blocks.to_string().contains("no answer within 2 s"), "{}", posted[0].blocks);
    // The directory comes back, and with it the owner's message.
    world.aws.faults().clear();
    world.receive(&created(), 2).await.unwrap().unwrap();
    assert_eq!((world.channel_texts().len(), world.owner_texts().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_owner_who_can_not_be_reached_is_told_in_the_channel() {
    let world = World::new().await;
    world.slack.set_person(ALICE, Person::Disabled);
    world.receive(&created(), 1).await.unwrap().unwrap();
    let texts = world.channel_texts();
    assert_eq!(texts.len(), 2);
    assert!(format!("{:?}", world.slack.messages_in(CHANNEL)[1]).contains("user_disabled"), "{texts:?}");
}

#[tokio::test(start_paused = true)]
async fn malformed_and_missing_tags_are_said_and_nobody_else_is_told() {
    for (tag, said) in [("@alice", "@alice"), ("", "slack-id")] {
        let world = World::new().await;
        let tags: &[(&str, &str)] = if tag.is_empty() { &[] } else { &[("slack-id", tag)] };
        world.aws.iam().delete_access_key(PROD, KEY).unwrap();
        world.aws.iam().delete_user(PROD, "alice").unwrap();
        world.aws.iam().add_user(PROD, "alice", "/", tags).unwrap();
        world.receive(&created(), 1).await.unwrap().unwrap();
        assert_eq!(world.slack.messages().len(), 1);
        let message = world.slack.messages_in(CHANNEL)[0].blocks.to_string();
        assert!(message.contains(said), "{message}");
        let story = world.story_of(KEY).await;
        let owner = story.deliveries.iter().find(|item| item.value.name.recipient == Recipient::Owner);
        assert!(matches!(owner.unwrap().value.state, DeliveryState::GivenUp { .. }));
    }
}

/// The flow: "if the ledger is silent for a second on the first receive, the alert goes out at once".
#[tokio::test(start_paused = true)]
async fn a_silent_ledger_does_not_silence_the_alert() {
    let world = World::new().await;
    world.aws.faults().plan(|call| (call.service == Service::DynamoDb).then_some(Fault::TimeoutBefore));
    let began = tokio::time::Instant::now();
    assert!(world.receive(&created(), 1).await.unwrap().is_err(), "the event stays on the queue");
    let posted = world.slack.messages_in(CHANNEL);
    assert_eq!(posted.len(), 1);
    assert!((posted[0].at - began).as_secs_f64() < 2.0);
    let said = format!("{} {}", posted[0].text, posted[0].blocks).to_lowercase();
    assert!(said.contains("not yet in the ledger"), "{said}");
    // Only the first receive alerts early.
    assert!(world.receive(&created(), 2).await.unwrap().is_err());
    assert_eq!(world.slack.messages().len(), 1);
    world.aws.faults().clear();
    world.receive(&created(), 3).await.unwrap().unwrap();
    assert_eq!(world.story_of(KEY).await.facts.len(), 1);
    assert_eq!(world.channel_texts().len(), 2, "twice, because the ledger was silent");
}

/// Promise 9.
#[tokio::test(start_paused = true)]
async fn a_rotated_token_is_read_once_more() {
    let world = World::new().await;
    let watch = world.watch();
    let first = created().to_string();
    let invocation = world.invocation();
    watch.event(&Incoming { json: first.as_bytes(), received: 1 }, &invocation).await.unwrap();
    world.slack.rotate_token("xoxb-rotated");
    world.aws.secrets().put("slack-token", "xoxb-rotated").unwrap();
    let reads = || world.aws.calls().count(Service::SecretsManager, "GetSecretValue");
    let read_before = reads();
    let second = deactivated().to_string();
    watch.event(&Incoming { json: second.as_bytes(), received: 1 }, &invocation).await.unwrap();
    assert_eq!(reads() - read_before, 1);
    assert_eq!(world.channel_texts().len(), 2);
}

/// Promise 9: no error, no log line's source and no debug print holds the token.
#[tokio::test(start_paused = true)]
async fn a_refused_token_is_in_no_error() {
    let world = World::new().await;
    world.slack.rotate_token("xoxb-another");
    let watch = world.watch();
    let json = created().to_string();
    let incoming = Incoming { json: json.as_bytes(), received: 1 };
    let error = watch.event(&incoming, &world.invocation()).await.unwrap_err();
    // The watch has read the token by now and keeps it.
    for said in [error.to_string(), format!("{error:?}"), format!("{watch:?}")] {
        assert!(!said.contains(TOKEN), "{said}");
    }
    assert!(error.to_string().contains("invalid_auth"), "{error}");
}

/// Promise 8: what cannot be read is recorded and said, once, and stops nothing.
#[tokio::test(start_paused = true)]
async fn an_unreadable_event_is_told_once_and_leaves_the_queue() {
    let world = World::new().await;
    world.receive(&unreadable(), 1).await.unwrap().unwrap();
    world.receive(&unreadable(), 2).await.unwrap().unwrap();
    let texts = world.channel_texts();
    assert_eq!(texts.len(), 1);
    let message = world.slack.messages_in(CHANNEL)[0].blocks.to_string();
    assert!(message.contains("responseElements"), "it names the field: {message}");
}

#[tokio::test(start_paused = true)]
async fn a_change_of_tags_reaches_the_ledger_and_the_channel() {
    let world = World::new().await;
    world.receive(&created(), 1).await.unwrap().unwrap();
    let moved = "U0BRUNO002";
    world.aws.iam().set_tags(PROD, "alice", &[("slack-id", moved)]).unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    world.receive(&tagged(), 1).await.unwrap().unwrap();
    let key = world.story_of(KEY).await.key.unwrap().value;
    assert_eq!(key.owner.unwrap().tags.slack_id().unwrap().as_str(), moved);
    assert_eq!(world.channel_texts().len(), 2);
    assert_eq!(world.ledger().keys_of_owner(moved).await.unwrap().len(), 1);
    assert!(world.ledger().keys_of_owner(ALICE).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_rename_moves_the_keys() {
    let world = World::new().await;
    world.receive(&created(), 1).await.unwrap().unwrap();
    world.aws.iam().rename_user(PROD, "alice", "alice.adler").unwrap();
    world.receive(&renamed("alice", "alice.adler"), 1).await.unwrap().unwrap();
    let key = world.story_of(KEY).await.key.unwrap().value;
    assert_eq!(key.holder.subject, Subject::User("alice.adler".to_owned()));
    let account = PROD.parse().unwrap();
    assert_eq!(world.ledger().open_keys(&account, Some("alice.adler")).await.unwrap().len(), 1);
    assert!(world.ledger().open_keys(&account, Some("alice")).await.unwrap().is_empty());
}

/// In whatever order the events come: the key is under its user's present name, and the owner is told.
#[tokio::test(start_paused = true)]
async fn a_rename_that_comes_before_the_key_is_followed() {
    let world = World::new().await;
    world.aws.iam().rename_user(PROD, "alice", "alice.adler").unwrap();
    world.aws.iam().rename_user(PROD, "alice.adler", "adler").unwrap();
    world.receive(&renamed("alice.adler", "adler"), 1).await.unwrap().unwrap();
    world.receive(&renamed("alice", "alice.adler"), 1).await.unwrap().unwrap();
    // Another alice's, before this key was made.
    let mut before = renamed("alice", "somebody-else");
    before["detail"]["eventTime"] = json!("2026-05-04T09:12:00Z");
    world.receive(&before, 1).await.unwrap().unwrap();
    world.receive(&created(), 1).await.unwrap().unwrap();
    let key = world.story_of(KEY).await.key.unwrap().value;
    assert_eq!(key.holder.subject, Subject::User("adler".to_owned()));
    assert_eq!(world.owner_texts().len(), 1);
}

/// Every order of a key's creation, its deactivation without a name, and two renames of its user; also where nobody
/// is asked and nobody told.
#[tokio::test(start_paused = true)]
async fn renames_and_events_in_any_order_give_one_holder() {
    let mut first = renamed("alice", "alice.adler");
    first["detail"]["eventTime"] = json!("2026-05-04T09:12:50Z");
    let mut second = renamed("alice.adler", "adler");
    second["detail"]["eventTime"] = json!("2026-05-04T09:12:55Z");
    let mut nameless = deactivated();
    nameless["detail"]["userIdentity"] = json!({"type": "AWSService", "invokedBy": "sso.amazonaws.com"});
    nameless["detail"]["requestParameters"].as_object_mut().unwrap().remove("userName");
    let events = [created(), nameless, first, second];
    for order in orders(events.len()) {
        for telling in [Telling::All, Telling::Nothing] {
            let world = World::new().await;
            let watch = if telling == Telling::All { world.watch() } else { world.watch_by_hand() };
            for event in &order {
                let json = events[*event].to_string();
                let incoming = Incoming { json: json.as_bytes(), received: u32::MAX };
                watch.event(&incoming, &world.invocation()).await.unwrap();
            }
            let key = world.story_of(KEY).await.key.unwrap().value;
            let holder = key.holder.subject.user();
            assert_eq!(holder, Some("adler"), "{order:?} {telling:?}");
        }
    }
}

/// Every order of the first `length` numbers.
fn orders(length: usize) -> Vec<Vec<usize>> {
    if length == 0 {
        return vec![Vec::new()];
    }
    let shorter = orders(length - 1);
    let with_last = |order: &Vec<usize>| {
        (0..length)
            .map(|place| [&order[..place], &[length - 1], &order[place..]].concat())
            .collect::<Vec<_>>()
    };
    shorter.iter().flat_map(with_last).collect()
}

/// Promise 4: every event of a break-glass user is critical and told, also one that is else only recorded.
#[tokio::test(start_paused = true)]
async fn whatever_a_break_glass_user_does_is_critical() {
    let world = World::new().await;
    world.apply_policy(ALICE_IS_BREAK_GLASS, world.now()).await;
    // Whoever aims a refused call at them calls nobody: that would be a siren for everybody to sound.
    let mut aimed = deactivated();
    aimed["detail"]["eventID"] = json!("e-aimed");
    aimed["detail"]["errorCode"] = json!("AccessDenied");
    aimed["detail"]["userIdentity"]["userName"] = json!("mallory");
    world.receive(&aimed, 1).await.unwrap().unwrap();
    assert!(!world.channel_texts().concat().contains("CRITICAL"));
    let mut own_refused = deactivated();
    own_refused["detail"]["eventID"] = json!("e-refused");
    own_refused["detail"]["errorCode"] = json!("AccessDenied");
    let mut unwatched = tagged();
    unwatched["detail"]["requestParameters"]["tags"] = json!([{"key": "team", "value": "tide"}]);
    let mut for_another =
        event("CreateAccessKey", "e-bob", "2026-05-04T09:12:33Z", "AKIATIDEWATERBOB0001", "bob", "Active");
    for_another["detail"]["userIdentity"]["userName"] = json!("Alice");
    // Whose key it is, only the ledger knows of this one; and of this one only the event's wreck.
    let mut nameless = deactivated();
    nameless["detail"]["eventID"] = json!("e-nameless");
    nameless["detail"]["userIdentity"] = json!({"type": "AWSService", "invokedBy": "sso.amazonaws.com"});
    nameless["detail"]["requestParameters"].as_object_mut().unwrap().remove("userName");
    let events = [created(), deactivated(), own_refused, unwatched, for_another, nameless, unreadable()];
    for (index, event) in events.iter().enumerate() {
        for received in 1..=3 {
            let _ = world.receive(event, received).await.unwrap();
        }
        let texts = world.channel_texts();
        assert_eq!(texts.len(), index + 2, "{texts:?}");
        let text = &texts[index + 1];
        assert!(text.contains("CRITICAL") && text.contains("break-glass"), "{texts:?}");
    }
    let owner = world.owner_texts();
    assert!(owner[0].contains("CRITICAL"), "{owner:?}");
    // By which policy that was said stays.
    let hash = world.ledger().policy().await.unwrap().unwrap().value.hash;
    assert!(world.story_of(KEY).await.facts.iter().all(|fact| fact.policy.as_ref() == Some(&hash)));
    // Nobody else's are, nor those of a user of that name in another account.
    let mut elsewhere = created();
    elsewhere["detail"]["eventID"] = json!("e-elsewhere");
    elsewhere["detail"]["recipientAccountId"] = json!("444455556666");
    elsewhere["account"] = json!("444455556666");
    elsewhere["detail"]["userIdentity"]["accountId"] = json!("444455556666");
    let _ = world.receive(&elsewhere, 1).await.unwrap();
    let texts = world.channel_texts();
    assert!(!texts.last().unwrap().contains("CRITICAL"), "{texts:?}");
}

/// The alert goes out before it is recorded, and the policy was read: it is as loud as it has to be.
#[tokio::test(start_paused = true)]
async fn an_early_alert_of_a_break_glass_user_is_critical() {
    let world = World::new().await;
    world.apply_policy(ALICE_IS_BREAK_GLASS, world.now()).await;
    world.aws.faults().plan(|call| (call.operation == "TransactWriteItems").then_some(Fault::TimeoutBefore));
    assert!(world.receive(&created(), 1).await.unwrap().is_err());
    let texts = world.channel_texts();
    assert!(texts.len() == 1 && texts[0].contains("CRITICAL"), "{texts:?}");
}

/// The policy was read a moment ago, and now the ledger does not even answer.
#[tokio::test(start_paused = true)]
async fn an_early_alert_is_judged_by_the_policy_at_hand() {
    let world = World::new().await;
    world.apply_policy(ALICE_IS_BREAK_GLASS, world.now()).await;
    let watch = world.watch();
    let receive = async |event: serde_json::Value| {
        let json = event.to_string();
        watch.event(&Incoming { json: json.as_bytes(), received: 1 }, &world.invocation()).await
    };
    receive(created()).await.unwrap();
    world.aws.faults().plan(|call| (call.service == Service::DynamoDb).then_some(Fault::TimeoutBefore));
    receive(deactivated()).await.unwrap_err();
    let texts = world.channel_texts();
    assert!(texts.len() == 2 && texts[1].contains("CRITICAL"), "{texts:?}");
}

/// The index by which a rename finds the keys lags: the key's own event, coming again, finds the rename.
#[tokio::test(start_paused = true)]
async fn a_rename_that_missed_the_key_is_followed_when_its_event_comes_again() {
    let world = World::new().await;
    world.aws.iam().rename_user(PROD, "alice", "alice.adler").unwrap();
    world.aws.set_index_lag(Some(100)).unwrap();
    assert!(world.receive(&created(), 1).await.unwrap().is_err(), "nobody is called alice any more");
    world.receive(&renamed("alice", "alice.adler"), 1).await.unwrap().unwrap();
    let holder = async || world.story_of(KEY).await.key.unwrap().value.holder.subject;
    assert_eq!(holder().await, Subject::User("alice".to_owned()), "it was missed");
    world.receive(&created(), 2).await.unwrap().unwrap();
    assert_eq!(holder().await, Subject::User("alice.adler".to_owned()));
    assert_eq!(world.owner_texts().len(), 1);
}

/// Another invocation notes the rename while this one looks the owner up: the key's first write is decided anew.
#[tokio::test(start_paused = true)]
async fn a_rename_that_is_noted_meanwhile_is_followed() {
    let world = World::new().await;
    world.aws.iam().rename_user(PROD, "alice", "alice.adler").unwrap();
    world.aws.faults().set_latency(std::time::Duration::from_millis(100));
    let event = created();
    let note = async {
        while world.aws.calls().count(Service::Sts, "AssumeRole") == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let (account, at) = (PROD.parse().unwrap(), "2026-05-04T09:12:37Z".parse().unwrap());
        world.ledger().note_rename(&account, "alice", "alice.adler", at).await.unwrap();
    };
    let (received, ()) = tokio::join!(world.receive(&event, 1), note);
    let _ = received.unwrap();
    let key = world.story_of(KEY).await.key.unwrap().value;
    assert_eq!(key.holder.subject, Subject::User("alice.adler".to_owned()));
}

/// Somebody else has taken the name meanwhile, and made a key.
#[tokio::test(start_paused = true)]
async fn a_rename_leaves_a_namesakes_key_alone() {
    let world = World::new().await;
    world.receive(&created(), 1).await.unwrap().unwrap();
    let iam = world.aws.iam();
    iam.rename_user(PROD, "alice", "alice.adler").unwrap();
    iam.add_user(PROD, "alice", "/", &[("slack-id", "U0BRUNO002")]).unwrap();
    let second = "AKIATIDEWATERALICE88";
    let at = "2026-05-04T09:12:39Z";
    iam.add_access_key(PROD, "alice", second, at.parse().unwrap(), KeyStatus::Active).unwrap();
    let made = event("CreateAccessKey", "e-second", at, second, "alice", "Active");
    let _ = world.receive(&made, 1).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    let _ = world.receive(&renamed("alice", "alice.adler"), 1).await.unwrap();
    let owner = async |key_id| {
        let key = world.story_of(key_id).await.key.unwrap().value;
        let slack_id = key.owner.as_ref().unwrap().tags.slack_id().unwrap().as_str().to_owned();
        (key.holder.subject.user().unwrap().to_owned(), slack_id)
    };
    assert_eq!(owner(KEY).await, ("alice.adler".to_owned(), ALICE.to_owned()));
    assert_eq!(owner(second).await, ("alice".to_owned(), "U0BRUNO002".to_owned()));
}

/// Told before the keys are brought up to date, which may take another try.
#[tokio::test(start_paused = true)]
async fn a_change_of_tags_is_told_though_the_keys_cannot_follow() {
    let world = World::new().await;
    world.receive(&created(), 1).await.unwrap().unwrap();
    let moved = "U0BRUNO002";
    world.aws.iam().set_tags(PROD, "alice", &[("slack-id", moved)]).unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    world.aws.faults().plan(|call| (call.operation == "Query").then_some(Fault::ServerError));
    let failed = world.receive(&tagged(), 1).await.unwrap().unwrap_err();
    assert!(failed.to_string().contains("keys are not up to date"), "{failed}");
    assert_eq!(world.channel_texts().len(), 2);
    world.aws.faults().clear();
    world.receive(&tagged(), 2).await.unwrap().unwrap();
    let key = world.story_of(KEY).await.key.unwrap().value;
    assert_eq!(key.owner.unwrap().tags.slack_id().unwrap().as_str(), moved);
    assert_eq!(world.channel_texts().len(), 2);
}

/// Whoever can break the policy silences no alert.
#[tokio::test(start_paused = true)]
async fn a_policy_that_cannot_be_read_silences_no_alert() {
    let world = World::new().await;
    world.apply_policy("[modes\nenforce = 7", world.now()).await;
    world.receive(&created(), 1).await.unwrap().unwrap();
    assert_eq!((world.channel_texts().len(), world.owner_texts().len()), (1, 1));
    assert_eq!(world.story_of(KEY).await.facts[0].policy, None);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_key_leaves_the_index_and_stays_as_a_tombstone() {
    let world = World::new().await;
    let deleted = event("DeleteAccessKey", "e-deleted", "2026-05-04T10:00:00Z", KEY, "alice", "");
    // Deletion first: the creation is told all the same, and does not wake the key.
    world.receive(&deleted, 1).await.unwrap().unwrap();
    world.receive(&created(), 1).await.unwrap().unwrap();
    let account = PROD.parse().unwrap();
    assert!(world.ledger().open_keys(&account, None).await.unwrap().is_empty());
    assert_eq!(world.story_of(KEY).await.key.unwrap().value.standing_word(), "Deleted");
    assert_eq!(world.channel_texts().len(), 2);
}

/// Promise 5: one event failing stops nothing else.
#[tokio::test(start_paused = true)]
async fn a_poisoned_event_stops_no_other() {
    let world = World::new().await;
    let receives = world
        .drain(&[json!({"detail": [1, 2]}), json!("not an object"), created(), json!({})], &Notify::new())
        .await;
    assert_eq!(receives, [1, 1, 1, 1]);
    assert_eq!(world.story_of(KEY).await.facts.len(), 1);
    assert_eq!(world.channel_texts().len(), 4, "three unreadable ones, one new key");
}

/// Promise 11: whatever else is done with our roles.
#[tokio::test(start_paused = true)]
async fn a_call_that_keytide_never_makes_with_its_own_role_is_critical() {
    let world = World::new().await;
    let mut misuse = tagged();
    misuse["detail"]["eventID"] = json!("e-misuse");
    misuse["detail"]["eventName"] = json!("AttachUserPolicy");
    misuse["detail"]["userIdentity"] = json!({
        "type": "AssumedRole",
        "arn": format!("arn:aws:sts::{PROD}:assumed-role/keytide-disabler/someone"),
        "accountId": PROD,
        "sessionContext": {"sessionIssuer": {"accountId": PROD, "userName": "keytide-disabler"}},
    });
    for received in 1..=2 {
        world.receive(&misuse, received).await.unwrap().unwrap();
    }
    let texts = world.channel_texts();
    assert_eq!(texts.len(), 1);
    assert!(texts[0].contains("CRITICAL") && texts[0].contains("AttachUserPolicy"), "{texts:?}");
    // What the reader does all day is no news, and a stranger's role is not ours.
    misuse["detail"]["eventID"] = json!("e-read");
    misuse["detail"]["eventName"] = json!("ListAccessKeys");
    assert!(matches!(world.receive(&misuse, 1).await, Some(Ok(Watched::NotOurs(_)))));
    misuse["detail"]["eventName"] = json!("AttachUserPolicy");
    misuse["detail"]["userIdentity"]["sessionContext"]["sessionIssuer"]["userName"] = json!("admin");
    assert!(matches!(world.receive(&misuse, 1).await, Some(Ok(Watched::NotOurs(_)))));
}

#[tokio::test(start_paused = true)]
async fn an_owner_whom_iam_does_not_show_yet_is_told_a_little_later() {
    let world = World::new().await;
    world.aws.iam().rename_user(PROD, "alice", "not-yet").unwrap();
    assert!(world.receive(&created(), 1).await.unwrap().is_err());
    assert_eq!((world.channel_texts().len(), world.owner_texts().len()), (1, 0));
    world.aws.iam().rename_user(PROD, "not-yet", "alice").unwrap();
    world.receive(&created(), 2).await.unwrap().unwrap();
    assert_eq!((world.channel_texts().len(), world.owner_texts().len()), (1, 1));
}

/// Promise 7: what the functions have still to tell is theirs, however it was read by hand meanwhile.
#[tokio::test(start_paused = true)]
async fn reading_by_hand_neither_posts_nor_claims_what_is_still_to_be_told() {
    let world = World::new().await;
    world.slack.set_down(true);
    assert!(world.receive(&created(), 1).await.unwrap().is_err());
    let before = world.story_of(KEY).await;
    world.slack.set_down(false);
    let json = created().to_string();
    let incoming = Incoming { json: json.as_bytes(), received: 1 };
    let since = "2026-05-04T09:12:34Z".parse().unwrap();
    for telling in [Telling::Nothing, Telling::Since(since)] {
        world.watch_telling(telling).event(&incoming, &world.invocation()).await.unwrap();
    }
    assert_eq!(world.story_of(KEY).await, before);
    assert!(world.slack.messages().is_empty());
    world.receive(&created(), 2).await.unwrap().unwrap();
    assert_eq!((world.channel_texts().len(), world.owner_texts().len()), (1, 1));
}

/// Promise 7: posting by hand, what is old is recorded as such, and never posted; what is not old is.
#[tokio::test(start_paused = true)]
async fn by_hand_only_what_is_not_old_is_posted() {
    for (since, told) in [("2026-05-04T09:12:34Z", 0), ("2026-05-04T09:12:33Z", 2)] {
        let world = World::new().await;
        let json = created().to_string();
        let incoming = Incoming { json: json.as_bytes(), received: 1 };
        let watch = world.watch_telling(Telling::Since(since.parse().unwrap()));
        watch.event(&incoming, &world.invocation()).await.unwrap();
        assert_eq!(world.slack.messages().len(), told, "since {since}");
        let untold = world.story_of(KEY).await.facts[0].untold;
        assert_eq!(untold, (told == 0).then_some(Untold::OldByHand));
    }
}

/// Promise 7: read by hand, nothing is posted; and old events never are.
#[tokio::test(start_paused = true)]
async fn what_is_read_by_hand_is_recorded_and_not_posted() {
    let world = World::new().await;
    let json = created().to_string();
    let incoming = Incoming { json: json.as_bytes(), received: 1 };
    let since = "2026-05-04T09:12:34Z".parse().unwrap();
    for telling in [Telling::Nothing, Telling::Since(since), Telling::All] {
        world.watch_telling(telling).event(&incoming, &world.invocation()).await.unwrap();
    }
    assert!(world.slack.calls().is_empty());
    let story = world.story_of(KEY).await;
    assert_eq!((story.facts.len(), story.deliveries.len()), (1, 0));
    assert_eq!(story.facts[0].untold, Some(Untold::ByHand));
}
