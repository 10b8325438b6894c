//! Sweeps of an account, day by day: notices, disables, and what stops them.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use keytide_app::{
    Invocation, TokenSource,
    deliver::{Deliver, DeliverSettings},
    sweep::{Observer, Sweep, SweepError, Swept},
};
use keytide_aws::{
    disabler::Disabler,
    ledger::{DisablesOf, Halt, LedgerReader},
    member::Members,
    secrets::Secrets,
};
use keytide_core::{
    AccountId, AccountNames, cloudtrail::Status, delivery::DeliveryState, lifecycle::Exemption, plan::HeldBy,
    policy::Policy,
};
use keytide_local::{Fault, KeyStatus, Service, slack::SlackSim};
use keytide_slack::Slack;

use crate::world::{CHANNEL, EXTERNAL_ID, KEY, PROD, World, roles};

const DAY: Duration = Duration::from_hours(24);

/// The world's company, swept every day.
pub(crate) struct Tide {
    pub(crate) world: World,
    pub(crate) policy: Policy,
    runs: std::cell::Cell<u64>,
}

impl Tide {
    pub(crate) async fn new(mode: &str) -> Self {
        let world = World::new().await;
        let iam = world.aws.iam();
        let disabler = ["iam:UpdateAccessKey", "iam:ListAccessKeys"];
        iam.add_role(PROD, "keytide-disabler", Some(EXTERNAL_ID), &disabler).unwrap();
        let policy = world.have_policy(&format!("[modes]\n{mode} = [\"{PROD}\"]\n"), world.now()).await;
        world.aws.calls().restart();
        Self { world, policy, runs: 0.into() }
    }

    /// From now on another policy is in force.
    pub(crate) async fn change_policy(&mut self, text: &str) {
        // Earlier ones are kept by the second.
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.policy = self.world.have_policy(text, self.world.now()).await;
    }

    pub(crate) fn sweep(&self) -> Sweep<SlackSim> {
        let config = self.world.aws.sdk_config();
        let (reach, role) = roles();
        let ledger = self.world.ledger();
        let mut settings = DeliverSettings::for_channel(CHANNEL);
        settings.accounts = AccountNames::parse(&format!("{PROD}=prod")).unwrap();
        let token = TokenSource::secret(Secrets::new(&config), "slack-token".to_owned());
        let slack = Slack::new(self.world.slack.clone());
        Sweep::new(
            Observer::new(LedgerReader::of(&ledger), Members::new(&config, reach)),
            ledger.clone(),
            Deliver::new(ledger, slack, token, settings),
            Disabler::new(&config, role),
        )
    }

    /// One run, as the queue makes it: come back for a credential report that is still being made.
    pub(crate) async fn run(&self) -> Result<Swept, SweepError> {
        let mut visit = 1;
        loop {
            self.runs.set(self.runs.get() + 1);
            let session = format!("sweep-{}", self.runs.get());
            let invocation = Invocation::begin(session, self.world.now(), Duration::from_mins(14));
            let (sweep, account) = (self.sweep(), account());
            let swept =
                Box::pin(sweep.account(&account, Some("prod"), &self.policy, visit, &invocation)).await;
            match swept {
                Err(SweepError::ReportInTheMaking { .. }) => {
                    tokio::time::sleep(Duration::from_secs(20)).await;
                }
                swept => return swept,
            }
            visit += 1;
        }
    }

    /// Sweeps once a day for so many days; gives what the last one did.
    pub(crate) async fn days(&self, days: u32) -> Swept {
        let mut last = None;
        for _ in 0..days {
            tokio::time::sleep(DAY).await;
            let swept = self.run().await.unwrap();
            assert_eq!(swept.troubles, [], "on {}", self.world.now());
            last = Some(swept);
        }
        last.unwrap()
    }

    /// A sweep on the key's day, and a deed that comes once the disabler's session has begun: only what is read last
    /// of all can know of it. The plan did not.
    pub(crate) async fn disable_while(&self, deed: impl Future<Output = ()>) -> Swept {
        self.run().await.unwrap();
        self.days(90).await;
        tokio::time::sleep(DAY).await;
        self.world.aws.faults().set_latency(Duration::from_millis(200));
        self.world.aws.calls().restart();
        let calls = self.world.aws.calls();
        let meanwhile = async {
            // Once the keys were listed, which is what the plan goes by, the next role assumed is the disabler's.
            while calls.count(Service::Iam, "ListAccessKeys") == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let readers = calls.count(Service::Sts, "AssumeRole");
            while calls.count(Service::Sts, "AssumeRole") == readers {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            deed.await;
        };
        let (swept, ()) = tokio::join!(Box::pin(self.run()), meanwhile);
        let swept = swept.unwrap();
        assert_eq!(swept.plan.disables.len(), 1, "the plan did not know: {}", swept.plan);
        swept
    }

    fn iam_calls(&self) -> usize {
        self.world.aws.calls().list().iter().filter(|call| call.service == Service::Iam).count()
    }

    pub(crate) fn age_days(&self) -> i64 {
        let born: Timestamp = "2026-05-04T09:12:33Z".parse().unwrap();
        self.world.now().duration_since(born).as_hours() / 24
    }

    pub(crate) async fn status(&self) -> Status {
        let members =
            keytide_aws::inventory::Inventory::direct(&self.world.aws.sdk_config_in(PROD), &account());
        let keys = members.keys_of("alice").await.unwrap().unwrap();
        keys.into_iter().find(|key| key.key_id == KEY).unwrap().status
    }
}

fn account() -> AccountId {
    PROD.parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn ninety_one_days_from_the_first_notice_to_the_disable() {
    let tide = Tide::new("enforce").await;
    let baseline = tide.run().await.unwrap();
    assert_eq!(baseline.troubles, []);
    assert!(baseline.plan.is_baseline);
    assert!(tide.world.slack.messages().is_empty(), "a baseline is silent: {}", tide.world.all_said());
    assert_eq!(tide.world.story_of(KEY).await.facts.len(), 1);

    tide.days(75).await;
    assert!(tide.world.slack.messages().is_empty(), "{}", tide.world.all_said());
    for (day, messages) in [(76, 1), (81, 2), (86, 3)] {
        tide.days(u32::try_from(day - tide.age_days()).unwrap()).await;
        assert_eq!(tide.age_days(), day);
        assert_eq!(tide.world.owner_texts().len(), messages, "day {day}: {:?}", tide.world.owner_texts());
        assert_eq!(tide.world.channel_texts().len(), messages);
        assert!(tide.world.owner_texts().last().unwrap().contains("Aug"), "{:?}", tide.world.owner_texts());
    }
    tide.days(4).await;
    assert_eq!((tide.status().await, tide.age_days()), (Status::Active, 90));
    tide.world.aws.trail().start();
    let last = tide.days(1).await;
    assert_eq!(last.disabled, [(KEY.to_owned(), true)]);
    assert_eq!(tide.status().await, Status::Inactive);
    let story = tide.world.story_of(KEY).await;
    assert_eq!(story.key.as_ref().unwrap().value.standing_word(), "Inactive");
    assert!(
        story.deliveries.iter().all(|delivery| matches!(delivery.value.state, DeliveryState::Done { .. }))
    );
    assert_eq!(tide.world.owner_texts().len(), 4, "{:?}", tide.world.owner_texts());
    assert_eq!(tide.world.channel_texts().len(), 4);

    // The echo of our own disable is recorded, and quiet.
    let echoes = tide.world.aws.trail().take();
    assert_eq!(echoes.len(), 1);
    tide.world.receive(&echoes[0], 1).await.unwrap().unwrap();
    assert_eq!(tide.world.channel_texts().len(), 4, "{:?}", tide.world.channel_texts());

    // And nothing more, ever.
    let after = tide.days(30).await;
    assert!(after.plan.notices.is_empty() && after.plan.disables.is_empty());
    assert_eq!(tide.world.slack.messages().len(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_second_sweep_of_a_day_changes_nothing() {
    let tide = Tide::new("enforce").await;
    tide.run().await.unwrap();
    tide.days(76).await;
    let before = (tide.world.slack.messages().len(), tide.world.story_of(KEY).await);
    let again = tide.run().await.unwrap();
    assert!(again.plan.notices.is_empty() && again.plan.disables.is_empty(), "{}", again.plan);
    let after = (tide.world.slack.messages().len(), tide.world.story_of(KEY).await);
    assert_eq!(
        (before.0, &before.1.facts, &before.1.deliveries),
        (after.0, &after.1.facts, &after.1.deliveries)
    );
}

#[tokio::test(start_paused = true)]
async fn a_key_that_no_event_told_of_is_alerted_by_the_next_sweep_once() {
    let tide = Tide::new("notify").await;
    tide.run().await.unwrap();
    let silent = "AKIATIDEWATERSILENT1";
    tokio::time::sleep(Duration::from_hours(12)).await;
    tide.world.aws.iam().add_access_key(PROD, "alice", silent, tide.world.now(), KeyStatus::Active).unwrap();
    tide.days(3).await;
    assert_eq!((tide.world.channel_texts().len(), tide.world.owner_texts().len()), (1, 1));
    let story = tide.world.story_of(silent).await;
    assert_eq!((story.facts.len(), story.deliveries.len()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn slack_down_on_a_notice_day_moves_the_day_and_never_skips_a_notice() {
    let tide = Tide::new("enforce").await;
    tide.run().await.unwrap();
    tide.days(85).await;
    tide.world.slack.set_down(true);
    for _ in 0..3 {
        tokio::time::sleep(DAY).await;
        let swept = tide.run().await.unwrap();
        assert!(!swept.troubles.is_empty() && swept.disabled.is_empty());
    }
    tide.world.slack.set_down(false);
    let told = tide.days(1).await;
    assert_eq!((told.told, tide.age_days()), (1, 89));
    let last = tide.days(4).await;
    assert!(last.disabled.is_empty(), "told on day 89, it lives to day 94");
    assert_eq!(tide.days(1).await.disabled.len(), 1);
    assert_eq!(tide.age_days(), 94);
}

#[tokio::test(start_paused = true)]
async fn a_halt_and_an_exemption_are_read_last() {
    let tide = Tide::new("enforce").await;
    tide.run().await.unwrap();
    tide.days(90).await;
    let now = tide.world.now();
    let halt = Halt { reason: "an incident".to_owned(), author: "arn:aws:iam::1:role/x".to_owned(), at: now };
    tide.world.ledger().set_halt(&halt).await.unwrap();
    let held = tide.days(1).await;
    assert_eq!(held.plan.held[0].by, HeldBy::Halt("an incident".to_owned()));
    tide.world.ledger().lift_halt().await.unwrap();
    let exemption = Exemption {
        reason: "migration".to_owned(),
        author: "arn:aws:iam::1:role/x".to_owned(),
        granted_at: tide.world.now(),
        until: tide.world.now().checked_add(SignedDuration::from_hours(20 * 24)).unwrap(),
    };
    assert!(tide.world.ledger().save_exemption(&account(), KEY, &exemption, 0).await.unwrap());
    let exempt = tide.days(5).await;
    assert!(exempt.plan.disables.is_empty() && exempt.plan.held.is_empty());
    assert_eq!(tide.status().await, Status::Active);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_does_not_agree_with_aws_disables_nothing() {
    let tide = Tide::new("enforce").await;
    tide.run().await.unwrap();
    tide.days(90).await;
    tide.world.aws.set_clock_skew(SignedDuration::from_mins(6));
    let held = tide.days(1).await;
    assert_eq!(held.refused.len(), 1);
    assert_eq!(held.refused[0].by, HeldBy::Clock);
    assert_eq!(tide.status().await, Status::Active);
    tide.world.aws.set_clock_skew(SignedDuration::from_mins(4));
    assert_eq!(tide.days(1).await.disabled.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_iam_does_not_show_in_time_is_unconfirmed_and_looked_at_again() {
    let tide = Tide::new("enforce").await;
    tide.run().await.unwrap();
    tide.days(90).await;
    tide.world.aws.faults().set_iam_delay(Duration::from_mins(5));
    let last = tide.days(1).await;
    assert_eq!(last.disabled, [(KEY.to_owned(), false)]);
    assert!(tide.world.all_said().contains("not"), "{}", tide.world.all_said());
    let next = tide.days(1).await;
    assert!(next.disabled.is_empty());
    assert_eq!(tide.status().await, Status::Inactive);
    assert_eq!(tide.world.story_of(KEY).await.key.unwrap().value.standing_word(), "Inactive");
}

#[tokio::test(start_paused = true)]
async fn an_account_that_cannot_be_entered_closes_nothing() {
    let tide = Tide::new("enforce").await;
    tide.run().await.unwrap();
    let before = tide.world.story_of(KEY).await;
    tide.world.aws.faults().plan(|call| (call.service == Service::Sts).then_some(Fault::ServerError));
    for _ in 0..3 {
        tokio::time::sleep(DAY).await;
        assert!(matches!(tide.run().await, Err(SweepError::Unreadable(_))));
    }
    assert_eq!(tide.world.story_of(KEY).await, before);
    tide.world.aws.faults().clear();
    tide.days(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_user_who_cannot_be_read_stops_nobody_else_and_the_sweep_is_no_success() {
    let tide = Tide::new("notify").await;
    let iam = tide.world.aws.iam();
    iam.add_user(PROD, "bruno", "/", &[("slack-id", crate::world::ALICE)]).unwrap();
    let born = "2026-05-04T09:12:33Z".parse().unwrap();
    iam.add_access_key(PROD, "bruno", "AKIATIDEWATERBRUNO01", born, KeyStatus::Active).unwrap();
    tide.run().await.unwrap();
    tide.days(75).await;
    tokio::time::sleep(DAY).await;
    let swept_at = || async { tide.world.ledger().account(&account()).await.unwrap().value.swept_at };
    let before = swept_at().await;
    // Both are asked for at once; the second is answered, the first is not, however often it is tried.
    let asked = AtomicU32::new(0);
    tide.world.aws.faults().plan(move |call| {
        let is_it = call.operation == "ListAccessKeys" && asked.fetch_add(1, Ordering::Relaxed) != 1;
        is_it.then_some(Fault::ServerError)
    });
    let swept = tide.run().await.unwrap();
    tide.world.aws.faults().clear();
    assert_eq!((swept.told, swept.troubles.len()), (1, 1), "{swept:?}");
    assert!(swept.troubles[0].to_string().contains("ListAccessKeys"), "{swept:?}");
    assert_eq!(swept_at().await, before);
    let next = tide.run().await.unwrap();
    assert_eq!((next.told, next.troubles.len()), (1, 0), "{next:?}");
    assert!(swept_at().await > before);
}

#[tokio::test(start_paused = true)]
async fn a_disable_that_fails_stops_no_other() {
    let tide = Tide::new("enforce").await;
    let iam = tide.world.aws.iam();
    iam.add_user(PROD, "bruno", "/", &[("slack-id", crate::world::ALICE)]).unwrap();
    let born = "2026-05-04T09:12:33Z".parse().unwrap();
    iam.add_access_key(PROD, "bruno", "AKIATIDEWATERBRUNO01", born, KeyStatus::Active).unwrap();
    tide.run().await.unwrap();
    tide.days(90).await;
    tokio::time::sleep(DAY).await;
    // The first session that is asked for after the keys were listed is the first disable's: it is tried thrice.
    let (is_listed, asked) = (AtomicBool::new(false), AtomicU32::new(0));
    tide.world.aws.faults().plan(move |call| {
        is_listed.fetch_or(call.operation == "ListAccessKeys", Ordering::Relaxed);
        let is_disablers = call.operation == "AssumeRole" && is_listed.load(Ordering::Relaxed);
        (is_disablers && asked.fetch_add(1, Ordering::Relaxed) < 3).then_some(Fault::ServerError)
    });
    let swept = tide.run().await.unwrap();
    tide.world.aws.faults().clear();
    assert_eq!((swept.disabled.len(), swept.troubles.len()), (1, 1), "{swept:?}");
    assert_eq!(tide.run().await.unwrap().disabled.len(), 1, "the next sweep does the other");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_gone_is_closed_after_a_day_and_reopened_on_sight() {
    let tide = Tide::new("notify").await;
    tide.run().await.unwrap();
    tokio::time::sleep(Duration::from_hours(12)).await;
    tide.world.aws.iam().delete_access_key(PROD, KEY).unwrap();
    tide.days(1).await;
    let word =
        async |tide: &Tide| tide.world.story_of(KEY).await.key.unwrap().value.standing_word().to_owned();
    assert_eq!(word(&tide).await, "Active", "once is not enough");
    tide.days(1).await;
    assert_eq!(word(&tide).await, "Gone");
}

/// Calls in steady state: the report alone, then what is due.
#[tokio::test(start_paused = true)]
async fn in_steady_state_an_account_costs_three_calls_and_a_due_key_four() {
    let tide = Tide::new("notify").await;
    tide.run().await.unwrap();
    let mut dearest_but_one = Vec::new();
    for _ in 0..7 {
        tide.world.aws.calls().restart();
        tide.days(1).await;
        dearest_but_one.push(tide.iam_calls());
    }
    // On one day of the week everybody is listed.
    dearest_but_one.sort_unstable();
    dearest_but_one.pop();
    assert!(dearest_but_one.iter().all(|calls| *calls <= 3), "{dearest_but_one:?}");
    tide.days(u32::try_from(75 - tide.age_days()).unwrap()).await;
    tide.world.aws.calls().restart();
    let due = tide.days(1).await;
    assert_eq!(due.told, 1);
    assert!(tide.iam_calls() <= 3 + 4, "{:?}", tide.world.aws.calls().list());
}

/// Whatever is decided while a sweep is under way counts: everything is read afresh before a disable.
#[tokio::test(start_paused = true)]
async fn a_halt_or_an_exemption_that_comes_between_plan_and_disable_is_heeded() {
    for is_halt in [true, false] {
        let tide = Tide::new("enforce").await;
        let decide = async {
            let author = "arn:aws:iam::999988887777:role/security".to_owned();
            let (ledger, at) = (tide.world.ledger(), tide.world.now());
            if is_halt {
                ledger.set_halt(&Halt { reason: "an incident".to_owned(), author, at }).await.unwrap();
            } else {
                let until = at.checked_add(SignedDuration::from_hours(48)).unwrap();
                let exemption = Exemption { reason: "migration".to_owned(), author, granted_at: at, until };
                assert!(ledger.save_exemption(&account(), KEY, &exemption, 0).await.unwrap());
            }
        };
        let swept = tide.disable_while(Box::pin(decide)).await;
        assert!(swept.disabled.is_empty());
        assert_eq!(tide.status().await, Status::Active);
    }
}

#[tokio::test(start_paused = true)]
async fn the_organization_s_cap_is_counted_in_the_ledger() {
    let mut tide = Tide::new("enforce").await;
    tide.change_policy(&format!("[modes]\nenforce = [\"{PROD}\"]\n[caps]\norganization-per-day = 1\n")).await;
    tide.run().await.unwrap();
    tide.days(90).await;
    tokio::time::sleep(DAY).await;
    let (ledger, now) = (tide.world.ledger(), tide.world.now());
    // Another account's sweep was there first.
    assert!(
        ledger
            .count_disable(DisablesOf::Organization, keytide_core::lifecycle::utc_date(now), 1, now)
            .await
            .unwrap()
    );
    let swept = tide.run().await.unwrap();
    assert_eq!(swept.refused[0].by, HeldBy::OrganizationCap { most: 1 });
    assert_eq!(tide.status().await, Status::Active);
    // The channel is told, once, by which name the plan can be let through.
    let command = format!("keytide approve {} --account {PROD}", swept.plan.hash());
    assert!(tide.world.all_said().contains(&command), "{}", tide.world.all_said());
    let is_it = |text: &&String| text.contains("beyond the whole organization's cap");
    let told = || tide.world.channel_texts().iter().filter(is_it).count();
    assert_eq!(told(), 1, "{:?}", tide.world.channel_texts());
    tide.run().await.unwrap();
    assert_eq!(told(), 1);
    assert_eq!(tide.days(1).await.disabled.len(), 1, "the next day counts anew");
}

#[tokio::test(start_paused = true)]
async fn of_two_sweeps_at_once_one_gives_way() {
    let tide = Tide::new("enforce").await;
    tide.world.aws.faults().set_latency(Duration::from_millis(50));
    let (one, other) = tokio::join!(Box::pin(tide.run()), Box::pin(tide.run()));
    let taken = [&one, &other].iter().filter(|swept| matches!(swept, Err(SweepError::Taken { .. }))).count();
    assert_eq!(taken, 1, "{one:?} {other:?}");
}

/// Whoever is marked as told was named, however many keys there are.
#[tokio::test(start_paused = true)]
async fn of_forty_keys_due_on_one_day_each_is_named_to_its_owner_and_to_the_channel() {
    let tide = Tide::new("enforce").await;
    let born = "2026-05-04T09:12:33Z".parse().unwrap();
    let keys: Vec<String> = (0..40).map(|number| format!("AKIATIDEWATERMANY{number:03}")).collect();
    for key_id in &keys {
        tide.world.aws.iam().add_access_key(PROD, "alice", key_id, born, KeyStatus::Active).unwrap();
    }
    tide.world.slack.set_burst(None);
    tide.run().await.unwrap();
    tokio::time::sleep(DAY * 75).await;
    assert_eq!(tide.days(1).await.told, 41);
    let said = |channel: &str| -> String {
        tide.world.slack.messages_in(channel).iter().map(|message| message.blocks.to_string()).collect()
    };
    let (owner, channel) = (said(&SlackSim::direct_of(crate::world::ALICE)), said(CHANNEL));
    for key_id in &keys {
        assert!(owner.contains(key_id.as_str()), "{key_id} is not named to the owner");
        assert!(channel.contains(key_id.as_str()), "{key_id} is not named to the channel");
    }
}

/// The function dies right after IAM did it, and the event of our own disable comes back quietly: it is told
/// of all the same.
#[tokio::test(start_paused = true)]
async fn a_disable_that_nobody_could_record_is_told_of_by_the_next_sweep() {
    let tide = Tide::new("enforce").await;
    tide.run().await.unwrap();
    tide.days(90).await;
    tokio::time::sleep(DAY).await;
    tide.world.aws.trail().start();
    tide.world.aws.faults().set_latency(Duration::from_millis(100));
    let died = tokio::select! {
        biased;
        () = async {
            while tide.world.aws.calls().count(Service::Iam, "UpdateAccessKey") == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        } => true,
        _ = Box::pin(tide.run()) => false,
    };
    assert!(died);
    tide.world.aws.faults().set_latency(Duration::ZERO);
    let before = (tide.world.owner_texts().len(), tide.world.channel_texts().len());
    for event in tide.world.aws.trail().take() {
        tide.world.receive(&event, 1).await.unwrap().unwrap();
    }
    assert_eq!(
        (tide.world.owner_texts().len(), tide.world.channel_texts().len()),
        before,
        "the echo is quiet"
    );
    tokio::time::sleep(Duration::from_mins(30)).await;
    tide.run().await.unwrap();
    assert_eq!(tide.status().await, Status::Inactive);
    let after = (tide.world.owner_texts().len(), tide.world.channel_texts().len());
    assert_eq!(after, (before.0 + 1, before.1 + 1), "{:?}", tide.world.channel_texts());
    tide.days(2).await;
    assert_eq!(tide.world.owner_texts().len(), after.0, "and not again");
}
