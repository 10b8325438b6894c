//! What stops a disable although the plan did not know of it, and what a plan must not forget.

use std::time::Duration;

use jiff::Timestamp;
use keytide_core::{cloudtrail::Status, delivery::Delivery, plan::HeldBy};
use keytide_local::{KeyStatus, Service};

use crate::{
    sweep::Tide,
    world::{KEY, PROD, event, put_in_force},
};

const DAY: Duration = Duration::from_hours(24);

impl Tide {
    /// Puts a policy into force over whatever is.
    async fn apply(&self, text: &str) {
        self.world.apply_policy(text, self.world.now()).await;
    }

    fn disables(&self) -> u64 {
        self.world.aws.calls().count(Service::Iam, "UpdateAccessKey")
    }
}

fn in_mode(mode: &str) -> String {
    format!("[modes]\n{mode} = [\"{PROD}\"]\n")
}

/// Another policy, or none any more: somebody has deleted the item by hand, and nobody is in `enforce`.
#[tokio::test(start_paused = true)]
async fn a_policy_that_changes_while_a_disable_is_under_way_stops_it() {
    for what in ["another", "gone", "there and back"] {
        let tide = Tide::new("enforce").await;
        let change = async {
            match what {
                "gone" => tide.world.delete_item("POLICY", "CURRENT").await,
                _ => tide.apply(&in_mode("notify")).await,
            }
            if what == "there and back" {
                tide.apply(&in_mode("enforce")).await;
            }
        };
        let swept = tide.disable_while(Box::pin(change)).await;
        assert_eq!(swept.refused[0].by, HeldBy::PolicyChanged, "{what}");
        assert_eq!(tide.status().await, Status::Active);
    }
}

/// Another version of keytide may have stored the policy in force with another hash than this one gives it.
#[tokio::test(start_paused = true)]
async fn a_policy_that_was_stored_with_another_hash_is_the_same_policy() {
    let tide = Tide::new("enforce").await;
    put_in_force(&tide.world.ledger(), &in_mode("enforce"), "0a0a", tide.world.now(), Delivery::clone).await;
    tide.run().await.unwrap();
    tide.days(90).await;
    assert_eq!(tide.days(1).await.disabled.len(), 1);
}

/// What the ledger calls Active somebody has set Inactive a moment ago: that was not keytide.
#[tokio::test(start_paused = true)]
async fn a_key_that_iam_shows_inactive_at_the_last_look_is_not_disabled_by_us() {
    let tide = Tide::new("enforce").await;
    let deed = async { tide.world.aws.iam().set_status(PROD, KEY, KeyStatus::Inactive).unwrap() };
    let swept = tide.disable_while(deed).await;
    assert_eq!((swept.moot, tide.disables()), (vec![KEY.to_owned()], 0));
    assert!(swept.disabled.is_empty());
}

/// What IAM shows under that id is not the key that the ledger knows: it has another birth.
#[tokio::test(start_paused = true)]
async fn a_key_of_another_birth_is_not_the_one_that_was_told_of() {
    let tide = Tide::new("enforce").await;
    let exchange = async {
        let iam = tide.world.aws.iam();
        iam.delete_access_key(PROD, KEY).unwrap();
        iam.add_access_key(PROD, "alice", KEY, tide.world.now(), KeyStatus::Active).unwrap();
    };
    let swept = tide.disable_while(exchange).await;
    assert!(swept.disabled.is_empty(), "{swept:?}");
    assert_eq!((tide.disables(), tide.status().await), (0, Status::Active));
}

/// Out of `enforce` and into it again between two sweeps: what was said before does not count any more.
#[tokio::test(start_paused = true)]
async fn an_account_that_left_enforce_and_came_back_unseen_has_entered_it_anew() {
    for leaves in [true, false] {
        let tide = Tide::new("enforce").await;
        tide.run().await.unwrap();
        tide.days(90).await;
        let other = if leaves { in_mode("notify") } else { format!("# another\n{}", in_mode("enforce")) };
        tide.apply(&other).await;
        tokio::time::sleep(Duration::from_hours(1)).await;
        tide.apply(&in_mode("enforce")).await;
        let swept = tide.days(1).await;
        assert_eq!(swept.disabled.is_empty(), leaves, "{}", swept.plan);
        if leaves {
            assert_eq!(swept.told, 1, "told anew: {}", swept.plan);
            assert!(tide.days(4).await.disabled.is_empty());
            assert_eq!(tide.days(1).await.disabled.len(), 1);
        }
    }
}

/// A sweep that dies has counted what it disabled: the next one of that date goes on from there.
#[tokio::test(start_paused = true)]
async fn the_account_s_cap_holds_over_sweeps_that_die() {
    let tide = Tide::new("enforce").await;
    let born: Timestamp = "2026-05-04T09:12:33Z".parse().unwrap();
    for number in 0..5 {
        let key_id = format!("AKIATIDEWATERMANY{number:03}");
        tide.world.aws.iam().add_access_key(PROD, "alice", &key_id, born, KeyStatus::Active).unwrap();
    }
    tide.run().await.unwrap();
    tide.days(90).await;
    tokio::time::sleep(DAY).await;
    for _ in 0..3 {
        let before = tide.disables();
        let dies = async {
            while tide.disables() == before {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tide.world.aws.faults().set_latency(Duration::from_millis(50));
        tokio::select! {
            biased;
            () = dies => {}
            swept = Box::pin(tide.run()) => drop(swept.unwrap()),
        }
        tide.world.aws.faults().set_latency(Duration::ZERO);
        tokio::time::sleep(Duration::from_mins(30)).await;
    }
    assert_eq!(tide.disables(), 2, "two at most of six keys on one date");
    tide.run().await.unwrap();
    assert_eq!(tide.disables(), 2);
    tide.days(1).await;
    assert_eq!(tide.disables(), 4, "the next date counts anew");
}

/// A sweep dies with its claim made; whose call it was that made the key Inactive only an event can tell.
#[tokio::test(start_paused = true)]
async fn a_key_found_inactive_after_a_sweep_that_died_is_told_as_what_is_known() {
    for (has_called, is_heard, wanted) in
        [(true, true, "keytide disabled"), (true, false, "was found Inactive"), (false, true, "")]
    {
        let tide = Tide::new("enforce").await;
        tide.run().await.unwrap();
        tide.days(90).await;
        tokio::time::sleep(DAY).await;
        tide.world.aws.trail().start();
        tide.world.aws.calls().restart();
        tide.world.aws.faults().set_latency(Duration::from_millis(100));
        let dies = async {
            let (service, operation, number) = if has_called {
                (Service::Iam, "UpdateAccessKey", 1)
            } else {
                (Service::Sts, "AssumeRole", 2)
            };
            while tide.world.aws.calls().count(service, operation) < number {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            // What is called is done after its latency; before the answer is used, it dies.
            tokio::time::sleep(Duration::from_millis(if has_called { 130 } else { 50 })).await;
        };
        tokio::select! {
            biased;
            () = dies => {}
            swept = Box::pin(tide.run()) => panic!("it lived: {swept:?}"),
        }
        tide.world.aws.faults().set_latency(Duration::ZERO);
        let mut events = tide.world.aws.trail().take();
        assert_eq!(events.len(), usize::from(has_called));
        if !has_called {
            // The owner was faster.
            let at = tide.world.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            tide.world.aws.iam().set_status(PROD, KEY, KeyStatus::Inactive).unwrap();
            events.push(event("UpdateAccessKey", "e-owner", &at, KEY, "alice", "Inactive"));
        }
        if is_heard {
            for event in &events {
                tide.world.receive(event, 1).await.unwrap().unwrap();
            }
        }
        tide.world.slack.set_burst(None);
        tokio::time::sleep(Duration::from_mins(30)).await;
        let before = tide.world.channel_texts().len();
        for _ in 0..2 {
            tide.run().await.unwrap();
            tokio::time::sleep(DAY).await;
        }
        let texts = tide.world.channel_texts();
        let new: Vec<&String> = texts.iter().skip(before).filter(|text| text.contains("disable")).collect();
        assert_eq!(
            new.iter().any(|text| text.contains("keytide disabled")),
            wanted == "keytide disabled",
            "{wanted}, {events:?}: {new:?}"
        );
        if wanted == "was found Inactive" {
            assert!(new.iter().any(|text| text.contains("is not known: no event has told")), "{new:?}");
        }
        assert_eq!(new.is_empty(), wanted.is_empty(), "{wanted}: {new:?}");
    }
}

/// keytide disabled it and died before it could say so; the owner has set it Active since. Both are told.
#[tokio::test(start_paused = true)]
async fn a_disable_that_nobody_could_record_is_told_though_the_key_is_active_again() {
    for is_heard in [true, false] {
        let tide = Tide::new("enforce").await;
        tide.run().await.unwrap();
        tide.days(90).await;
        tokio::time::sleep(DAY).await;
        tide.world.aws.trail().start();
        tide.world.aws.faults().set_latency(Duration::from_millis(100));
        let dies = async {
            while tide.world.aws.calls().count(Service::Iam, "UpdateAccessKey") == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            tokio::time::sleep(Duration::from_millis(130)).await;
        };
        tide.world.aws.calls().restart();
        tokio::select! {
            biased;
            () = dies => {}
            swept = Box::pin(tide.run()) => panic!("it lived: {swept:?}"),
        }
        tide.world.aws.faults().set_latency(Duration::ZERO);
        tokio::time::sleep(Duration::from_mins(1)).await;
        let since = tide.world.now();
        tide.world.aws.iam().set_status(PROD, KEY, KeyStatus::Active).unwrap();
        for event in tide.world.aws.trail().take().iter().filter(|_| is_heard) {
            tide.world.receive(event, 1).await.unwrap().unwrap();
        }
        let again = event("UpdateAccessKey", "e-owner", &since.to_string(), KEY, "alice", "Active");
        tide.world.receive(&again, 1).await.unwrap().unwrap();
        let before = tide.world.channel_texts().len();
        tokio::time::sleep(Duration::from_mins(30)).await;
        let swept = tide.run().await.unwrap();
        assert_eq!(swept.disabled.len(), usize::from(is_heard), "it is in the digest, too");
        let told = |tide: &Tide| {
            let texts = tide.world.channel_texts();
            texts.iter().skip(before).filter(|text| text.contains("keytide disabled")).count()
        };
        assert_eq!(told(&tide), usize::from(is_heard), "{:?}", tide.world.channel_texts());
        assert_eq!(tide.status().await, Status::Active);
        // Once; and what no event has told within a day is given up, and the plan goes on.
        tide.days(2).await;
        assert_eq!(told(&tide), usize::from(is_heard));
        assert!(tide.world.ledger().unfinished(&PROD.parse().unwrap(), 10).await.unwrap().is_empty());
    }
}

/// A disable that something stopped after its claim is over: what happens to the key later is news as ever.
#[tokio::test(start_paused = true)]
async fn a_disable_that_was_held_silences_nothing_afterwards() {
    let tide = Tide::new("enforce").await;
    tide.run().await.unwrap();
    tide.days(90).await;
    tide.world.aws.set_clock_skew(jiff::SignedDuration::from_mins(6));
    assert_eq!(tide.days(1).await.refused[0].by, HeldBy::Clock);
    tide.world.aws.set_clock_skew(jiff::SignedDuration::ZERO);
    tide.world.aws.iam().set_status(PROD, KEY, KeyStatus::Inactive).unwrap();
    let before = tide.world.channel_texts().len();
    tide.days(1).await;
    let texts = tide.world.channel_texts();
    assert!(texts.len() == before + 1 && texts[before].contains("with the status Inactive"), "{texts:?}");
}
