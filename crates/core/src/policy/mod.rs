//! The policy: how long keys live, whose live otherwise, and how far keytide may go.
//!
//! Two questions are kept apart. *Rules* say what would happen to a key: [`Policy::treatment`]. The *mode* of
//! its account says whether: [`Policy::mode`], `observe` for every account that is not named.
//!
//! A [`Policy`] is only ever a checked one: it is the built-in one or comes out of [`Policy::parse`], which
//! either takes the whole file or tells everything that is wrong with it.
//!
//! Read in this order: here, for what a policy answers; `rule`, for whom a rule is and when it is laxer than
//! another; `hours`, for when disabling is open; `parse` with `parse_life` and `parse_rules`, for the
//! file, on top of `reader` and `shapes`; `canonical`, for the hash.

mod canonical;
mod hours;
mod parse;
mod parse_life;
mod parse_rules;
mod reader;
mod rule;
mod shapes;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use hours::{Closed, Hours};
pub use parse::LONGEST_FILE_BYTES;
pub use reader::{Problem, Problems};
pub use rule::{Conditions, Rule, UserPattern};

use crate::{
    AccountId,
    owner::{Owner, TAG_MAX_AGE_DAYS},
};

/// The least number of UTC dates between a confirmed notice and a disable. A policy may raise it.
pub const LEAST_DATES_BETWEEN: u32 = 5;
/// The longest life a policy may give, in days.
pub const LONGEST_LIFE_DAYS: u32 = 3_650;

/// How far keytide goes in an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The channel is told, owners are not, nothing is disabled.
    Observe,
    /// Owners are told too, nothing is disabled.
    Notify,
    /// Keys are disabled.
    Enforce,
}

impl Mode {
    /// All modes, the mildest first.
    pub const ALL: [Self; 3] = [Self::Observe, Self::Notify, Self::Enforce];

    /// The mode's word, as the policy file has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Notify => "notify",
            Self::Enforce => "enforce",
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A key's life, in whole days of 24 hours since its birth.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Life {
    /// When its owner is told: rising days, at least one, all of them before `disable_day`.
    pub notice_days: Vec<u32>,
    /// When it is disabled.
    pub disable_day: u32,
    /// Disabled as well once it was not used for so many days; `None`: use is not looked at.
    pub inactive_days: Option<u32>,
}

impl Life {
    fn built_in() -> Self {
        Self { notice_days: vec![76, 81, 86], disable_day: 91, inactive_days: None }
    }

    /// This life with an earlier disable day, which is at least `dates_between + 1`. Notices come earlier by
    /// as many days; those before day 1 are dropped, but one always stays.
    fn shortened_to(&self, disable_day: u32) -> Self {
        let earlier_by = self.disable_day.saturating_sub(disable_day);
        let moved = self.notice_days.iter().map(|day| day.saturating_sub(earlier_by));
        let mut notice_days: Vec<u32> = moved.filter(|day| *day >= 1).collect();
        if notice_days.is_empty() {
            notice_days.push(1);
        }
        Self { notice_days, disable_day, inactive_days: self.inactive_days }
    }

    /// In what this life is laxer than another, in words; `None` where it is nowhere laxer.
    ///
    /// Laxer is: disabled later; warned less, which is fewer notices, or one that comes later than its
    /// counterpart; or longer unused.
    pub fn laxer_than(&self, other: &Self) -> Option<String> {
        if self.disable_day > other.disable_day {
            return Some(format!(
                "disables on day {} and not on day {}",
                self.disable_day, other.disable_day
            ));
        }
        let (own, others) = (&self.notice_days, &other.notice_days);
        if own.len() < others.len() {
            return Some(format!("gives fewer notices ({} and not {})", own.len(), others.len()));
        }
        if let Some((later, than)) = own.iter().zip(others).find(|(own, other)| own > other) {
            return Some(format!("gives notice on day {later} and not on day {than}"));
        }
        match (self.inactive_days, other.inactive_days) {
            (None, Some(days)) => Some(format!("leaves alone what is unused, and not for {days} days only")),
            (Some(own), Some(other)) if own > other => {
                Some(format!("leaves alone what is unused for {own} days, and not for {other} only"))
            }
            _ => None,
        }
    }
}

/// How much may be disabled. What is above a cap waits for a person's approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Caps {
    /// Of an account's active keys, in a run, in per cent.
    pub account_percent: u32,
    /// So many in an account in any case, however few keys it has.
    pub account_at_least: u32,
    /// In the whole organization, in a day.
    pub organization_per_day: u32,
}

impl Default for Caps {
    fn default() -> Self {
        Self { account_percent: 10, account_at_least: 2, organization_per_day: 50 }
    }
}

/// A user that is never disabled and whose every event is critical.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct BreakGlass {
    /// The user's account.
    pub account: AccountId,
    /// The user's name, exactly.
    pub user: String,
}

/// Whom a policy is asked about.
#[derive(Debug, Clone, Copy)]
pub struct PolicySubject<'a> {
    /// The account.
    pub account: &'a AccountId,
    /// The user's name.
    pub user: &'a str,
    /// The user as the directory has it; `None`: path and tags are not known.
    pub owner: Option<&'a Owner>,
}

/// What a policy says of a user's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Treatment {
    /// How long they live.
    pub life: Life,
    /// The name of the rule that says so; `None`: the defaults.
    pub rule: Option<String>,
    /// Never disabled, and every event critical.
    pub break_glass: bool,
    /// The disable day that the user's own tag `key-max-age-days` brought about.
    pub shortened_by_tag: Option<u32>,
    /// Path and tags were not known, so that a rule or a tag may say otherwise: read them before acting.
    pub uncertain: bool,
    /// What is to be said about it, such as a tag that is ignored.
    pub remarks: Vec<String>,
}

/// A checked policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    modes: BTreeMap<AccountId, Mode>,
    defaults: Life,
    rules: Vec<Rule>,
    break_glass: BTreeSet<BreakGlass>,
    dates_between: u32,
    hours: Option<Hours>,
    caps: Caps,
    notices_channel: Option<String>,
    /// No account is in more than this.
    most: Mode,
    hash: String,
}

impl Policy {
    /// The policy that holds where nobody wrote one: notices on days 76, 81 and 86, disabled on day 91, and
    /// every account in `observe`.
    pub fn built_in() -> Self {
        let policy = Self {
            modes: BTreeMap::new(),
            defaults: Life::built_in(),
            rules: Vec::new(),
            break_glass: BTreeSet::new(),
            dates_between: LEAST_DATES_BETWEEN,
            hours: None,
            caps: Caps::default(),
            notices_channel: None,
            most: Mode::Enforce,
            hash: String::new(),
        };
        policy.hashed()
    }

    /// Reads a policy file (TOML). Either all of it is sound, or everything that is not is told.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        parse::parse(text)
    }

    fn hashed(mut self) -> Self {
        self.hash = canonical::hash(&self);
        self
    }

    /// The SHA-256 of what the policy says. How its file is laid out does not change it.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// How far keytide goes in this account.
    pub fn mode(&self, account: &AccountId) -> Mode {
        self.modes.get(account).copied().unwrap_or(Mode::Observe).min(self.most)
    }

    /// The same policy, but no account is in more than this. Its hash stays, since nobody wrote another.
    #[must_use]
    pub fn at_most(&self, mode: Mode) -> Self {
        Self { most: self.most.min(mode), ..self.clone() }
    }

    /// The accounts that are named, with their modes.
    pub fn accounts_named(&self) -> &BTreeMap<AccountId, Mode> {
        &self.modes
    }

    /// The life of a key that no rule is about.
    pub fn defaults(&self) -> &Life {
        &self.defaults
    }

    /// The rules, in the order in which they are tried.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The break-glass users.
    pub fn break_glass(&self) -> &BTreeSet<BreakGlass> {
        &self.break_glass
    }

    /// How much may be disabled.
    pub fn caps(&self) -> Caps {
        self.caps
    }

    /// The least number of UTC dates between a confirmed notice and a disable: 5 or more.
    pub fn dates_between(&self) -> u32 {
        self.dates_between
    }

    /// The hours for disabling; `None`: always.
    pub fn hours(&self) -> Option<&Hours> {
        self.hours.as_ref()
    }

    /// Whether anything may be disabled now, by the hours.
    pub fn disabling_open(&self, now: Timestamp) -> Result<(), Closed> {
        self.hours.as_ref().map_or(Ok(()), |hours| hours.open(now))
    }

    /// The channel for notices of age, if the policy names one; alerts of events go to the functions' own channel.
    pub fn notices_channel(&self) -> Option<&str> {
        self.notices_channel.as_deref()
    }

    /// Whether a user is a break-glass user.
    pub fn is_break_glass(&self, account: &AccountId, user: &str) -> bool {
        // IAM does not tell names apart by case (CreateUser, `UserName`, in IAM's API reference).
        self.break_glass.iter().any(|one| one.account == *account && one.user.eq_ignore_ascii_case(user))
    }

    /// What is to happen to a user's keys: the first rule whose conditions all hold, else the defaults; then
    /// the user's own tag, which can only shorten.
    pub fn treatment(&self, subject: &PolicySubject<'_>) -> Treatment {
        let rule = self.rules.iter().find(|rule| rule.conditions.hold_for(subject));
        let mut treatment = Treatment {
            life: rule.map_or(&self.defaults, |rule| &rule.life).clone(),
            rule: rule.map(|rule| rule.name.clone()),
            break_glass: self.is_break_glass(subject.account, subject.user),
            shortened_by_tag: None,
            uncertain: subject.owner.is_none(),
            remarks: Vec::new(),
        };
        if let Some(tag) = subject.owner.and_then(|owner| owner.tags.max_age_days.as_deref()) {
            self.shorten(&mut treatment, tag);
        }
        treatment
    }

    fn shorten(&self, treatment: &mut Treatment, tag: &str) {
        let own = treatment.life.disable_day;
        let remark = match days_in_tag(tag) {
            None => Some(format!(
                "the tag {TAG_MAX_AGE_DAYS} is `{}`: ignored, expected a whole number of days from 1 on",
                reader::excerpt(tag)
            )),
            Some(days) if days > own => Some(format!(
                "the tag {TAG_MAX_AGE_DAYS} asks for {} days: ignored, since a tag can only shorten the \
                 policy's {own}",
                reader::excerpt(tag.trim())
            )),
            Some(days) => {
                // The first day on which a key can end that was told of its end on day 1. A checked life is
                // never shorter than that.
                let least = self.dates_between.saturating_add(1);
                let day = days.max(least).min(own);
                if day < own {
                    treatment.life = treatment.life.shortened_to(day);
                    treatment.shortened_by_tag = Some(day);
                }
                (days < least).then(|| {
                    format!(
                        "the tag {TAG_MAX_AGE_DAYS} asks for {days} days: day {day} it is, since a notice \
                         comes at least {} days before",
                        self.dates_between
                    )
                })
            }
        };
        treatment.remarks.extend(remark);
    }
}

/// The number of days in the tag `key-max-age-days`; `None` if it is none. A number beyond all bounds is
/// still a number: the largest.
fn days_in_tag(tag: &str) -> Option<u32> {
    let digits = tag.trim();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let days = digits.parse().unwrap_or(u32::MAX);
    (days > 0).then_some(days)
}
