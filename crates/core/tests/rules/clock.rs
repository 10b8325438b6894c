//! A key's clock, date by date: what arms it, which notice is due, what licenses a disable.

use jiff::Timestamp;
use keytide_core::{
    cloudtrail::Subject,
    delivery::{NoticeDay, Stage},
    key::{Ground, Key, LastUse, NoticeMark},
    lifecycle::{ArmedBy, Circumstances, Clock, Exemption, Phase, phase},
    policy::{Mode, Policy, PolicySubject, Treatment},
};

use crate::common::{at, key, on, told};

/// Its days 76, 81, 86 and 91 end on 16, 21, 26 and 31 May, at this time of day.
const BORN: &str = "2026-03-01T15:20:00Z";

/// A key of alice's, and what holds for it.
struct Given {
    key: Key,
    treatment: Treatment,
    mode: Mode,
    enforced_since: Option<Timestamp>,
    restored_at: Option<Timestamp>,
    exemption: Option<Exemption>,
    dates_between: u32,
}

impl Given {
    fn new() -> Self {
        Self::under("")
    }

    /// Under a policy that says this.
    fn under(policy: &str) -> Self {
        let key = key("AKIATIDEWATERALICE77", "alice", BORN);
        let subject = PolicySubject { account: &key.account, user: "alice", owner: key.owner.as_ref() };
        Self {
            treatment: Policy::parse(policy).unwrap().treatment(&subject),
            key,
            mode: Mode::Enforce,
            enforced_since: None,
            restored_at: None,
            exemption: None,
            dates_between: 5,
        }
    }

    /// Under a policy that ends a key which was not used for thirty days, and last used then.
    fn last_used(used: Option<&str>, seen_at: &str) -> Self {
        let mut given = Self::under("[defaults]\ninactive-days = 30\n");
        given.use_is(used, seen_at);
        given
    }

    fn use_is(&mut self, used: Option<&str>, seen_at: &str) {
        let last_use = LastUse { at: used.map(at), service: None, region: None, seen_at: at(seen_at) };
        self.key.last_use = Some(last_use);
    }

    fn set_active(&mut self, times: &[&str]) {
        for time in times {
            self.key.reactivations.told(at(time));
        }
    }

    fn around(&self, now: &str) -> Circumstances<'_> {
        Circumstances {
            treatment: &self.treatment,
            mode: self.mode,
            enforced_since: self.enforced_since,
            restored_at: self.restored_at,
            exemption: self.exemption.as_ref(),
            dates_between: self.dates_between,
            now: at(now),
        }
    }

    fn clock(&self, now: &str) -> Clock<'_> {
        match phase(&self.key, &self.around(now)) {
            Phase::Running(clock) => clock,
            other => panic!("expected a key whose clock runs, found {other:?}"),
        }
    }

    /// Since when the key is armed, by what, and the reactivation that gives a day.
    fn armed(&self, now: &str) -> (String, ArmedBy, Option<String>) {
        let armed = self.clock(now).armed;
        (armed.epoch(), armed.by, armed.again.map(|again| again.to_string()))
    }
}

fn age(day: u32) -> Stage {
    Stage::Notice(NoticeDay::Age(day))
}

fn reminder(date: &str) -> Stage {
    Stage::Reminder(on(date))
}

fn unused(confirmed: &str, names: &str) -> NoticeMark {
    let stage = Stage::Notice(NoticeDay::Unused);
    NoticeMark { ground: Ground::Unused, ..told(BORN, stage, confirmed, names) }
}

const UNUSED: Option<Stage> = Some(Stage::Notice(NoticeDay::Unused));

#[test]
fn a_birth_more_than_five_minutes_ahead_is_not_believed() {
    let given = Given::new();
    assert!(!given.clock("2026-03-01T15:15:00Z").born_ahead, "clocks differ by as much");
    assert!(given.clock("2026-03-01T15:14:59Z").born_ahead);
    assert_eq!(given.clock("2026-03-01T15:14:59Z").age_days, 0);
}

#[test]
fn whatever_makes_earlier_notices_stale_begins_an_epoch() {
    let now = "2026-05-01T10:00:00Z";
    let epoch = |since: &str, by| (since.to_owned(), by, None);
    assert_eq!(Given::new().armed(now), epoch(BORN, ArmedBy::Birth));

    let mut given = Given::new();
    given.set_active(&["2026-04-01T10:00:00Z"]);
    assert_eq!(given.armed(now), epoch("2026-04-01T10:00:00Z", ArmedBy::Reactivation));
    given.exemption = Some(Exemption {
        reason: "migration".to_owned(),
        author: "arn:aws:iam::111122223333:role/security".to_owned(),
        granted_at: at("2026-04-01T10:00:00Z"),
        until: at("2026-04-10T10:00:00Z"),
    });
    assert_eq!(given.armed(now), epoch("2026-04-10T10:00:00Z", ArmedBy::ExemptionEnded));
    given.enforced_since = Some(at("2026-04-20T10:00:00Z"));
    assert_eq!(given.armed(now), epoch("2026-04-20T10:00:00Z", ArmedBy::Enforce));
    given.restored_at = Some(at("2026-04-30T10:00:00Z"));
    assert_eq!(given.armed(now), epoch("2026-04-30T10:00:00Z", ArmedBy::Restored));
    given.enforced_since = Some(at(now));
    assert_eq!(given.armed(now), epoch(now, ArmedBy::Enforce), "the latest of them, be it now");
    given.enforced_since = Some(at("2026-05-01T10:03:00Z"));
    assert_eq!(given.armed(now), epoch("2026-05-01T10:03:00Z", ArmedBy::Enforce), "our clock may be slow");
}

#[test]
fn what_happens_in_the_second_of_a_birth_is_part_of_it() {
    let mut given = Given::new();
    given.set_active(&[BORN]);
    given.enforced_since = Some(at(BORN));
    assert_eq!(given.armed("2026-05-01T10:00:00Z"), (BORN.to_owned(), ArmedBy::Birth, None));
}

#[test]
fn within_thirty_days_only_the_first_reactivation_begins_an_epoch_and_the_second_gives_a_day() {
    let now = "2026-05-20T10:00:00Z";
    let mut given = Given::new();
    given.set_active(&["2026-04-01T10:00:00Z", "2026-05-01T10:00:00Z"]);
    let (since, by, again) = given.armed(now);
    assert_eq!((since.as_str(), by), ("2026-04-01T10:00:00Z", ArmedBy::Reactivation));
    assert_eq!(again.as_deref(), Some("2026-05-01T10:00:00Z"), "thirty days to the second are within them");
    given.set_active(&["2026-04-10T10:00:00Z"]);
    let (since, _, again) = given.armed(now);
    assert_eq!(since, "2026-04-01T10:00:00Z");
    assert_eq!(again.as_deref(), Some("2026-04-10T10:00:00Z"), "the third gives none");

    let mut given = Given::new();
    given.set_active(&["2026-04-01T10:00:00Z", "2026-05-01T10:00:01Z"]);
    let its_own = ("2026-05-01T10:00:01Z".to_owned(), ArmedBy::Reactivation, None);
    assert_eq!(given.armed(now), its_own);
}

/// It does not count yet, and what was said before somebody granted it does not count any more.
#[test]
fn an_exemption_that_lies_ahead_of_our_clock_uncovers_no_earlier_epoch() {
    let mut given = Given::new();
    given.key.notices = vec![told(BORN, age(86), "2026-05-26T16:00:00Z", "2026-05-31")];
    let exempt = |granted_at: &str| Exemption {
        reason: "migration".to_owned(),
        author: "arn:aws:iam::111122223333:role/security".to_owned(),
        granted_at: at(granted_at),
        until: at("2026-08-01T00:00:00Z"),
    };
    assert!(given.clock("2026-06-01T16:00:00Z").licence.is_some());
    given.exemption = Some(exempt("2026-06-01T16:10:00Z"));
    let clock = given.clock("2026-06-01T16:00:00Z");
    assert_eq!((clock.armed.by, clock.licence), (ArmedBy::ExemptionEnded, None));
}

#[test]
fn a_reactivation_gives_no_day_in_an_epoch_that_began_after_it_or_with_it() {
    let mut given = Given::new();
    given.set_active(&["2026-04-20T10:00:00Z", "2026-04-22T10:00:00Z"]);
    given.enforced_since = Some(at("2026-04-25T09:00:00Z"));
    let enforced = ("2026-04-25T09:00:00Z".to_owned(), ArmedBy::Enforce, None);
    assert_eq!(given.armed("2026-05-01T10:00:00Z"), enforced);

    let mut given = Given::new();
    given.set_active(&["2026-04-20T10:00:00Z", "2026-04-25T09:00:00Z"]);
    given.enforced_since = Some(at("2026-04-25T09:00:00Z"));
    assert_eq!(given.armed("2026-05-01T10:00:00Z"), enforced);
}

#[test]
fn a_reactivation_that_lies_ahead_of_our_clock_makes_earlier_notices_stale_all_the_same() {
    let mut given = Given::new();
    given.key.notices = vec![told(BORN, age(86), "2026-05-26T16:00:00Z", "2026-05-31")];
    assert!(given.clock("2026-06-01T16:00:00Z").licence.is_some());
    // Our clock is three minutes slow.
    given.set_active(&["2026-06-01T16:03:00Z"]);
    let clock = given.clock("2026-06-01T16:00:00Z");
    assert_eq!(clock.armed.epoch(), "2026-06-01T16:03:00Z");
    assert!(clock.licence.is_none() && clock.notice == Some(Stage::Notice(NoticeDay::Age(86))));
    // What is said before our clock is there counts, in its epoch, and is said once.
    given.key.notices.push(told("2026-06-01T16:03:00Z", age(86), "2026-06-01T16:00:00Z", "2026-06-06"));
    assert_eq!(given.clock("2026-06-01T16:01:00Z").notice, None);
    assert_eq!(given.clock("2026-06-06T16:00:00Z").licence, given.key.notices.last());
}

/// A policy may come to ask for more dates than a notice was told with.
#[test]
fn a_notice_licenses_once_as_many_dates_have_passed_as_are_asked_for_now() {
    let mut given = Given::new();
    given.key.notices = vec![told(BORN, age(86), "2026-05-26T16:00:00Z", "2026-05-31")];
    given.dates_between = 7;
    assert!(given.clock("2026-06-01T16:00:00Z").licence.is_none(), "six dates");
    assert!(given.clock("2026-06-02T16:00:00Z").licence.is_some(), "seven");
}

#[test]
fn a_key_of_root_or_of_nobody_known_has_no_clock() {
    let given = Given::new();
    for subject in [Subject::Root, Subject::Unknown] {
        let mut key = given.key.clone();
        key.holder.subject = subject;
        let around = given.around("2026-06-10T16:00:00Z");
        let found = phase(&key, &around);
        assert!(matches!(found, Phase::Root | Phase::Unknown(_)), "{found:?}");
    }
}

#[test]
fn a_key_that_is_not_used_is_told_of_five_days_before_its_thirtieth() {
    let given = Given::last_used(Some("2026-03-10T08:00:00Z"), "2026-04-04T06:00:00Z");
    assert_eq!(given.clock("2026-04-04T07:59:59Z").notice, None);
    let due = given.clock("2026-04-04T08:00:00Z");
    assert_eq!((due.notice, due.ground), (UNUSED, Ground::Unused));
    assert_eq!(due.disable_on, on("2026-04-09"));
    assert!(due.licence.is_none() && !due.is_past_its_day);
}

#[test]
fn a_key_that_is_not_used_ends_when_thirty_whole_days_have_passed_and_not_before() {
    let mut given = Given::last_used(Some("2026-03-10T08:00:00Z"), "2026-04-09T06:00:00Z");
    given.key.notices = vec![unused("2026-04-04T09:00:00Z", "2026-04-09")];
    let early = given.clock("2026-04-09T07:59:59Z");
    assert!(early.licence.is_none() && !early.is_past_its_day && early.notice.is_none());
    let due = given.clock("2026-04-09T08:00:00Z");
    assert_eq!(due.licence, given.key.notices.first());
    assert!(due.is_past_its_day);
    assert_eq!(due.ground, Ground::Unused);

    given.treatment.life.inactive_days = None;
    let another = given.clock("2026-04-09T08:00:00Z");
    assert!(another.licence.is_none() && !another.is_past_its_day, "use is not looked at any more");
}

#[test]
fn a_key_that_was_never_used_is_unused_since_its_birth() {
    let given = Given::last_used(None, "2026-03-26T10:00:00Z");
    assert_eq!(given.clock("2026-03-26T15:19:59Z").notice, None);
    assert_eq!(given.clock("2026-03-26T15:20:00Z").notice, UNUSED);
}

#[test]
fn a_key_counts_as_used_when_its_epoch_begins() {
    let mut given = Given::last_used(Some("2026-03-10T08:00:00Z"), "2026-04-26T06:00:00Z");
    given.set_active(&["2026-04-01T10:00:00Z"]);
    assert_eq!(given.clock("2026-04-26T09:59:59Z").notice, None);
    assert_eq!(given.clock("2026-04-26T10:00:00Z").notice, UNUSED);
}

#[test]
fn a_last_use_that_was_read_over_two_days_ago_or_never_is_no_ground() {
    let mut given = Given::last_used(Some("2026-03-10T08:00:00Z"), "2026-04-10T08:00:00Z");
    given.key.notices = vec![unused("2026-04-04T09:00:00Z", "2026-04-09")];
    assert!(given.clock("2026-04-12T08:00:00Z").licence.is_some(), "two days it holds");
    let stale = given.clock("2026-04-12T08:00:01Z");
    assert!(stale.licence.is_none() && stale.notice.is_none() && !stale.is_past_its_day);
    assert_eq!(stale.ground, Ground::Age);
    given.key.last_use = None;
    assert_eq!(given.clock("2026-04-12T08:00:00Z").ground, Ground::Age);
}

#[test]
fn a_use_after_the_notice_takes_it_back() {
    let mut given = Given::last_used(Some("2026-04-05T08:00:00Z"), "2026-04-09T07:00:00Z");
    given.key.notices = vec![unused("2026-04-04T09:00:00Z", "2026-04-09")];
    let used = given.clock("2026-04-09T08:00:00Z");
    assert!(used.licence.is_none() && !used.is_past_its_day && used.notice.is_none());
    // Unused once more, it is told of once more: the earlier notice was about another stretch.
    given.use_is(Some("2026-04-05T08:00:00Z"), "2026-05-05T07:00:00Z");
    let again = given.clock("2026-05-05T08:00:00Z");
    // Its name is used up in this epoch: it bears that of the date from which it is due.
    let due_again = Stage::Reminder(on("2026-04-30"));
    assert_eq!((again.notice, again.disable_on), (Some(due_again), on("2026-05-10")));
    assert!(again.licence.is_none());
    // Sent, it is not due any more, and licenses like any other.
    given.key.notices.push(NoticeMark { stage: due_again, ..unused("2026-05-05T09:00:00Z", "2026-05-10") });
    given.use_is(Some("2026-04-05T08:00:00Z"), "2026-05-10T07:00:00Z");
    assert_eq!(given.clock("2026-05-09T09:00:00Z").notice, None);
    let due = given.clock("2026-05-10T08:00:00Z");
    assert_eq!((due.licence, due.ground), (given.key.notices.last(), Ground::Unused));
}

#[test]
fn of_two_grounds_that_which_was_told_of_ends_the_key() {
    let mut given = Given::last_used(Some("2026-04-25T08:00:00Z"), "2026-05-31T10:00:00Z");
    given.key.notices = vec![told(BORN, age(86), "2026-05-26T16:00:00Z", "2026-05-31")];
    let clock = given.clock("2026-05-31T16:00:00Z");
    assert_eq!((clock.ground, clock.licence), (Ground::Age, given.key.notices.first()));
}

#[test]
fn outside_enforce_nothing_licenses_a_disable_whatever_was_said_in_it() {
    let mut given = Given::new();
    given.key.notices = vec![told(BORN, age(86), "2026-05-26T16:00:00Z", "2026-05-31")];
    assert!(given.clock("2026-05-31T16:00:00Z").licence.is_some());
    for mode in [Mode::Observe, Mode::Notify] {
        given.mode = mode;
        let clock = given.clock("2026-05-31T16:00:00Z");
        assert!(clock.licence.is_none(), "{mode}");
        assert!(clock.is_past_its_day, "{mode}: it is due all the same");
    }
}

#[test]
fn a_reminder_comes_five_dates_after_the_last_message_and_is_called_by_that_date() {
    let mut given = Given::new();
    given.mode = Mode::Notify;
    given.key.notices = vec![told(BORN, age(86), "2026-05-28T16:00:00Z", "2026-06-02")];
    assert_eq!(given.clock("2026-06-01T16:00:00Z").notice, None, "four dates after");
    assert_eq!(given.clock("2026-06-02T16:00:00Z").notice, Some(reminder("2026-06-02")));
    assert_eq!(
        given.clock("2026-06-04T16:00:00Z").notice,
        Some(reminder("2026-06-02")),
        "late, it is the same"
    );
}

/// Reactivated on 1 May, told of three times since, and due on 31 May.
fn due_since_a_reactivation() -> Given {
    let epoch = "2026-05-01T16:00:00Z";
    let mut given = Given::new();
    given.set_active(&[epoch]);
    given.key.notices = vec![
        told(epoch, age(76), "2026-05-16T16:00:00Z", "2026-05-31"),
        told(epoch, age(81), "2026-05-21T16:00:00Z", "2026-05-31"),
        told(epoch, age(86), "2026-05-26T16:00:00Z", "2026-05-31"),
    ];
    given
}

#[test]
fn a_key_set_active_once_more_on_its_last_day_is_told_of_at_once_and_ends_on_the_next() {
    let mut given = due_since_a_reactivation();
    assert!(given.clock("2026-05-31T16:00:00Z").licence.is_some());
    given.set_active(&["2026-05-31T09:00:00Z"]);
    let graced = given.clock("2026-05-31T16:00:00Z");
    assert!(graced.licence.is_none() && !graced.is_past_its_day);
    assert_eq!((graced.notice, graced.disable_on), (Some(reminder("2026-06-01")), on("2026-06-01")));
    let next = given.clock("2026-06-01T00:00:00Z");
    assert!(next.licence.is_some() && next.is_past_its_day);
    assert_eq!(next.notice, Some(reminder("2026-06-01")), "the same, until it was said");
    let said = told("2026-05-01T16:00:00Z", reminder("2026-06-01"), "2026-05-31T16:00:05Z", "2026-06-01");
    given.key.notices.push(said);
    let next = given.clock("2026-06-01T00:00:00Z");
    assert!(next.licence.is_some() && next.notice.is_none());
}

#[test]
fn a_message_confirmed_in_the_second_of_a_reactivation_has_told_of_it() {
    let mut given = due_since_a_reactivation();
    given.set_active(&["2026-05-26T16:00:00Z"]);
    // Else it were called by 27 May, the date after the reactivation.
    assert_eq!(given.clock("2026-05-31T16:00:00Z").notice, Some(reminder("2026-05-31")));
}

#[test]
fn a_key_before_its_day_gets_no_reminder_however_often_it_is_set_active() {
    let mut told_once = due_since_a_reactivation();
    told_once.key.notices.truncate(1);
    told_once.set_active(&["2026-05-17T09:00:00Z"]);
    let clock = told_once.clock("2026-05-17T16:00:00Z");
    assert!(clock.armed.again.is_some());
    assert_eq!(clock.notice, None);

    let mut young = Given::new();
    young.set_active(&["2026-03-20T09:00:00Z", "2026-03-22T09:00:00Z"]);
    let clock = young.clock("2026-03-22T16:00:00Z");
    assert!(clock.armed.again.is_some());
    assert_eq!(clock.notice, None);
}

#[test]
fn what_was_said_lapses_ten_dates_after_the_date_that_it_named_and_is_said_anew() {
    let mut given = Given::new();
    given.key.notices = vec![told(BORN, age(86), "2026-05-26T16:00:00Z", "2026-05-31")];
    let last = given.clock("2026-06-10T16:00:00Z");
    assert!(last.licence.is_some() && last.is_past_its_day);
    let lapsed = given.clock("2026-06-12T16:00:00Z");
    assert!(lapsed.licence.is_none() && !lapsed.is_past_its_day);
    assert_eq!((lapsed.notice, lapsed.disable_on), (Some(reminder("2026-06-11")), on("2026-06-17")));
}
