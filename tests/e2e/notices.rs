//! What counts of a notice is what people could read, and when: not what the sweep thinks that marks it.

use std::time::Duration;

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use keytide_core::{
    delivery::{DeliveryState, NoticeDay, Recipient, Stage},
    key::{Key, NoticeMark},
};
use keytide_local::{Fault, slack::SlackFault};

use crate::{
    sweep::Tide,
    world::{KEY, PROD},
};

const DAY: Duration = Duration::from_hours(24);
const LAST: Stage = Stage::Notice(NoticeDay::Age(86));

fn date(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

/// The date on which the key has reached an age.
fn aged(days: i64) -> Date {
    let born: Timestamp = "2026-05-04T09:12:33Z".parse().unwrap();
    date(born.checked_add(jiff::SignedDuration::from_hours(days * 24)).unwrap())
}

impl Tide {
    async fn key(&self) -> Key {
        self.world.ledger().key(&PROD.parse().unwrap(), KEY).await.unwrap().unwrap().value
    }

    /// Whether both of the last notice's messages stand as made in the ledger.
    async fn is_said(&self) -> bool {
        let story = self.world.story_of(KEY).await;
        let of_last = story.deliveries.iter().filter(|delivery| delivery.value.name.stage == LAST);
        of_last.filter(|delivery| matches!(delivery.value.state, DeliveryState::Done { .. })).count() == 2
    }

    fn said(&self) -> (usize, usize) {
        (self.world.owner_texts().len(), self.world.channel_texts().len())
    }

    /// A sweep on each day that has a notice, up to the day before the last one's.
    async fn until_the_last_notice(&self) {
        self.run().await.unwrap();
        for day in [76, 81, 85] {
            let days = u32::try_from(day - self.age_days()).unwrap();
            tokio::time::sleep(DAY * (days - 1)).await;
            self.days(1).await;
        }
        tokio::time::sleep(DAY).await;
    }
}

fn mark_of(key: &Key) -> Option<&NoticeMark> {
    key.notices.iter().find(|mark| mark.stage == LAST)
}

/// The sweep of day 86 dies at any of its calls, and the next comes three days later. If people were told on day
/// 86 of day 91, then that is what they were told; if not, they are told on day 89 of day 94. Either way the key
/// goes on the very day that they read.
#[tokio::test(start_paused = true)]
async fn a_sweep_that_dies_leaves_what_was_said_as_it_was_said() {
    let (mut was_said_and_unmarked, mut number) = (0, 0);
    loop {
        number += 1;
        let tide = Tide::new("enforce").await;
        tide.until_the_last_notice().await;
        let before = tide.said();
        tide.world.aws.calls().restart();
        tide.world.aws.faults().at_call(number, Fault::CrashAfter);
        let crash = tide.world.aws.faults().crash();
        let has_died = tokio::select! {
            biased;
            () = crash.notified() => true,
            swept = Box::pin(tide.run()) => {
                swept.unwrap();
                false
            }
        };
        tide.world.aws.faults().clear();
        let is_said = tide.is_said().await;
        was_said_and_unmarked += u32::from(is_said && mark_of(&tide.key().await).is_none());
        tokio::time::sleep(DAY * 3).await;
        tide.run().await.unwrap();
        let after = tide.said();
        let of_last = (after.0 - before.0, after.1 - before.1);
        assert!((1..=2).contains(&of_last.0) && (1..=2).contains(&of_last.1), "call {number}: {of_last:?}");
        let (told_on, named) = if is_said { (aged(86), aged(91)) } else { (aged(89), aged(94)) };
        let key = tide.key().await;
        let mark = mark_of(&key).unwrap();
        assert_eq!((date(mark.at), mark.disable_on), (told_on, named), "call {number}: {mark:?}");
        let channel = tide.world.channel_texts();
        let words = format!("{} {}", named.day(), named.strftime("%B"));
        assert!(channel.last().unwrap().contains(&words), "call {number}: {words} in {channel:?}");
        let mut day = aged(89);
        while tide.days(1).await.disabled.is_empty() {
            day = day.tomorrow().unwrap();
            assert!(day < named, "call {number}: it is still active on {day}");
        }
        assert_eq!(date(tide.world.now()), named, "call {number}");
        if !has_died {
            break;
        }
    }
    assert!(number > 10 && was_said_and_unmarked > 0, "{number} calls, {was_said_and_unmarked} unmarked");
}

/// After weeks, the date that was named then tells nobody anything: a new one is said, and holds.
#[tokio::test(start_paused = true)]
async fn what_was_said_weeks_ago_by_a_sweep_that_died_is_said_anew() {
    let tide = Tide::new("enforce").await;
    tide.until_the_last_notice().await;
    tide.world.aws.faults().set_latency(Duration::from_millis(100));
    let before = tide.said();
    let is_dead = tokio::select! {
        biased;
        () = async {
            while tide.said().1 == before.1 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            // One call records that it was said, the next marks the key.
            tokio::time::sleep(Duration::from_millis(150)).await;
        } => true,
        _ = Box::pin(tide.run()) => false,
    };
    tide.world.aws.faults().set_latency(Duration::ZERO);
    assert!(is_dead && tide.is_said().await && mark_of(&tide.key().await).is_none());
    let before = tide.said();
    tokio::time::sleep(DAY * 20).await;
    let swept = tide.run().await.unwrap();
    assert!(swept.disabled.is_empty());
    assert_eq!(tide.said(), (before.0 + 1, before.1 + 1), "{:?}", tide.world.channel_texts());
    let key = tide.key().await;
    assert_eq!(mark_of(&key).map(|mark| date(mark.at)), Some(aged(86)), "{:?}", key.notices);
    assert_eq!(key.notices.last().map(|mark| mark.disable_on), Some(aged(111)), "{:?}", key.notices);
    assert!(tide.days(4).await.disabled.is_empty());
    assert_eq!(tide.days(1).await.disabled.len(), 1);
}

/// The channel's copy names what the owner reads, so it comes after it; but no owner whom Slack cannot serve
/// keeps the channel waiting for more than three days.
#[tokio::test(start_paused = true)]
async fn the_channel_waits_three_days_for_an_owner_whom_slack_cannot_serve() {
    let tide = Tide::new("enforce").await;
    tide.until_the_last_notice().await;
    let before = tide.said();
    let fails = |_: usize, method: &str| {
        (method == "conversations.open").then_some(SlackFault::Error("internal_error"))
    };
    tide.world.slack.set_faults(fails);
    for day in 86..89 {
        let swept = tide.run().await.unwrap();
        assert!(!swept.troubles.is_empty(), "said loudly on day {day}");
        assert_eq!(tide.said(), before, "on day {day}");
        tokio::time::sleep(DAY).await;
    }
    let swept = tide.run().await.unwrap();
    assert!(!swept.troubles.is_empty() && swept.told == 1, "{swept:?}");
    assert_eq!(tide.said(), (before.0, before.1 + 1));
    let channel = tide.world.channel_texts();
    assert!(channel.last().unwrap().contains("The owner was not told"), "{channel:?}");
    let story = tide.world.story_of(KEY).await;
    let owner = story.deliveries.iter().find(|delivery| {
        delivery.value.name.stage == LAST && delivery.value.name.recipient == Recipient::Owner
    });
    let state = &owner.unwrap().value.state;
    assert!(
        matches!(state, DeliveryState::GivenUp { cause, .. } if cause.contains("internal_error")),
        "{state:?}"
    );
    tide.world.slack.clear_faults();
    assert!(tide.days(4).await.disabled.is_empty());
    assert_eq!(tide.days(1).await.disabled.len(), 1);
}

/// A reminder is due from a date, and is that date's until it is told: while the channel cannot be told, its owner
/// is not told of it again every day.
#[tokio::test(start_paused = true)]
async fn a_reminder_that_the_channel_does_not_get_is_told_to_its_owner_once() {
    let mut tide = Tide::new("notify").await;
    tide.until_the_last_notice().await;
    tide.run().await.unwrap();
    // Day 91 is its day; in this mode nothing is done about it.
    tide.days(5).await;
    let before = tide.said();
    let works = format!("[modes]\nnotify = [\"{PROD}\"]\n");
    tide.change_policy(&format!("{works}[channels]\nnotices = \"C0NOWHERE1\"\n")).await;
    for day in 96..99 {
        let wait = if day == 96 { DAY * 5 } else { DAY };
        tokio::time::sleep(wait).await;
        let swept = tide.run().await.unwrap();
        assert!(!swept.troubles.is_empty() && swept.told == 0, "said loudly on day {day}: {swept:?}");
        assert_eq!(tide.said(), (before.0 + 1, before.1), "on day {day}");
    }
    tide.change_policy(&works).await;
    tide.days(1).await;
    assert_eq!(tide.said(), (before.0 + 1, before.1 + 1));
    // Told on day 99: the next is due five dates later.
    tide.days(4).await;
    assert_eq!(tide.said(), (before.0 + 1, before.1 + 1));
    tide.days(1).await;
    assert_eq!(tide.said(), (before.0 + 2, before.1 + 2));
}
