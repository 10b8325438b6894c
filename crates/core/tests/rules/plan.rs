//! What a sweep's plan says: who is told and how loudly, what is found, what comes, what the caps let through.

use std::collections::BTreeMap;

use keytide_core::{
    alert::Severity,
    cloudtrail::{Status, Subject},
    delivery::{NoticeDay, Stage},
    key::{Deletion, Key, LastUse},
    lifecycle::Exemption,
    owner::ListedKey,
    plan::{
        AccountState, FindingKind, HeldBy, Observations, PlannedNotice, SeenUser, SweepPlan, UpcomingKind,
        plan,
    },
    policy::{Mode, Policy},
};

use crate::common::{ACCOUNT, at, key, on, owner, told};

/// Days 76, 81, 86 and 91 of a key born then end on 16, 21, 26 and 31 May, at this time of day.
pub(crate) const BORN: &str = "2026-03-01T15:20:00Z";
pub(crate) const ALICE: &str = "AKIATIDEWATERALICE77";

pub(crate) fn alice() -> Key {
    key(ALICE, "alice", BORN)
}

/// alice's key, told of on 26 May in `enforce`: to be disabled on 31 May.
pub(crate) fn due() -> Key {
    let mut key = alice();
    key.notices.push(told(BORN, age(86), "2026-05-26T16:00:00Z", "2026-05-31"));
    key
}

pub(crate) const DUE_AT: &str = "2026-05-31T16:00:00Z";

/// An account with these keys, first swept before any of them.
pub(crate) fn account(keys: &[Key]) -> AccountState {
    AccountState {
        account: ACCOUNT.parse().unwrap(),
        keys: keys.to_vec(),
        exemptions: BTreeMap::new(),
        baseline_at: Some(at("2026-02-01T04:00:00Z")),
        enforced_since: None,
        restored_at: None,
        unaccepted: None,
        disabled_today: 0,
        halt: None,
        approved: Vec::new(),
    }
}

pub(crate) fn policy(mode: Mode, rest: &str) -> Policy {
    Policy::parse(&format!("[modes]\n{mode} = [\"{ACCOUNT}\"]\n{rest}")).unwrap()
}

pub(crate) fn break_glass() -> String {
    format!("[[break-glass]]\naccount = \"{ACCOUNT}\"\nuser = \"alice\"\n")
}

/// Listings that show these keys as the ledger has them, in an account without a key of root's.
fn listed(keys: &[Key], now: &str) -> Observations {
    let mut seen = Observations { root_keys: Some(Vec::new()), ..Observations::default() };
    for key in keys {
        let status = key.status.as_ref().map_or(Status::Active, |mark| mark.status.clone());
        let listed = ListedKey { key_id: key.key_id.clone(), status, created: key.born() };
        let user = SeenUser { owner: None, keys: Some(vec![listed]), at: at(now) };
        seen.users.insert(key.holder.subject.user().unwrap().to_owned(), user);
    }
    seen
}

fn planned(state: &AccountState, policy: &Policy, now: &str) -> SweepPlan {
    plan(state, &listed(&state.keys, now), policy, at(now))
}

fn age(day: u32) -> Stage {
    Stage::Notice(NoticeDay::Age(day))
}

fn the_notice(made: &SweepPlan) -> &PlannedNotice {
    assert_eq!(made.notices.len(), 1, "{made}");
    &made.notices[0]
}

pub(crate) fn exemption(granted_at: &str, until: &str) -> Exemption {
    Exemption {
        reason: "migration".to_owned(),
        author: "arn:aws:iam::111122223333:role/security".to_owned(),
        granted_at: at(granted_at),
        until: at(until),
    }
}

#[test]
fn a_key_is_stock_only_if_the_first_sweep_could_list_it() {
    let mut state = account(&[]);
    state.baseline_at = Some(at("2026-05-04T04:00:00Z"));
    let born = |born: &str| key(ALICE, "alice", born);
    assert!(state.is_stock(&born("2026-05-04T03:59:00Z")));
    assert!(!state.is_stock(&born("2026-05-04T03:59:01Z")), "IAM shows what was made a minute later");
    let mut unborn = alice();
    unborn.listed_birth = None;
    assert!(!state.is_stock(&unborn), "what is not known is no stock");
    state.baseline_at = None;
    assert!(state.is_stock(&unborn), "before the first sweep everything is");
}

#[test]
fn a_plan_is_empty_only_if_nothing_is_to_be_done() {
    let policy = policy(Mode::Enforce, "");
    let quiet = account(&[alice()]);
    let made = planned(&quiet, &policy, "2026-05-15T16:00:00Z");
    assert!(made.is_empty(), "{made}");
    assert!(!made.upcoming.is_empty(), "what comes is not to be done yet");

    let noticed = planned(&quiet, &policy, "2026-05-16T16:00:00Z");
    assert!(noticed.changes.is_empty() && noticed.disables.is_empty() && noticed.root_keys.is_empty());
    assert_eq!((noticed.notices.len(), noticed.is_empty()), (1, false));

    let disabling = planned(&account(&[due()]), &policy, DUE_AT);
    assert!(disabling.changes.is_empty() && disabling.notices.is_empty() && disabling.root_keys.is_empty());
    assert_eq!((disabling.disables.len(), disabling.is_empty()), (1, false));

    let now = "2026-05-15T16:00:00Z";
    let mut seen = listed(&quiet.keys, now);
    let last_use = LastUse { at: None, service: None, region: None, seen_at: at(now) };
    seen.last_use.insert(ALICE.to_owned(), last_use);
    let changed = plan(&quiet, &seen, &policy, at(now));
    assert!(changed.notices.is_empty() && changed.disables.is_empty() && changed.root_keys.is_empty());
    assert_eq!((changed.changes.len(), changed.is_empty()), (1, false));

    let mut seen = listed(&quiet.keys, now);
    seen.root_keys = Some(vec![Some(at("2026-05-14T10:00:00Z"))]);
    let root = plan(&quiet, &seen, &policy, at(now));
    assert!(root.changes.is_empty() && root.notices.is_empty() && root.disables.is_empty());
    assert_eq!((root.root_keys.len(), root.is_empty()), (1, false));
}

#[test]
fn owners_are_told_from_notify_on_and_it_is_in_earnest_in_enforce_alone() {
    let state = account(&[alice()]);
    let told = |mode, rest: &str| {
        let made = planned(&state, &policy(mode, rest), "2026-05-16T16:00:00Z");
        let notice = the_notice(&made);
        (notice.tell_owner, notice.in_earnest, notice.severity)
    };
    assert_eq!(told(Mode::Observe, ""), (false, false, Severity::Notice));
    assert_eq!(told(Mode::Notify, ""), (true, false, Severity::Notice));
    assert_eq!(told(Mode::Enforce, ""), (true, true, Severity::Notice));
    let glass = break_glass();
    assert_eq!(told(Mode::Enforce, &glass), (true, false, Severity::Critical), "never in earnest");
    assert_eq!(told(Mode::Notify, &glass), (true, false, Severity::Critical));
}

#[test]
fn a_notice_is_a_warning_after_a_reactivation_and_as_a_reminder_and_critical_if_set_active_once_more() {
    let notice = |key: Key, now: &str| {
        let made = planned(&account(&[key]), &policy(Mode::Notify, ""), now);
        let notice = the_notice(&made);
        (notice.stage, notice.severity)
    };
    let reminder = |date: &str| Stage::Reminder(on(date));
    assert_eq!(notice(due(), "2026-06-01T16:00:00Z"), (reminder("2026-05-31"), Severity::Warning));

    let mut reactivated = alice();
    reactivated.reactivations.told(at("2026-05-01T10:00:00Z"));
    assert_eq!(notice(reactivated.clone(), "2026-05-16T16:00:00Z"), (age(76), Severity::Warning));
    // Soon after is no news while an ordinary notice says it all.
    reactivated.reactivations.told(at("2026-05-15T10:00:00Z"));
    assert_eq!(notice(reactivated.clone(), "2026-05-16T16:00:00Z"), (age(76), Severity::Warning));
    reactivated.notices = vec![told("2026-05-01T10:00:00Z", age(86), "2026-05-26T16:00:00Z", "2026-05-31")];
    assert_eq!(notice(reactivated, DUE_AT), (reminder("2026-05-31"), Severity::Critical));

    // Twice before anybody was told of anything: the first notice says it.
    let mut twice = due();
    twice.notices.clear();
    twice.reactivations.told(at("2026-06-01T12:00:00Z"));
    assert_eq!(notice(twice.clone(), "2026-06-02T06:00:00Z"), (age(86), Severity::Warning));
    twice.reactivations.told(at("2026-06-02T05:00:00Z"));
    assert_eq!(notice(twice, "2026-06-02T06:00:00Z"), (age(86), Severity::Critical));
}

#[test]
fn who_is_disabled_now_is_told_of_that_and_of_the_notice_only_if_it_is_refused() {
    let mut state = account(&[due()]);
    let policy = policy(Mode::Enforce, "");
    let made = planned(&state, &policy, DUE_AT);
    assert_eq!((made.disables.len(), made.notices.len(), made.if_refused.len()), (1, 0, 1), "{made}");
    state.halt = Some("an incident".to_owned());
    let made = planned(&state, &policy, DUE_AT);
    assert_eq!((made.disables.len(), made.notices.len(), made.if_refused.len()), (0, 1, 0), "{made}");
    let unseen = plan(&state, &Observations::default(), &policy, at(DUE_AT));
    assert!(unseen.notices.is_empty() && unseen.if_refused.is_empty(), "no listing shows that it is there");
}

#[test]
fn a_plan_looks_ahead_from_tomorrow_to_the_fourteenth_date() {
    let policy = policy(Mode::Enforce, "");
    let coming = |key: Key, now: &str| -> Vec<String> {
        let made = planned(&account(&[key]), &policy, now);
        made.upcoming.iter().map(|upcoming| format!("{} {}", upcoming.on, upcoming.what)).collect()
    };
    assert!(coming(alice(), "2026-05-01T16:00:00Z").is_empty(), "in fifteen dates");
    assert_eq!(coming(alice(), "2026-05-02T16:00:00Z"), ["2026-05-16 notice of day 76"]);
    let next = ["2026-05-16 notice of day 76", "2026-05-21 notice of day 81", "2026-05-26 notice of day 86"];
    assert_eq!(coming(alice(), "2026-05-15T16:00:00Z"), next);
    assert_eq!(coming(alice(), "2026-05-16T10:00:00Z"), next[1..], "today is not ahead");
    let mut told_once = alice();
    told_once.notices.push(told(BORN, age(76), "2026-05-16T16:00:00Z", "2026-05-31"));
    let to_the_end = ["2026-05-21 notice of day 81", "2026-05-26 notice of day 86", "2026-05-31 disabled"];
    assert_eq!(coming(told_once, "2026-05-17T16:00:00Z"), to_the_end);
}

#[test]
fn a_break_glass_user_s_disable_is_never_ahead() {
    let glass = policy(Mode::Enforce, &break_glass());
    let made = planned(&account(&[due()]), &glass, "2026-05-27T16:00:00Z");
    assert!(made.upcoming.is_empty(), "{made}");
    let made = planned(&account(&[due()]), &policy(Mode::Enforce, ""), "2026-05-27T16:00:00Z");
    assert_eq!(made.upcoming.len(), 1, "another's is");
    assert_eq!((made.upcoming[0].on, made.upcoming[0].what), (on("2026-05-31"), UpcomingKind::Disable));
}

#[test]
fn the_end_of_an_exemption_is_told_of_once_and_to_its_owner_from_notify_on() {
    let mut state = account(&[alice()]);
    let granted = exemption("2026-05-20T09:00:00Z", "2026-06-10T09:00:00Z");
    state.exemptions.insert(ALICE.to_owned(), granted);
    let now = "2026-06-04T16:00:00Z";
    for (mode, tell_owner) in [(Mode::Observe, false), (Mode::Notify, true), (Mode::Enforce, true)] {
        let made = planned(&state, &policy(mode, ""), now);
        let notice = the_notice(&made);
        assert_eq!(notice.stage, Stage::ExemptionEnding(on("2026-06-10")));
        assert_eq!((notice.tell_owner, notice.in_earnest), (tell_owner, false), "{mode}");
        assert_eq!((notice.severity, notice.disable_on), (Severity::Notice, on("2026-06-10")));
        assert_eq!(notice.epoch, "2026-05-20T09:00:00Z");
        assert!(made.findings.is_empty(), "a plain exemption is nothing to mend: {made}");
        assert_eq!(made.upcoming.len(), 1);
        assert_eq!(made.upcoming[0].what, UpcomingKind::ExemptionEnds);
    }
    let ending = Stage::ExemptionEnding(on("2026-06-10"));
    state.keys[0].notices = vec![told("2026-05-20T09:00:00Z", ending, now, "2026-06-10")];
    assert!(planned(&state, &policy(Mode::Enforce, ""), now).notices.is_empty());
}

#[test]
fn an_exemption_of_more_than_180_days_is_found() {
    let found = |until: &str| {
        let mut state = account(&[alice()]);
        state.exemptions.insert(ALICE.to_owned(), exemption("2026-05-20T09:00:00Z", until));
        planned(&state, &policy(Mode::Enforce, ""), "2026-06-04T16:00:00Z").findings.len()
    };
    assert_eq!(found("2026-11-16T09:00:00Z"), 0, "180 days to the second");
    assert_eq!(found("2026-11-16T09:00:01Z"), 1);
}

#[test]
fn a_tag_that_reaches_nobody_is_found_unless_the_key_is_closed() {
    let found = |tags: &[(&str, &str)], is_closed: bool| -> Vec<FindingKind> {
        let mut key = alice();
        key.owner = Some(owner(tags));
        if is_closed {
            key.deletion = Some(Deletion { at: at("2026-04-01T10:00:00Z"), fact_id: "deleted".to_owned() });
        }
        let made = planned(&account(&[key]), &policy(Mode::Notify, ""), "2026-05-04T16:00:00Z");
        made.findings.into_iter().map(|finding| finding.what).collect()
    };
    assert_eq!(found(&[("slack-id", "U0ALICE01")], false), []);
    assert_eq!(found(&[], false), [FindingKind::NoSlackId]);
    let malformed = FindingKind::MalformedSlackId("@alice".to_owned());
    assert_eq!(found(&[("slack-id", "@alice")], false), [malformed]);
    let remarked = found(&[("slack-id", "U0ALICE01"), ("key-max-age-days", "soon")], false);
    assert!(
        matches!(remarked.as_slice(), [FindingKind::Tag(remark)] if remark.contains("`soon`")),
        "{remarked:?}"
    );
    assert_eq!(found(&[("key-max-age-days", "soon")], true), []);
}

/// At 16:00 UTC these hours are over.
#[test]
fn a_key_that_the_hours_hold_is_late_from_the_day_after_its_day() {
    let hours = "[disabling]\nhours = \"08:00-12:00\"\ntime-zone = \"UTC\"\n";
    let made = |key: Key, rest: &str, now: &str| planned(&account(&[key]), &policy(Mode::Enforce, rest), now);
    let on_its_day = made(due(), hours, DUE_AT);
    assert!(matches!(on_its_day.held[0].by, HeldBy::Hours(_)), "{on_its_day}");
    assert_eq!(
        (on_its_day.notices.len(), on_its_day.closed_days),
        (0, 0),
        "it may be disabled on this very day"
    );
    let later = made(due(), hours, "2026-06-03T16:00:00Z");
    assert!(matches!(the_notice(&later).stage, Stage::Reminder(_)), "{later}");
    assert_eq!(later.closed_days, 3);
    // What anything else holds waits for no hours; nor does a key that nothing licenses, of which its day is told.
    let glass = made(due(), &format!("{hours}{}", break_glass()), "2026-06-03T16:00:00Z");
    assert_eq!((&glass.held[0].by, glass.closed_days), (&HeldBy::BreakGlass, 0), "{glass}");
    let mut unlicensed = due();
    unlicensed.notices[0].mode = Mode::Notify;
    assert_eq!(made(unlicensed, hours, DUE_AT).notices.len(), 1);
}

#[test]
fn a_plan_comes_in_one_order_of_people_causes_and_dates() {
    // By key id zoe comes first; by name, by what holds them and by date it is alice.
    let mut zoe = due();
    zoe.key_id = "AKIATIDEWATER1111111".to_owned();
    zoe.holder.subject = Subject::User("zoe".to_owned());
    let alice = Key { key_id: "AKIATIDEWATER9999999".to_owned(), ..due() };
    let state = account(&[zoe, alice]);

    let glass = policy(Mode::Enforce, &break_glass());
    let mut seen = listed(&state.keys, "2026-06-01T16:00:00Z");
    let notices = planned(&state, &policy(Mode::Notify, ""), "2026-06-01T16:00:00Z").notices;
    let users: Vec<&str> = notices.iter().map(|notice| notice.user.as_str()).collect();
    assert_eq!(users, ["alice", "zoe"]);

    seen.users.remove("zoe");
    let held = plan(&state, &seen, &glass, at("2026-06-01T16:00:00Z")).held;
    let held: Vec<&HeldBy> = held.iter().map(|held| &held.by).collect();
    assert_eq!(held, [&HeldBy::BreakGlass, &HeldBy::NotSeen]);

    let (younger, older) = (
        key("AKIATIDEWATER1111111", "zoe", "2026-03-03T15:20:00Z"),
        key("AKIATIDEWATER9999999", "alice", BORN),
    );
    let upcoming = planned(&account(&[younger, older]), &glass, "2026-05-08T16:00:00Z").upcoming;
    let dates: Vec<String> = upcoming.iter().map(|upcoming| upcoming.on.to_string()).collect();
    assert_eq!(dates, ["2026-05-16", "2026-05-18", "2026-05-21"]);

    let mut nameless = state.clone();
    nameless.keys[0].owner = Some(owner(&[]));
    let mut seen = listed(&[], "2026-05-04T16:00:00Z");
    seen.root_keys = Some(vec![None]);
    nameless.keys[0].key_id = "zzz".to_owned();
    let found = plan(&nameless, &seen, &glass, at("2026-05-04T16:00:00Z")).findings;
    let keys: Vec<&str> = found.iter().map(|finding| finding.key_id.as_str()).collect();
    assert_eq!(keys, ["root", "zzz"]);
}

fn root_plan(known: &[Key], shown: Option<&[&str]>, baseline_at: Option<&str>) -> SweepPlan {
    let mut state = account(known);
    state.baseline_at = baseline_at.map(at);
    let root_keys = shown.map(|shown| shown.iter().map(|shown| Some(at(shown))).collect());
    let seen = Observations { root_keys, ..Observations::default() };
    plan(&state, &seen, &policy(Mode::Enforce, ""), at("2026-05-15T16:00:00Z"))
}

const SWEPT: Option<&str> = Some("2026-05-04T04:00:00Z");

#[test]
fn a_key_of_root_s_is_news_if_the_first_sweep_s_report_may_not_have_shown_it() {
    let news = |shown: &str, baseline_at| root_plan(&[], Some(&[shown]), baseline_at).root_keys;
    assert_eq!(news("2026-05-04T00:00:00Z", SWEPT), [], "reports are made anew after four hours");
    assert_eq!(news("2026-05-04T00:00:01Z", SWEPT), [at("2026-05-04T00:00:01Z")]);
    assert_eq!(news("2026-05-04T00:00:01Z", None), [], "the first sweep takes stock");
}

#[test]
fn that_root_has_a_key_is_found_and_so_is_that_nobody_could_tell() {
    let found = |shown: Option<&[&str]>| -> Vec<FindingKind> {
        let made = root_plan(&[], shown, SWEPT);
        made.findings.into_iter().map(|finding| finding.what).collect()
    };
    assert_eq!(found(Some(&[])), []);
    assert_eq!(found(Some(&["2026-03-04T00:00:00Z"])), [FindingKind::Root]);
    assert!(
        matches!(found(None).as_slice(), [FindingKind::Unknown(what)] if what.contains("no credential report"))
    );
}

#[test]
fn an_event_explains_one_key_of_root_s_that_was_made_or_changed_within_a_minute_of_it() {
    let made = "2026-05-10T10:00:00Z";
    let mut of_root = key("AKIATIDEWATERROOT001", "nobody", made);
    of_root.holder.subject = Subject::Root;
    let news = |known: &Key, shown: &[&str]| -> Vec<String> {
        let known = std::slice::from_ref(known);
        root_plan(known, Some(shown), SWEPT).root_keys.iter().map(ToString::to_string).collect()
    };
    assert!(news(&of_root, &[made]).is_empty());
    assert!(news(&of_root, &["2026-05-10T10:01:00Z"]).is_empty());
    assert!(news(&of_root, &["2026-05-10T09:59:00Z"]).is_empty());
    assert_eq!(news(&of_root, &["2026-05-10T10:01:01Z"]), ["2026-05-10T10:01:01Z"]);
    assert_eq!(news(&of_root, &[made, made]), [made], "two keys were made, and one event told of one");
    let of_alice = key(ALICE, "alice", made);
    assert_eq!(news(&of_alice, &[made]), [made], "a user's explains nothing");

    let mut changed = of_root.clone();
    changed.status.as_mut().unwrap().since = at("2026-05-12T10:00:00Z");
    changed.reactivations.told(at("2026-05-13T10:00:00Z"));
    assert!(news(&changed, &["2026-05-12T10:00:30Z"]).is_empty());
    assert!(news(&changed, &["2026-05-13T10:00:30Z"]).is_empty());
    assert_eq!(news(&changed, &["2026-05-14T10:00:30Z"]), ["2026-05-14T10:00:30Z"]);
}

/// So many users with a key each, all due.
fn due_keys(count: usize) -> Vec<Key> {
    let due = |number: usize| {
        let mut key = Key { key_id: format!("AKIATIDEWATERCAP{number:04}"), ..due() };
        key.holder.subject = Subject::User(format!("user-{number:04}"));
        key
    };
    (0..count).map(due).collect()
}

#[test]
fn the_account_s_cap_is_a_share_of_its_active_keys_exempt_ones_and_today_s_too() {
    let mut state = account(&due_keys(50));
    for key in &mut state.keys[..10] {
        key.status.as_mut().unwrap().status = Status::Inactive;
    }
    for key in &state.keys[10..30] {
        let granted = exemption("2026-05-20T09:00:00Z", "2026-06-20T09:00:00Z");
        state.exemptions.insert(key.key_id.clone(), granted);
    }
    let enforced = policy(Mode::Enforce, "");
    let made = planned(&state, &enforced, DUE_AT);
    assert_eq!(
        (made.account_cap, made.disables.len(), made.held.len()),
        (4, 4, 16),
        "of forty, not of twenty"
    );
    state.disabled_today = 3;
    let made = planned(&state, &enforced, DUE_AT);
    assert_eq!((made.account_cap, made.disables.len()), (4, 1), "forty-three, and three are done");
    state.disabled_today = 10;
    let made = planned(&state, &enforced, DUE_AT);
    assert_eq!((made.account_cap, made.disables.len()), (5, 0), "they were active this morning");
    state.disabled_today = 0;
    let quarter = policy(Mode::Enforce, "[caps]\naccount-percent = 25\naccount-at-least = 0\n");
    assert_eq!(planned(&state, &quarter, DUE_AT).account_cap, 10);
    let few = policy(Mode::Enforce, "[caps]\naccount-percent = 1\naccount-at-least = 7\n");
    assert_eq!(planned(&state, &few, DUE_AT).account_cap, 7, "so many in any case");
}

#[test]
fn of_too_many_the_longest_due_go_first_and_what_a_person_lets_through_says_so() {
    let mut state = account(&due_keys(4));
    state.keys[3].notices[0].disable_on = on("2026-05-30");
    let enforced = policy(Mode::Enforce, "");
    let made = planned(&state, &enforced, DUE_AT);
    let disables = |made: &SweepPlan| -> Vec<(String, bool)> {
        made.disables.iter().map(|one| (one.user.clone(), one.beyond_cap)).collect()
    };
    let below = [("user-0003".to_owned(), false), ("user-0000".to_owned(), false)];
    assert_eq!(disables(&made), below);
    assert_eq!(made.held.len(), 2);
    assert!(made.held.iter().all(|held| held.by == HeldBy::AccountCap { most: 2 }));
    state.approved = vec![made.hash()];
    let approved = planned(&state, &enforced, DUE_AT);
    let [first, second] = below;
    let beyond = [first, second, ("user-0001".to_owned(), true), ("user-0002".to_owned(), true)];
    assert_eq!(disables(&approved), beyond);
    assert!(approved.held.is_empty());
}
