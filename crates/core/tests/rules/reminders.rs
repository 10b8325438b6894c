//! What a reminder is called: by the date from which it is due, and never as one that was sent before.

use jiff::{SignedDuration, Timestamp, civil::Date};
use keytide_core::{
    cloudtrail::Status,
    delivery::{NoticeDay, Stage},
    key::{Ground, Key, LastUse, NoticeMark, Sighting, sight},
    lifecycle::{Circumstances, Phase, phase},
    policy::{Mode, Policy, PolicySubject, Treatment},
};

const ACCOUNT: &str = "111122223333";

fn born() -> Timestamp {
    "2026-01-01T06:00:00Z".parse().unwrap()
}

/// The morning on which the key has this age.
fn morning(age: i64) -> Timestamp {
    born().checked_add(SignedDuration::from_hours(age * 24 + 1)).unwrap()
}

fn date(age: i64) -> Date {
    morning(age).to_zoned(jiff::tz::TimeZone::UTC).date()
}

fn key() -> Key {
    let sighting = Sighting {
        account: ACCOUNT.parse().unwrap(),
        key_id: "AKIATIDEWATERALICE77".to_owned(),
        user: "alice".to_owned(),
        status: Status::Active,
        created: Some(born()),
        at: morning(0),
    };
    sight(None, &sighting, None)
}

fn treatment(key: &Key, text: &str) -> Treatment {
    let account = key.account.clone();
    Policy::parse(text).unwrap().treatment(&PolicySubject { account: &account, user: "alice", owner: None })
}

/// What the key is to be told of at this age.
fn due(key: &Key, treatment: &Treatment, age: i64) -> Option<(Stage, Ground)> {
    let around = Circumstances {
        treatment,
        mode: Mode::Notify,
        enforced_since: None,
        restored_at: None,
        exemption: None,
        dates_between: 5,
        now: morning(age),
    };
    match phase(key, &around) {
        Phase::Running(clock) => clock.notice.map(|stage| (stage, clock.ground)),
        other => panic!("{other:?}"),
    }
}

/// Told and confirmed at this age.
fn tell(key: &mut Key, stage: Stage, ground: Ground, age: i64, names: i64) {
    key.notices.push(NoticeMark {
        epoch: epoch(key),
        stage,
        ground,
        at: morning(age),
        disable_on: date(names),
        mode: Mode::Notify,
    });
}

fn epoch(key: &Key) -> String {
    let treatment = treatment(key, "");
    let around = Circumstances {
        treatment: &treatment,
        mode: Mode::Notify,
        enforced_since: None,
        restored_at: None,
        exemption: None,
        dates_between: 5,
        now: morning(1),
    };
    let Phase::Running(clock) = phase(key, &around) else { panic!("it is active") };
    clock.armed.epoch()
}

fn told_of_its_age() -> Key {
    let mut key = key();
    for day in [76, 81, 86] {
        tell(&mut key, Stage::Notice(NoticeDay::Age(day)), Ground::Age, i64::from(day), 91);
    }
    key
}

#[test]
fn a_reminder_that_was_not_sent_is_the_same_one_tomorrow() {
    let (mut key, treatment) = (told_of_its_age(), treatment(&key(), ""));
    assert_eq!(due(&key, &treatment, 90), None);
    for age in 91..97 {
        assert_eq!(due(&key, &treatment, age), Some((Stage::Reminder(date(91)), Ground::Age)), "day {age}");
    }
    tell(&mut key, Stage::Reminder(date(91)), Ground::Age, 96, 91);
    assert_eq!(due(&key, &treatment, 100), None, "five dates after the last");
    for age in 101..103 {
        assert_eq!(due(&key, &treatment, age), Some((Stage::Reminder(date(101)), Ground::Age)), "day {age}");
    }
}

/// An owner who uses a key once, in time, brings its age back as the ground, and with it dates that were named before.
#[test]
fn a_reminder_never_bears_the_name_of_one_that_was_sent_for_another_ground() {
    let mut key = told_of_its_age();
    let treatment = treatment(&key, "[defaults]\ninactive-days = 90\n");
    key.last_use = Some(LastUse { at: None, service: None, region: None, seen_at: morning(102) });
    tell(&mut key, Stage::Notice(NoticeDay::Unused), Ground::Unused, 87, 92);
    for age in [92, 97, 102] {
        tell(&mut key, Stage::Reminder(date(age)), Ground::Unused, age, 92);
    }
    key.last_use =
        Some(LastUse { at: Some(morning(102)), service: None, region: None, seen_at: morning(103) });
    let (stage, ground) = due(&key, &treatment, 103).unwrap();
    assert_eq!(ground, Ground::Age);
    assert!(!key.notices.iter().any(|mark| mark.stage == stage), "{stage} was sent: nothing would go out");
    assert_eq!(due(&key, &treatment, 104), Some((stage, ground)), "and it keeps its name until it is sent");
}
