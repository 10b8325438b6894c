//! Something goes wrong at every single call of a sweep, in every way that no retry mends, and the sweep comes again:
//! nothing is lost, nothing is disabled that should not be, and a message comes twice only where Slack's answer was
//! lost or the ledger was silent.

use std::{sync::Arc, time::Duration};

use keytide_core::{cloudtrail::Status, delivery::DeliveryState};
use keytide_local::{Fault, KeyStatus, slack::SlackFault};
use tokio::sync::Notify;

use crate::{
    sweep::Tide,
    world::{KEY, PROD, tell},
};

const DAY: Duration = Duration::from_hours(24);
const FOUND: &str = "AKIATIDEWATERFOUND01";

/// The days on which a sweep does something.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Day {
    Baseline,
    Found,
    Notice,
    Disable,
}

/// What goes wrong at AWS. The SDK tries again after all others, within the call; of those one stands here.
const AT_AWS: [Fault; 5] =
    [Fault::TimeoutBefore, Fault::TimeoutAfter, Fault::CrashBefore, Fault::CrashAfter, Fault::ServerError];

/// What goes wrong at Slack.
fn at_slack(kind: usize, crash: &Arc<Notify>) -> Option<SlackFault> {
    Some(match kind {
        0 => SlackFault::Error("fatal_error"),
        1 => SlackFault::Error("invalid_auth"),
        2 => SlackFault::Status(503),
        3 => SlackFault::NotSent,
        4 => SlackFault::LostBefore,
        5 => SlackFault::LostAfter,
        6 => SlackFault::RateLimited(Duration::from_mins(20)),
        7 => SlackFault::CrashBefore(Arc::clone(crash)),
        8 => SlackFault::CrashAfter(Arc::clone(crash)),
        _ => return None,
    })
}

impl Day {
    /// A company on the morning of that day.
    async fn reach(self) -> Tide {
        let tide = Tide::new("enforce").await;
        if self == Self::Baseline {
            return tide;
        }
        tide.run().await.unwrap();
        match self {
            Self::Baseline => {}
            Self::Found => {
                tokio::time::sleep(DAY / 2).await;
                let made = tide.world.now();
                tide.world.aws.iam().add_access_key(PROD, "alice", FOUND, made, KeyStatus::Active).unwrap();
                tokio::time::sleep(DAY / 2).await;
            }
            Self::Notice => tokio::time::sleep(DAY * 76).await,
            Self::Disable => {
                tokio::time::sleep(DAY * 86).await;
                assert_eq!(tide.run().await.unwrap().told, 1);
                tokio::time::sleep(DAY * 5).await;
            }
        }
        tide
    }

    /// How many messages of that day the owner and the channel have to have.
    fn said(self) -> usize {
        usize::from(self != Self::Baseline)
    }

    /// The sweep that something goes wrong in, and those that the queue brings after it.
    async fn judge(self, tide: &Tide, slack_crash: &Notify, what: &str) {
        let counts = || (tide.world.owner_texts().len(), tide.world.channel_texts().len());
        let before = counts();
        let crash = tide.world.aws.faults().crash();
        let first = tokio::select! {
            biased;
            () = crash.notified() => "it died".to_owned(),
            () = slack_crash.notified() => "it died".to_owned(),
            swept = Box::pin(tide.run()) => format!("{swept:?}"),
        };
        tide.world.aws.faults().clear();
        tide.world.slack.clear_faults();
        // The queue brings it back, and a lease runs out.
        tokio::time::sleep(Duration::from_mins(30)).await;
        let second = tide.run().await.unwrap();
        assert_eq!(second.troubles, [], "{what}, after {first}");
        for key_id in [KEY, FOUND] {
            let story = tide.world.story_of(key_id).await;
            let open = story.deliveries.iter().find(|delivery| !delivery.value.state.is_finished());
            assert_eq!(open, None, "{what}, after {first}");
            let given_up = story
                .deliveries
                .iter()
                .find(|delivery| matches!(delivery.value.state, DeliveryState::GivenUp { .. }));
            assert_eq!(given_up, None, "{what}, after {first}");
        }
        let after = counts();
        let (owner, channel) = (after.0 - before.0, after.1 - before.1);
        let most = if self == Self::Baseline { 0 } else { self.said() + 1 };
        for (who, said) in [("owner", owner), ("channel", channel)] {
            assert!((self.said()..=most).contains(&said), "{what}: the {who} has {said}, after {first}");
        }
        let wanted = if self == Self::Disable { Status::Inactive } else { Status::Active };
        assert_eq!(tide.status().await, wanted, "{what}, after {first}");
        // And once more: nothing.
        tide.run().await.unwrap();
        assert_eq!(counts(), after, "{what}: a repetition says something");
    }

    async fn exhaust(self) {
        let mut faults = 0_u64;
        let never = Notify::new();
        let calls = self.calls().await;
        for (kind, number) in AT_AWS.iter().flat_map(|kind| (1..=calls).map(move |number| (*kind, number))) {
            let tide = self.reach().await;
            tide.world.aws.calls().restart();
            tide.world.aws.faults().at_call(number, kind);
            self.judge(&tide, &never, &format!("{self:?}, call {number}, {kind:?}")).await;
            faults += 1;
        }
        for kind in 0.. {
            let Some(_) = at_slack(kind, &Arc::new(Notify::new())) else { break };
            for number in 1..=self.said() * 3 {
                let tide = self.reach().await;
                let already = tide.world.slack.calls().len();
                let crash = Arc::new(Notify::new());
                let fault = Arc::clone(&crash);
                tide.world.slack.set_faults(move |call, _| {
                    (call == already + number).then(|| at_slack(kind, &fault)).flatten()
                });
                self.judge(&tide, &crash, &format!("{self:?}, Slack's call {number}, kind {kind}")).await;
                faults += 1;
            }
        }
        tell(&format!("{self:?}: {faults} faults at single calls of a sweep"));
        assert!(faults > 80, "{faults}");
    }

    /// How many calls the sweep of that day makes where nothing goes wrong.
    async fn calls(self) -> u64 {
        let tide = self.reach().await;
        tide.world.aws.calls().restart();
        tide.run().await.unwrap();
        tide.world.aws.calls().total()
    }
}

#[tokio::test(start_paused = true)]
async fn a_baseline_survives_a_fault_at_every_single_call() {
    Day::Baseline.exhaust().await;
}

#[tokio::test(start_paused = true)]
async fn a_found_key_is_alerted_whatever_fails_at_every_single_call() {
    Day::Found.exhaust().await;
}

#[tokio::test(start_paused = true)]
async fn a_notice_is_sent_whatever_fails_at_every_single_call() {
    Day::Notice.exhaust().await;
}

#[tokio::test(start_paused = true)]
async fn a_disable_is_made_and_told_whatever_fails_at_every_single_call() {
    Day::Disable.exhaust().await;
}
