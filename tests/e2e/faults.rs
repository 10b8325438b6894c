//! Something goes wrong at every single call of watch, in every way it can, and the event comes again:
//! nothing is lost, and a message comes twice only where Slack's answer was lost or the ledger was silent.

use std::{sync::Arc, time::Duration};

use jiff::SignedDuration;
use keytide_app::watch::Telling;
use keytide_aws::ledger::{Place, Recorded, Versioned};
use keytide_core::{
    alert::Severity,
    cloudtrail::Status,
    delivery::{Delivery, DeliveryName, DeliveryState, Ending, Receipt, Recipient, Stage},
    fact::{Fact, FactBody, ObservedKey},
    key::{Sighting, sight},
    plan::News,
};
use keytide_local::{Fault, Service, slack::SlackFault};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::world::{
    ALICE_IS_BREAK_GLASS, CHANNEL, KEY, PROD, World, created, deactivated, event, renamed, tagged, tell,
    unreadable,
};

/// What remains of a story once it is over, apart from when and by whom things were done.
#[derive(Debug, PartialEq)]
struct Outcome {
    key: Option<(String, String, Option<String>)>,
    facts: Vec<String>,
    deliveries: Vec<(String, &'static str)>,
}

async fn outcome(world: &World) -> Outcome {
    world.aws.faults().clear();
    let story = world.story_of(KEY).await;
    let key = story.key.map(|key| {
        let owner = key.value.owner.as_ref().and_then(|owner| owner.tags.slack_id());
        let owner = owner.map(|id| id.as_str().to_owned());
        (key.value.standing_word().to_owned(), key.value.holder.subject.to_string(), owner)
    });
    let mut deliveries: Vec<_> = story
        .deliveries
        .iter()
        .map(|delivery| (delivery.value.name.to_string(), delivery.value.state.as_str()))
        .collect();
    // Their order in time is the order of luck.
    deliveries.sort();
    Outcome { key, facts: story.facts.into_iter().map(|fact| fact.id).collect(), deliveries }
}

/// Faults that the SDK or the ledger itself mends within the invocation.
fn is_mended(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::Throttle
            | Fault::ThroughputExceeded
            | Fault::TransactionThrottled
            | Fault::TransactionConflict
            | Fault::TransactionInProgress
            | Fault::ServerError
            | Fault::ConnectionErrorBefore
            | Fault::ConnectionErrorAfter
    )
}

/// A story: events that are drained from a world in which something had happened before.
struct Tale {
    name: &'static str,
    before: Before,
    events: Vec<Value>,
}

#[derive(Clone, Copy)]
enum Before {
    Nothing,
    /// A sweep had found the key.
    Found,
    /// IAM knows alice as alice.adler by now.
    Renamed,
    /// The policy in force calls her a break-glass user.
    BreakGlass,
}

impl Tale {
    async fn world(&self) -> World {
        let world = World::new().await;
        match self.before {
            Before::Nothing => {}
            Before::Found => found_by_a_sweep(&world).await,
            Before::Renamed => world.aws.iam().rename_user(PROD, "alice", "alice.adler").unwrap(),
            Before::BreakGlass => world.apply_policy(ALICE_IS_BREAK_GLASS, world.now()).await,
        }
        world.aws.calls().restart();
        world
    }
}

/// The stories; a created key's first, so that later events find it.
fn stories() -> Vec<Tale> {
    let tale = |name, events| Tale { name, before: Before::Nothing, events };
    let mut refused = deactivated();
    refused["detail"]["eventID"] = json!("e-refused");
    refused["detail"]["errorCode"] = json!("AccessDenied");
    refused["detail"]["userIdentity"]["userName"] = json!("mallory");
    let mut by_disabler = deactivated();
    by_disabler["detail"]["eventID"] = json!("e-disabler");
    by_disabler["detail"]["userIdentity"] = disabler();
    let mut own_role = tagged();
    own_role["detail"]["eventID"] = json!("e-own-role");
    own_role["detail"]["eventName"] = json!("CreateLoginProfile");
    own_role["detail"]["userIdentity"] = disabler();
    vec![
        tale("a new key", vec![created()]),
        tale("a key deactivated", vec![created(), deactivated()]),
        tale("an owner's tags changed", vec![created(), tagged()]),
        tale("an event that cannot be read", vec![unreadable()]),
        tale("a refused attempt", vec![created(), refused]),
        tale("an Inactive by the disabler that nobody claimed", vec![created(), by_disabler]),
        tale("our own role does what it never does", vec![own_role]),
        Tale {
            name: "who made a key that a sweep had found",
            before: Before::Found,
            events: vec![created()],
        },
        Tale {
            name: "an owner renamed",
            before: Before::Renamed,
            events: vec![created(), renamed("alice", "alice.adler")],
        },
        Tale { name: "of a break-glass user", before: Before::BreakGlass, events: vec![created()] },
    ]
}

fn disabler() -> Value {
    json!({
        "type": "AssumedRole", "accountId": PROD, "principalId": "AROATIDEWATERROLE001:thief",
        "arn": format!("arn:aws:sts::{PROD}:assumed-role/keytide-disabler/thief"),
        "sessionContext": {"sessionIssuer": {"userName": "keytide-disabler", "accountId": PROD}},
    })
}

/// What a sweep leaves that found the key and told of it.
async fn found_by_a_sweep(world: &World) {
    let now = world.now();
    let sighting = Sighting {
        account: PROD.parse().unwrap(),
        key_id: KEY.to_owned(),
        user: "alice".to_owned(),
        status: Status::Active,
        created: Some("2026-05-04T09:12:33Z".parse().unwrap()),
        at: now,
    };
    let key = sight(None, &sighting, None);
    let place = Place::Key { account: sighting.account, key_id: sighting.key_id };
    let observed = ObservedKey { key: key.clone(), at: now, news: vec![News::Found] };
    let id = format!("{}found", Fact::OBSERVED);
    let body = FactBody::Observed { observed: Box::new(observed) };
    let fact = Fact::new(id.clone(), now, body);
    let receipt = Receipt { channel: CHANNEL.to_owned(), ts: "1780000000.000001".to_owned(), note: None };
    let done = |recipient| {
        let epoch = DeliveryName::ONCE_PER_KEY.to_owned();
        let name = DeliveryName { epoch, stage: Stage::Created, recipient };
        let new = Delivery::new(name, id.clone(), Severity::Warning, now);
        let claimed = new.claim("a sweep", now, SignedDuration::from_mins(1)).unwrap();
        claimed.end("a sweep", now, Ending::Done(receipt.clone())).unwrap()
    };
    let deliveries = [done(Recipient::Channel), done(Recipient::Owner)];
    let recorded =
        world.ledger().record(&place, &fact, Some(&Versioned { value: key, version: 0 }), &deliveries).await;
    assert_eq!(recorded.unwrap(), Recorded::Written);
}

#[tokio::test(start_paused = true)]
async fn at_every_call_to_aws() {
    let mut tried = 0;
    for tale in stories() {
        let (story, events) = (tale.name, &tale.events);
        let calm = tale.world().await;
        calm.drain(events, &Notify::new()).await;
        let calls = calm.aws.calls().list();
        let expected = outcome(&calm).await;
        let messages = (calm.channel_texts().len(), calm.owner_texts().len());
        assert!(calls.len() >= 3, "{story}: {calls:?}");

        for call in &calls {
            for fault in Fault::ALL {
                if !fault.can_happen_to(call) {
                    continue;
                }
                tried += 1;
                let what = format!("{story}: {fault:?} at call {} ({})", call.number, call.operation);
                let world = tale.world().await;
                world.aws.faults().at_call(call.number, fault);
                // A world that waits for ever has lost the event.
                let no_crash = Notify::new();
                let drained = tokio::time::timeout(Duration::from_hours(4), world.drain(events, &no_crash));
                drained.await.unwrap_or_else(|_| panic!("{what}: never done"));
                let found = outcome(&world).await;
                let mut wanted = Outcome { deliveries: expected.deliveries.clone(), ..outcome(&calm).await };
                if call.service != Service::DynamoDb {
                    // An owner who could not be looked up in time is in the ledger at the next look.
                    wanted.key = wanted.key.map(|(status, subject, owner)| {
                        (
                            status,
                            subject,
                            owner.filter(|_| found.key.as_ref().is_some_and(|key| key.2.is_some())),
                        )
                    });
                }
                assert_eq!(found, wanted, "{what}");

                let got = (world.channel_texts().len(), world.owner_texts().len());
                let said = format!("{what}: {:?}", world.slack.messages());
                assert!(got.0 >= messages.0 && got.1 >= messages.1, "lost: {said}");
                let extra = got.0 + got.1 - messages.0 - messages.1;
                let ledger_was_silent = call.service == Service::DynamoDb && !is_mended(fault);
                assert!(extra <= usize::from(ledger_was_silent), "twice without cause: {said}");
            }
        }
    }
    tell(&format!("{tried} faults at calls to AWS"));
    assert!(tried > 200, "{tried}");
}

#[tokio::test(start_paused = true)]
async fn at_every_call_to_slack() {
    let crash = Arc::new(Notify::new());
    let faults = [
        SlackFault::Error("ratelimited"),
        SlackFault::Error("service_unavailable"),
        SlackFault::Error("fatal_error"),
        SlackFault::Error("internal_error"),
        SlackFault::Error("not_in_channel"),
        SlackFault::Error("missing_scope"),
        SlackFault::Error("a_code_of_tomorrow"),
        SlackFault::Status(500),
        SlackFault::Status(503),
        SlackFault::NotSent,
        SlackFault::LostBefore,
        SlackFault::LostAfter,
        SlackFault::RateLimited(Duration::from_secs(7)),
        SlackFault::RateLimited(Duration::from_hours(1)),
        SlackFault::CrashBefore(Arc::clone(&crash)),
        SlackFault::CrashAfter(Arc::clone(&crash)),
    ];
    let mut tried = 0;
    for tale in stories() {
        let (story, events) = (tale.name, &tale.events);
        let calm = tale.world().await;
        calm.drain(events, &Notify::new()).await;
        let calls = calm.slack.calls().len();
        let expected = outcome(&calm).await;
        let messages = (calm.channel_texts().len(), calm.owner_texts().len());
        for number in 1..=calls {
            for fault in &faults {
                tried += 1;
                let what = format!("{story}: {fault:?} at call {number}");
                let world = tale.world().await;
                let script = fault.clone();
                world.slack.set_faults(move |call, _| (call == number).then(|| script.clone()));
                let drained = tokio::time::timeout(Duration::from_hours(6), world.drain(events, &crash));
                drained.await.unwrap_or_else(|_| panic!("{what}: never done"));
                assert_eq!(outcome(&world).await, expected, "{what}");
                let got = (world.channel_texts().len(), world.owner_texts().len());
                let said = format!("{what}: {got:?} {:?}", world.slack.messages());
                assert!(got.0 >= messages.0 && got.1 >= messages.1, "lost: {said}");
                let extra = got.0 + got.1 - messages.0 - messages.1;
                let answer_was_lost = matches!(fault, SlackFault::LostAfter | SlackFault::CrashAfter(_));
                assert!(extra <= usize::from(answer_was_lost), "twice without cause: {said}");
            }
        }
    }
    tell(&format!("{tried} faults at calls to Slack"));
    assert!(tried > 100, "{tried}");
}

/// More keys at once than a minute takes: what is held back is joined a minute later.
fn burst() -> Vec<Value> {
    (0..13)
        .map(|number| {
            let id = format!("AKIATIDEWATERJOIN{number:03}");
            event("CreateAccessKey", &format!("j{number}"), "2026-05-04T09:12:33Z", &id, "alice", "Active")
        })
        .collect()
}

/// Every key told, every message finished; and how often the keys were told beyond once.
async fn told_in_burst(world: &World, what: &str) -> usize {
    world.aws.faults().clear();
    let mut extra = 0;
    for number in 0..13 {
        let id = format!("AKIATIDEWATERJOIN{number:03}");
        let told = world
            .slack
            .messages_in(CHANNEL)
            .iter()
            .filter(|message| format!("{}{}", message.text, message.blocks).contains(&id))
            .count();
        assert!(told >= 1, "{what}: {id} was never told");
        extra += told - 1;
        for delivery in world.story_of(&id).await.deliveries {
            assert_eq!(delivery.value.state.as_str(), "done", "{what}: {delivery:?}");
        }
    }
    extra
}

#[tokio::test(start_paused = true)]
async fn in_a_burst_at_every_call_to_aws() {
    let calm = World::new().await;
    calm.drain(&burst(), &Notify::new()).await;
    assert_eq!(told_in_burst(&calm, "calm").await, 0);
    assert!(calm.channel_texts().len() < 13, "some were joined");
    let calls = calm.aws.calls().list();
    let events = burst();
    let mut tried = 0;
    for call in calls.iter().filter(|call| call.service == Service::DynamoDb) {
        for fault in [
            Fault::ServerError,
            Fault::TimeoutBefore,
            Fault::TimeoutAfter,
            Fault::CrashBefore,
            Fault::CrashAfter,
        ] {
            tried += 1;
            let what = format!("burst: {fault:?} at call {} ({})", call.number, call.operation);
            let world = World::new().await;
            world.aws.faults().at_call(call.number, fault);
            let no_crash = Notify::new();
            let drained = tokio::time::timeout(Duration::from_hours(4), world.drain(&events, &no_crash));
            drained.await.unwrap_or_else(|_| panic!("{what}: never done"));
            let extra = told_in_burst(&world, &what).await;
            // One message joins several: told again, they are told again together.
            assert!(extra <= if is_mended(fault) { 0 } else { 4 }, "{what}: {extra} told twice");
        }
    }
    tell(&format!("{tried} faults at calls to AWS in a burst"));
    assert!(tried > 500, "{tried}");
}

#[tokio::test(start_paused = true)]
async fn in_a_burst_at_every_call_to_slack() {
    let crash = Arc::new(Notify::new());
    let calm = World::new().await;
    calm.drain(&burst(), &Notify::new()).await;
    let calls = calm.slack.calls().len();
    let events = burst();
    for number in 1..=calls {
        for fault in [
            SlackFault::NotSent,
            SlackFault::LostBefore,
            SlackFault::LostAfter,
            SlackFault::RateLimited(Duration::from_hours(1)),
            SlackFault::CrashBefore(Arc::clone(&crash)),
            SlackFault::CrashAfter(Arc::clone(&crash)),
        ] {
            let what = format!("burst: {fault:?} at call {number}");
            let world = World::new().await;
            let script = fault.clone();
            world.slack.set_faults(move |call, _| (call == number).then(|| script.clone()));
            let drained = tokio::time::timeout(Duration::from_hours(6), world.drain(&events, &crash));
            drained.await.unwrap_or_else(|_| panic!("{what}: never done"));
            let extra = told_in_burst(&world, &what).await;
            let answer_was_lost = matches!(fault, SlackFault::LostAfter | SlackFault::CrashAfter(_));
            assert!(extra <= if answer_was_lost { 4 } else { 0 }, "{what}: {extra} told twice");
        }
    }
}

/// A crash right after the claim: the next receive meets a live claim and must not take it for success.
#[tokio::test(start_paused = true)]
async fn a_live_claim_is_retried_and_never_taken_for_success() {
    let world = World::new().await;
    let crash = Arc::new(Notify::new());
    let script = Arc::clone(&crash);
    world.slack.set_faults(move |call, _| (call == 1).then(|| SlackFault::CrashBefore(Arc::clone(&script))));
    let watch = world.watch_telling(Telling::All);
    let json = created().to_string();
    let incoming = keytide_app::watch::Incoming { json: json.as_bytes(), received: 1 };
    let invocation = world.invocation();
    tokio::select! {
        biased;
        () = crash.notified() => {}
        done = watch.event(&incoming, &invocation) => panic!("it should have died: {done:?}"),
    }
    let again = world.receive(&created(), 2).await.unwrap();
    assert!(again.is_err(), "somebody may still be at it");
    let wait = again.unwrap_err().retry_after().unwrap();
    assert!(wait <= Duration::from_mins(1));
    tokio::time::sleep(wait).await;
    world.receive(&created(), 3).await.unwrap().unwrap();
    let story = world.story_of(KEY).await;
    let channel = story.deliveries.iter().find(|item| item.value.name.recipient == Recipient::Channel);
    assert!(matches!(channel.unwrap().value.state, DeliveryState::Done { .. }));
    assert_eq!(world.channel_texts().len(), 1);
}
