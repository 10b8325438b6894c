//! What people decide: told to the channel, or void.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use keytide_app::decide::{Decide, DecideError, compare, policy_in_force};
use keytide_aws::ledger::{Change, Halt, LedgerReader, Place};
use keytide_core::{
    AccountId, alert,
    cloudtrail::Status,
    decision::{Decided, Decision, NotAllowed},
    delivery::{DeliveryState, Recipient},
    fact::{Fact, FactBody},
    plan::HeldBy,
    policy::{Mode, Policy},
};
use keytide_local::{Fault, KeyStatus, Service};

use crate::{
    sweep::Tide,
    world::{ALICE, KEY, PROD},
};

const AUTHOR: &str = "arn:aws:sts::999988887777:assumed-role/security/bruno";
const REASON: &str = "the vendor rotates it in June";
const DAY: Duration = Duration::from_hours(24);

fn account() -> AccountId {
    PROD.parse().unwrap()
}

fn decide(tide: &Tide) -> Decide {
    Decide::new(tide.world.ledger(), AUTHOR.to_owned())
}

fn in_days(tide: &Tide, days: i64) -> Timestamp {
    tide.world.now().checked_add(SignedDuration::from_hours(days * 24)).unwrap()
}

/// A key for each of these users, born with alice's.
fn add_keys(tide: &Tide, users: &[&str]) -> Vec<String> {
    let born = "2026-05-04T09:12:33Z".parse().unwrap();
    let iam = tide.world.aws.iam();
    users
        .iter()
        .enumerate()
        .map(|(number, user)| {
            let key_id = format!("AKIATIDEWATERMORE{number:03}");
            iam.add_user(PROD, user, "/", &[("slack-id", ALICE)]).unwrap();
            iam.add_access_key(PROD, user, &key_id, born, KeyStatus::Active).unwrap();
            key_id
        })
        .collect()
}

async fn waiting(tide: &Tide) -> usize {
    let ledger = tide.world.ledger();
    let mine = ledger.unfinished(&account(), 100).await.unwrap();
    mine.len() + ledger.unfinished_of_organization(100).await.unwrap().len()
}

fn said(tide: &Tide, words: &str) -> usize {
    tide.world.channel_texts().iter().filter(|text| text.contains(words)).count()
}

#[tokio::test(start_paused = true)]
async fn a_decision_without_its_message_is_void() {
    let tide = Tide::new("enforce").await;
    tide.run().await.unwrap();
    let ledger = tide.world.ledger();
    let now = tide.world.now();

    // The transaction breaks.
    tide.world
        .aws
        .faults()
        .plan(|call| (call.operation == "TransactWriteItems").then_some(Fault::TransactionConflict));
    assert!(matches!(decide(&tide).halt(REASON, now).await, Err(DecideError::Failed(_))));
    let until = in_days(&tide, 30);
    assert!(decide(&tide).exempt(&account(), KEY, until, REASON, now).await.is_err());
    tide.world.aws.faults().clear();
    assert_eq!(ledger.halt().await.unwrap(), None);
    assert_eq!(ledger.exemption(&account(), KEY).await.unwrap(), None);
    assert_eq!(waiting(&tide).await, 0);

    // The message alone cannot be written: its name is taken.
    let what = Decided::Halted { reason: REASON.to_owned() };
    let decision = Decision { author: AUTHOR.to_owned(), at: now, what };
    let id = decision.fact_id();
    let message = alert::for_decision(&id, &decision).deliveries(&id, now).remove(0);
    ledger.save_delivery(&Place::Organization, &message, 0).await.unwrap().unwrap();
    assert!(decide(&tide).halt(REASON, now).await.is_err());
    assert_eq!(ledger.halt().await.unwrap(), None);

    // Nor can the ledger be asked for a decision that goes to anybody else than the channel.
    let body = FactBody::Decided { decision: Box::new(decision) };
    let fact = Fact::new(id, now, body);
    let mut aside = message;
    aside.name.recipient = Recipient::Owner;
    let halt = Halt { reason: REASON.to_owned(), author: AUTHOR.to_owned(), at: now };
    assert!(ledger.decide(Change::Halt(&halt), 0, &fact, &aside).await.is_err());
    assert_eq!(ledger.halt().await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_lost_decides_once() {
    let tide = Tide::new("enforce").await;
    tide.run().await.unwrap();
    let is_first = AtomicBool::new(true);
    tide.world.aws.faults().plan(move |call| {
        let is_it = call.operation == "TransactWriteItems" && is_first.swap(false, Ordering::Relaxed);
        is_it.then_some(Fault::ConnectionErrorAfter)
    });
    decide(&tide).halt(REASON, tide.world.now()).await.unwrap();
    tide.world.aws.faults().clear();
    assert_eq!(waiting(&tide).await, 1);
    tide.days(2).await;
    assert_eq!(said(&tide, "halted all disabling"), 1);
}

#[tokio::test(start_paused = true)]
async fn every_decision_is_told_by_the_next_sweep_once() {
    let tide = Tide::new("enforce").await;
    tide.run().await.unwrap();
    let (decide, now) = (decide(&tide), tide.world.now());
    decide.halt(REASON, now).await.unwrap();
    decide.resume("the vendor has rotated", now).await.unwrap();
    decide.exempt(&account(), KEY, in_days(&tide, 100), REASON, now).await.unwrap();
    decide.end_exemption(&account(), KEY, "the vendor was quick", now).await.unwrap();
    assert_eq!(waiting(&tide).await, 4);
    assert_eq!(tide.world.slack.messages(), [], "a decision by itself posts nothing");
    tide.days(1).await;
    assert_eq!(waiting(&tide).await, 0);
    for words in ["halted all disabling", "lifted the halt", "exempted access key", "took back the exemption"]
    {
        assert_eq!(said(&tide, words), 1, "{words}: {:?}", tide.world.channel_texts());
    }
    for words in [AUTHOR, REASON, "the vendor was quick", KEY] {
        assert!(tide.world.all_said().contains(words), "{words}");
    }
    tide.days(2).await;
    assert_eq!(tide.world.channel_texts().len(), 4, "and once only");
    // The history of the key has it.
    let story = tide.world.story_of(KEY).await;
    let decided = story.facts.iter().filter(|fact| matches!(fact.body, FactBody::Decided { .. }));
    assert_eq!(decided.count(), 2);
    assert!(story.deliveries.iter().all(|one| matches!(one.value.state, DeliveryState::Done { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_decision_that_may_not_be_taken_leaves_no_trace() {
    let tide = Tide::new("enforce").await;
    tide.run().await.unwrap();
    let (decide, now) = (decide(&tide), tide.world.now());
    let account = account();
    let exempt = async |days, reason| decide.exempt(&account, KEY, in_days(&tide, days), reason, now).await;
    assert!(matches!(exempt(181, REASON).await, Err(DecideError::NotAllowed(NotAllowed::TooLong { .. }))));
    assert!(matches!(
        exempt(-1, REASON).await,
        Err(DecideError::NotAllowed(NotAllowed::EndedAlready { .. }))
    ));
    assert!(matches!(
        exempt(30, "why not").await,
        Err(DecideError::NotAllowed(NotAllowed::ShortReason { found: 7 }))
    ));
    let unknown = decide.exempt(&account, "AKIANOBODYKNOWS00001", in_days(&tide, 30), REASON, now).await;
    assert!(matches!(unknown, Err(DecideError::Refused(_))));
    assert!(matches!(decide.end_exemption(&account, KEY, REASON, now).await, Err(DecideError::Refused(_))));
    assert!(matches!(decide.resume(REASON, now).await, Err(DecideError::Refused(_))));
    assert!(matches!(decide.halt("", now).await, Err(DecideError::NotAllowed(_))));
    assert_eq!(tide.world.ledger().exemptions(&account).await.unwrap().len(), 0);
    assert_eq!(waiting(&tide).await, 0);
    exempt(180, REASON).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_exemption_by_hand_begins_the_notices_anew() {
    let tide = Tide::new("enforce").await;
    tide.run().await.unwrap();
    tide.days(87).await;
    let decide = decide(&tide);
    decide.exempt(&account(), KEY, in_days(&tide, 60), REASON, tide.world.now()).await.unwrap();
    tide.days(10).await;
    assert_eq!((tide.status().await, tide.age_days()), (Status::Active, 97));
    decide.end_exemption(&account(), KEY, "no longer needed", tide.world.now()).await.unwrap();
    let first = tide.days(1).await;
    assert_eq!(first.disabled, [], "old notices license nothing");
    assert_eq!(first.told, 1);
    assert_eq!(tide.days(4).await.disabled, []);
    assert_eq!(tide.days(1).await.disabled.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_approval_lets_exactly_that_plan_through() {
    let tide = Tide::new("enforce").await;
    let keys = add_keys(&tide, &["bob", "carol", "dora"]);
    tide.run().await.unwrap();
    tide.days(90).await;
    let first = tide.days(1).await;
    assert_eq!((first.disabled.len(), first.plan.held.len()), (2, 2), "{}", first.plan);
    assert!(first.plan.held.iter().all(|held| held.by == HeldBy::AccountCap { most: 2 }));
    let hash = first.plan.hash();
    assert!(tide.world.all_said().contains(&format!("keytide approve {hash} --account {PROD}")));

    // The cap is used up; the name that the channel was told still stands for what is held.
    tokio::time::sleep(Duration::from_mins(1)).await;
    let again = tide.run().await.unwrap();
    assert_eq!((again.disabled.len(), again.plan.hash()), (0, hash.clone()));
    let (decide, now) = (decide(&tide), tide.world.now());
    let wrong = decide.approve(&again.plan, "0a0a", &tide.policy, now).await;
    assert!(matches!(wrong, Err(DecideError::Refused(_))), "{wrong:?}");
    assert_eq!(tide.run().await.unwrap().disabled, []);
    decide.approve(&again.plan, &hash, &tide.policy, now).await.unwrap();
    assert!(decide.approve(&again.plan, &hash, &tide.policy, now).await.is_err(), "once");

    // Another plan is not let through: one of its keys has gone.
    let gone = again.plan.held[1].key_id.clone();
    let user = again.plan.held[1].user.clone();
    tide.world.aws.iam().set_status(PROD, &gone, KeyStatus::Inactive).unwrap();
    let other = tide.run().await.unwrap();
    assert_eq!(other.disabled, [], "{user}: {}", other.plan);
    tide.world.aws.iam().set_status(PROD, &gone, KeyStatus::Active).unwrap();
    assert!(keys.contains(&gone) || gone == KEY);
    assert_eq!(said(&tide, "approved"), 1, "{:?}", tide.world.channel_texts());
}

#[tokio::test(start_paused = true)]
async fn an_approved_plan_is_carried_out_that_day() {
    let tide = Tide::new("enforce").await;
    add_keys(&tide, &["bob", "carol", "dora"]);
    tide.run().await.unwrap();
    let first = tide.days(91).await;
    assert_eq!(first.disabled.len(), 2);
    decide(&tide).approve(&first.plan, &first.plan.hash(), &tide.policy, tide.world.now()).await.unwrap();
    let rest = tide.run().await.unwrap();
    assert_eq!(rest.disabled.len(), 2, "{}", rest.plan);
    assert!(rest.plan.held.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_the_organization_s_cap_holds_is_let_through_as_well() {
    let mut tide = Tide::new("enforce").await;
    let caps = "[caps]\norganization-per-day = 1\n";
    tide.change_policy(&format!("[modes]\nenforce = [\"{PROD}\"]\n{caps}")).await;
    add_keys(&tide, &["bob"]);
    tide.run().await.unwrap();
    let first = tide.days(91).await;
    assert_eq!((first.disabled.len(), first.refused.len()), (1, 1), "{}", first.plan);
    let held = first.plan.hash_of([first.refused[0].key_id.as_str()]);
    assert!(tide.world.all_said().contains(&format!("keytide approve {held} --account {PROD}")));
    let again = tide.run().await.unwrap();
    assert_eq!((again.disabled.len(), again.refused.len(), again.plan.hash()), (0, 1, held.clone()));
    decide(&tide).approve(&again.plan, &held, &tide.policy, tide.world.now()).await.unwrap();
    assert_eq!(tide.run().await.unwrap().disabled.len(), 1);
    // Where no cap holds anything there is nothing to approve.
    let nothing = decide(&tide).approve(&first.plan, &held, &Policy::built_in(), tide.world.now()).await;
    assert!(matches!(nothing, Err(DecideError::Refused(_))), "{nothing:?}");
}

/// The halt is set while the first of two keys is being disabled.
#[tokio::test(start_paused = true)]
async fn a_halt_stops_a_sweep_in_the_middle() {
    let tide = Tide::new("enforce").await;
    add_keys(&tide, &["bob"]);
    tide.run().await.unwrap();
    tide.days(90).await;
    tokio::time::sleep(DAY).await;
    tide.world.aws.calls().restart();
    tide.world.aws.faults().set_latency(Duration::from_millis(100));
    let halting = async {
        while tide.world.aws.calls().count(Service::Iam, "UpdateAccessKey") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        decide(&tide).halt(REASON, tide.world.now()).await.unwrap();
    };
    let (swept, ()) = tokio::join!(tide.run(), halting);
    let swept = swept.unwrap();
    assert_eq!(swept.plan.disables.len(), 2, "both were planned");
    assert_eq!(swept.disabled.len(), 1, "one was under way");
    assert_eq!(swept.refused[0].by, HeldBy::Halt(REASON.to_owned()));
    assert_eq!(tide.world.aws.calls().count(Service::Iam, "UpdateAccessKey"), 1);
    tide.world.aws.faults().set_latency(Duration::ZERO);
    let next = tide.days(1).await;
    assert_eq!(next.disabled, []);
    decide(&tide).resume("all is well again", tide.world.now()).await.unwrap();
    assert_eq!(tide.run().await.unwrap().disabled.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_policy_is_shown_stored_and_told_and_the_earlier_one_stays() {
    let tide = Tide::new("notify").await;
    tide.run().await.unwrap();
    let ledger = tide.world.ledger();
    let reader = LedgerReader::of(&ledger);
    let (decide, now) = (decide(&tide), tide.world.now());
    tide.world.delete_item("POLICY", "CURRENT").await;
    assert_eq!(policy_in_force(&reader).await.unwrap().policy, Policy::built_in());

    let notify = format!("[modes]\nnotify = [\"{PROD}\"]\n");
    let first = Policy::parse(&notify).unwrap();
    let comparison = compare(&reader, &first, now).await.unwrap();
    assert_eq!(comparison.modes, [(account(), Mode::Observe, Mode::Notify)]);
    assert_eq!((comparison.keys.len(), comparison.looked_at), (0, 1), "the dates are the same");
    assert_eq!(policy_in_force(&reader).await.unwrap().hash, None, "to compare stores nothing");
    decide.apply_policy(&notify, &first, &comparison, now).await.unwrap();
    // By what was compared before that, nothing more can be applied.
    let stale = decide.apply_policy("", &Policy::built_in(), &comparison, now).await;
    assert!(matches!(stale, Err(DecideError::Refused(_))), "{stale:?}");

    tide.days(30).await;
    let short = format!("{notify}[defaults]\nnotice-days = [20]\ndisable-day = 40\n");
    let second = Policy::parse(&short).unwrap();
    let now = tide.world.now();
    let comparison = compare(&reader, &second, now).await.unwrap();
    assert_eq!(comparison.newly_due(), (1, 0));
    let lines = comparison.lines();
    assert_eq!(
        lines,
        [format!(
            "{KEY} of alice in {PROD}: would be disabled on 2026-06-13, not 2026-08-03; a notice is due at once"
        )]
    );
    decide.apply_policy(&short, &second, &comparison, now).await.unwrap();
    let same = compare(&reader, &second, now).await.unwrap();
    assert!(decide.apply_policy(&short, &second, &same, now).await.is_err(), "it is in force already");
    let in_force = policy_in_force(&reader).await.unwrap();
    assert_eq!((in_force.hash.as_deref(), in_force.version), (Some(second.hash()), 2));
    assert_eq!(ledger.policy().await.unwrap().unwrap().value.author, AUTHOR);
    assert_eq!(ledger.policies().await.unwrap().len(), 3, "all stay");
    tide.days(1).await;
    assert_eq!(said(&tide, "put another policy in force"), 2, "{:?}", tide.world.channel_texts());
    assert!(tide.world.all_said().contains("2026-06-13, not 2026-08-03"));
}
