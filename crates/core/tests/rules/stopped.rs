//! What stops a disable: of the plan, and as the last thing before the call.

use keytide_core::{
    cloudtrail::Status,
    key::{Deletion, Ground, Key},
    lifecycle::{Phase, phase},
    plan::{
        AccountState, HeldBy, Observations, PlannedDisable, circumstances, obstacle, plan, stopped_by,
        treatment_of,
    },
    policy::{Mode, Policy},
};

use crate::{
    common::{at, owner},
    plan::{ALICE, BORN, DUE_AT, account, break_glass, due, exemption, policy},
};

const CLOSED: &str = "[disabling]\ntime-zone = \"UTC\"\nhours = \"01:00-02:00\"\n";

/// The disable of alice's key, as a plan of that day has it.
fn planned() -> PlannedDisable {
    PlannedDisable {
        key_id: ALICE.to_owned(),
        user: "alice".to_owned(),
        epoch: BORN.to_owned(),
        ground: Ground::Age,
        age_days: 91,
        noticed_at: at("2026-05-26T16:00:00Z"),
        named: "2026-05-31".parse().unwrap(),
        beyond_cap: false,
    }
}

/// What stops it of this key in this account under this policy.
fn stopped(planned: &PlannedDisable, state: &AccountState, key: &Key, policy: &Policy) -> Option<HeldBy> {
    stopped_by(planned, state, key, policy, at(DUE_AT))
}

fn enforced() -> Policy {
    policy(Mode::Enforce, "")
}

#[test]
fn nothing_stops_a_disable_of_which_everything_still_holds() {
    assert_eq!(stopped(&planned(), &account(&[due()]), &due(), &enforced()), None);
}

#[test]
fn a_disable_is_stopped_unless_epoch_ground_and_user_are_those_of_the_plan() {
    let changed = |change: &dyn Fn(&mut PlannedDisable)| {
        let mut planned = planned();
        change(&mut planned);
        stopped(&planned, &account(&[due()]), &due(), &enforced())
    };
    let no_licence = Some(HeldBy::NoLicence);
    let another_epoch = |planned: &mut PlannedDisable| "2026-03-02T15:20:00Z".clone_into(&mut planned.epoch);
    assert_eq!(changed(&another_epoch), no_licence);
    assert_eq!(changed(&|planned| planned.ground = Ground::Unused), no_licence);
    assert_eq!(changed(&|planned| "bob".clone_into(&mut planned.user)), no_licence);
}

#[test]
fn a_key_that_is_off_deleted_or_exempt_by_now_is_left_alone() {
    let no_licence = Some(HeldBy::NoLicence);
    let state = account(&[due()]);
    let mut off = due();
    off.status.as_mut().unwrap().status = Status::Inactive;
    assert_eq!(stopped(&planned(), &state, &off, &enforced()), no_licence);
    let mut deleted = due();
    deleted.deletion = Some(Deletion { at: at("2026-05-31T15:59:00Z"), fact_id: "deleted".to_owned() });
    assert_eq!(stopped(&planned(), &state, &deleted, &enforced()), no_licence);
    let mut exempt = state.clone();
    let granted = exemption("2026-05-31T15:59:00Z", "2026-06-30T15:59:00Z");
    exempt.exemptions.insert(ALICE.to_owned(), granted);
    assert_eq!(stopped(&planned(), &exempt, &due(), &enforced()), no_licence);
}

#[test]
fn a_disable_whose_licence_went_is_stopped() {
    let state = account(&[due()]);
    let without = |change: &dyn Fn(&mut Key)| {
        let mut key = due();
        change(&mut key);
        stopped(&planned(), &state, &key, &enforced())
    };
    let no_licence = Some(HeldBy::NoLicence);
    assert_eq!(without(&|key| key.notices.clear()), no_licence);
    assert_eq!(without(&|key| key.notices[0].mode = Mode::Notify), no_licence);
    assert_eq!(without(&|key| key.notices[0].at = at("2026-05-27T00:00:00Z")), no_licence);
    assert_eq!(without(&|key| key.notices[0].disable_on = "2026-06-01".parse().unwrap()), no_licence);
    // Armed anew: the notice is of an epoch that is over.
    assert_eq!(without(&|key| key.reactivations.told(at("2026-05-31T15:59:00Z"))), no_licence);
}

#[test]
fn what_holds_for_the_account_or_its_user_by_now_stops_a_disable_and_is_named() {
    let state = account(&[due()]);
    for mode in [Mode::Observe, Mode::Notify] {
        let stopped = stopped(&planned(), &state, &due(), &policy(mode, ""));
        assert_eq!(stopped, Some(HeldBy::Mode(mode)));
    }
    let glass = policy(Mode::Enforce, &break_glass());
    assert_eq!(stopped(&planned(), &state, &due(), &glass), Some(HeldBy::BreakGlass));
    let mut halted = state.clone();
    halted.halt = Some("an incident".to_owned());
    let halt = Some(HeldBy::Halt("an incident".to_owned()));
    assert_eq!(stopped(&planned(), &halted, &due(), &enforced()), halt);
    let untagged = Key { owner: None, ..due() };
    assert_eq!(stopped(&planned(), &state, &untagged, &enforced()), Some(HeldBy::TagsUnknown));
    let closed = stopped(&planned(), &state, &due(), &policy(Mode::Enforce, CLOSED));
    assert!(matches!(closed, Some(HeldBy::Hours(_))), "{closed:?}");
}

#[test]
fn a_life_that_became_longer_by_now_stops_a_disable() {
    let state = account(&[due()]);
    let longer = policy(Mode::Enforce, "[[rule]]\nname = \"alice\"\nuser = \"alice\"\ndisable-day = 92\n");
    assert_eq!(stopped(&planned(), &state, &due(), &longer), Some(HeldBy::NoLicence));
    let shorter = Key { owner: Some(owner(&[("key-max-age-days", "60")])), ..due() };
    assert_eq!(stopped(&planned(), &state, &shorter, &enforced()), None, "a shorter one does not");
}

/// All of it at once, taken away one by one.
#[test]
fn of_all_that_holds_a_disable_the_weightiest_is_named() {
    let mut state = account(&[due()]);
    state.halt = Some("an incident".to_owned());
    let untagged = Key { owner: None, ..due() };
    let held_by =
        |state: &AccountState, key: &Key, rest: &str, mode: Mode, born_ahead: bool, is_seen: bool| {
            let policy = policy(Mode::Enforce, rest);
            let treatment = treatment_of(&policy, key);
            let around = circumstances(state, &policy, key, &treatment, at(DUE_AT));
            let Phase::Running(mut clock) = phase(key, &around) else { panic!("its clock runs") };
            clock.born_ahead = born_ahead;
            obstacle(&clock, &around, is_seen, mode, (state, &policy))
        };
    let glass = format!("{CLOSED}{}", break_glass());
    let enforce = Mode::Enforce;
    let by = held_by(&state, &untagged, &glass, Mode::Notify, true, false);
    assert_eq!(by, Some(HeldBy::Mode(Mode::Notify)));
    let by = held_by(&state, &untagged, &glass, enforce, true, false);
    assert_eq!(by, Some(HeldBy::BreakGlass));
    let by = held_by(&state, &untagged, CLOSED, enforce, true, false);
    assert_eq!(by, Some(HeldBy::Halt("an incident".to_owned())));
    state.halt = None;
    let by = held_by(&state, &untagged, CLOSED, enforce, true, false);
    assert_eq!(by, Some(HeldBy::BornAhead));
    let by = held_by(&state, &untagged, CLOSED, enforce, false, false);
    assert_eq!(by, Some(HeldBy::NotSeen));
    let by = held_by(&state, &untagged, CLOSED, enforce, false, true);
    assert_eq!(by, Some(HeldBy::TagsUnknown));
    let by = held_by(&state, &due(), CLOSED, enforce, false, true);
    assert!(matches!(by, Some(HeldBy::Hours(_))), "{by:?}");
    assert_eq!(held_by(&state, &due(), "", enforce, false, true), None);
}

#[test]
fn a_key_that_a_listing_of_its_user_does_not_show_is_held() {
    let state = account(&[due()]);
    let made = plan(&state, &Observations::default(), &enforced(), at(DUE_AT));
    assert!(made.disables.is_empty(), "{made}");
    assert_eq!(made.held[0].by, HeldBy::NotSeen);
}
