//! The texts of a policy file: what each may look like, and how that is called in a problem.

use jiff::{civil::Weekday, tz::TimeZone};

use super::{
    UserPattern,
    hours::{DAY_MINUTES, all_weekdays, weekday_word},
};
use crate::AccountId;

pub(super) const ACCOUNT: &str = "an account's id: twelve digits in quotes, and no pattern";
pub(super) const USER_PATTERN: &str =
    "a user's name of letters, digits and +=,.@_-, where * stands for any part of it, but not for all";
pub(super) const USER: &str = "one user's exact name: up to 64 letters, digits and +=,.@_-";
pub(super) const CHANNEL: &str =
    "a Slack channel's id such as C0123456789 (at the end of the channel's details)";
pub(super) const PATH: &str =
    "a user's path such as /machines/, which begins and ends with / and is more than /";

pub(super) fn account(text: &str) -> Option<AccountId> {
    AccountId::parse(text).ok()
}

pub(super) fn path(text: &str) -> Option<String> {
    // The pattern of `path` in `CreateUser`, IAM's API reference: at most 512 printable ASCII characters.
    let is_path = text.len() > 1
        && text.len() <= 512
        && text.starts_with('/')
        && text.ends_with('/')
        && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_path.then(|| text.to_owned())
}

/// A user's name is at most 64 of these characters (`UserName` in `CreateUser`, IAM's API reference).
pub(super) fn exact_user(text: &str) -> Option<String> {
    ((1..=64).contains(&text.len()) && has_only(text, "+=,.@_-")).then(|| text.to_owned())
}

pub(super) fn user_pattern(text: &str) -> Option<UserPattern> {
    // What stands for every user would make a rule by tags alone look like one by user.
    let says_something = text.bytes().any(|byte| byte != b'*');
    let is_pattern = says_something && text.len() <= 128 && has_only(text, "+=,.@_-*");
    is_pattern.then(|| UserPattern::checked(text))
}

pub(super) fn tag_value(text: &str) -> Option<String> {
    (1..=256).contains(&text.chars().count()).then(|| text.to_owned())
}

pub(super) fn channel(text: &str) -> Option<String> {
    let id = text.strip_prefix(['C', 'G'])?;
    let is_id = (5..=20).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    is_id.then(|| text.to_owned())
}

pub(super) fn weekday(text: &str) -> Option<Weekday> {
    all_weekdays().into_iter().find(|day| weekday_word(*day) == text)
}

pub(super) fn zone(text: &str) -> Option<(TimeZone, String)> {
    // The zones that jiff carries with it: nothing is read from this machine.
    let zone = TimeZone::get(text).ok().filter(|zone| !zone.is_unknown())?;
    let name = zone.iana_name()?.to_owned();
    Some((zone, name))
}

pub(super) fn two_times(text: &str) -> Option<(u16, u16)> {
    let (from, until) = text.split_once('-')?;
    let (from, until) = (minute_of_day(from)?, minute_of_day(until)?);
    (from < until).then_some((from, until))
}

/// The minutes in `HH:MM`, up to 24:00.
fn minute_of_day(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let two_digits = |text: &str| {
        (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| text.parse::<u16>().ok())?
    };
    let (hours, minutes) = (two_digits(hours)?, two_digits(minutes)?);
    let minute = hours * 60 + minutes;
    (minutes < 60 && minute <= DAY_MINUTES).then_some(minute)
}

pub(super) fn has_only(text: &str, others: &str) -> bool {
    text.chars().all(|letter| letter.is_ascii_alphanumeric() || others.contains(letter))
}
