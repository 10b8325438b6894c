//! What stops a disable although the plan did not know of it, and what a plan must not forget.

use std::time::Duration;

use jiff::Timestamp;
use keytide_core::{cloudtrail::Status, plan::HeldBy};
use keytide_local::{KeyStatus, Service};

use crate::{
    sweep::Tide,
    world::{KEY, PROD, event},
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
    for is_another in [true, false] {
        let tide = Tide::new("enforce").await;
        let change = async {
            if is_another {
                tide.apply(&in_mode("notify")).await;
            } else {
                tide.world.delete_item("POLICY", "CURRENT").await;
            }
        };
        let swept = tide.disable_while(Box::pin(change)).await;
        assert_eq!(swept.refused[0].by, HeldBy::PolicyChanged);
        assert_eq!(tide.status().await, Status::Active);
    }
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
