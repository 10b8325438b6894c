//! The ledger's promises, one by one, over the embedded DynamoDB.

use jiff::{SignedDuration, Timestamp};
use keytide_aws::ledger::{Place, Recorded, Versioned};
use keytide_core::{
    alert::{AlertRules, for_key_event},
    cloudtrail::{KeyEvent, Outcome, read},
    delivery::{Delivery, Ending, Receipt},
    fact::{Fact, FactBody},
    key,
};
use keytide_local::Fault;
use serde_json::Value;

use crate::world::{KEY, PROD, START, World, created, deactivated, event};

fn key_event(event: &Value) -> KeyEvent {
    match read(event.to_string().as_bytes()) {
        Outcome::Key(event) => event,
        other => panic!("expected a key event, found {other:?}"),
    }
}

fn now() -> Timestamp {
    START.parse().unwrap()
}

fn place() -> Place {
    Place::Key { account: PROD.parse().unwrap(), key_id: KEY.to_owned() }
}

/// A fact, the key's state after it, and its deliveries, over the version given.
fn parts(event: &Value, over: Option<Versioned<key::Key>>) -> (Fact, Versioned<key::Key>, Vec<Delivery>) {
    let event = key_event(event);
    let version = over.as_ref().map_or(0, |known| known.version);
    let transition = key::apply(over.map(|known| known.value), &event);
    let fact_id = event.fact_id();
    let deliveries = for_key_event(&AlertRules::default(), &event, &[]).deliveries(&fact_id, now());
    let body = FactBody::Key { event, effect: transition.effect };
    let fact = Fact::new(fact_id, now(), body);
    (fact, Versioned { value: transition.key, version }, deliveries)
}

/// Who may write in one partition must not have the sweeper write in another.
#[tokio::test(start_paused = true)]
async fn an_unfinished_message_that_says_it_stands_elsewhere_is_not_taken_up() {
    let world = World::new().await;
    let ledger = world.ledger();
    let account: keytide_core::AccountId = PROD.parse().unwrap();
    let (_, _, mut deliveries) = parts(&created(), None);
    let decisions = Place::Decisions { account: account.clone(), key_id: Some(KEY.to_owned()) };
    ledger.save_delivery(&decisions, &deliveries.remove(0), 0).await.unwrap().unwrap();
    assert_eq!(ledger.unfinished(&account, 10).await.unwrap().len(), 1);
    // By hand, as with the rights to exempt.
    let client = aws_sdk_dynamodb::Client::new(&world.aws.sdk_config());
    let scanned = client.scan().table_name(crate::world::TABLE).send().await.unwrap();
    let mut item = scanned.items().iter().find(|item| item.contains_key("place")).unwrap().clone();
    let mut place = item["place"].as_m().unwrap().clone();
    place.insert("kind".to_owned(), aws_sdk_dynamodb::types::AttributeValue::S("key".to_owned()));
    item.insert("place".to_owned(), aws_sdk_dynamodb::types::AttributeValue::M(place));
    client.put_item().table_name(crate::world::TABLE).set_item(Some(item)).send().await.unwrap();
    assert!(ledger.unfinished(&account, 10).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_three_refusals_are_told_apart() {
    let world = World::new().await;
    let ledger = world.ledger();
    let (fact, key, deliveries) = parts(&created(), None);
    let write = async || ledger.record(&place(), &fact, Some(&key), &deliveries).await.unwrap();
    assert_eq!(write().await, Recorded::Written);
    assert_eq!(write().await, Recorded::AlreadyThere);

    // Another fact, decided on the same old state.
    let (other, stale, more) = parts(&deactivated(), None);
    let stale = ledger.record(&place(), &other, Some(&stale), &more).await.unwrap();
    assert_eq!(stale, Recorded::StateChanged);
    assert_eq!(world.story_of(KEY).await.facts.len(), 1, "all or nothing");

    // Contention, for once, is waited out; for good, it is an error that says so.
    let known = ledger.key(&PROD.parse().unwrap(), KEY).await.unwrap();
    let (other, fresh, more) = parts(&deactivated(), known);
    let next = world.aws.calls().total() + 1;
    world.aws.faults().at_call(next, Fault::TransactionConflict);
    assert_eq!(ledger.record(&place(), &other, Some(&fresh), &more).await.unwrap(), Recorded::Written);
    world.aws.faults().plan(|_| Some(Fault::TransactionConflict));
    let error = ledger.record(&place(), &other, Some(&fresh), &more).await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("TransactionConflict"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_fact_without_a_key_is_written_once_and_never_over() {
    let world = World::new().await;
    let ledger = world.ledger();
    let (mut fact, _, _) = parts(&created(), None);
    let stray = Place::Stray { fact_id: fact.id.clone() };
    assert_eq!(ledger.record(&stray, &fact, None, &[]).await.unwrap(), Recorded::Written);
    fact.recorded_at = now().checked_add(SignedDuration::from_secs(9)).unwrap();
    assert_eq!(ledger.record(&stray, &fact, None, &[]).await.unwrap(), Recorded::AlreadyThere);
    assert_eq!(ledger.fact(&stray, &fact.id).await.unwrap().unwrap().recorded_at, now());
}

#[tokio::test(start_paused = true)]
async fn who_is_slower_saves_nothing() {
    let world = World::new().await;
    let ledger = world.ledger();
    let (fact, key, deliveries) = parts(&created(), None);
    ledger.record(&place(), &fact, Some(&key), &deliveries).await.unwrap();
    let lease = SignedDuration::from_secs(60);
    let faster = deliveries[0].claim("faster", now(), lease).unwrap();
    let slower = deliveries[0].claim("slower", now(), lease).unwrap();
    let claimed = ledger.save_delivery(&place(), &faster, 1).await.unwrap().unwrap();
    assert_eq!(ledger.save_delivery(&place(), &slower, 1).await.unwrap(), None);
    assert!(!ledger.save_key(&key.value, 7, now()).await.unwrap());

    // The sparse index holds what is unfinished, and lets it go.
    let account = PROD.parse().unwrap();
    assert_eq!(ledger.unfinished(&account, 100).await.unwrap().len(), 2);
    let receipt = Receipt { channel: "C1".to_owned(), ts: "1.1".to_owned(), note: None };
    let done = claimed.value.end("faster", now(), Ending::Done(receipt)).unwrap();
    ledger.save_delivery(&place(), &done, claimed.version).await.unwrap().unwrap();
    assert_eq!(ledger.unfinished(&account, 100).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_item_of_a_later_schema_is_refused_by_name() {
    let world = World::new().await;
    let ledger = world.ledger();
    let (fact, key, _) = parts(&created(), None);
    ledger.record(&place(), &fact, Some(&key), &[]).await.unwrap();
    aws_sdk_dynamodb::Client::new(&world.aws.sdk_config())
        .update_item()
        .table_name("keytide")
        .key("pk", aws_sdk_dynamodb::types::AttributeValue::S(format!("KEY#{PROD}#{KEY}")))
        .key("sk", aws_sdk_dynamodb::types::AttributeValue::S("KEY".to_owned()))
        .update_expression("SET #schema = :later")
        .expression_attribute_names("#schema", "schema")
        .expression_attribute_values(":later", aws_sdk_dynamodb::types::AttributeValue::N("99".to_owned()))
        .send()
        .await
        .unwrap();
    let error = ledger.key(&PROD.parse().unwrap(), KEY).await.unwrap_err().to_string();
    assert!(error.contains(KEY) && error.contains("99") && error.contains("upgrade"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_minute_counts_and_is_joined_by_one() {
    let world = World::new().await;
    let ledger = world.ledger();
    let account = PROD.parse().unwrap();
    for expected in 1..=3 {
        assert_eq!(ledger.count_alert(&account, now()).await.unwrap(), expected);
    }
    assert!(ledger.take_joining(&account, "one", now()).await.unwrap());
    assert!(!ledger.take_joining(&account, "two", now()).await.unwrap());
    let later = now().checked_add(SignedDuration::from_mins(1)).unwrap();
    assert_eq!(ledger.count_alert(&account, later).await.unwrap(), 1);
    assert!(ledger.take_joining(&account, "two", later).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn names_of_any_length_find_a_place() {
    let world = World::new().await;
    let long = "x".repeat(250);
    let event = event("CreateAccessKey", &"e".repeat(3000), "2026-05-04T09:12:33Z", &long, &long, "Active");
    // There is no such user: waited for a while, then given up.
    assert!(world.receive(&event, 3).await.unwrap().is_err());
    tokio::time::sleep(std::time::Duration::from_mins(15)).await;
    for received in 4..=5 {
        world.receive(&event, received).await.unwrap().unwrap();
    }
    let story = world.story_of(&long).await;
    assert_eq!((story.facts.len(), story.deliveries.len()), (1, 2));
}
