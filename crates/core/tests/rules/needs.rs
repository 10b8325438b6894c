//! Whose keys have to be listed.

use jiff::{SignedDuration, Timestamp};
use keytide_core::{
    plan::{Needs, UserRow, needs},
    policy::{Mode, Policy},
};

use crate::{
    common::{at, key},
    plan::{account, policy},
};

const NOON: &str = "2026-03-10T12:00:00Z";

/// What an account needs whose report says what its ledger knows: alice has one young key.
fn of_a_quiet_account(policy: &Policy, listed_all_at: Option<Timestamp>, now: Timestamp) -> Needs {
    let state = account(&[key("AKIATIDEWATERALICE77", "alice", "2026-03-01T15:20:00Z")]);
    let rows = ["alice", "bruno"].map(|user| UserRow {
        user: user.to_owned(),
        active: usize::from(user == "alice"),
        has_more: false,
        has_changed: false,
    });
    needs(&state, Some(&rows), listed_all_at, policy, now)
}

#[test]
fn everybody_is_listed_on_one_day_of_the_week_and_nobody_on_the_others() {
    let policy = policy(Mode::Notify, "");
    let days = (0..7).map(|day| {
        let now = at(NOON) + SignedDuration::from_hours(24 * day);
        of_a_quiet_account(&policy, Some(now - SignedDuration::from_hours(24)), now)
    });
    let (all, none): (Vec<Needs>, Vec<Needs>) = days.partition(|needs| needs.is_everybody);
    assert_eq!((all.len(), none.len()), (1, 6));
    assert!(all.iter().all(|needs| needs.users.len() == 2));
    assert!(none.iter().all(|needs| needs.users.is_empty()));
}

/// A third key, which no report shows, must not wait for the weekday after next because one sweep failed.
#[test]
fn everybody_is_listed_a_week_after_the_last_time_whatever_the_weekday() {
    let policy = policy(Mode::Notify, "");
    let now = (0..2).map(|day| at(NOON) + SignedDuration::from_hours(24 * day)).find(|now| {
        !of_a_quiet_account(&policy, Some(*now - SignedDuration::from_hours(24)), *now).is_everybody
    });
    let now = now.expect("of two days one is not its weekday");
    let a_week_ago = now - SignedDuration::from_hours(7 * 24);
    assert!(of_a_quiet_account(&policy, Some(a_week_ago), now).is_everybody);
    assert!(of_a_quiet_account(&policy, None, now).is_everybody, "never");
    let later = a_week_ago + SignedDuration::from_secs(1);
    assert!(!of_a_quiet_account(&policy, Some(later), now).is_everybody);
}
