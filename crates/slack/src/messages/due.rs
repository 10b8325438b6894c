//! What is to be said of a key that is due, to whomever.

use jiff::{Timestamp, civil::Date};
use keytide_core::{
    AccountId, AccountNames,
    alert::Severity,
    delivery::{NoticeDay, Stage},
    key::{Ground, Key},
    lifecycle::utc_date,
    plan::{PlannedNotice, treatment_of},
    policy::{Policy, Treatment},
};

use super::{
    sweep_words::{self as sweep, day, day_and_distance},
    words::{self, KEY_ID, NAME, field},
};
use crate::text::Markup;

/// A key that a notice is about, and what holds for it.
#[derive(Debug, Clone, Copy)]
pub struct DueKey<'a> {
    /// The account.
    pub account: &'a AccountId,
    /// The key.
    pub key: &'a Key,
    /// The notice.
    pub notice: &'a PlannedNotice,
    /// The policy that the notice follows.
    pub policy: &'a Policy,
}

impl DueKey<'_> {
    fn treatment(&self) -> Treatment {
        treatment_of(self.policy, self.key)
    }

    fn is_exempt(&self) -> bool {
        matches!(self.notice.stage, Stage::ExemptionEnding(_))
    }

    /// Whether it is past its day, and that day has come.
    fn is_late(&self, today: Date) -> bool {
        matches!(self.notice.stage, Stage::Reminder(_)) && self.notice.disable_on <= today
    }

    /// Whether no other notice comes before the date.
    fn is_last(&self) -> bool {
        match self.notice.stage {
            Stage::Notice(NoticeDay::Age(day)) => {
                self.treatment().life.notice_days.iter().all(|later| *later <= day)
            }
            Stage::Notice(NoticeDay::Unused) | Stage::Reminder(_) => true,
            _ => false,
        }
    }

    /// What is to become of it, after the key: `will be disabled on Tue 3 June, in 5 days`.
    pub(super) fn verdict(&self, today: Date) -> String {
        let date = self.notice.disable_on;
        let on = day_and_distance(date, today);
        let is_again = matches!(self.notice.stage, Stage::Reminder(_))
            && self.notice.ground == Ground::Age
            && !self.key.reactivations.all().is_empty();
        match self.notice.in_earnest {
            _ if self.is_exempt() => format!("is exempt until {on}"),
            true if self.is_late(today) => format!("was to be disabled on {on}, and is still active"),
            false if self.is_late(today) => format!("was due to be disabled on {on}, and is still active"),
            true if is_again => format!("is Active again past its day, and will be disabled on {on}"),
            false if is_again => format!("is Active again past its day, and due to be disabled on {on}"),
            true => format!("will be disabled on {on}"),
            false => format!("is due to be disabled on {on}"),
        }
    }

    /// The header.
    pub(super) fn title(&self, accounts: &AccountNames, today: Date, user: Option<&str>) -> String {
        let key = sweep::titled_key(accounts, self.account, self.key, user);
        format!("{key} {}", self.verdict(today))
    }

    /// Why, and how far that goes.
    pub(super) fn reasons(&self, now: Timestamp) -> Markup {
        let today = utc_date(now);
        let treatment = self.treatment();
        let only_so_far = sweep::how_far(self.policy.mode(self.account), treatment.break_glass);
        let say = |words| Markup::new().say(words);
        let age = say("It is ").word(&days_old(self.notice.age_days));
        if self.is_exempt() {
            let whole = age.say(". When the exemption ends, the rules hold for it as for any other key: ");
            return match only_so_far {
                None => whole.say("once it is old enough, ").then(sweep::notice_and_dates()).say("."),
                Some(only_so_far) => {
                    whole.say("once it is old enough, a notice that names a date. ").then(only_so_far)
                }
            };
        }
        let life = &treatment.life;
        let mut whole = match self.notice.ground {
            Ground::Age => {
                age.say(", and keys like it live ").word(&life.disable_day.to_string()).say(" days").say(
                    if treatment.shortened_by_tag.is_some() { ", as its user's own tag asks." } else { "." },
                )
            }
            Ground::Unused => {
                let last = match self.key.last_use.as_ref().map(|read| read.at) {
                    Some(Some(at)) => say("Nobody has used it since ").word(&day(utc_date(at), today)),
                    Some(None) => say("Nobody has ever used it, as far as AWS knows"),
                    None => say("Nobody has used it for long"),
                };
                match life.inactive_days {
                    Some(days) => last
                        .say(", and keys that nobody uses for ")
                        .word(&days.to_string())
                        .say(" days are disabled."),
                    None => last.say("."),
                }
            }
        };
        if let Some(only_so_far) = only_so_far {
            whole = whole.say(" ").then(only_so_far);
        } else if self.is_late(today) {
            whole = whole.say(" It is disabled as soon as keytide may: any day now.");
        }
        if self.is_last() && matches!(self.notice.stage, Stage::Notice(_)) {
            whole = whole.say(" This is the last notice.");
        }
        whole
    }

    /// Why it is critical, if it is.
    pub(super) fn alarms(&self, now: Timestamp) -> Vec<Markup> {
        if self.notice.severity != Severity::Critical {
            return Vec::new();
        }
        let mut alarms = Vec::new();
        if self.treatment().break_glass {
            alarms.push(Markup::new().say("Everything about a break-glass user's keys is critical."));
        }
        let reactivations = self.key.reactivations.all();
        let mut latest = reactivations.iter().rev();
        if let (Some(last), Some(before), true) = (latest.next(), latest.next(), !self.is_exempt()) {
            let today = utc_date(now);
            let alarm = Markup::new()
                .say("It was set Active again on ")
                .word(&words::when(*last))
                .say(", soon after the time before (")
                .word(&day(utc_date(*before), today))
                .say(").");
            alarms.push(if self.notice.in_earnest {
                alarm.say(" That gives it one day, and no new round of notices.")
            } else {
                alarm
            });
        }
        alarms
    }

    /// Names and values.
    pub(super) fn fields(&self, accounts: &AccountNames, now: Timestamp) -> Vec<Markup> {
        let today = utc_date(now);
        let born = match self.key.born() {
            Some(born) => Markup::new()
                .word(&days_old(self.notice.age_days))
                .say(", made on ")
                .word(&day(utc_date(born), today)),
            None => Markup::new().word(&days_old(self.notice.age_days)),
        };
        vec![
            field("Key id", Markup::new().code(&self.key.key_id, KEY_ID)),
            field("User", words::subject(&self.key.holder.subject)),
            field("Account", words::account(accounts, self.account)),
            field("Age", born),
            field("Last used", sweep::last_use(self.key, now)),
            field(
                if self.is_exempt() {
                    "Exempt until"
                } else if self.is_late(today) {
                    "Was to end on"
                } else if self.notice.in_earnest {
                    "To be disabled on"
                } else {
                    "Due to be disabled on"
                },
                Markup::new().word(&day_and_distance(self.notice.disable_on, today)),
            ),
        ]
    }

    /// What breaks on that day; said with the last notice.
    pub(super) fn consequence(&self, now: Timestamp) -> Option<Markup> {
        if !self.is_last() {
            return None;
        }
        let whole = Markup::new()
            .bold("What will break:")
            .say(" once the key is disabled, AWS refuses every call that is made with it. ");
        Some(match &self.key.last_use {
            None => whole.say("When it was last used is not known, so find out before that day."),
            Some(read) => match read.at {
                None => whole.say("It was never used, as far as AWS knows, so nothing should break."),
                Some(at) => whole
                    .say("It was last used ")
                    .word(&sweep::elapsed(at, now))
                    .say(" ago")
                    .then(sweep::used_where(read))
                    .say(": whatever did that stops working."),
            },
        })
    }

    /// On one line, as it stands in a list, with where it is if the list does not say so.
    pub(super) fn row(&self, place: Markup, now: Timestamp) -> Markup {
        let start = Markup::new();
        let start =
            if self.notice.severity == Severity::Critical { start.bold("CRITICAL").say(" ") } else { start };
        let is_last_notice = self.is_last() && matches!(self.notice.stage, Stage::Notice(_));
        start
            .code(&self.key.key_id, KEY_ID)
            .say(" of ")
            .then(if sweep::is_machine(self.key) { Markup::new().say("machine ") } else { Markup::new() })
            .code(sweep::user(self.key), NAME)
            .then(place)
            .say(" ")
            .word(&self.verdict(utc_date(now)))
            .say("; ")
            .word(&days_old(self.notice.age_days))
            .say(", last used: ")
            .then(sweep::last_use_short(self.key, now))
            .say(if is_last_notice { "; this is its last notice" } else { "" })
    }
}

/// `1 day old`, `76 days old`.
pub(super) fn days_old(days: u32) -> String {
    if days == 1 { "1 day old".to_owned() } else { format!("{days} days old") }
}

/// The keys, nearest date first; of one date in the order of their ids.
pub(super) fn nearest_first<T>(keys: &[T], due: impl Fn(&T) -> &PlannedNotice) -> Vec<&T> {
    let mut sorted: Vec<&T> = keys.iter().collect();
    sorted.sort_by_key(|key| {
        let notice = due(key);
        (notice.disable_on, notice.key_id.clone())
    });
    sorted
}
