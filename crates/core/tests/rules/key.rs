//! Promise: events in any order and number give one state of the key.

use crate::common::{key_event, record};
use keytide_core::{
    cloudtrail::{KeyEvent, Status, Subject},
    key::{Effect, Key, Sighting, Standing, apply, miss, sight},
};
use proptest::prelude::*;

fn state_after(events: &[KeyEvent]) -> Key {
    let mut key = None;
    for event in events {
        key = Some(apply(key, event).key);
    }
    key.expect("at least one event")
}

fn event(name: &str, second: u32, status: &str) -> KeyEvent {
    let at = format!("2026-05-04T09:00:{second:02}Z");
    key_event(&record(name, &at, &format!("{name}-{second}-{status}"), "alice", status))
}

#[test]
fn a_stale_active_after_inactive_does_not_wake_the_key() {
    let created = event("CreateAccessKey", 0, "Active");
    let active = event("UpdateAccessKey", 10, "Active");
    let inactive = event("UpdateAccessKey", 20, "Inactive");
    let before = state_after(&[created, inactive]);
    let late = apply(Some(before), &active);
    assert_eq!(late.effect, Effect::Superseded);
    assert_eq!(late.key.standing_word(), "Inactive");
}

#[test]
fn of_two_in_one_second_the_safer_stands_unsettled_in_either_order() {
    let created = event("CreateAccessKey", 0, "Active");
    let active = event("UpdateAccessKey", 10, "Active");
    let inactive = event("UpdateAccessKey", 10, "Inactive");
    for order in [[&created, &active, &inactive], [&inactive, &created, &active]] {
        let key = state_after(&order.map(Clone::clone));
        let Some(Standing::Exists(mark)) = key.standing() else { panic!("it exists") };
        assert_eq!(mark.status, Status::Inactive);
        assert!(mark.unsettled, "a listing has to settle it");
    }
}

#[test]
fn a_later_word_settles_what_one_second_left_open() {
    let key = state_after(&[
        event("UpdateAccessKey", 10, "Active"),
        event("UpdateAccessKey", 10, "Inactive"),
        event("UpdateAccessKey", 11, "Active"),
    ]);
    let Some(Standing::Exists(mark)) = key.standing() else { panic!("it exists") };
    assert_eq!((&mark.status, mark.unsettled), (&Status::Active, false));
}

#[test]
fn a_creation_in_the_same_second_as_its_deactivation_came_before_it() {
    let key = state_after(&[event("UpdateAccessKey", 5, "Inactive"), event("CreateAccessKey", 5, "Active")]);
    let Some(Standing::Exists(mark)) = key.standing() else { panic!("it exists") };
    assert_eq!((&mark.status, mark.unsettled), (&Status::Inactive, false));
}

#[test]
fn a_deletion_heard_of_first_is_final_and_the_birth_is_still_recorded() {
    let deleted = event("DeleteAccessKey", 30, "");
    let created = event("CreateAccessKey", 0, "Active");
    let tombstone = state_after(std::slice::from_ref(&deleted));
    let late = apply(Some(tombstone), &created);
    assert_eq!(late.effect, Effect::AfterDeletion);
    assert_eq!(late.key.standing_word(), "Deleted");
    assert_eq!(late.key.creation.as_ref().unwrap().at, created.call.at);
    let later = apply(Some(late.key), &event("UpdateAccessKey", 40, "Active"));
    assert_eq!(later.key.standing_word(), "Deleted", "nothing opens a deleted key");
}

#[test]
fn reactivation_never_resets_the_birth() {
    let key = state_after(&[
        event("CreateAccessKey", 0, "Active"),
        event("UpdateAccessKey", 10, "Inactive"),
        event("UpdateAccessKey", 20, "Active"),
    ]);
    assert_eq!(key.creation.unwrap().at.to_string(), "2026-05-04T09:00:00Z");
}

#[test]
fn who_is_named_beats_who_is_not_and_the_later_name_beats_the_earlier() {
    let mut unnamed = event("UpdateAccessKey", 50, "Inactive");
    unnamed.subject = Subject::Unknown;
    let key = state_after(&[event("CreateAccessKey", 0, "Active"), unnamed]);
    assert_eq!(key.holder.subject, Subject::User("alice".to_owned()));
    let mut renamed = event("UpdateAccessKey", 51, "Active");
    renamed.subject = Subject::User("alice.b".to_owned());
    let key = state_after(&[renamed, event("CreateAccessKey", 0, "Active")]);
    assert_eq!(key.holder.subject, Subject::User("alice.b".to_owned()));
}

/// Any event of the key, the times so close that they often collide.
fn any_event() -> impl Strategy<Value = KeyEvent> {
    let name = prop_oneof![
        2 => Just("CreateAccessKey"),
        5 => Just("UpdateAccessKey"),
        1 => Just("DeleteAccessKey"),
    ];
    let status = prop_oneof![Just("Active"), Just("Inactive"), Just("Expired"), Just("Frozen")];
    let user = prop_oneof![Just("alice"), Just("bruno"), Just("")];
    (name, 0..5_u32, status, user, 0..3_u32).prop_map(|(name, second, status, user, id)| {
        let at = format!("2026-05-04T09:00:{second:02}Z");
        let mut event = key_event(&record(name, &at, &format!("e{id}"), "someone", status));
        event.subject = if user.is_empty() { Subject::Unknown } else { Subject::User(user.to_owned()) };
        event
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn any_order_and_repetition_gives_one_state(
        (events, shuffled) in prop::collection::vec(any_event(), 1..8).prop_flat_map(|events| {
            let twice: Vec<KeyEvent> = events.iter().chain(&events).cloned().collect();
            (Just(events), Just(twice).prop_shuffle())
        })
    ) {
        prop_assert_eq!(state_after(&events), state_after(&shuffled));
    }

    #[test]
    fn an_event_applied_again_changes_nothing(events in prop::collection::vec(any_event(), 1..8)) {
        let key = state_after(&events);
        for event in &events {
            prop_assert_eq!(&apply(Some(key.clone()), event).key, &key);
        }
    }
}

fn listed(status: Status, at: &str) -> Sighting {
    Sighting {
        account: "111122223333".parse().unwrap(),
        key_id: state_after(&[event("CreateAccessKey", 0, "Active")]).key_id,
        user: "alice".to_owned(),
        status,
        created: Some("2026-05-04T09:00:00Z".parse().unwrap()),
        at: at.parse().unwrap(),
    }
}

#[test]
fn a_key_that_nobody_lists_for_a_day_is_gone_until_it_is_seen_again() {
    let key = state_after(&[event("CreateAccessKey", 0, "Active")]);
    let once = miss(key.clone(), "2026-05-05T09:00:00Z".parse().unwrap());
    assert_eq!(once.standing_word(), "Active", "once is not enough");
    let soon = miss(once.clone(), "2026-05-06T08:59:59Z".parse().unwrap());
    assert_eq!(soon.standing_word(), "Active", "nor is less than a day");
    let gone = miss(once, "2026-05-06T09:00:00Z".parse().unwrap());
    assert_eq!(gone.standing_word(), "Gone");
    assert!(gone.is_closed());
    let back = sight(Some(gone), &listed(Status::Active, "2026-05-07T09:00:00Z"), None);
    assert_eq!((back.standing_word(), back.is_closed()), ("Active", false));
    // Made a moment before the listing, it need not be in it yet.
    let fresh = miss(key, "2026-05-04T09:00:30Z".parse().unwrap());
    assert!(fresh.absence.is_none());
}

#[test]
fn a_listing_settles_what_is_open_and_never_overrules_what_happens_meanwhile() {
    let active = event("UpdateAccessKey", 10, "Active");
    let inactive = event("UpdateAccessKey", 10, "Inactive");
    let open = state_after(&[active, inactive.clone()]);
    let settled = sight(Some(open), &listed(Status::Active, "2026-05-04T09:05:00Z"), None);
    let Some(Standing::Exists(mark)) = settled.standing() else { panic!("it exists") };
    assert_eq!((&mark.status, mark.unsettled), (&Status::Active, false));
    // IAM is seconds behind itself: a listing right after a change may still show the old status.
    let changed = state_after(&[event("CreateAccessKey", 0, "Active"), inactive.clone()]);
    let stale = sight(Some(changed.clone()), &listed(Status::Active, "2026-05-04T09:00:40Z"), None);
    assert_eq!(stale.standing_word(), "Inactive");
    assert!(stale.reactivations.is_empty());
    // The same listing before the event is heard of: the event still counts.
    let first = sight(None, &listed(Status::Active, "2026-05-04T09:00:40Z"), None);
    assert_eq!(apply(Some(first), &inactive).key.standing_word(), "Inactive");
    // A change that no event told of is a reactivation all the same.
    let found = sight(Some(changed), &listed(Status::Active, "2026-05-04T10:00:00Z"), None);
    assert_eq!((found.standing_word(), found.reactivations.all().len()), ("Active", 1));
}

/// A sweep sees what an event will tell later: one reactivation, whichever comes first.
#[test]
fn a_reactivation_that_a_listing_showed_and_its_event_are_one() {
    let off = state_after(&[event("CreateAccessKey", 0, "Active"), event("UpdateAccessKey", 10, "Inactive")]);
    let on = event("UpdateAccessKey", 30, "Active");
    // The sweep lists it in the very second, or a good while later.
    for listed_at in
        ["2026-05-04T09:00:31Z", "2026-05-04T09:01:10Z", "2026-05-04T10:00:00Z", "2026-05-06T10:00:00Z"]
    {
        let sighting = listed(Status::Active, listed_at);
        let seen_first = apply(Some(sight(Some(off.clone()), &sighting, None)), &on).key;
        let told_first = sight(Some(apply(Some(off.clone()), &on).key), &sighting, None);
        assert_eq!(seen_first.reactivations, told_first.reactivations, "{listed_at}");
    }
    let sighting = listed(Status::Active, "2026-05-04T10:00:00Z");
    let seen_first = apply(Some(sight(Some(off.clone()), &sighting, None)), &on).key;
    let told_first = sight(Some(apply(Some(off.clone()), &on).key), &sighting, None);
    assert_eq!(seen_first.reactivations.all().len(), 1, "{:?}", seen_first.reactivations);
    assert_eq!(seen_first.reactivations, told_first.reactivations);
    assert_eq!(apply(Some(seen_first.clone()), &on).key, seen_first, "and again");
    // One that lies before it was off is another.
    let earlier = apply(Some(sight(Some(off), &sighting, None)), &event("UpdateAccessKey", 5, "Active")).key;
    assert_eq!(earlier.reactivations.all().len(), 1, "of one date the earliest");
}

#[test]
fn an_event_later_than_all_listings_that_missed_the_key_opens_it_again() {
    let gone_after = |key: Key| {
        let once = miss(key, "2026-05-05T09:00:00Z".parse().unwrap());
        miss(once, "2026-05-06T09:00:00Z".parse().unwrap())
    };
    let gone = gone_after(state_after(&[event("CreateAccessKey", 0, "Active")]));
    let before = apply(Some(gone.clone()), &event("UpdateAccessKey", 30, "Inactive"));
    assert_eq!((before.key.standing_word(), before.effect), ("Gone", Effect::Superseded));
    let at = "2026-05-06T12:00:00Z";
    let later = key_event(&record("UpdateAccessKey", at, "later", "alice", "Inactive"));
    let after = apply(Some(gone.clone()), &later);
    assert_eq!((after.key.standing_word(), after.effect), ("Inactive", Effect::Current));
    let deleted = key_event(&record("DeleteAccessKey", at, "deleted", "alice", "Active"));
    assert_eq!(apply(Some(gone), &deleted).key.standing_word(), "Deleted");
}
