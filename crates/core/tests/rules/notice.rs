//! When a notice counts: what its messages to the channel and to the owner amount to.

use keytide_core::{
    alert::Severity,
    delivery::{Delivery, DeliveryName, DeliveryState, NoticeDay, Receipt, Recipient, Stage},
    key::{Ground, Key, NoticeMark, NoticeTerms, settle_notices},
    policy::Mode,
};

use crate::common::{at, key, on, told};

const EPOCH: &str = "2026-03-01T15:20:00Z";
const DAY_86: Stage = Stage::Notice(NoticeDay::Age(86));

fn alice() -> Key {
    key("AKIATIDEWATERALICE77", "alice", EPOCH)
}

fn terms(names: &str, mode: Mode) -> NoticeTerms {
    NoticeTerms { ground: Ground::Age, disable_on: on(names), mode }
}

/// A message of the notice of day 86.
fn message(recipient: Recipient, state: DeliveryState, terms: NoticeTerms) -> Delivery {
    let name = DeliveryName { epoch: EPOCH.to_owned(), stage: DAY_86, recipient };
    let new = Delivery::new(name, "sweep".to_owned(), Severity::Notice, at("2026-05-26T16:00:00Z"));
    Delivery { state, notice: Some(terms), ..new }
}

fn done(confirmed: &str) -> DeliveryState {
    let receipt = Receipt { channel: "C1".to_owned(), ts: "1.2".to_owned(), note: None };
    DeliveryState::Done { at: at(confirmed), by: "sweep".to_owned(), receipt }
}

fn given_up() -> DeliveryState {
    DeliveryState::GivenUp { at: at("2026-05-26T16:00:09Z"), cause: "no such user".to_owned() }
}

fn settled(key: &Key, messages: &[&Delivery]) -> Option<Vec<NoticeMark>> {
    settle_notices(key, messages.iter().copied()).map(|key| key.notices)
}

#[test]
fn a_notice_counts_once_both_its_messages_are_finished() {
    let terms = terms("2026-05-31", Mode::Enforce);
    let channel = message(Recipient::Channel, done("2026-05-26T16:00:02Z"), terms);
    let owner = message(Recipient::Owner, done("2026-05-26T16:00:01Z"), terms);
    let mark = told(EPOCH, DAY_86, "2026-05-26T16:00:02Z", "2026-05-31");
    assert_eq!(settled(&alice(), &[&owner, &channel]), Some(vec![mark.clone()]));
    assert_eq!(settled(&alice(), &[&channel]), Some(vec![mark]), "nobody besides the channel was to be told");

    assert_eq!(settled(&alice(), &[&owner]), None, "the channel's is still to be made");
    let ambiguous =
        DeliveryState::Ambiguous { at: at("2026-05-26T16:00:02Z"), cause: "no answer".to_owned() };
    for unfinished in [DeliveryState::NEW, ambiguous] {
        let channel = message(Recipient::Channel, unfinished.clone(), terms);
        assert_eq!(settled(&alice(), &[&owner, &channel]), None, "{unfinished:?}");
    }
    assert_eq!(settled(&alice(), &[]), None);
}

#[test]
fn a_notice_that_reached_nobody_does_not_count() {
    let terms = terms("2026-05-31", Mode::Enforce);
    let channel = message(Recipient::Channel, given_up(), terms);
    let owner = message(Recipient::Owner, given_up(), terms);
    assert_eq!(settled(&alice(), &[&owner, &channel]), None);
    let owner = message(Recipient::Owner, done("2026-05-26T16:00:01Z"), terms);
    let mark = told(EPOCH, DAY_86, "2026-05-26T16:00:01Z", "2026-05-31");
    assert_eq!(settled(&alice(), &[&owner, &channel]), Some(vec![mark]), "who reads one has been told");
}

#[test]
fn of_two_messages_the_later_date_and_confirmation_and_the_milder_mode_count() {
    let owner = message(Recipient::Owner, done("2026-05-27T16:00:00Z"), terms("2026-06-01", Mode::Enforce));
    let channel =
        message(Recipient::Channel, done("2026-05-26T16:00:00Z"), terms("2026-05-31", Mode::Notify));
    let mut mark = told(EPOCH, DAY_86, "2026-05-27T16:00:00Z", "2026-06-01");
    mark.mode = Mode::Notify;
    assert_eq!(settled(&alice(), &[&owner, &channel]), Some(vec![mark]));
}

#[test]
fn a_notice_is_known_by_its_stage_and_epoch_together() {
    let terms = terms("2026-05-31", Mode::Enforce);
    let channel = message(Recipient::Channel, done("2026-05-26T16:00:02Z"), terms);
    let mark = told(EPOCH, DAY_86, "2026-05-26T16:00:02Z", "2026-05-31");
    let settled_besides = |known: &NoticeMark| {
        let mut key = alice();
        key.notices.push(known.clone());
        settled(&key, &[&channel])
    };
    assert_eq!(settled_besides(&mark), None, "once is enough");
    let day_81 = Stage::Notice(NoticeDay::Age(81));
    let others = [
        told(EPOCH, day_81, "2026-05-21T16:00:02Z", "2026-05-31"),
        told("2026-01-01T00:00:00Z", DAY_86, "2026-05-21T16:00:02Z", "2026-05-31"),
    ];
    for other in others {
        assert_eq!(settled_besides(&other), Some(vec![other, mark.clone()]));
    }
}

#[test]
fn a_message_that_names_no_end_is_no_notice_and_a_notice_changes_nothing_else() {
    let terms = terms("2026-05-31", Mode::Enforce);
    let channel = message(Recipient::Channel, done("2026-05-26T16:00:02Z"), terms);
    let bare = Delivery { notice: None, ..channel.clone() };
    assert_eq!(settle_notices(&alice(), [&bare]), None);
    let settled = settle_notices(&alice(), [&channel]).unwrap();
    assert_eq!(Key { notices: Vec::new(), ..settled }, alice());
}

#[test]
fn of_too_many_marks_the_oldest_reminders_are_forgotten_and_no_day() {
    let mut key = alice();
    key.notices.push(told(EPOCH, Stage::Notice(NoticeDay::Age(76)), "2026-05-16T16:00:00Z", "2026-05-31"));
    let mut due = on("2026-07-01");
    while key.notices.len() < 59 {
        let confirmed = format!("{due}T16:00:00Z");
        key.notices.push(told(EPOCH, Stage::Reminder(due), &confirmed, "2026-05-31"));
        due = due.tomorrow().unwrap();
    }
    let settle = |key: &Key| {
        let terms = terms("2026-05-31", Mode::Enforce);
        settle_notices(key, [&message(Recipient::Channel, done("2026-05-26T16:00:00Z"), terms)])
            .unwrap()
            .notices
    };
    let names = |marks: &[NoticeMark]| -> Vec<String> {
        marks.iter().take(3).map(|mark| mark.stage.to_string()).collect()
    };
    let sixty = settle(&key);
    assert_eq!(sixty.len(), 60);
    assert_eq!(names(&sixty), ["notice-76", "notice-86", "reminder-2026-07-01"], "oldest first");

    key.notices.push(told(EPOCH, Stage::Reminder(due), &format!("{due}T16:00:00Z"), "2026-05-31"));
    let kept = settle(&key);
    assert_eq!(kept.len(), 60);
    assert_eq!(names(&kept), ["notice-76", "notice-86", "reminder-2026-07-02"]);
}

#[test]
fn a_date_once_named_is_never_undercut_by_the_next_attempt() {
    let (sooner, later) = (terms("2026-05-31", Mode::Enforce), terms("2026-06-03", Mode::Notify));
    assert_eq!(sooner.after(None), sooner);
    assert_eq!(sooner.after(Some(later)), terms("2026-06-03", Mode::Enforce), "the mode is this attempt's");
    assert_eq!(later.after(Some(sooner)), later);
}
