//! What the coming days hold, if nothing changes: the sweep's own plan, made for one date after the other.
//!
//! Nothing is worked out here a second time. Each date's plan is taken as done before the next one's is made:
//! its notices are confirmed, its disables hold. So whatever the sweep would do is foreseen as it would do it:
//! the caps, the hours, an exemption's end and the epoch that begins with it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use serde::Serialize;

use super::{
    AccountState, Finding, FindingKind, HeldBy, HeldDisable, Observations, PlannedDisable, PlannedNotice,
    SeenUser, plan,
};
use crate::{
    AccountId,
    key::{Key, NoticeMark},
    lifecycle::{dates_after, utc_date},
    owner::ListedKey,
    policy::{Mode, Policy},
};

/// One thing that is coming.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Coming {
    /// On which UTC date.
    pub on: Date,
    /// The account.
    pub account: AccountId,
    /// Its mode.
    pub mode: Mode,
    /// The access key's id.
    pub key_id: String,
    /// Its user.
    pub user: String,
    /// What.
    pub what: ComingKind,
}

/// What is coming.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "is", content = "detail", rename_all = "kebab-case")]
pub enum ComingKind {
    /// An exemption ends.
    ExemptionEnds,
    /// Somebody is told.
    Notice(PlannedNotice),
    /// The key is disabled.
    Disable(PlannedDisable),
    /// The key is past its day, and this stops its disable. Told once for each cause.
    Held(HeldBy),
}

/// An account's coming days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Foreseen {
    /// What is coming, by date, today's first.
    pub coming: Vec<Coming>,
    /// Keys about which nothing can be foreseen, and why.
    pub unknown: Vec<Finding>,
}

/// Foresees today and so many dates after it, one sweep a day. What is not known to have changed stays as it
/// is: every key is listed as it stands, and none is used again.
pub fn foresee(state: &AccountState, policy: &Policy, now: Timestamp, dates: u32) -> Foreseen {
    let mode = state.mode(policy);
    let mut state = state.clone();
    // The next sweep would enter `enforce`, and with that begin the keys' epoch.
    state.enforced_since = match policy.mode(&state.account) {
        Mode::Enforce => state.enforced_since.or(Some(now)),
        Mode::Observe | Mode::Notify => None,
    };
    state.keys.retain(|key| !key.is_closed());
    let places: BTreeMap<String, usize> =
        state.keys.iter().enumerate().map(|(place, key)| (key.key_id.clone(), place)).collect();
    let mut foreseen = Foreseen { coming: ends_of_exemptions(&state, mode, now, dates), unknown: Vec::new() };
    let mut held_before = BTreeSet::new();
    for ahead in 0..=dates {
        let at = moment(policy, now, ahead);
        let seen = as_it_stands(&mut state, now, at);
        let planned = plan(&state, &seen, policy, at);
        if ahead == 0 {
            let is_unknown = |found: &&Finding| matches!(found.what, FindingKind::Unknown(_));
            foreseen.unknown = planned.findings.iter().filter(is_unknown).cloned().collect();
        }
        let on = utc_date(at);
        let mut come = |key_id: &str, user: &str, what: ComingKind| {
            foreseen.coming.push(Coming {
                on,
                account: state.account.clone(),
                mode,
                key_id: key_id.to_owned(),
                user: user.to_owned(),
                what,
            });
        };
        for notice in planned.notices {
            if let Some(key) = places.get(&notice.key_id).and_then(|place| state.keys.get_mut(*place)) {
                key.notices.push(mark_of(&notice, mode, at));
            }
            come(&notice.key_id.clone(), &notice.user.clone(), ComingKind::Notice(notice));
        }
        for disable in planned.disables {
            if let Some(key) = places.get(&disable.key_id).and_then(|place| state.keys.get_mut(*place)) {
                key.set_inactive(at);
            }
            come(&disable.key_id.clone(), &disable.user.clone(), ComingKind::Disable(disable));
        }
        for HeldDisable { key_id, user, by } in planned.held {
            // The hours' words name the date.
            let cause = std::mem::discriminant(&by);
            if held_before.insert((key_id.clone(), format!("{cause:?}"))) {
                come(&key_id, &user, ComingKind::Held(by));
            }
        }
        state.disabled_today = 0;
    }
    foreseen.coming.sort_by(|left, right| {
        let order =
            |coming: &Coming| (coming.on, rank(&coming.what), coming.user.clone(), coming.key_id.clone());
        order(left).cmp(&order(right))
    });
    foreseen
}

/// What people want to see first on a date.
fn rank(what: &ComingKind) -> u8 {
    match what {
        ComingKind::Disable(_) => 0,
        ComingKind::Held(_) => 1,
        ComingKind::ExemptionEnds => 2,
        ComingKind::Notice(_) => 3,
    }
}

/// When that date's sweep runs: at the time of day that it is now, or once disabling opens on that date.
fn moment(policy: &Policy, now: Timestamp, ahead: u32) -> Timestamp {
    let at = now.saturating_add(SignedDuration::from_hours(i64::from(ahead) * 24)).unwrap_or(Timestamp::MAX);
    if ahead == 0 || policy.disabling_open(at).is_ok() {
        return at;
    }
    let date = utc_date(at);
    let Ok(midnight) = date.to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp()) else { return at };
    match policy.disabling_open(midnight) {
        Ok(()) => midnight,
        Err(closed) => closed.opens_at.filter(|opens| utc_date(*opens) == date).unwrap_or(at),
    }
}

/// A look at the account that finds everything as it is known.
fn as_it_stands(state: &mut AccountState, now: Timestamp, at: Timestamp) -> Observations {
    // Of root nothing is foreseen.
    let mut seen = Observations { root_keys: Some(Vec::new()), ..Observations::default() };
    for key in &mut state.keys {
        // What was read lately stays true; what was read long ago is no truer for being looked at here.
        if let Some(used) = &mut key.last_use
            && now.duration_since(used.seen_at) <= SignedDuration::from_hours(24)
        {
            used.seen_at = used.seen_at.max(at);
        }
        let (Some(user), Some(mark)) = (key.holder.subject.user(), &key.status) else { continue };
        let listed =
            ListedKey { key_id: key.key_id.clone(), status: mark.status.clone(), created: key.born() };
        let user = seen.users.entry(user.to_owned()).or_insert_with(|| SeenUser {
            owner: None,
            keys: Some(Vec::new()),
            at,
        });
        if let Some(keys) = &mut user.keys {
            keys.push(listed);
        }
    }
    seen
}

/// What a confirmed notice leaves on its key, as a sweep would write it.
fn mark_of(notice: &PlannedNotice, mode: Mode, at: Timestamp) -> NoticeMark {
    NoticeMark {
        epoch: notice.epoch.clone(),
        stage: notice.stage,
        ground: notice.ground,
        at,
        disable_on: notice.disable_on,
        mode: if notice.in_earnest { mode } else { mode.min(Mode::Notify) },
    }
}

fn ends_of_exemptions(state: &AccountState, mode: Mode, now: Timestamp, dates: u32) -> Vec<Coming> {
    let last = dates_after(utc_date(now), dates);
    let ends = |key: &Key| {
        let until = state.exemptions.get(&key.key_id)?.ends(now);
        (until > now && utc_date(until) <= last).then(|| Coming {
            on: utc_date(until),
            account: state.account.clone(),
            mode,
            key_id: key.key_id.clone(),
            user: key.holder.subject.user().unwrap_or_default().to_owned(),
            what: ComingKind::ExemptionEnds,
        })
    };
    state.keys.iter().filter_map(ends).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cloudtrail::Status,
        key::{Sighting, sight},
        lifecycle::{Exemption, days_after},
        owner::{Owner, OwnerTags},
    };

    const NOW: &str = "2026-06-01T08:00:00Z";

    fn now() -> Timestamp {
        NOW.parse().unwrap()
    }

    /// An account with one key of each of these ages, in days.
    fn state(ages: &[i64]) -> AccountState {
        let account = AccountId::parse("111122223333").unwrap();
        let owner = Owner {
            user_id: "AIDA1".to_owned(),
            path: "/".to_owned(),
            tags: OwnerTags::from_tags([("slack-id", "U0ALICE01")]),
            seen_at: now(),
        };
        let key = |(number, age): (usize, &i64)| {
            let sighting = Sighting {
                account: account.clone(),
                key_id: format!("AKIA{number:03}"),
                user: format!("user-{number:03}"),
                status: Status::Active,
                created: Some(now().checked_sub(SignedDuration::from_hours(age * 24)).unwrap()),
                at: now(),
            };
            sight(None, &sighting, Some(&owner))
        };
        AccountState {
            keys: ages.iter().enumerate().map(key).collect(),
            account: account.clone(),
            exemptions: BTreeMap::new(),
            baseline_at: Some(now()),
            enforced_since: None,
            restored_at: None,
            unaccepted: None,
            disabled_today: 0,
            halt: None,
            approved: Vec::new(),
        }
    }

    fn policy(mode: &str) -> Policy {
        Policy::parse(&format!("[modes]\n{mode} = [\"111122223333\"]\n")).unwrap()
    }

    /// What comes, as days from now and a word.
    fn told(foreseen: &Foreseen) -> Vec<(i32, String)> {
        let days = |coming: &Coming| (coming.on - utc_date(now())).get_days();
        let word = |what: &ComingKind| match what {
            ComingKind::ExemptionEnds => "exemption ends".to_owned(),
            ComingKind::Notice(notice) => notice.stage.to_string(),
            ComingKind::Disable(_) => "disable".to_owned(),
            ComingKind::Held(by) => format!("held: {by}"),
        };
        foreseen.coming.iter().map(|coming| (days(coming), word(&coming.what))).collect()
    }

    fn pairs(expected: &[(i32, &str)]) -> Vec<(i32, String)> {
        expected.iter().map(|(day, word)| (*day, (*word).to_owned())).collect()
    }

    #[test]
    fn a_young_key_is_told_of_three_times_and_disabled() {
        let foreseen = foresee(&state(&[70]), &policy("enforce"), now(), 30);
        let expected = [(6, "notice-76"), (11, "notice-81"), (16, "notice-86"), (21, "disable")];
        assert_eq!(told(&foreseen), pairs(&expected));
        let short = foresee(&state(&[70]), &policy("enforce"), now(), 15);
        assert_eq!(told(&short), pairs(&expected[..2]));
    }

    #[test]
    fn an_old_key_is_never_disabled_before_it_was_told_of() {
        let foreseen = foresee(&state(&[400]), &policy("enforce"), now(), 30);
        assert_eq!(told(&foreseen), pairs(&[(0, "notice-86"), (5, "disable")]));
    }

    #[test]
    fn outside_enforce_the_day_is_said_once_and_what_stops_it() {
        let foreseen = foresee(&state(&[400]), &policy("notify"), now(), 12);
        let expected = [
            (0, "notice-86"),
            (5, "held: the account is in notify"),
            (5, "reminder-2026-06-06"),
            (10, "reminder-2026-06-11"),
        ];
        assert_eq!(told(&foreseen), pairs(&expected));
    }

    #[test]
    fn the_cap_spreads_the_disables_over_the_dates() {
        let foreseen = foresee(&state(&[400; 30]), &policy("enforce"), now(), 30);
        let mut by_day = BTreeMap::<i32, usize>::new();
        for (day, _) in told(&foreseen).iter().filter(|(_, word)| word == "disable") {
            *by_day.entry(*day).or_default() += 1;
        }
        assert_eq!(by_day.get(&5), Some(&3), "a tenth of thirty");
        assert!(by_day.values().all(|count| *count <= 3), "{by_day:?}");
        assert_eq!(by_day.values().sum::<usize>(), 30);
    }

    #[test]
    fn an_exemptions_end_begins_with_a_notice() {
        let mut state = state(&[400]);
        let exemption = Exemption {
            reason: "a migration".to_owned(),
            author: "arn:aws:iam::111122223333:user/bo".to_owned(),
            granted_at: now(),
            until: days_after(now(), 10),
        };
        state.exemptions.insert("AKIA000".to_owned(), exemption);
        let foreseen = foresee(&state, &policy("enforce"), now(), 30);
        let expected =
            [(3, "exemption-ending-2026-06-11"), (10, "exemption ends"), (10, "notice-86"), (15, "disable")];
        assert_eq!(told(&foreseen), pairs(&expected));
    }

    #[test]
    fn hours_move_a_disable_to_where_they_are_open() {
        let text = "[modes]\nenforce = [\"111122223333\"]\n[disabling]\nhours = \"10:00-12:00\"\nweekdays = \
                    [\"wed\"]\ntime-zone = \"UTC\"\n";
        let Ok(policy) = Policy::parse(text) else { panic!("{:?}", Policy::parse(text)) };
        let foreseen = foresee(&state(&[400]), &policy, now(), 30);
        let disabled = foreseen.coming.iter().find(|coming| matches!(coming.what, ComingKind::Disable(_)));
        // Told on Monday the 1st; the Wednesday after the five dates is the 10th.
        assert_eq!(disabled.unwrap().on.to_string(), "2026-06-10");
    }

    #[test]
    fn what_cannot_be_foreseen_is_said() {
        let mut state = state(&[400, 5]);
        state.keys[0].listed_birth = None;
        let foreseen = foresee(&state, &policy("enforce"), now(), 30);
        assert_eq!(foreseen.unknown.len(), 1);
        assert_eq!(foreseen.unknown[0].key_id, "AKIA000");
        assert_eq!(foreseen.coming, []);
    }
}
