//! Promises 2 and 3, over whole lives: whatever happens to a key, it is told of in time, and it is disabled
//! only after a notice that still holds.
//!
//! The rules that judge are written here on their own, from the promises, and share nothing with the code.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp, civil::Date};
use keytide_core::{
    AccountId,
    cloudtrail::Status,
    delivery::{NoticeDay, Stage},
    key::{Key, NoticeMark, Sighting, sight},
    lifecycle::Exemption,
    owner::{ListedKey, Owner, OwnerTags},
    plan::{AccountState, HeldBy, Observations, SeenUser, SweepPlan, plan},
    policy::{Mode, Policy},
};
use proptest::prelude::*;

const ACCOUNT: &str = "111122223333";
const KEY: &str = "AKIATIDEWATERALICE77";

fn policy(mode: Mode) -> Policy {
    Policy::parse(&format!("[modes]\n{} = [\"{ACCOUNT}\"]\n", mode.as_str())).unwrap()
}

fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

fn date(at: Timestamp) -> Date {
    at.to_zoned(jiff::tz::TimeZone::UTC).date()
}

fn dates_between(from: Timestamp, to: Timestamp) -> i64 {
    let (from, to) = (date(from), date(to));
    i64::from((to - from).get_days())
}

/// What is done to a key before a day's run.
#[derive(Debug, Clone, PartialEq)]
enum Deed {
    Nothing,
    /// No run on that day.
    Missed,
    /// The owner sets it Inactive and, hours later, Active.
    OffAndOn,
    SetActive,
    SetInactive,
    Exempt {
        days: i64,
    },
    Mode(Mode),
    Halt,
    Resume,
    /// Slack does not confirm what is sent on that day.
    SlackDown,
    /// The user could not be listed.
    Unseen,
    /// The ledger comes from a backup.
    Restored,
}

/// A company of one key, day by day.
struct Life {
    born: Timestamp,
    now: Timestamp,
    mode: Mode,
    status: Status,
    state: AccountState,
    /// What was told, in which mode, when, naming which date.
    told: Vec<(Timestamp, Mode, Stage, Date)>,
    /// Whatever begins an arming epoch.
    arming: Vec<Timestamp>,
    /// Those that begin an epoch.
    reactivations: Vec<Timestamp>,
    graced: Option<Timestamp>,
    disabled: Vec<Timestamp>,
}

impl Life {
    fn begin(born: Timestamp) -> Self {
        let state = AccountState {
            account: ACCOUNT.parse().unwrap(),
            keys: Vec::new(),
            exemptions: BTreeMap::new(),
            baseline_at: Some(born),
            enforced_since: None,
            restored_at: None,
            unaccepted: None,
            disabled_today: 0,
            halt: None,
            approved: Vec::new(),
        };
        Self {
            born,
            now: born,
            mode: Mode::Observe,
            status: Status::Active,
            state,
            told: Vec::new(),
            arming: vec![born],
            reactivations: Vec::new(),
            graced: None,
            disabled: Vec::new(),
        }
    }

    fn set(&mut self, status: Status, at: Timestamp) {
        if status == Status::Active && self.status != Status::Active {
            let is_far = |earlier: &Timestamp| at.duration_since(*earlier) > hours(30 * 24);
            if self.reactivations.last().is_none_or(is_far) {
                self.reactivations.push(at);
                self.arming.push(at);
            }
            // Of each epoch the first that begins none gives a day's grace.
            self.graced = match self.reactivations.last() {
                Some(begun) if *begun == at => None,
                _ => self.graced.or(Some(at)),
            };
            if let Some(key) = self.state.keys.first_mut() {
                key.reactivations.told(at);
            }
        }
        if let Some(mark) = self.state.keys.first_mut().and_then(|key| key.status.as_mut()) {
            if mark.status != status {
                mark.since = at;
            }
            mark.status = status.clone();
            mark.from_creation = false;
        }
        self.status = status;
    }

    fn day(&mut self, deed: &Deed) -> Option<SweepPlan> {
        self.now = self.now.checked_add(hours(24)).unwrap();
        let earlier = self.now.checked_sub(hours(5)).unwrap();
        match deed {
            Deed::Missed => return None,
            Deed::OffAndOn => {
                self.set(Status::Inactive, self.now.checked_sub(hours(9)).unwrap());
                self.set(Status::Active, earlier);
            }
            Deed::SetActive => self.set(Status::Active, earlier),
            Deed::SetInactive => self.set(Status::Inactive, earlier),
            Deed::Exempt { days } => {
                let until = earlier.checked_add(hours(days * 24)).unwrap();
                let exemption = Exemption {
                    reason: "migration".to_owned(),
                    author: "arn:aws:iam::111122223333:role/security".to_owned(),
                    granted_at: earlier,
                    until,
                };
                self.state.exemptions.insert(KEY.to_owned(), exemption);
                self.arming.push(until);
            }
            Deed::Mode(mode) => {
                if *mode == Mode::Enforce && self.mode != Mode::Enforce {
                    self.state.enforced_since = Some(earlier);
                    self.arming.push(earlier);
                }
                if *mode != Mode::Enforce {
                    self.state.enforced_since = None;
                }
                self.mode = *mode;
            }
            Deed::Halt => self.state.halt = Some("an incident".to_owned()),
            Deed::Resume => self.state.halt = None,
            Deed::Restored => {
                self.state.restored_at = Some(earlier);
                self.arming.push(earlier);
            }
            Deed::Nothing | Deed::SlackDown | Deed::Unseen => {}
        }
        let seen = self.seen(*deed == Deed::Unseen);
        let made = plan(&self.state, &seen, &policy(self.mode), self.now);
        assert_eq!(made, plan(&self.state, &seen, &policy(self.mode), self.now), "the same plan twice");
        for change in &made.changes {
            self.state.keys = vec![change.key.clone()];
        }
        if *deed != Deed::SlackDown {
            for notice in &made.notices {
                self.told.push((self.now, self.mode, notice.stage, notice.disable_on));
                let mark = NoticeMark {
                    epoch: notice.epoch.clone(),
                    stage: notice.stage,
                    ground: notice.ground,
                    at: self.now,
                    disable_on: notice.disable_on,
                    mode: self.mode,
                };
                self.state.keys.first_mut().unwrap().notices.push(mark);
            }
        }
        Some(made)
    }

    fn seen(&self, unseen: bool) -> Observations {
        let listed =
            ListedKey { key_id: KEY.to_owned(), status: self.status.clone(), created: Some(self.born) };
        let owner = Owner {
            user_id: "AIDATIDEWATERALICE01".to_owned(),
            path: "/".to_owned(),
            tags: OwnerTags::from_tags([("slack-id", "U0ALICE01")]),
            seen_at: self.now,
        };
        let mut seen = Observations::default();
        if !unseen {
            let user = SeenUser { owner: Some(owner), keys: Some(vec![listed]), at: self.now };
            seen.users.insert("alice".to_owned(), user);
        }
        seen
    }

    fn age_days(&self) -> i64 {
        self.now.duration_since(self.born).as_hours() / 24
    }

    fn is_exempt(&self) -> bool {
        self.state.exemptions.get(KEY).is_some_and(|exemption| exemption.until > self.now)
    }

    /// The latest moment up to now that makes all earlier notices stale.
    fn armed_at(&self) -> Timestamp {
        // An exemption that another replaced never ended.
        let ended = self.state.exemptions.get(KEY).map(|exemption| exemption.until);
        let is_real =
            |at: &Timestamp| self.reactivations.contains(at) || *at == self.born || Some(*at) == ended;
        let is_real = |at: &Timestamp| {
            is_real(at) || Some(*at) == self.state.enforced_since || Some(*at) == self.state.restored_at
        };
        self.arming.iter().copied().filter(|at| *at <= self.now).filter(is_real).max().unwrap()
    }

    fn judge(&mut self, made: &SweepPlan, deed: &Deed) {
        let armed_at = self.armed_at();
        for disable in &made.disables {
            assert_eq!(disable.key_id, KEY);
            assert_eq!(self.mode, Mode::Enforce, "disabled in {:?}", self.mode);
            assert_eq!(self.status, Status::Active);
            assert!(self.state.halt.is_none(), "disabled under a halt");
            assert!(!self.is_exempt(), "disabled although exempt");
            assert!(self.age_days() >= 91, "disabled at {} days", self.age_days());
            assert_ne!(*deed, Deed::Unseen, "disabled unseen");
            let licensed = self.told.iter().any(|(at, mode, _, named)| {
                *mode == Mode::Enforce
                    && *at > armed_at
                    && dates_between(*at, self.now) >= 5
                    && *named <= date(self.now)
            });
            assert!(
                licensed,
                "no notice since {armed_at} licenses a disable at {}: {:?}",
                self.now, self.told
            );
            let last = self.told.iter().rfind(|(at, ..)| *at > armed_at).unwrap();
            assert!(last.3 <= date(self.now), "the last notice named {}", last.3);
            if let Some(again) = self.graced {
                assert!(dates_between(again, self.now) >= 1, "no day's grace");
            }
            self.disabled.push(self.now);
        }
        // Told in time: after a run that Slack answered, whoever had to know knows.
        let is_due = self.status == Status::Active && !self.is_exempt() && self.age_days() >= 76;
        let can_tell = *deed != Deed::Unseen && *deed != Deed::SlackDown;
        if is_due && can_tell && made.disables.is_empty() {
            let wanted = [86, 81, 76].into_iter().find(|day| *day <= self.age_days()).unwrap();
            let since: Vec<_> = self.told.iter().filter(|(at, ..)| *at > armed_at).collect();
            let has_stage = |(_, _, stage, _): &&&(Timestamp, Mode, Stage, Date)| matches!(stage, Stage::Notice(NoticeDay::Age(day)) if i64::from(*day) >= wanted);
            assert!(since.iter().any(|told| has_stage(&told)), "at {} days nobody was told", self.age_days());
            let (last, .., named) = since.last().unwrap();
            if self.age_days() >= 91 && *named <= date(self.now) {
                assert!(dates_between(*last, self.now) < 5, "silent since {last}, and it is {}", self.now);
            }
        }
        let mut named: Vec<_> = self.state.keys.iter().flat_map(|key| &key.notices).collect();
        named.sort_by_key(|mark| (&mark.epoch, mark.stage));
        let is_twice =
            |pair: &[&NoticeMark]| (&pair[0].epoch, pair[0].stage) == (&pair[1].epoch, pair[1].stage);
        assert!(!named.windows(2).any(is_twice), "a notice came twice in one epoch: {named:?}");
    }

    fn live(&mut self, deed: &Deed) -> Option<SweepPlan> {
        let made = self.day(deed)?;
        self.judge(&made, deed);
        if !made.disables.is_empty() {
            self.set(Status::Inactive, self.now);
        }
        Some(made)
    }
}

const BORN: &str = "2026-03-01T15:20:00Z";

fn life() -> Life {
    Life::begin(BORN.parse().unwrap())
}

fn deeds() -> impl Strategy<Value = Deed> {
    prop_oneof![
        60 => Just(Deed::Nothing),
        6 => Just(Deed::Missed),
        2 => Just(Deed::OffAndOn),
        4 => Just(Deed::SetActive),
        2 => Just(Deed::SetInactive),
        1 => (1_i64..25).prop_map(|days| Deed::Exempt { days }),
        2 => prop_oneof![Just(Mode::Observe), Just(Mode::Notify), Just(Mode::Enforce), Just(Mode::Enforce)]
            .prop_map(Deed::Mode),
        1 => Just(Deed::Halt),
        2 => Just(Deed::Resume),
        4 => Just(Deed::SlackDown),
        3 => Just(Deed::Unseen),
        1 => Just(Deed::Restored),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_notices_come_and_no_key_is_disabled_without_one(
        young in 0_usize..70,
        mode in prop_oneof![Just(Mode::Notify), Just(Mode::Enforce), Just(Mode::Enforce)],
        deeds in proptest::collection::vec(deeds(), 60..140),
    ) {
        let mut life = life();
        life.live(&Deed::Mode(mode));
        for _ in 0..young {
            life.live(&Deed::Nothing);
        }
        for deed in &deeds {
            life.live(deed);
        }
    }
}

fn stages(life: &Life) -> Vec<String> {
    life.told
        .iter()
        .map(|(at, _, stage, named)| format!("day {} {stage} names {named}", dates_between(life.born, *at)))
        .collect()
}

#[test]
fn a_key_is_told_of_three_times_and_disabled_on_its_day() {
    let mut life = life();
    life.live(&Deed::Mode(Mode::Enforce));
    for _ in 0..95 {
        life.live(&Deed::Nothing);
    }
    assert_eq!(
        stages(&life),
        [
            "day 76 notice-76 names 2026-05-31",
            "day 81 notice-81 names 2026-05-31",
            "day 86 notice-86 names 2026-05-31"
        ]
    );
    assert_eq!(life.disabled, ["2026-05-31T15:20:00Z".parse().unwrap()]);
}

#[test]
fn of_several_missed_notices_only_the_latest_comes_and_the_date_moves() {
    let mut life = life();
    life.live(&Deed::Mode(Mode::Enforce));
    for _ in 0..88 {
        life.day(&Deed::Missed);
    }
    for _ in 0..10 {
        life.live(&Deed::Nothing);
    }
    assert_eq!(stages(&life), ["day 90 notice-86 names 2026-06-04"]);
    assert_eq!(life.disabled, ["2026-06-04T15:20:00Z".parse().unwrap()]);
}

#[test]
fn outside_enforce_a_key_past_its_day_is_told_of_every_five_days_and_left_alone() {
    let mut life = life();
    life.live(&Deed::Mode(Mode::Notify));
    for _ in 0..104 {
        life.live(&Deed::Nothing);
    }
    let told: Vec<i64> = life.told.iter().map(|(at, ..)| dates_between(life.born, *at)).collect();
    assert_eq!(told, [76, 81, 86, 91, 96, 101]);
    assert!(life.disabled.is_empty());
}

#[test]
fn notices_from_before_enforce_license_nothing() {
    let mut life = life();
    life.live(&Deed::Mode(Mode::Notify));
    for _ in 0..99 {
        life.live(&Deed::Nothing);
    }
    life.live(&Deed::Mode(Mode::Enforce));
    assert!(life.disabled.is_empty());
    for _ in 0..5 {
        life.live(&Deed::Nothing);
    }
    assert_eq!(life.disabled.len(), 1);
    assert_eq!(dates_between(life.born, life.disabled[0]), 106, "five dates after the new notice");
}

#[test]
fn a_reactivated_key_gets_five_dates_once_and_a_day_the_second_time() {
    let mut life = life();
    life.live(&Deed::Mode(Mode::Enforce));
    for _ in 0..90 {
        life.live(&Deed::Nothing);
    }
    assert_eq!(life.disabled.len(), 1);
    life.live(&Deed::SetActive);
    for _ in 0..5 {
        life.live(&Deed::Nothing);
    }
    assert_eq!(life.disabled.len(), 2, "{:?}", stages(&life));
    assert_eq!(dates_between(life.disabled[0], life.disabled[1]), 6);
    let again = life.live(&Deed::SetActive).unwrap();
    assert_eq!(again.notices.len(), 1);
    assert_eq!(again.notices[0].severity, keytide_core::alert::Severity::Critical);
    life.live(&Deed::Nothing);
    assert_eq!(life.disabled.len(), 3, "{:?}", stages(&life));
}

/// An event that sets an active key Active costs its owner nothing: it must not keep the key.
#[test]
fn no_number_of_reactivations_keeps_a_key() {
    for (from, every, burst) in [(60, 1, 1), (85, 1, 1), (60, 1, 20), (80, 4, 20), (70, 5, 17), (0, 1, 2)] {
        let mut life = life();
        life.live(&Deed::Mode(Mode::Enforce));
        let mut first = None;
        for day in 0..150 {
            let made = life.day(&Deed::Nothing).unwrap();
            if let (None, Some(disable)) = (first, made.disables.first()) {
                first = Some(disable.age_days);
            }
            if day >= from && day % every == 0 {
                for second in 0..burst {
                    let at = life.now.checked_add(SignedDuration::from_secs(second * 60)).unwrap();
                    let key = life.state.keys.first_mut().unwrap();
                    key.reactivations.told(at);
                }
            }
        }
        let age = first.unwrap_or(u32::MAX);
        assert!(age <= 91 + 37, "from day {from} on, every {every}, {burst} at once: {age}");
    }
}

#[test]
fn what_holds_a_disable_is_said() {
    let mut life = life();
    life.live(&Deed::Mode(Mode::Enforce));
    for _ in 0..89 {
        life.live(&Deed::Nothing);
    }
    let held = life.live(&Deed::Halt).unwrap();
    assert_eq!(held.held.len(), 1);
    assert_eq!(held.held[0].by, HeldBy::Halt("an incident".to_owned()));
    let held = life.live(&Deed::Unseen).unwrap();
    assert_eq!(held.held[0].by, HeldBy::Halt("an incident".to_owned()), "the weightiest first");
    life.state.halt = None;
    let held = life.live(&Deed::Unseen).unwrap();
    assert_eq!(held.held[0].by, HeldBy::NotSeen);
    life.live(&Deed::Nothing);
    assert_eq!(life.disabled.len(), 1);
}

#[test]
fn a_birth_ahead_of_our_clock_is_said_and_disables_nothing() {
    let mut life = life();
    life.live(&Deed::Mode(Mode::Enforce));
    life.born = life.now.checked_add(hours(24 * 500)).unwrap();
    let made = life.live(&Deed::Nothing).unwrap();
    assert!(made.findings.iter().any(|finding| finding.what == keytide_core::plan::FindingKind::BornAhead));
    assert!(made.disables.is_empty() && made.notices.is_empty());
}

#[test]
fn an_exempt_key_is_left_alone_and_its_owner_is_told_a_week_before_the_end() {
    let mut life = life();
    life.live(&Deed::Mode(Mode::Enforce));
    for _ in 0..69 {
        life.live(&Deed::Nothing);
    }
    life.live(&Deed::Exempt { days: 30 });
    for _ in 0..50 {
        life.live(&Deed::Nothing);
    }
    let told = stages(&life);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("day 94 exemption-ending-"), "{told:?}");
    assert_eq!(told[1], "day 101 notice-86 names 2026-06-15", "{told:?}");
    assert_eq!(dates_between(life.born, life.disabled[0]), 106);
}

/// Whoever may write the table can write an exemption that no command would.
#[test]
fn an_exemption_that_no_command_granted_ends_after_180_days_or_does_not_count() {
    let exempt = |life: &mut Life, granted: i64, days: i64| {
        let granted_at = life.now.checked_add(hours(granted * 24)).unwrap();
        let until = granted_at.checked_add(hours(days * 24)).unwrap();
        let (reason, author) = ("forged".to_owned(), "nobody".to_owned());
        let exemption = Exemption { reason, author, granted_at, until };
        life.state.exemptions.insert(KEY.to_owned(), exemption);
    };
    let days_of_disables = |granted: i64, days: i64| {
        let mut life = life();
        life.live(&Deed::Mode(Mode::Enforce));
        exempt(&mut life, granted, days);
        let mut findings = 0;
        for _ in 0..220 {
            let made = life.day(&Deed::Nothing).unwrap();
            findings +=
                made.findings.iter().filter(|finding| finding.what.to_string().contains("180 days")).count();
            if let Some(disable) = made.disables.first() {
                return (disable.age_days, findings > 0);
            }
        }
        (0, findings > 0)
    };
    assert_eq!(days_of_disables(0, 3_000), (186, true));
    assert_eq!(days_of_disables(100, 3_000), (91, false));
}

/// Two clocks may differ by five minutes, and no more.
#[test]
fn an_exemption_granted_a_little_ahead_counts() {
    let now: Timestamp = "2026-05-04T09:00:00Z".parse().unwrap();
    let ends = |ahead: i64| {
        let granted_at = now.checked_add(SignedDuration::from_secs(ahead)).unwrap();
        let until = granted_at.checked_add(hours(24)).unwrap();
        Exemption { reason: String::new(), author: String::new(), granted_at, until }.ends(now) > now
    };
    assert!(ends(0) && ends(300));
    assert!(!ends(301));
}

#[test]
fn a_notice_that_was_not_in_earnest_licenses_nothing() {
    let mut life = life();
    life.live(&Deed::Mode(Mode::Enforce));
    for _ in 0..88 {
        life.live(&Deed::Nothing);
    }
    // As for a user who was a break-glass user until today.
    for mark in &mut life.state.keys[0].notices {
        mark.mode = Mode::Notify;
    }
    for _ in 0..3 {
        let made = life.day(&Deed::Nothing).unwrap();
        assert!(made.disables.is_empty(), "{made}");
    }
    let held = life.day(&Deed::SlackDown).unwrap();
    assert_eq!(held.held[0].by, HeldBy::NoLicence);
}

#[test]
fn the_account_s_cap_holds_back_what_is_above_it_until_that_very_plan_is_approved() {
    let account: AccountId = ACCOUNT.parse().unwrap();
    let born: Timestamp = BORN.parse().unwrap();
    let now = born.checked_add(hours(95 * 24)).unwrap();
    let told = born.checked_add(hours(86 * 24)).unwrap();
    let mut seen = Observations::default();
    let mut keys: Vec<Key> = Vec::new();
    for number in 0..5 {
        let (key_id, user) = (format!("AKIATIDEWATERCAPPED{number}"), format!("user-{number}"));
        let listed = ListedKey { key_id: key_id.clone(), status: Status::Active, created: Some(born) };
        let owner = Owner {
            user_id: format!("AIDATIDEWATERCAPPED{number}"),
            path: "/".to_owned(),
            tags: OwnerTags::from_tags([]),
            seen_at: now,
        };
        seen.users
            .insert(user.clone(), SeenUser { owner: Some(owner.clone()), keys: Some(vec![listed]), at: now });
        let sighting = Sighting {
            account: account.clone(),
            key_id,
            user,
            status: Status::Active,
            created: Some(born),
            at: told,
        };
        let mut key = sight(None, &sighting, Some(&owner));
        key.notices.push(NoticeMark {
            epoch: born.to_string(),
            stage: Stage::Notice(NoticeDay::Age(86)),
            ground: keytide_core::key::Ground::Age,
            at: told,
            disable_on: date(born.checked_add(hours(91 * 24)).unwrap()),
            mode: Mode::Enforce,
        });
        keys.push(key);
    }
    let mut state = life().state;
    state.keys = keys;
    let policy = policy(Mode::Enforce);
    let first = plan(&state, &seen, &policy, now);
    assert_eq!((first.disables.len(), first.held.len()), (2, 3));
    assert!(first.held.iter().all(|held| held.by == HeldBy::AccountCap { most: 2 }));
    state.disabled_today = 1;
    assert_eq!(plan(&state, &seen, &policy, now).disables.len(), 1, "what was done today counts");
    state.disabled_today = 0;
    state.approved = vec![first.hash()];
    assert_eq!(plan(&state, &seen, &policy, now).disables.len(), 5, "exactly that plan");
    // The channel is told of the cap while what it allows is disabled: the approval comes after that.
    let done: Vec<&str> = first.disables.iter().map(|disable| disable.key_id.as_str()).collect();
    state.keys.retain(|key| !done.contains(&key.key_id.as_str()));
    state.disabled_today = 2;
    assert_eq!(plan(&state, &seen, &policy, now).disables.len(), 3, "the rest of that plan");
    state.keys.pop();
    let another = plan(&state, &seen, &policy, now);
    assert_eq!((another.disables.len(), another.held.len()), (0, 2), "another plan is not approved");
}

/// A key on its 92nd day that was told of on its 86th, in `enforce`: due, whatever the rest says.
fn due_key() -> (AccountState, Observations, Timestamp) {
    let born: Timestamp = BORN.parse().unwrap();
    let now = born.checked_add(hours(92 * 24)).unwrap();
    let mut life = life();
    life.now = now;
    let seen = life.seen(false);
    let listed = Sighting {
        account: ACCOUNT.parse().unwrap(),
        key_id: KEY.to_owned(),
        user: "alice".to_owned(),
        status: Status::Active,
        created: Some(born),
        at: born.checked_add(hours(24)).unwrap(),
    };
    let mut key = sight(None, &listed, seen.users["alice"].owner.as_ref());
    key.notices.push(NoticeMark {
        epoch: born.to_string(),
        stage: Stage::Notice(NoticeDay::Age(86)),
        ground: keytide_core::key::Ground::Age,
        at: born.checked_add(hours(86 * 24)).unwrap(),
        disable_on: date(born.checked_add(hours(91 * 24)).unwrap()),
        mode: Mode::Enforce,
    });
    life.state.keys = vec![key];
    (life.state, seen, now)
}

/// Promise 3, each condition on its own: with all of them the key is disabled, without any one it is not.
#[test]
fn each_condition_alone_stops_a_disable() {
    let enforced =
        |more: &str| Policy::parse(&format!("[modes]\nenforce = [\"{ACCOUNT}\"]\n{more}")).unwrap();
    let plain = enforced("");
    let (state, seen, now) = due_key();
    assert_eq!(plan(&state, &seen, &plain, now).disables.len(), 1, "with all of them it is disabled");

    let stopped = |what: &str, state: &AccountState, seen: &Observations, policy: &Policy, now: Timestamp| {
        let made = plan(state, seen, policy, now);
        assert!(made.disables.is_empty(), "{what}: {made}");
        made.held.into_iter().map(|held| held.by).next()
    };
    for mode in [Mode::Observe, Mode::Notify] {
        assert_eq!(stopped("mode", &state, &seen, &policy(mode), now), Some(HeldBy::Mode(mode)));
    }
    let glass = enforced(&format!("[[break-glass]]\naccount = \"{ACCOUNT}\"\nuser = \"alice\"\n"));
    assert_eq!(stopped("break-glass", &state, &seen, &glass, now), Some(HeldBy::BreakGlass));
    let closed = enforced("[disabling]\ntime-zone = \"UTC\"\nhours = \"01:00-02:00\"\n");
    assert!(matches!(stopped("hours", &state, &seen, &closed, now), Some(HeldBy::Hours(_))));

    let mut halted = state.clone();
    halted.halt = Some("an incident".to_owned());
    assert!(matches!(stopped("halt", &halted, &seen, &plain, now), Some(HeldBy::Halt(_))));
    assert_eq!(stopped("unseen", &state, &Observations::default(), &plain, now), Some(HeldBy::NotSeen));

    let mut nobody = seen.clone();
    nobody.users.get_mut("alice").unwrap().owner = None;
    let mut untagged = state.clone();
    untagged.keys[0].owner = None;
    assert_eq!(stopped("tags", &untagged, &nobody, &plain, now), Some(HeldBy::TagsUnknown));

    let mut young = seen.clone();
    let born = BORN.parse::<Timestamp>().unwrap().checked_add(hours(25)).unwrap();
    young.users.get_mut("alice").unwrap().keys.as_mut().unwrap()[0].created = Some(born);
    stopped("an hour too young, by a listing", &state, &young, &plain, now);

    let mark = |change: &dyn Fn(&mut NoticeMark)| {
        let mut state = state.clone();
        change(&mut state.keys[0].notices[0]);
        state
    };
    let recent = now.checked_sub(hours(3 * 24)).unwrap();
    stopped("four dates", &mark(&|mark| mark.at = recent), &seen, &plain, now);
    let tomorrow = date(now.checked_add(hours(24)).unwrap());
    stopped("a date to come", &mark(&|mark| mark.disable_on = tomorrow), &seen, &plain, now);
    stopped("another epoch", &mark(&|mark| "x".clone_into(&mut mark.epoch)), &seen, &plain, now);
    stopped("not in earnest", &mark(&|mark| mark.mode = Mode::Notify), &seen, &plain, now);
    let unused = keytide_core::key::Ground::Unused;
    stopped("for another reason", &mark(&|mark| mark.ground = unused), &seen, &plain, now);
}

#[test]
fn a_day_is_twenty_four_hours_and_not_a_date() {
    let (state, seen, _) = due_key();
    let born: Timestamp = BORN.parse().unwrap();
    let early = born.checked_add(hours(91 * 24 - 1)).unwrap();
    let plain = policy(Mode::Enforce);
    assert!(
        plan(&state, &seen, &plain, early).disables.is_empty(),
        "an hour before its ninety-first day ends"
    );
    let then = born.checked_add(hours(91 * 24)).unwrap();
    assert_eq!(plan(&state, &seen, &plain, then).disables.len(), 1);
}

/// Whoever may tag a user could have it told early, take the tag away, and set it again much later.
#[test]
fn a_notice_that_nobody_followed_up_lapses_and_licenses_no_sudden_disable() {
    let (mut state, seen, now) = due_key();
    let mark = &mut state.keys[0].notices[0];
    mark.at = now.checked_sub(hours(40 * 24)).unwrap();
    mark.disable_on = date(now.checked_sub(hours(11 * 24)).unwrap());
    let made = plan(&state, &seen, &policy(Mode::Enforce), now);
    assert!(made.disables.is_empty(), "{made}");
    assert_eq!(made.notices.len(), 1, "{made}");
    let soonest = date(now.checked_add(hours(5 * 24)).unwrap());
    assert_eq!(made.notices[0].disable_on, soonest, "told anew, with a date to come");
    state.keys[0].notices[0].disable_on = date(now.checked_sub(hours(10 * 24)).unwrap());
    assert_eq!(plan(&state, &seen, &policy(Mode::Enforce), now).disables.len(), 1, "ten dates it holds");
}
