//! Where a key stands in its life today: what it is due for, and what licenses a disable.
//!
//! Nothing of this is stored: it is computed at every run from the key's state, the policy, the exemption and
//! the account's circumstances, so a change of any of them holds at once. What is stored is what was said: the
//! notices that Slack confirmed ([`NoticeMark`]).
//!
//! **Arming epochs.** A key is armed by its birth, and again by whatever makes an earlier notice stale: its
//! reactivation, the end of an exemption, its account's entry into `enforce`, a restored ledger. Only notices
//! of the present epoch count, so an old one never licenses a sudden disable.

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};

use crate::{
    cloudtrail::{Status, Subject},
    decision::LONGEST_EXEMPTION_DAYS,
    delivery::{NoticeDay, Stage},
    key::{Ground, Key, NoticeMark, Standing},
    policy::{Mode, Treatment},
};

/// A key past its day that is still active is told of again after so many UTC dates.
pub const REMINDER_DATES: u32 = 5;
/// A reactivation this soon after the one that began the epoch begins none of its own.
const QUICK_AGAIN: SignedDuration = SignedDuration::from_hours(30 * 24);
/// A notice says nothing any more so many UTC dates after the date that it named and after it was sent: by then
/// a reminder has come, or nobody was told of anything.
const LAPSES_AFTER: u32 = 10;
/// The owner is told so long before an exemption ends.
pub const EXEMPTION_WARNING: SignedDuration = SignedDuration::from_hours(7 * 24);
/// A birth further ahead of our clock than this is not believed.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(5);
/// A last use that was read longer ago than this says nothing about today.
const LAST_USE_FRESH: SignedDuration = SignedDuration::from_hours(48);

/// A key that is not to be disabled for a while, and who said so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exemption {
    /// Why.
    pub reason: String,
    /// Who granted it, as AWS named them.
    pub author: String,
    /// When.
    pub granted_at: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

impl Exemption {
    /// When it ends: as it says, and 180 days after it was granted at the latest, whoever wrote it into the ledger
    /// by which way. One that is granted in the future does not count.
    pub fn ends(&self, now: Timestamp) -> Timestamp {
        if self.granted_at.duration_since(now) > CLOCK_TOLERANCE {
            return Timestamp::MIN;
        }
        self.until.min(days_after(self.granted_at, LONGEST_EXEMPTION_DAYS))
    }
}

/// What holds for a key besides its own state.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// How the policy treats it.
    pub treatment: &'a Treatment,
    /// The account's mode.
    pub mode: Mode,
    /// When the account entered `enforce`, if it is there.
    pub enforced_since: Option<Timestamp>,
    /// When the ledger was last restored or replaced.
    pub restored_at: Option<Timestamp>,
    /// The key's exemption, ended ones too.
    pub exemption: Option<&'a Exemption>,
    /// The least number of UTC dates between a notice and a disable.
    pub dates_between: u32,
    /// The time of this run.
    pub now: Timestamp,
}

/// What armed a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArmedBy {
    /// Its birth.
    Birth,
    /// It was set Active again.
    Reactivation,
    /// Its exemption ended.
    ExemptionEnded,
    /// Its account entered `enforce`.
    Enforce,
    /// The ledger was restored or replaced.
    Restored,
}

/// The present arming epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Armed {
    /// Since when.
    pub since: Timestamp,
    /// By what.
    pub by: ArmedBy,
    /// The first reactivation too soon after the one before to begin an epoch: a day's grace is all it gives, and
    /// those after it give none.
    pub again: Option<Timestamp>,
}

impl Armed {
    /// The epoch's name, the same wherever it is computed.
    pub fn epoch(&self) -> String {
        self.since.to_string()
    }
}

/// Where a key stands in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase<'a> {
    /// It is deleted, or taken for deleted.
    Closed,
    /// A key of root: alerted, never touched.
    Root,
    /// Nobody knows whose it is, since when it exists, or whether it is active; a listing has to say.
    Unknown(&'static str),
    /// Not active: it raises no alarm by its age.
    Dormant(&'a Status),
    /// Exempt until then.
    Exempt {
        /// The exemption.
        exemption: &'a Exemption,
        /// Set when its end is near and the owner is to be told: what that message is called.
        ending: Option<Stage>,
    },
    /// Active, and ageing.
    Running(Clock<'a>),
}

/// An active key's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clock<'a> {
    /// Whole 24-hour days since its birth; 0 for a birth that lies ahead.
    pub age_days: u32,
    /// Set where its birth lies ahead of our clock by more than clocks differ.
    pub born_ahead: bool,
    /// The epoch.
    pub armed: Armed,
    /// Why it would be disabled first.
    pub ground: Ground,
    /// The earliest UTC date on which it may be disabled, given the notices so far and one sent today if one
    /// is due.
    pub disable_on: Date,
    /// The notice that is due now.
    pub notice: Option<Stage>,
    /// The notice that licenses a disable today, if the ground holds today.
    pub licence: Option<&'a NoticeMark>,
    /// Whether it is past its day: due to be disabled, were it not for something.
    pub is_past_its_day: bool,
}

/// The UTC date of a moment.
pub fn utc_date(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

/// Whole 24-hour days between two moments; 0 where the first lies later.
pub fn whole_days(from: Timestamp, to: Timestamp) -> u32 {
    u32::try_from(to.duration_since(from).as_hours().div_euclid(24)).unwrap_or(0)
}

/// The moment that lies so many 24-hour days after another.
pub fn days_after(from: Timestamp, days: u32) -> Timestamp {
    from.saturating_add(SignedDuration::from_hours(i64::from(days) * 24)).unwrap_or(Timestamp::MAX)
}

/// So many UTC dates later.
pub fn dates_after(date: Date, dates: u32) -> Date {
    date.saturating_add(SignedDuration::from_hours(i64::from(dates) * 24))
}

/// Where a key stands.
pub fn phase<'a>(key: &'a Key, around: &Circumstances<'a>) -> Phase<'a> {
    let mark = match key.standing() {
        Some(Standing::Deleted(_) | Standing::Gone(_)) => return Phase::Closed,
        Some(Standing::Exists(mark)) => mark,
        None => return Phase::Unknown("its status is not known"),
    };
    match &key.holder.subject {
        Subject::Root => return Phase::Root,
        Subject::Unknown => return Phase::Unknown("whose it is, is not known"),
        Subject::User(_) => {}
    }
    if mark.status != Status::Active {
        return Phase::Dormant(&mark.status);
    }
    let Some(born) = key.born() else { return Phase::Unknown("its birth is not known") };
    if let Some(exemption) = around.exemption.filter(|exemption| exemption.ends(around.now) > around.now) {
        let ends = exemption.ends(around.now);
        let soon = ends.duration_since(around.now) <= EXEMPTION_WARNING;
        let ending = soon.then(|| Stage::ExemptionEnding(utc_date(ends)));
        return Phase::Exempt { exemption, ending };
    }
    Phase::Running(clock(key, born, around))
}

/// What armed a key last.
pub fn armed(key: &Key, born: Timestamp, around: &Circumstances<'_>) -> Armed {
    let mut since = born;
    let mut by = ArmedBy::Birth;
    // What lies ahead of our clock counts as well: our clock may be slow, and the later epoch is the safer one.
    let mut later = |at: Option<Timestamp>, cause: ArmedBy| {
        if let Some(at) = at.filter(|at| *at > since) {
            (since, by) = (at, cause);
        }
    };
    // Of reactivations soon after each other only the first begins an epoch, or a key could be kept for ever.
    let mut begins = None;
    let reactivations = key.reactivations.all();
    for &at in &reactivations {
        if begins.is_none_or(|begun: Timestamp| at.duration_since(begun) > QUICK_AGAIN) {
            begins = Some(at);
        }
    }
    later(begins, ArmedBy::Reactivation);
    // While it holds, no clock runs. One that is void since it lies ahead of our clock was granted all the same, and
    // what was said before it is stale.
    let ended = around.exemption.map(|exemption| match exemption.ends(around.now) {
        void if void == Timestamp::MIN => exemption.granted_at,
        ends => ends,
    });
    later(ended, ArmedBy::ExemptionEnded);
    later(around.enforced_since, ArmedBy::Enforce);
    later(around.restored_at, ArmedBy::Restored);
    // The first of them alone gives a day: else one a day would do.
    let again = reactivations.into_iter().find(|at| Some(*at) > begins && *at > since);
    Armed { since, by, again }
}

fn clock<'a>(key: &'a Key, born: Timestamp, around: &Circumstances<'a>) -> Clock<'a> {
    let Circumstances { treatment, now, .. } = *around;
    let life = &treatment.life;
    let today = utc_date(now);
    let armed = armed(key, born, around);
    let epoch = armed.epoch();
    let age_days = whole_days(born, now);
    let born_ahead = born.duration_since(now) > CLOCK_TOLERANCE;
    let soonest = dates_after(today, around.dates_between);
    let grace = armed.again.map(|at| dates_after(utc_date(at), 1));

    let of_age = Case {
        ground: Ground::Age,
        due_on: utc_date(days_after(born, life.disable_day)),
        holds: age_days >= life.disable_day,
        stage: life.notice_days.iter().rev().find(|day| **day <= age_days).map(|day| NoticeDay::Age(*day)),
        told_from: today,
        marks: marks_of(key, &epoch, Ground::Age, None),
    };
    let of_disuse = life.inactive_days.and_then(|most| {
        let read = key.last_use.as_ref()?;
        // What is not known for certain is no ground.
        (now.duration_since(read.seen_at) <= LAST_USE_FRESH).then_some(())?;
        let used = read.at.unwrap_or(born).max(born);
        let active = used.max(armed.since);
        let lead = most.saturating_sub(around.dates_between);
        let idle = whole_days(active, now);
        Some(Case {
            ground: Ground::Unused,
            due_on: utc_date(days_after(active, most)),
            holds: idle >= most,
            stage: (idle >= lead).then_some(NoticeDay::Unused),
            told_from: utc_date(days_after(active, lead)),
            marks: marks_of(key, &epoch, Ground::Unused, Some(used)),
        })
    });
    let mut cases: Vec<Case<'a>> = std::iter::once(of_age).chain(of_disuse).collect();
    // Whatever ends it first; of two the age, which no use can put off.
    cases.sort_by_key(|case| (case.licence(around, today).is_none(), case.stage.is_none(), case.due_on));
    let Some(case) = cases.into_iter().next() else {
        // There is always the age.
        return Clock {
            age_days,
            born_ahead,
            armed,
            ground: Ground::Age,
            disable_on: soonest,
            notice: None,
            licence: None,
            is_past_its_day: false,
        };
    };

    // Told once and then not due for long (a tag, a rule or a break-glass user came and went): told anew.
    let is_lapsed = case.is_lapsed(today);
    let named = case.marks.iter().map(|mark| mark.disable_on).max().filter(|_| !is_lapsed);
    let notice_day = case.stage.filter(|stage| !case.has_been_told(*stage));
    let mut disable_on = case.due_on.max(named.unwrap_or(Date::MIN));
    if notice_day.is_some() || named.is_none() {
        // A notice must name a date that far ahead, be it sent today or later.
        disable_on = disable_on.max(soonest);
    }
    disable_on = disable_on.max(grace.unwrap_or(Date::MIN));
    let is_past_its_day = case.holds && notice_day.is_none() && today >= disable_on;
    let reminder = case.reminder(today, is_past_its_day.then_some(disable_on), &armed);
    // Names are the epoch's, not the ground's or a stretch's without use: one that was sent is used up.
    let of_epoch = || key.notices.iter().filter(|mark| mark.epoch == epoch);
    let used = of_epoch().filter_map(|mark| match mark.stage {
        Stage::Reminder(date) => Some(date),
        _ => None,
    });
    let next_name = used.max().map_or(Date::MIN, |date| dates_after(date, 1));
    let is_used_up = |stage: &Stage| of_epoch().any(|mark| mark.stage == *stage);
    let by_its_day = notice_day.map(Stage::Notice).filter(|stage| !is_used_up(stage));
    let by_a_date = notice_day.map(|_| case.told_from).or(reminder);
    let notice = by_its_day.or(by_a_date.map(|date| Stage::Reminder(date.max(next_name))));
    let licence = case.licence(around, today).filter(|_| today >= disable_on);
    Clock { age_days, born_ahead, armed, ground: case.ground, disable_on, notice, licence, is_past_its_day }
}

/// One of the reasons for which a key may have to go.
struct Case<'a> {
    ground: Ground,
    /// The date on which it would have to go, were everybody told.
    due_on: Date,
    /// Whether the reason holds now.
    holds: bool,
    /// The latest notice that its time has come for.
    stage: Option<NoticeDay>,
    /// The date from which that notice is due, where it has to be told by another name than its day's.
    told_from: Date,
    /// The confirmed notices of this epoch for this reason.
    marks: Vec<&'a NoticeMark>,
}

impl<'a> Case<'a> {
    fn has_been_told(&self, stage: NoticeDay) -> bool {
        self.marks.iter().any(|mark| match mark.stage {
            // The policy's days may have changed: a later notice has said all that an earlier one would.
            Stage::Notice(told) => told >= stage,
            // Of a later stretch without use: see where notices get their names.
            Stage::Reminder(_) => stage == NoticeDay::Unused,
            _ => false,
        })
    }

    /// Whether all that was said lies too far back to count.
    fn is_lapsed(&self, today: Date) -> bool {
        self.lapses_after().is_some_and(|date| date < today)
    }

    /// The last date on which what was said still counts.
    fn lapses_after(&self) -> Option<Date> {
        let until = self.marks.iter().map(|mark| mark.disable_on.max(utc_date(mark.at))).max();
        until.map(|until| dates_after(until, LAPSES_AFTER))
    }

    /// The reminder that is due today, by the date from which it is: on whatever day it goes out, and however often
    /// that is tried, it is the same. `past_since` is the date of its end, where that has passed.
    fn reminder(&self, today: Date, past_since: Option<Date>, armed: &Armed) -> Option<Date> {
        let is_lapsed = self.is_lapsed(today);
        // Set Active once more soon after: said at once, and loudly. Its name is the next date, which no reminder can
        // bear that was sent before.
        let is_news = |at: &Timestamp| self.marks.iter().all(|mark| mark.at < *at);
        let again =
            armed.again.filter(is_news).filter(|_| self.holds && !self.marks.is_empty() && !is_lapsed);
        if let Some(at) = again {
            return Some(dates_after(utc_date(at), 1));
        }
        if is_lapsed {
            return self.stage.and(self.lapses_after()).map(|date| dates_after(date, 1));
        }
        let told_on = self.marks.iter().map(|mark| utc_date(mark.at)).max();
        let after_the_last = told_on.map(|date| dates_after(date, REMINDER_DATES));
        let due_from = past_since?.max(after_the_last.unwrap_or(Date::MIN));
        (today >= due_from).then_some(due_from)
    }

    /// The notice that licenses a disable today: sent in `enforce`, in this epoch, the wanted number of UTC
    /// dates ago. The date that the latest of them named must have come besides: see `disable_on`.
    fn licence(&self, around: &Circumstances<'_>, today: Date) -> Option<&'a NoticeMark> {
        if !self.holds || around.mode != Mode::Enforce || self.is_lapsed(today) {
            return None;
        }
        let is_old_enough = |mark: &NoticeMark| dates_after(utc_date(mark.at), around.dates_between) <= today;
        let enforced = |mark: &&&NoticeMark| mark.mode == Mode::Enforce && is_old_enough(mark);
        self.marks.iter().rfind(enforced).copied()
    }
}

/// The epoch's notices for this reason, of those that told of no use the ones after the latest use. An epoch says
/// itself since when it counts, also by a clock that is ahead of ours.
fn marks_of<'a>(key: &'a Key, epoch: &str, ground: Ground, used: Option<Timestamp>) -> Vec<&'a NoticeMark> {
    let counts = |mark: &&NoticeMark| {
        mark.epoch == epoch && mark.ground == ground && used.is_none_or(|used| mark.at >= used)
    };
    key.notices.iter().filter(counts).collect()
}
